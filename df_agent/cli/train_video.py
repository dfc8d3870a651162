"""Train a video model: `df-agent train algorithm=video env=maze2d-medium`. Started again, it goes on where it stopped.

Needs the pictures of `df-agent collect env=maze2d-medium pixels=64`.
"""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from df_agent.cli.environments import check_env
from df_agent.cli.errors import errors_in_one_line
from df_agent.world_model.training import train_video


def main(config: DictConfig) -> None:
    """Train as the config says."""
    with errors_in_one_line():
        if not config.teco:
            check_env(config.env)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        plain.pop("steps")  # it is train.steps
        train_video(plain)
