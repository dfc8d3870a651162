"""`df-agent evaluate-video`, from a checkout: `python scripts/evaluate_video.py env=maze2d-medium`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("evaluate-video")
