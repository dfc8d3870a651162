"""Train the encoder of an agent that sees pictures: `python scripts/train_compact.py env=maze2d-umaze`.

An encoder of one small vector per picture, and dynamics over these vectors. Leaves the data's vectors beside them, in
runs/maze2d-umaze-compact/latents.npz, on which `python scripts/train.py env=maze2d-umaze-pixels` trains the agent.
"""

from __future__ import annotations

from typing import Any

import hydra
import train_video  # noqa: F401 - registers film
from omegaconf import DictConfig, OmegaConf

from df_agent.checkpoint import CheckpointError
from df_agent.cli.environments import check_env
from df_agent.training.run_folder import RunError
from df_agent.training.trainer import TrainingError
from df_agent.world_model.compact import train_compact


@hydra.main(version_base=None, config_path="../configs", config_name="train_compact")
def main(config: DictConfig) -> None:
    """Train as the config says."""
    try:
        check_env(config.env)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        train_compact(plain)
    except (CheckpointError, RunError, TrainingError, ValueError, FileNotFoundError, ConnectionError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
