"""Training the learned offline baselines, each a module with a loss and a sampler, by the package's trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from df_agent.baselines import learner_class
from df_agent.data.datasets import load_episodes
from df_agent.data.episodes import Episodes
from df_agent.data.goal_spec import GoalSpec
from df_agent.data.infer import infer_channels
from df_agent.options import make
from df_agent.runtime import own_modes
from df_agent.training.config import TrainConfig
from df_agent.training.device import make_accelerator
from df_agent.training.run_folder import command
from df_agent.training.trainer import Validation, run_tracker, run_training


@own_modes(gradients=True)
def train_baseline(
    config: Mapping[str, Any],
    validate: Validation | None = None,
    make_policy: Callable[[nn.Module], object] | None = None,
    check_data: Callable[[Episodes], None] = lambda episodes: None,
) -> nn.Module:
    """Train, or continue, the run that `config` describes; return the EMA model.

    Args:
        config: plain values: "algorithm", "env", "dataset" (see `load_episodes`), "run_dir", "tracker", "goal" (options
            of GoalSpec; `infer_channels` adds to it), "learner" (options of the algorithm's `from_data`) and "train"
            (options of TrainConfig).
        validate: called every train.validate_every steps; the "goal" of what it is told is the inferred one.
        make_policy: called with the untrained model, so that options that make no policy of it are refused now and
            not at the first validation.
        check_data: called with the data before anything is trained; raises where it is not the environment's.
    """
    options = TrainConfig.from_dict(config["train"])
    torch.manual_seed(options.seed)  # the same seed gives the same initial weights
    cls = learner_class(config["algorithm"])
    with make_accelerator().local_main_process_first():  # it downloads what is not here yet, the others find it
        episodes = load_episodes(config["dataset"])
    check_data(episodes)
    goal, notes = infer_channels(episodes, make(GoalSpec, dict(config.get("goal") or {})))
    if notes and make_accelerator().is_main_process:
        print(*notes, sep="\n", flush=True)
    episodes = goal.apply(episodes)
    learner: nn.Module
    learner, sampler = cls.from_data(episodes, **config["learner"])
    if make_policy is not None:
        make_policy(learner)
    checkpoint_config = {
        "algorithm": config["algorithm"],
        "env": config["env"],
        **({} if goal.is_plain and not goal.rewrites else {"goal": goal.to_dict()}),
        "learner": learner.config,
        "provenance": {"dataset": str(config["dataset"]), "train": dict(config["train"]), "command": command()},
    }
    return run_training(learner, sampler, options, config, checkpoint_config, run_tracker(config), validate)
