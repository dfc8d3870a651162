"""A training run from a plain dict: `python -m df_agent.training.run resolved.json`.

`scripts/train.py` resolves its configuration to the same dict. Nothing here needs Hydra, Gymnasium or
Minari, so a model can be trained elsewhere from a resolved configuration and an `.npz` pack of episodes.
"""

from __future__ import annotations

import json
import math
import platform
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from df_agent.agent_model import build_model
from df_agent.checkpoint import Checkpoint, CheckpointError, json_bytes, load_checkpoint, replace_file, save_checkpoint
from df_agent.data.datasets import load_episodes
from df_agent.data.goal_spec import GoalSpec
from df_agent.data.preprocessing import dense_rewards, without_jumps, without_stops
from df_agent.data.samplers.inverse_dynamics import InverseDynamicsSampler, displacement_scale
from df_agent.data.samplers.pairs import PairSampler
from df_agent.data.samplers.windows import WindowSampler, step_statistics
from df_agent.data.tokens import Tokenizer, TokenizerConfig, check_indices
from df_agent.diffusion.diffusion_forcing import DiffusionForcingConfig
from df_agent.models.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from df_agent.models.time_to_goal import TimeToGoal, TimeToGoalConfig
from df_agent.options import make
from df_agent.training.processes import make_accelerator
from df_agent.training.trackers import Tracker, make_tracker
from df_agent.training.trainer import TrainConfig, Trainer
from df_agent.types import TrainingBatch

KEYS = (
    "env",
    "dataset",
    "run_dir",
    "load",
    "tracker",
    "goal",
    "reward",
    "tokenizer",
    "windows",
    "network",
    "diffusion",
    "time_to_goal",
    "inverse_dynamics",
    "policy",
    "train",
    "validation",
)

# Options of the diffusion that decide what the network's output means
MEANING = ("levels", "schedule", "zero_terminal_snr", "signal_scale", "objective")
CARRIED = ("time_to_goal.", "inverse_dynamics.")  # weights of what is trained before the diffusion model
# What tells these one set of data from another, so that none is continued, or taken as it is, under another one
DATA = ("goal", "tokenizer", "windows", "statistics")

# (EMA model, steps done, checkpoint config) -> numbers and pictures
Validation = Callable[[nn.Module, int, Mapping[str, Any]], Mapping[str, "float | NDArray[np.uint8]"]]


def train(config: Mapping[str, Any], validate: Validation | None = None) -> nn.Module:
    """Train, or continue, the run that `config` describes; return the EMA model.

    First the estimator of the time to the goal, some minutes, in `run_dir`/time_to_goal, unless its steps are 0, and
    the inverse model likewise; then the diffusion model, whose checkpoints hold these too. `run_dir`/final is the last
    of them without the training state. With train.steps 0 the diffusion model stays what "load" holds.

    Args:
        config: plain values under the keys `KEYS`. "dataset" is what `load_episodes` takes; "goal", "tokenizer",
            "windows", "network", "diffusion" and "train" are the options of GoalSpec, TokenizerConfig, WindowSampler,
            the network, DiffusionForcingConfig and TrainConfig; "reward" may name a "place" nearness to which is
            rewarded instead of what the data says; "load" names a checkpoint whose weights, and normaliser, a new
            run starts from; "policy" is stored for the agent; "env" and "validation" are for `validate`.
        validate: called every train.validate_every steps; see `Validation`.
    """
    check_keys(config)
    check_values(config)
    options = TrainConfig.from_dict(config["train"])
    sampler = make_sampler(config)
    checkpoint_config = describe(config, sampler)
    torch.manual_seed(options.seed)  # the same seed gives the same initial weights
    model = build_model(checkpoint_config)
    if config.get("load"):
        start = load_checkpoint(config["load"])
        own = {key: value for key, value in start.weights.items() if not key.startswith(CARRIED)}
        replace(start, weights=own).load_into(model)
    tracker = run_tracker(config)  # before the first minutes of training, or a wrong name would cost them
    if config.get("time_to_goal", {}).get("steps") != 0:
        estimator, estimator_config = train_time_to_goal(config, sampler, options, checkpoint_config)
        model.time_to_goal = estimator.requires_grad_(False)
        checkpoint_config["time_to_goal"] = estimator_config
    if config.get("inverse_dynamics", {}).get("steps", 0):
        inverse, inverse_config = train_inverse_dynamics(config, sampler, options, checkpoint_config)
        model.inverse_dynamics = inverse.requires_grad_(False)
        checkpoint_config["inverse_dynamics"] = inverse_config
    return run_training(model, sampler, options, config, checkpoint_config, tracker, validate)


