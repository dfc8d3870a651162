"""Train a video model: `python scripts/train_video.py env=maze2d-medium`. Started again, it goes on where it stopped.

Needs the pictures of `python scripts/collect.py env=maze2d-medium pixels=64`.
"""

from __future__ import annotations

from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from df_agent.checkpoint import CheckpointError
from df_agent.cli.collecting import frame_steps
from df_agent.cli.environments import check_env
from df_agent.cli.policies import demonstrations
from df_agent.training.run_folder import RunError
from df_agent.training.trainer import TrainingError
from df_agent.world_model.training import train_video


def film(env_id: str, size: int = 64) -> str:
    """Return the dataset of pictures that scripts/collect.py writes by default."""
    return demonstrations(env_id).replace("-v0", f"-pixels{size}-v0")


OmegaConf.register_new_resolver("film", film, replace=True)
OmegaConf.register_new_resolver("every", frame_steps, replace=True)


@hydra.main(version_base=None, config_path="../configs/train_video", config_name="train_video")
def main(config: DictConfig) -> None:
    """Train as the config says."""
    try:
        if not config.teco:
            check_env(config.env)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        train_video(plain)
    except (CheckpointError, RunError, TrainingError, ValueError, FileNotFoundError, ConnectionError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
