"""`df-agent train algorithm=compact`, from a checkout: `python scripts/train_compact.py env=maze2d-umaze`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("train", "algorithm=compact")
