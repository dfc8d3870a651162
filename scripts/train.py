"""Train the agent: `python scripts/train.py env=maze2d-large`. Started again, it continues where it stopped.

Resolves the configuration to a plain dict and hands it to `df_agent.training.run.train`, with a validation that
runs the agent in its environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import hydra
import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue
from torch import nn
from yardsticks import maze_yardsticks

from df_agent.checkpoint import CheckpointError, json_bytes, replace_file
from df_agent.evaluation.plots import plot_plans
from df_agent.evaluation.rollout import PolicyError
from df_agent.evaluation.validation import Validation
from df_agent.policy import DiffusionForcingPolicy
from df_agent.training.run import train
from df_agent.training.run_folder import RunError
from df_agent.training.trainer import TrainingError


class AgentValidation:
    """Runs the EMA model as a policy; pictures of its paths go to the run folder too.

    Args:
        env_id: gymnasium id of a goal-conditioned environment.
        folder: where the pictures go.
        **options: of `Validation`.
    """

    def __init__(self, env_id: str, folder: Path, **options: int) -> None:
        self.validate, self.folder = Validation(env_id, **options), folder
        self.yardsticks = maze_yardsticks(env_id)

    def __call__(
        self, model: nn.Module, step: int, checkpoint: Mapping[str, Any]
    ) -> Mapping[str, float | NDArray[np.uint8]]:
        """Return what was measured, and a picture of the paths."""
        limit = self.validate.limit
        policy = DiffusionForcingPolicy.from_model(model, dict(checkpoint), max_steps=limit)  # type: ignore[arg-type]
        numbers, records = self.validate(policy, keep_paths=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = plot_plans(records, self.folder / f"step_{step:09d}.png", self.yardsticks)
        return {**numbers, "paths": imageio.imread(picture)[..., :3]}


def resolve(config: DictConfig) -> dict[str, Any]:
    """Return the plain dict that `df_agent.training.run.train` takes."""
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    resolved: dict[str, Any] = {"env": plain.pop("env_id"), **plain}
    for key in ("steps", "resolve_to"):
        resolved.pop(key)
    return resolved


@hydra.main(version_base=None, config_path="../configs/train", config_name="train")
def main(config: DictConfig) -> None:
    """Train as the config says."""
    try:
        resolved = resolve(config)
        if config.resolve_to:
            replace_file(Path(config.resolve_to), json_bytes(resolved))
            return
        validate = None
        if resolved["train"]["validate_every"]:
            pictures = Path(resolved["run_dir"], "validation")
            validate = AgentValidation(resolved["env"], pictures, **resolved["validation"])
        train(resolved, validate)
    except MissingMandatoryValue as error:
        raise SystemExit(f"a value must be given as key=value: {str(error).splitlines()[0]}") from error
    except (
        CheckpointError, RunError, TrainingError, PolicyError, ValueError, FileNotFoundError, ConnectionError,
        ImportError, gym.error.Error,
    ) as error:  # fmt: skip
        raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
