"""Train a learned baseline: `python scripts/train_baseline.py algorithm=diffuser env=maze2d-large`.

Started again, it continues where it stopped. Every so often the policy acts in its environment, on seeds that
are never reported; success against training steps is in the run's metrics.jsonl.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf
from torch import nn

import envs
from df_agent.baselines.training import train_baseline
from df_agent.checkpoint import CheckpointError
from df_agent.evaluation.metrics import time_to_goal
from df_agent.evaluation.rollout import PolicyError, rollout
from df_agent.training.run_folder import RunError
from df_agent.training.trainer import TrainingError

LOWEST_VALIDATION_SEED = 1000
# algorithm -> module, class of the policy
POLICIES = {
    "diffuser": ("df_agent.baselines.diffuser_policy", "DiffuserPolicy"),
    "gcbc": ("df_agent.baselines.gcbc", "GCBCPolicy"),
    "gciql": ("df_agent.baselines.gciql", "GCIQLPolicy"),
}


def by_maze(env_id: str, umaze: Any, medium: Any, large: Any) -> Any:
    """Return the value that belongs to the maze of an environment."""
    return {"umaze": umaze, "medium": medium, "large": large}[envs.maze_of(env_id).name]


class Validation:
    """Runs the EMA model as a policy, on the same episodes each time.

    Args:
        config: with "algorithm", "env", "policy" and "validation".
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.env_id, self.policy, self.options = config["env"], config["policy"], config["validation"]
        if self.options["seed"] < LOWEST_VALIDATION_SEED:
            raise ValueError(f"validation.seed must be at least {LOWEST_VALIDATION_SEED}, got {self.options['seed']}")
        module, name = POLICIES[config["algorithm"]]
        self.policy_class = getattr(import_module(module), name)

    def __call__(self, model: nn.Module, step: int, checkpoint: Mapping[str, Any]) -> dict[str, float]:
        """Return the success rate and the mean time to goal [control steps], timeouts as the limit."""
        policy = self.policy_class(model, **self.policy)
        records = rollout(policy, self.env_id, **self.options, keep_paths=False)
        return {
            "success_rate": float(np.mean([record.success for record in records])),
            "time_to_goal": float(time_to_goal(records)["mean"]),
            "at_goal_at_end": float(np.mean([record.at_goal_at_end for record in records])),
        }


@hydra.main(version_base=None, config_path="../configs/train_baseline", config_name="train_baseline")
def main(config: DictConfig) -> None:
    """Train as the config says."""
    try:
        plain: Any = OmegaConf.to_container(config, resolve=True)
        validate: Any = Validation(plain) if plain["train"].get("validate_every") else None
        train_baseline(plain, validate)
    except (CheckpointError, RunError, TrainingError, PolicyError, ValueError, FileNotFoundError, TypeError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


OmegaConf.register_new_resolver("by_maze", by_maze)

if __name__ == "__main__":
    main()
