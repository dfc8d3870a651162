"""`df-agent fetch-teco`, from a checkout: `python scripts/fetch_teco.py name=dmlab`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("fetch-teco")
