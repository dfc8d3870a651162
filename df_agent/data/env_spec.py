"""What gymnasium knows of an environment before it is made."""

from __future__ import annotations

from contextlib import closing
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec

from df_agent.data.episodes import Episodes


def spec_of(env_id: str) -> EnvSpec:
    """Return the specification of a gymnasium id; imports the module of "module:id", as `gym.make` does."""
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module)
    return gym.spec(name)


def episode_limit(env_id: str, max_steps: int | None) -> int:
    """Return `max_steps`, or the environment's own limit; raises ValueError if there is neither."""
    limit = spec_of(env_id).max_episode_steps if max_steps is None else max_steps
    if limit is None or limit < 1:
        raise ValueError(f"{env_id!r} has no limit of its own: give max_steps >= 1, got {max_steps}")
    return int(limit)


def check_fits(env_id: str, episodes: Episodes) -> None:
    """Raise ValueError unless data is of an environment: as wide, its actions by and large within the bounds.

    Args:
        env_id: gymnasium id.
        episodes: observations (T, Do) and actions (T, Da).
    """
    with closing(gym.make(env_id)) as env:
        observed: Any = env.observation_space
        acted: Any = env.action_space
    seen = observed.spaces.get("observation") if isinstance(observed, gym.spaces.Dict) else observed
    widths = [("observations", seen, episodes.observations.shape[1]), ("actions", acted, episodes.actions.shape[1])]
    for what, space, width in widths:
        if isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and space.shape[0] != width:
            raise ValueError(
                f"the data's {what} have {width} values, those of {env_id} have {space.shape[0]}: it is not the data "
                "of this environment"
            )
    if isinstance(acted, gym.spaces.Box) and acted.is_bounded() and len(acted.shape) == 1:
        # Noise may lie somewhat beyond; actions in other units do most of the time.
        reach = (acted.high - acted.low).astype(np.float64)
        beyond = (episodes.actions < acted.low - reach) | (episodes.actions > acted.high + reach)
        if (share := float(beyond.any(axis=1).mean())) > 0.1:
            raise ValueError(
                f"{share:.0%} of the data's actions, {episodes.actions.min():.3g} to {episodes.actions.max():.3g}, lie "
                f"far beyond the bounds of {env_id}, {acted.low.min():g} to {acted.high.max():g}: it is not the "
                "data of this environment, or in other units"
            )
