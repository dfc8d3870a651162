"""`df-agent list`, from a checkout: `python scripts/list.py policies`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("list")
