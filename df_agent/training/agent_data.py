"""The windows that an agent is trained on, and what its checkpoints say of them."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from df_agent.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from df_agent.data.config import TokenizerConfig
from df_agent.data.datasets import load_episodes
from df_agent.data.episodes import Episodes
from df_agent.data.goal_spec import GoalSpec
from df_agent.data.preprocessing import dense_rewards, without_jumps, without_stops
from df_agent.data.samplers.windows import WindowSampler, step_statistics
from df_agent.data.tokens import Tokenizer, check_indices
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.options import make
from df_agent.training.agent_config import AgentTrainingConfig
from df_agent.training.device import make_accelerator
from df_agent.training.run_folder import command

WINDOWS = ("max_tokens", "short_tokens", "short_share", "jump_distance", "stop_distance")
# Options of the diffusion that decide what the network's output means
MEANING = ("levels", "schedule", "zero_terminal_snr", "signal_scale", "prediction_type")


def make_sampler(
    config: AgentTrainingConfig,
    look: Callable[[Episodes, list[int]], None] = lambda episodes, channels: None,
    check: Callable[[Episodes], None] = lambda episodes: None,
) -> WindowSampler:
    """Load the data, fit the normaliser on it, and cut windows on the training device.

    Args:
        config: of the run.
        look: called with the data as the model sees it, and with the channels that goals are about.
        check: called with the data as loaded; raises where it is not the environment's.
    """
    accelerator = make_accelerator()
    with accelerator.local_main_process_first():  # it downloads what is not here yet, the others find it
        episodes = load_episodes(config.dataset)
    check(episodes)
    episodes = make(GoalSpec, config.part("goal")).apply(episodes)
    if (place := config.part("reward").get("place")) is not None:
        episodes = dense_rewards(episodes, place)
    options, windows = make(TokenizerConfig, config.part("tokenizer")), config.part("windows")
    if unknown := sorted(set(windows) - set(WINDOWS)):
        raise ValueError(f"unknown options {unknown} for windows, available: {list(WINDOWS)}")
    check_indices(options, episodes.observations.shape[1])
    channels = [options.observation_indices[channel] for channel in options.goal_channels]
    look(episodes, channels)
    if distance := windows.pop("jump_distance", None):
        episodes = without_jumps(episodes, episodes.observations[:, channels], distance)
    if distance := windows.pop("stop_distance", None):
        episodes = without_stops(episodes, episodes.observations[:, channels], distance, options.span)
    tokenizer = Tokenizer.fit(options, episodes)
    if config.load:
        tokenizer = loaded_tokenizer(load_checkpoint(config.load), tokenizer, config)
    return WindowSampler(episodes, tokenizer, device=accelerator.device, **windows)


def loaded_tokenizer(start: Checkpoint, fitted: Tokenizer, config: AgentTrainingConfig) -> Tokenizer:
    """Return the tokenizer of a checkpoint that a run starts from, since its weights know only that normaliser.

    Raises:
        CheckpointError: it holds a baseline or another model without tokens.
        ValueError: its tokens hold something else, or its network's output means something else, than in this run.
    """
    if "tokenizer" not in start.config:
        raise CheckpointError(f"load={config.load}: it holds no Diffusion Forcing model, and no other can be loaded")
    tokenizer = Tokenizer.from_dict(start.config["tokenizer"])
    diffusions = (start.config.get("diffusion", {}), config.part("diffusion"))
    then, now = (asdict(make(DiffusionForcingConfig, options)) for options in diffusions)
    differing = [f"diffusion.{key}={now[key]!r}, was {then[key]!r}" for key in MEANING if now[key] != then[key]]
    if tokenizer.config != fitted.config:
        differing.append(f"tokenizer={asdict(fitted.config)}, was {asdict(tokenizer.config)}")
    if differing:
        raise ValueError(
            f"load={config.load}: its weights mean something else, they were trained with other options: "
            f"{'; '.join(differing)}"
        )
    return tokenizer


def describe(config: AgentTrainingConfig, sampler: WindowSampler) -> dict[str, Any]:
    """What goes into each checkpoint: everything needed to rebuild the model and its tokens, and provenance.

    The sizes that follow from the tokenizer are filled in.
    """
    tokens = sampler.tokenizer.config
    sizes = {"token_dim": tokens.token_dim, "max_tokens": sampler.max_tokens}
    refuse_given("network", config.network, sizes)
    follows = {
        "frame_stack": tokens.frame_stack,
        "goal_channels": list(tokens.goal_channels),
        "context": tokens.context,
    }
    refuse_given("diffusion", config.part("diffusion"), follows)
    return {
        "env": config.env,
        "network": {**config.part("network"), **sizes},
        "diffusion": {**config.part("diffusion"), **follows},
        "goal": config.part("goal"),
        "tokenizer": sampler.tokenizer.to_dict(),
        "windows": config.part("windows"),
        "statistics": step_statistics(sampler),
        "policy": config.part("policy"),
        "load": config.load,
        "provenance": {
            "dataset": config.dataset,
            "train": config.part("train"),
            "command": command(),
            "python": platform.python_version(),
        },
    }


def refuse_given(part: str, given: Mapping[str, Any], follows: Mapping[str, Any]) -> None:
    """Raise ValueError for options of a part of the configuration that follow from its others."""
    if clash := sorted(given.keys() & follows.keys()):
        raise ValueError(f"{part}'s options {clash} follow from the tokenizer, windows or data and cannot be given")
