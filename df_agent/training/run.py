"""A training run of an agent: `df_agent.train(config)`, or `python -m df_agent.training.run resolved.json`.

`df-agent train` resolves its configuration to the same values. Nothing here needs Hydra, Gymnasium or Minari, so a
model can be trained elsewhere from a resolved configuration and an `.npz` pack of episodes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from df_agent.agent_model import AgentModel
from df_agent.checkpoint import load_checkpoint
from df_agent.data.episodes import Episodes
from df_agent.data.quality import Asked
from df_agent.runtime import own_modes
from df_agent.training.agent_config import AgentTrainingConfig
from df_agent.training.agent_data import describe, make_sampler
from df_agent.training.data_check import DataCheck
from df_agent.training.side_models import (
    train_inverse_dynamics,
    train_local_policy,
    train_support,
    train_time_to_goal,
)
from df_agent.training.trainer import FirstLook, Validation, run_tracker, run_training


@own_modes(gradients=True)
def train(
    config: AgentTrainingConfig | Mapping[str, Any],
    validate: Validation | None = None,
    look: FirstLook | None = None,
    asked: Asked | None = None,
    check_data: Callable[[Episodes], None] = lambda episodes: None,
) -> AgentModel:
    """Train, or continue, the run that `config` describes; return the EMA model.

    First the estimator of the time to the goal, some minutes, in `run_dir`/time_to_goal, unless its steps are 0, and
    the inverse model, the local policy and the support likewise; then the diffusion model, whose checkpoints hold these
    too. `run_dir`/final is the last of them without the training state.

    Args:
        config: what to train on what, and how; or plain values under the same keys.
        validate: called every train.validate_every steps; see `Validation`.
        look: called before the diffusion model's first step, if there is a local policy, with which an agent can act
            already; see `FirstLook`. Its numbers are logged as of step 0, under "local_policy/". A run that is
            continued from a checkpoint of the diffusion model has had it.
        asked: starts and goals that the agent will be asked for. What is wrong with the data, for them too, is printed
            and kept in `run_dir`/data.json; see `df_agent.data.quality`.
        check_data: called with the data before anything is trained; raises where it is not the environment's.

    Raises:
        ValueError: unknown, missing or impossible options, which are named.
        CheckpointError, RunError, TrainingError: what is loaded, continued or trained does not go on.
    """
    c = config if isinstance(config, AgentTrainingConfig) else AgentTrainingConfig.from_dict(config)
    options, began = c.trainer, time.perf_counter()
    check = DataCheck(asked)
    sampler = make_sampler(c, check.look, check_data)
    described = describe(c, sampler)
    torch.manual_seed(options.seed)  # the same seed gives the same initial weights
    model = AgentModel.from_config(described)
    if c.load:
        start = load_checkpoint(c.load)
        own = {key: value for key, value in start.weights.items() if key.startswith("diffusion.")}
        replace(start, weights=own).load_into(model)
    tracker = run_tracker(c.to_dict())  # before the first minutes of training, or a wrong name would cost them
    if trained := train_time_to_goal(c, sampler, described):
        model.time_to_goal, described["time_to_goal"] = trained
    if learned := train_inverse_dynamics(c, sampler, described):
        model.inverse_dynamics, described["inverse_dynamics"] = learned
    if local := train_local_policy(c, sampler, described):
        model.local_policy, described["local_policy"] = local
        check.look_at_actions(local[0], sampler)
    check.keep(c.run_dir)
    if support := train_support(c, sampler, described):
        model.support, described["support"] = support
    first = None if look is None or local is None else timed(look, began)
    return run_training(model, sampler, options, c.to_dict(), described, tracker, validate, first)


def timed(look: FirstLook, began: float) -> FirstLook:
    """Return the same look, which also says how many minutes after `began` [s, perf_counter] it was taken."""

    def with_time(model: nn.Module, checkpoint: Mapping[str, Any]) -> tuple[str, Mapping[str, float]]:
        minutes = (time.perf_counter() - began) / 60
        line, numbers = look(model, checkpoint)
        named = {f"local_policy/{name}": value for name, value in {**numbers, "training_minutes": minutes}.items()}
        return f"after {minutes:.1f} min: {line}", named

    return with_time


def main() -> None:
    """Train from the JSON file named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m df_agent.training.run resolved.json")
    path = Path(sys.argv[1])
    if not path.is_file():
        raise SystemExit(f"there is no file {path}; `df-agent train env=... resolve_to=...` writes one")
    train(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
