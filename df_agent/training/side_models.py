"""What is trained before the diffusion model, in minutes, and travels with it: clocks and controllers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from df_agent.data.samplers.side_models import (
    InverseDynamicsSampler,
    LocalPolicySampler,
    MoveSampler,
    PairSampler,
    displacement_scale,
)
from df_agent.data.samplers.windows import WindowSampler
from df_agent.models.inverse_dynamics import InverseDynamics
from df_agent.models.local_policy import LocalPolicy
from df_agent.models.support import Support
from df_agent.models.time_to_goal import TimeToGoal
from df_agent.options import make
from df_agent.options.side_models import InverseDynamicsConfig, LocalPolicyConfig, SupportConfig, TimeToGoalConfig
from df_agent.training.agent_config import AgentTrainingConfig
from df_agent.training.agent_data import refuse_given
from df_agent.training.config import TrainConfig
from df_agent.training.trainer import SampleBatch, Trainer

M = TypeVar("M", bound=nn.Module)

# What tells these one set of data from another, so that none is continued, or taken as it is, under another one
DATA = ("goal", "tokenizer", "windows", "statistics")


def train_time_to_goal(
    config: AgentTrainingConfig, sampler: WindowSampler, described: Mapping[str, Any]
) -> tuple[TimeToGoal, dict[str, Any]] | None:
    """Train, or load from a finished run, the estimator; return it and the options it is rebuilt from.

    Args:
        config: of the run; None is returned where its time_to_goal.steps are 0.
        sampler: of the same data's windows.
        described: what `describe` says of the run.
    """
    tokens = sampler.tokenizer.config
    given = {"steps": 8000, "pairs": 2048, **config.part("time_to_goal")}
    steps, pairs = given.pop("steps"), given.pop("pairs")
    if steps == 0:
        return None
    follows = {"channels": len(tokens.goal_channels), "resolution": max(tokens.frame_skip // 2, 1), "unit": tokens.span}
    refuse_given("time_to_goal", given, follows)
    options = make(TimeToGoalConfig, {**given, **follows})
    torch.manual_seed(config.trainer.seed)
    model = TimeToGoal(options)
    # Well beyond a window, or places whose way is longer than one would never be seen to be far apart.
    batches = PairSampler(sampler, options.resolution, 4 * sampler.max_tokens * tokens.span)
    return _fit(model, batches, "time_to_goal", config, described, steps, pairs), options.to_dict()


def train_inverse_dynamics(
    config: AgentTrainingConfig, sampler: WindowSampler, described: Mapping[str, Any]
) -> tuple[InverseDynamics, dict[str, Any]] | None:
    """Train, or load from a finished run, the inverse model; return it and the options it is rebuilt from.

    Args:
        config: of the run; None is returned where its inverse_dynamics.steps are 0.
        sampler: of the same data's windows.
        described: what `describe` says of the run.
    """
    tokens, given = sampler.tokenizer.config, {"steps": 0, **config.part("inverse_dynamics")}
    steps = given.pop("steps")
    if steps == 0:
        return None
    follows = {
        "observation_dim": tokens.observation_dim,
        "channels": len(tokens.goal_channels),
        "action_dim": sampler.actions.shape[1],
    }
    refuse_given("inverse_dynamics", given, follows)
    options = make(InverseDynamicsConfig, {**given, **follows})
    torch.manual_seed(config.trainer.seed)
    model = InverseDynamics(options)
    batches = InverseDynamicsSampler(sampler, displacement_scale(described["statistics"]["step"]))
    return _fit(model, batches, "inverse_dynamics", config, described, steps, 1024), options.to_dict()


def train_local_policy(
    config: AgentTrainingConfig, sampler: WindowSampler, described: Mapping[str, Any]
) -> tuple[LocalPolicy, dict[str, Any]] | None:
    """Train, or load from a finished run, the local policy; return it and the options it is rebuilt from.

    Args:
        config: of the run; None is returned where its local_policy.steps are 0.
        sampler: of the same data's windows.
        described: what `describe` says of the run.
    """
    tokens, given = sampler.tokenizer.config, {"steps": 0, "batch_size": 512, **config.part("local_policy")}
    steps, batch_size = given.pop("steps"), given.pop("batch_size")
    if steps == 0:
        return None
    indices = given.pop("observation_indices", None) or tokens.observation_indices
    longest = given.get("longest", 4 * sampler.max_tokens * tokens.span)
    batches = LocalPolicySampler(sampler, longest, indices)
    measured = ("observation_mean", "observation_std", "action_mean", "action_std")
    follows = {
        "goal_channels": batches.goal_channels,
        **{name: getattr(batches, name).tolist() for name in measured},
    }
    refuse_given("local_policy", given, follows)
    options = make(LocalPolicyConfig, {"longest": longest, "observation_indices": list(indices), **given, **follows})
    torch.manual_seed(config.trainer.seed)
    model = LocalPolicy(options)
    return _fit(model, batches, "local_policy", config, described, steps, batch_size), options.to_dict()


def train_support(
    config: AgentTrainingConfig, sampler: WindowSampler, described: Mapping[str, Any]
) -> tuple[Support, dict[str, Any]] | None:
    """Train, or load from a finished run, the support of the data's moves; return it and what it is rebuilt from.

    Args:
        config: of the run; None is returned where its support.steps are 0.
        sampler: of the same data's windows.
        described: what `describe` says of the run.
    """
    tokens, given = sampler.tokenizer.config, {"steps": 0, **config.part("support")}
    steps = given.pop("steps")
    if steps == 0:
        return None
    follows = {"channels": len(tokens.goal_channels)}
    refuse_given("support", given, follows)
    options = make(SupportConfig, {**given, **follows})
    torch.manual_seed(config.trainer.seed)
    model, batches = Support(options), MoveSampler(sampler, tokens.frame_skip)
    model.move_std.copy_(batches.move_std)
    return _fit(model, batches, "support", config, described, steps, 1024), options.to_dict()


def _fit(
    model: M,
    batches: SampleBatch,
    name: str,
    config: AgentTrainingConfig,
    described: Mapping[str, Any],
    steps: int,
    batch_size: int,
) -> M:
    """Train a side model in a folder of its name within the run's."""
    schedule = TrainConfig(
        steps=steps,
        batch_size=batch_size,
        weight_decay=0.0,
        warmup_steps=min(100, steps),
        seed=config.trainer.seed,
        precision="fp32",
        debug=config.trainer.debug,
        checkpoint_every=min(1000, steps),
    )
    options: Any = model.config
    checkpoint_config = {name: options.to_dict(), **{key: described[key] for key in DATA}}
    return Trainer(model, batches, schedule, Path(config.run_dir, name), checkpoint_config).fit().requires_grad_(False)
