"""Rewards that the data was not collected with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from df_agent.data.episodes import Episodes


def dense_rewards(episodes: Episodes, place: Sequence[float], channels: Sequence[int] = (0, 1)) -> Episodes:
    """Return the episodes as if each step were rewarded by exp(-distance to `place`), as PointMaze's dense reward is.

    Args:
        episodes: the data.
        place: in units of the observation.
        channels: of the observation that say where the agent is.

    Raises:
        ValueError: the place does not fit the channels.
    """
    if len(place) != len(channels) or not np.isfinite(place).all():
        raise ValueError(f"a place in channels {list(channels)} takes {len(channels)} numbers, got {list(place)}")
    distance = np.linalg.norm(episodes.observations[:, list(channels)] - np.asarray(place), axis=1)
    rewards = np.zeros(len(distance), np.float32)
    rewards[:-1] = np.exp(-distance[1:])
    rewards[episodes.starts[1:] - 1] = 0  # no step is taken there
    return replace(episodes, rewards=rewards)
