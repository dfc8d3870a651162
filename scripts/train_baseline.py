"""`df-agent train`, from a checkout: `python scripts/train_baseline.py algorithm=gcbc env=maze2d-large`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("train", "algorithm=diffuser")
