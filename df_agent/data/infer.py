"""What a training run needs to know of an environment nobody has written a config for, read off its data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.data.episodes import Episodes
from df_agent.data.goal_spec import GoalSpec

TOKENS = 33  # of a window; the first holds the present
SHARE = 2 / 3  # of an episode that a window spans at most
NEAR = 0.05  # of the furthest that an episode is from its end


@dataclass(frozen=True)
class Inferred:
    """Options that follow from the data.

    Attributes:
        goal: where goals are found.
        tokenizer: options of `TokenizerConfig`: all channels that change, all actions.
        windows: options of `WindowSampler`.
        policy: options of `PolicyConfig`.
    """

    goal: GoalSpec
    tokenizer: dict[str, Any]
    windows: dict[str, Any]
    policy: dict[str, Any]


def infer(
    episodes: Episodes,
    goal: GoalSpec,
    limit: int | None,
    control_period: float | None = None,
    given: Mapping[str, Any] | None = None,
    local_policy: bool = False,
) -> Inferred:
    """Infer what is not said.

    Args:
        episodes: the data, as loaded.
        goal: what was said of goals.
        limit: length of an episode in use [control steps]; None takes the data's longest.
        control_period: seconds per control step, if known.
        given: options of `TokenizerConfig` that were said; what follows from them is inferred with them.
        local_policy: whether the agent gets one to follow its plans by; if not, it executes the actions that it plans.

    Raises:
        ValueError: the data does not say what was achieved, or channels were given that goals are not among.
    """
    given = {name: value for name, value in (given or {}).items() if value is not None}
    goal, observations, where = _located(episodes, goal)
    channels = list(given.get("observation_indices", _channels(observations, where, goal)))
    if "goal_channels" not in given and not set(where) <= set(channels):
        raise ValueError(f"goals are about the observation channels {where}; observation_indices={channels} lack some")
    longest = int(np.diff(episodes.starts).max()) - 1
    span = max(
        1, min(round(SHARE * min(limit or longest, longest)), time_to_end(observations[:, where], episodes.starts))
    )
    stack = int(given.get("frame_stack", 1))
    frame_skip = int(given.get("frame_skip") or max(1, -(-span // ((TOKENS - 1) * stack))))
    tokens = 1 + max(2, -(-span // (frame_skip * stack)))
    tokenizer = {
        "observation_indices": channels,
        "goal_channels": given.get("goal_channels") or [channels.index(c) for c in where],
        "action_dim": int(episodes.actions.shape[1]),
        "include_actions": True,
        "frame_skip": frame_skip,
        "frame_stack": stack,
    }
    policy: dict[str, Any] = {"planner": "fixed_horizon", "controller": "actions", "open_loop_horizon": frame_skip}
    if local_policy:
        policy = {"planner": "shortest_feasible", "controller": "local_policy"}
    if control_period:
        policy["control_period"] = control_period
    return Inferred(goal, tokenizer, {"max_tokens": tokens, "short_tokens": []}, policy)


def _located(episodes: Episodes, goal: GoalSpec) -> tuple[GoalSpec, NDArray[Any], list[int]]:
    """Return how goals are read, the observations (N, Do) read so, and which of their channels goals are about."""
    seen = goal.apply(episodes)
    if seen.achieved_goals is None:
        raise ValueError(
            f"the data has no achieved goals: say which of its {episodes.observations.shape[1]} observation channels "
            "goals are about, e.g. goal.achieved=[0,1], or give a 'module:function'"
        )
    where = matching_channels(seen.observations, seen.achieved_goals)
    if where is not None:
        return goal, seen.observations, where
    goal = replace(goal, appended=True)
    observations = goal.apply(episodes).observations
    width = observations.shape[1]
    return goal, observations, list(range(width - seen.achieved_goals.shape[1], width))


def _channels(observations: NDArray[Any], where: list[int], goal: GoalSpec) -> list[int]:
    """Return the channels of observations (N, Do) to model: those that change, and what goals are about, `where`."""
    desired = set(goal.desired) - set(where) if isinstance(goal.desired, tuple) else set()
    changes = np.ptp(observations, axis=0) > 1e-6
    return [c for c in range(observations.shape[1]) if (changes[c] or c in where) and c not in desired]


def time_to_end(places: NDArray[Any], starts: NDArray[Any]) -> int:
    """Return how long nine in ten episodes take to come near to where they end, for good, in control steps.

    That is within a twentieth of the furthest that they are from it. Steps that only hold a place do not count.

    Args:
        places: (N, G) what goals are about.
        starts: (E + 1,) first row of each episode, and the end.
    """
    scale = places.std(0)
    places = places / np.where(scale > 1e-6, scale, 1)
    taken = []
    for first, last in pairwise(starts):
        away = np.linalg.norm(places[first:last] - places[last - 1], axis=1)
        taken.append(int(np.flatnonzero(away > NEAR * away.max())[-1]) + 1 if away.any() else 0)
    return int(np.ceil(np.quantile(taken, 0.9)))


def matching_channels(observations: NDArray[Any], goals: NDArray[Any]) -> list[int] | None:
    """Return which observation channel each goal channel is a copy of; None unless all are."""
    found: list[int] = []
    for goal in goals.T:
        same = np.flatnonzero((np.abs(observations - goal[:, None]) < 1e-6).all(0))
        same = same[~np.isin(same, found)]
        if not len(same):
            return None
        found.append(int(same[0]))
    return found
