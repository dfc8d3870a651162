"""What is done to trajectories before they are learned from: stops and jumps cut out, rewards of another kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from df_agent.data.episodes import Array, Episodes


def without_stops(episodes: Episodes, places: Array, distance: float, steps: int) -> Episodes:
    """Cut out where trajectories stand still; what lies between two stops becomes a trajectory of its own.

    An agent that waits on its way teaches a model to stand still where it should go on, and a distance in steps that
    neighbouring places are far apart.

    Args:
        episodes: the trajectories.
        places: (N, G) where they are.
        distance: an agent that moves no further than this [position units] ...
        steps: ... within so many control steps, half before and half after, stands still. Shorter pieces are dropped.

    Raises:
        ValueError: nothing is left.
    """
    row, half = np.arange(len(places)), max(steps // 2, 1)
    first, last = (
        np.repeat(ends, np.diff(episodes.starts)) for ends in (episodes.starts[:-1], episodes.starts[1:] - 1)
    )
    moves = places[np.minimum(row + half, last)] - places[np.maximum(row - half, first)]
    moving = np.linalg.norm(moves, axis=1) > distance
    begins = moving & ((row == first) | ~np.roll(moving, 1))
    ends = moving & ((row == last) | ~np.roll(moving, -1))
    runs = np.stack([np.flatnonzero(begins), np.flatnonzero(ends) + 1], 1)
    runs = runs[np.diff(runs, axis=1)[:, 0] > steps]
    if not len(runs):
        raise ValueError(f"nothing ever moves by {distance} within {steps} steps for longer than that")
    return _only(episodes, runs)


def without_jumps(episodes: Episodes, places: Array, distance: float) -> Episodes:
    """Cut trajectories where the agent is thrown elsewhere; what lies between two jumps becomes one of its own.

    Where a jump leads is chance. In hindsight, among the successes, it looks like a choice, and a planner that learns
    from that counts on its luck.

    Args:
        episodes: the trajectories.
        places: (N, G) where they are.
        distance: a step that is longer is a jump [position units].

    Raises:
        ValueError: nothing is left.
    """
    row = np.arange(len(places))
    first = np.isin(row, episodes.starts)
    jumped = np.linalg.norm(np.diff(places, axis=0, prepend=places[:1]), axis=1) > distance
    begins = np.flatnonzero(first | jumped)
    runs = np.stack([begins, np.append(begins[1:], len(places))], 1)
    runs = runs[np.diff(runs, axis=1)[:, 0] > 1]
    if not len(runs):
        raise ValueError(f"every step is longer than {distance}")
    return _only(episodes, runs)


def _only(episodes: Episodes, runs: NDArray[np.int64]) -> Episodes:
    """Return the trajectories whose rows are from runs[:, 0] to runs[:, 1], exclusively, (R, 2)."""
    rows = np.concatenate([np.arange(*run) for run in runs])
    starts = np.concatenate([[0], np.cumsum(np.diff(runs, axis=1))])
    actions, rewards = episodes.actions[rows], episodes.rewards[rows]
    actions[starts[1:] - 1], rewards[starts[1:] - 1] = 0, 0  # no step is taken there
    desired, achieved = (
        None if goals is None else goals[rows] for goals in (episodes.desired_goals, episodes.achieved_goals)
    )
    return Episodes(episodes.observations[rows], actions, rewards, desired, achieved, starts)


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
