"""`df-agent predict-video`, from a checkout: `python scripts/predict_video.py env=maze2d-medium`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("predict-video")