def run_tracker(config: Mapping[str, Any]) -> Tracker | None:
    """Return the tracker that config["tracker"] names, on the process that writes; raises ValueError for others."""
    if not make_accelerator().is_main_process:
        return None
    return make_tracker(config.get("tracker", "tensorboard"), config["run_dir"], config)


def run_training(
    model: nn.Module,
    sampler: Callable[[int, torch.Generator], TrainingBatch],
    options: TrainConfig,
    config: Mapping[str, Any],
    checkpoint_config: dict[str, Any],
    tracker: Tracker | None,
    validate: Validation | None = None,
) -> nn.Module:
    """Train a module with a loss in config["run_dir"], or continue; leave the EMA model in `final` and return it.

    Args:
        model: the module.
        sampler: of its batches.
        options: how to train.
        config: of the run, recorded in its folder.
        checkpoint_config: what is stored beside the weights.
        tracker: where metrics go; see `run_tracker`.
        validate: called every validate_every steps; see `Validation`.
    """
    run_dir = Path(config["run_dir"])
    main = make_accelerator().is_main_process
    if main:
        record(run_dir, config)

    def validate_with_config(average: nn.Module, step: int) -> Mapping[str, float | NDArray[np.uint8]]:
        assert validate is not None
        return validate(average, step, checkpoint_config)

    callback = validate_with_config if validate is not None else None
    average = Trainer(model, sampler, options, run_dir, checkpoint_config, tracker, callback).fit()
    if main:
        save_checkpoint(run_dir / "final", average.state_dict(), checkpoint_config)
    return average


