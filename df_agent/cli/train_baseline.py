"""Train a learned baseline: `df-agent train algorithm=diffuser env=maze2d-large`.

Started again, it continues where it stopped. Every so often the policy acts in its environment, on seeds that
are never reported; success against training steps is in the run's metrics.jsonl.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from df_agent.cli.environments import check_env
from df_agent.cli.errors import errors_in_one_line
from df_agent.data.env_spec import check_fits
from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.validation import Validation
from df_agent.options import make
from df_agent.training.baseline import train_baseline
from df_agent.training.trainer import Validation as TrainingValidation
from df_agent.types import Policy

# algorithm -> module, class of the policy
POLICIES = {
    "diffuser": ("df_agent.policies.diffuser", "DiffuserPolicy"),
    "gcbc": ("df_agent.policies.learned_actors", "GCBCPolicy"),
    "gciql": ("df_agent.policies.learned_actors", "GCIQLPolicy"),
}


def policy_maker(config: Mapping[str, Any]) -> Callable[..., Policy]:
    """Return what makes a model the policy of its algorithm, with the options in config["policy"]."""
    module, name = POLICIES[config["algorithm"]]
    return partial(getattr(import_module(module), name), **config["policy"])


def make_validation(config: Mapping[str, Any]) -> TrainingValidation:
    """Return what runs the EMA model as the policy of its algorithm."""
    validate = Validation(config["env"], **config["validation"], goal_spec=make(GoalSpec, config["goal"]))
    make_policy = policy_maker(config)

    def run(model: nn.Module, step: int, checkpoint: Mapping[str, Any]) -> dict[str, float]:
        return validate(make_policy(model, goal_spec=make(GoalSpec, dict(checkpoint.get("goal") or {}))))[0]

    return run


def main(config: DictConfig) -> None:
    """Train as the config says."""
    with errors_in_one_line(TypeError):
        check_env(config.env)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        plain.pop("steps")  # it is train.steps
        validate = make_validation(plain) if plain["train"].get("validate_every") else None
        train_baseline(plain, validate, policy_maker(plain), partial(check_fits, plain["env"]))
