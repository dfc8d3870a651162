"""`df-agent train algorithm=sac_her`, from a checkout: `python scripts/train_sac_her.py env=maze2d-umaze`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("train", "algorithm=sac_her")
