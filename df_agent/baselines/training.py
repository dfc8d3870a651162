"""Training the learned offline baselines, each a module with a loss and a sampler, by the package's trainer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from df_agent.baselines.learners import learner_class
from df_agent.checkpoint import save_checkpoint
from df_agent.data.episodes import load_episodes
from df_agent.training.processes import make_accelerator
from df_agent.training.run import command, record
from df_agent.training.trackers import make_tracker
from df_agent.training.trainer import TrainConfig, Trainer

Validation = Callable[[nn.Module, int, Mapping[str, Any]], Mapping[str, "float | NDArray[np.uint8]"]]


def train_baseline(config: Mapping[str, Any], validate: Validation | None = None) -> nn.Module:
    """Train, or continue, the run that `config` describes; return the EMA model.

    Args:
        config: plain values: "algorithm", "env", "dataset" (see `load_episodes`), "run_dir", "tracker", "learner"
            (options of the algorithm's `from_data`) and "train" (options of TrainConfig).
        validate: called every train.validate_every steps with (EMA model, steps done, checkpoint config).
    """
    run_dir, options = Path(config["run_dir"]), TrainConfig.from_dict(config["train"])
    torch.manual_seed(options.seed)  # the same seed gives the same initial weights
    cls = learner_class(config["algorithm"])
    learner, sampler = cls.from_data(load_episodes(config["dataset"]), **config["learner"])
    checkpoint_config = {
        "algorithm": config["algorithm"],
        "env": config["env"],
        "learner": learner.config,
        "provenance": {"dataset": str(config["dataset"]), "train": dict(config["train"]), "command": command()},
    }
    tracker = None
    if make_accelerator().is_main_process:
        tracker = make_tracker(config.get("tracker", "tensorboard"), run_dir, config)
        record(run_dir, config)

    def validate_with_config(average: nn.Module, step: int) -> Mapping[str, float | NDArray[np.uint8]]:
        assert validate is not None
        return validate(average, step, checkpoint_config)

    callback = validate_with_config if validate is not None else None
    average = Trainer(learner, sampler, options, run_dir, checkpoint_config, tracker, callback).fit()
    if make_accelerator().is_main_process:
        save_checkpoint(run_dir / "final", average.state_dict(), checkpoint_config)
    return average
