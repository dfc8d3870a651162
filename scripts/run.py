"""`df-agent run`, from a checkout: `python scripts/run.py env=maze2d-large`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("run")
