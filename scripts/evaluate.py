"""`df-agent evaluate`, from a checkout: `python scripts/evaluate.py env=maze2d-large`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("evaluate")
