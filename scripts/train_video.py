"""`df-agent train algorithm=video`, from a checkout: `python scripts/train_video.py env=maze2d-medium`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("train", "algorithm=video")