def train_time_to_goal(
    config: Mapping[str, Any], sampler: WindowSampler, train_options: TrainConfig, described: Mapping[str, Any]
) -> tuple[TimeToGoal, dict[str, Any]]:
    """Train, or load from a finished run, the estimator; return it and the options it is rebuilt from.

    `described` is what `describe` says of the run.
    """
    tokens = sampler.tokenizer.config
    given = {"steps": 8000, "pairs": 2048, **config.get("time_to_goal", {})}
    steps, pairs = given.pop("steps"), given.pop("pairs")
    follows = {"channels": len(tokens.goal_channels), "resolution": max(tokens.frame_skip // 2, 1), "unit": tokens.span}
    refuse_given("time_to_goal", given, follows)
    options = make(TimeToGoalConfig, {**given, **follows})
    torch.manual_seed(train_options.seed)
    # Well beyond a window, or places whose way is longer than one would never be seen to be far apart.
    sample_pairs = PairSampler(sampler, options.resolution, 4 * sampler.max_tokens * tokens.span)
    schedule = TrainConfig(
        steps=steps,
        batch_size=pairs,
        weight_decay=0.0,
        warmup_steps=min(100, steps),
        seed=train_options.seed,
        precision="fp32",
        debug=train_options.debug,
        checkpoint_every=min(1000, steps),
    )
    folder = Path(config["run_dir"], "time_to_goal")
    checkpoint_config = {"time_to_goal": options.to_dict(), **{key: described[key] for key in DATA}}
    estimator = Trainer(TimeToGoal(options), sample_pairs, schedule, folder, checkpoint_config).fit()
    assert isinstance(estimator, TimeToGoal)
    return estimator, options.to_dict()


def train_inverse_dynamics(
    config: Mapping[str, Any], sampler: WindowSampler, train_options: TrainConfig, described: Mapping[str, Any]
) -> tuple[InverseDynamics, dict[str, Any]]:
    """Train, or load from a finished run, the inverse model; return it and the options it is rebuilt from.

    `described` is what `describe` says of the run.
    """
    tokens, given = sampler.tokenizer.config, dict(config["inverse_dynamics"])
    steps = given.pop("steps")
    follows = {
        "observation_dim": tokens.observation_dim,
        "channels": len(tokens.goal_channels),
        "action_dim": sampler.actions.shape[1],
    }
    refuse_given("inverse_dynamics", given, follows)
    options = make(InverseDynamicsConfig, {**given, **follows})
    torch.manual_seed(train_options.seed)
    schedule = TrainConfig(
        steps=steps,
        batch_size=1024,
        weight_decay=0.0,
        warmup_steps=min(100, steps),
        seed=train_options.seed,
        precision="fp32",
        debug=train_options.debug,
        checkpoint_every=min(1000, steps),
    )
    moves = InverseDynamicsSampler(sampler, displacement_scale(described["statistics"]["step"]))
    folder = Path(config["run_dir"], "inverse_dynamics")
    checkpoint_config = {"inverse_dynamics": options.to_dict(), **{key: described[key] for key in DATA}}
    inverse = Trainer(InverseDynamics(options), moves, schedule, folder, checkpoint_config).fit()
    assert isinstance(inverse, InverseDynamics)
    return inverse, options.to_dict()


def check_keys(config: Mapping[str, Any]) -> None:
    """Raise ValueError for keys that are missing or unknown, with the nearest known one."""
    for key in config:
        if key not in KEYS:
            close = get_close_matches(key, KEYS, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"unknown key {key!r} in the configuration (known: {', '.join(KEYS)}){hint}")
    missing = [key for key in ("dataset", "run_dir", "tokenizer", "windows", "network", "train") if key not in config]
    if missing:
        raise ValueError(f"the configuration lacks {', '.join(missing)}; it has {', '.join(config)}")


def refuse_given(part: str, given: Mapping[str, Any], follows: Mapping[str, Any]) -> None:
    """Raise ValueError for options of a part of the configuration that follow from its others."""
    if clash := sorted(given.keys() & follows.keys()):
        raise ValueError(f"{part}'s options {clash} follow from the tokenizer, windows or data and cannot be given")


def check_values(config: Mapping[str, Any]) -> None:
    """Raise ValueError for values that JSON, as which the configuration is kept, does not know."""

    def foreign(value: Any, key: str) -> list[str]:
        if isinstance(value, dict):
            return [found for name, inner in value.items() for found in foreign(inner, f"{key}.{name}")]
        if isinstance(value, list | tuple):
            return [found for index, inner in enumerate(value) for found in foreign(inner, f"{key}.{index}")]
        known = math.isfinite(value) if isinstance(value, float) else value is None or isinstance(value, str | int)
        return [] if known else [f"{key.removeprefix('.')}={value!r}"]

    if found := foreign(dict(config), ""):
        raise ValueError(
            f"the configuration is kept as JSON, which does not know {', '.join(found)}; give a text, a finite number, "
            f"true, false, null, or lists and dicts of these"
        )


def make_sampler(config: Mapping[str, Any]) -> WindowSampler:
    """Load the data, fit the normaliser on it, and cut windows on the training device."""
    accelerator = make_accelerator()
    with accelerator.local_main_process_first():  # it downloads what is not here yet, the others find it
        episodes = load_episodes(config["dataset"])
    episodes = make(GoalSpec, dict(config.get("goal") or {})).apply(episodes)
    if (place := (config.get("reward") or {}).get("place")) is not None:
        episodes = dense_rewards(episodes, place)
    options, windows = make(TokenizerConfig, dict(config["tokenizer"])), dict(config["windows"])
    known = ("max_tokens", "short_tokens", "short_share", "jump_distance", "stop_distance")
    if unknown := sorted(set(windows) - set(known)):
        raise ValueError(f"unknown options {unknown} for windows, available: {list(known)}")
    check_indices(options, episodes.observations.shape[1])
    channels = [options.observation_indices[channel] for channel in options.goal_channels]
    if distance := windows.pop("jump_distance", None):
        episodes = without_jumps(episodes, episodes.observations[:, channels], distance)
    if distance := windows.pop("stop_distance", None):
        episodes = without_stops(episodes, episodes.observations[:, channels], distance, options.span)
    tokenizer = Tokenizer.fit(options, episodes)
    if config.get("load"):
        tokenizer = loaded_tokenizer(load_checkpoint(config["load"]), tokenizer, config)
    return WindowSampler(episodes, tokenizer, device=accelerator.device, **windows)


def loaded_tokenizer(start: Checkpoint, fitted: Tokenizer, config: Mapping[str, Any]) -> Tokenizer:
    """Return the tokenizer of a checkpoint that a run starts from, since its weights know only that normaliser.

    Raises:
        CheckpointError: it holds a baseline or another model without tokens.
        ValueError: its tokens hold something else, or its network's output means something else, than in this run.
    """
    if "tokenizer" not in start.config:
        raise CheckpointError(f"load={config['load']}: it holds no Diffusion Forcing model, and no other can be loaded")
    tokenizer = Tokenizer.from_dict(start.config["tokenizer"])
    then, now = (asdict(make(DiffusionForcingConfig, dict(c.get("diffusion", {})))) for c in (start.config, config))
    differing = [f"diffusion.{key}={now[key]!r}, was {then[key]!r}" for key in MEANING if now[key] != then[key]]
    if tokenizer.config != fitted.config:
        differing.append(f"tokenizer={asdict(fitted.config)}, was {asdict(tokenizer.config)}")
    if differing:
        raise ValueError(
            f"load={config['load']}: its weights mean something else, they were trained with other options: "
            f"{'; '.join(differing)}"
        )
    return tokenizer


def describe(config: Mapping[str, Any], sampler: WindowSampler) -> dict[str, Any]:
    """What goes into each checkpoint: everything needed to rebuild the model and its tokens, and provenance.

    The sizes that follow from the tokenizer are filled in.
    """
    tokens = sampler.tokenizer.config
    sizes = {"token_dim": tokens.token_dim, "max_tokens": sampler.max_tokens}
    refuse_given("network", config["network"], sizes)
    follows = {
        "frame_stack": tokens.frame_stack,
        "goal_channels": list(tokens.goal_channels),
        "context": tokens.context,
    }
    refuse_given("diffusion", config.get("diffusion", {}), follows)
    return {
        "env": config.get("env"),
        "network": {**config["network"], **sizes},
        "diffusion": {**config.get("diffusion", {}), **follows},
        "goal": dict(config.get("goal") or {}),
        "tokenizer": sampler.tokenizer.to_dict(),
        "windows": dict(config["windows"]),
        "statistics": step_statistics(sampler),
        "policy": dict(config.get("policy", {})),
        "load": config.get("load"),
        "provenance": {
            "dataset": str(config["dataset"]),
            "train": dict(config["train"]),
            "command": command(),
            "python": platform.python_version(),
        },
    }


def record(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Keep the resolved configuration and the exact command, one line per start, in the run folder."""
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / "resolved.json").exists():
        replace_file(run_dir / "resolved.json", json_bytes(config))
    with (run_dir / "commands.txt").open("a") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {command()}\n")


def command() -> str:
    """The command line of this process, as it can be typed again."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def main() -> None:
    """Train from the JSON file named on the command line."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m df_agent.training.run resolved.json")
    path = Path(sys.argv[1])
    if not path.is_file():
        raise SystemExit(f"there is no file {path}; `python scripts/train.py env=... resolve_to=...` writes one")
    train(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
