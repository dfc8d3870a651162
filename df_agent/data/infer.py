"""What a training run needs to know of an environment nobody has written a config for, read off its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.data.channels import changing, copies, wrapped_angles
from df_agent.data.episodes import Episodes
from df_agent.data.goal_spec import GoalSpec

TOKENS = 33  # of a window; the first holds the present
PLACES = 2  # frames of a token that holds nothing else, so that it shows the direction of motion
REACH, FOLLOWED = 2, 5  # frames: how far ahead on a plan the local policy aims, and when the next plan is made
PATIENCE = 4  # frames, after which an agent that comes no nearer is stuck
RETRIES = 3  # further rounds of candidates for those that have no feasible plan
SHARE = 2 / 3  # of an episode that a window spans at most
NEAR = 0.1  # of the furthest that an episode is from its end


@dataclass(frozen=True)
class Inferred:
    """Options that follow from the data.

    Attributes:
        goal: where goals are found.
        tokenizer: options of `TokenizerConfig`: what goals are about, if a local policy finds the actions; all channels
            that change, and all actions, if not.
        local_policy: options of `LocalPolicyConfig`: all channels that change.
        windows: options of `WindowSampler`.
        policy: options of `PolicyConfig`.
        notes: what was found in channels of the observation, a line each.
    """

    goal: GoalSpec
    tokenizer: dict[str, Any]
    windows: dict[str, Any]
    policy: dict[str, Any]
    local_policy: dict[str, Any]
    notes: tuple[str, ...] = ()


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
    goal, notes = infer_channels(episodes, goal)
    goal, observations, where = _located(episodes, goal)
    width = episodes.observations.shape[1]
    seen, repeated = _channels(observations, episodes.starts, where, goal, width)
    actions = bool(given.get("include_actions", not local_policy))
    channels = seen if actions else sorted(where)
    if "observation_indices" in given:
        channels = _with_sines(given["observation_indices"], goal, width)
        seen = channels if actions else seen  # what is kept from the model is kept from what acts
    if "goal_channels" not in given and not set(where) <= set(channels):
        raise ValueError(f"goals are about the observation channels {where}; observation_indices={channels} lack some")
    longest = int(np.diff(episodes.starts).max()) - 1
    span = max(
        1, min(round(SHARE * min(limit or longest, longest)), time_to_end(observations[:, where], episodes.starts))
    )
    stack = int(given.get("frame_stack", 1 if actions else PLACES))
    frame_skip = int(given.get("frame_skip") or max(1, -(-span // (TOKENS - 1))))
    tokens = 1 + max(2, -(-span // (frame_skip * stack)))
    tokenizer = {
        "observation_indices": channels,
        "goal_channels": given.get("goal_channels") or [channels.index(c) for c in where],
        "action_dim": int(episodes.actions.shape[1]),
        "include_actions": actions,
        "frame_skip": frame_skip,
        "frame_stack": stack,
    }
    policy: dict[str, Any] = {"planner": "fixed_horizon", "controller": "actions", "open_loop_horizon": frame_skip}
    if local_policy:
        policy = {
            "planner": "shortest_feasible",
            "controller": "local_policy",
            "open_loop_horizon": FOLLOWED * frame_skip,
            "patience": PATIENCE * frame_skip,
            "local_policy": {"reach": REACH * frame_skip},
            "shortest_feasible": {"retries": RETRIES},
        }
    if control_period:
        policy["control_period"] = control_period
    windows = {"max_tokens": tokens, "short_tokens": []}
    return Inferred(goal, tokenizer, windows, policy, {"observation_indices": seen}, (*notes, *repeated))


def infer_channels(episodes: Episodes, goal: GoalSpec) -> tuple[GoalSpec, list[str]]:
    """Return how channels are read: which are angles, and which say nothing; and what was found, a line each.

    Args:
        episodes: the data, as loaded.
        goal: what was said; what of `angles`, `goal_angles` and `ignored` is None is inferred, and stays None where
            nothing is found.
    """
    seen = goal.located(episodes)
    observations, achieved, starts = seen.observations, seen.achieved_goals, seen.starts
    angles = set(wrapped_angles(observations, starts) if goal.angles is None else goal.angles)
    turning, pursued = set(goal.goal_angles or ()), set[int]()  # `pursued`: channels that goals are about
    for k, column in enumerate(() if achieved is None else achieved.T):
        named = [goal.achieved[k]] if isinstance(goal.achieved, tuple) else _equal_to(column, observations)
        pursued.update(named)
        if goal.goal_angles is None and (angles & set(named) if named else wrapped_angles(column[:, None], starts)):
            turning.add(k)
    if goal.angles is None and isinstance(goal.desired, tuple):
        angles |= {goal.desired[k] for k in turning}  # they hold still within an episode
    never = np.flatnonzero(~np.isfinite(observations).any(0))
    still = np.flatnonzero(~changing(observations, starts))
    silent = {int(c) for c in {*never, *still}} - pursued - angles
    goal = replace(
        goal,
        angles=_found(goal.angles, angles),
        goal_angles=_found(goal.goal_angles, turning),
        ignored=_found(goal.ignored, silent),
    )
    notes = [f"channel {c} is an angle, modelled as its sine and cosine" for c in sorted(angles)]
    if not isinstance(goal.achieved, tuple):
        notes += [f"channel {k} of the goal is an angle, modelled as its sine and cosine" for k in sorted(turning)]
    notes += [f"channel {c} is never a number, and is left out" for c in never]
    return goal, notes


def _found(said: tuple[int, ...] | None, found: set[int]) -> tuple[int, ...] | None:
    return said if said is not None or not found else tuple(sorted(found))


def _located(episodes: Episodes, goal: GoalSpec) -> tuple[GoalSpec, NDArray[Any], list[int]]:
    """Return how goals are read, the observations (N, Do) read so, and which of their channels goals are about."""
    seen = goal.apply(episodes)
    if seen.achieved_goals is None:
        raise ValueError(
            f"the data has no achieved goals: say which of its {episodes.observations.shape[1]} observation channels "
            "goals are about, e.g. goal.achieved=[0,1], or give a 'module:function'"
        )
    named = goal.achieved if isinstance(goal.achieved, tuple) else ()
    where = matching_channels(seen.observations, seen.achieved_goals, named)
    if where is not None:
        return goal, seen.observations, where
    goal = replace(goal, appended=True)
    observations = goal.apply(episodes).observations
    width = observations.shape[1]
    return goal, observations, list(range(width - seen.achieved_goals.shape[1], width))


def _channels(
    observations: NDArray[Any],
    starts: NDArray[Any],
    where: list[int],
    goal: GoalSpec,
    width: int,
) -> tuple[list[int], list[str]]:
    """Return the channels of observations to model, and which of the environment's are copies, a line each.

    Those to model change, or goals are about them, and none is a copy of another.

    Args:
        observations: (N, Do) as the model sees them.
        starts: (E + 1,) first row of each episode, and the end.
        where: what goals are about.
        goal: how they are read.
        width: number of the environment's channels.
    """
    desired = set(_with_sines(goal.desired, goal, width)) if isinstance(goal.desired, tuple) else set()
    changes = changing(observations, starts)
    candidates = [c for c in range(observations.shape[1]) if changes[c] and c not in where and c not in desired]
    repeated = copies(observations, [*where, *candidates])
    notes = []
    for c in (c for c in candidates if c in repeated and c < width):
        first = f"channel {repeated[c]}" if repeated[c] < width else "what goals are about"
        notes.append(f"channel {c} is a copy of {first}, and is left out")
    return sorted([*where, *(c for c in candidates if c not in repeated)]), notes


def _with_sines(channels: Sequence[int], goal: GoalSpec, width: int) -> list[int]:
    """Return channels of the model's observations with the sines of the angles that are among them.

    Args:
        channels: some of them.
        goal: how observations are read.
        width: number of the environment's channels.
    """
    sines = [width + k for k, angle in enumerate(goal.angles or ()) if angle in channels]
    return [*channels, *(c for c in sines if c not in channels)]


def time_to_end(places: NDArray[Any], starts: NDArray[Any]) -> int:
    """Return how long nine in ten episodes take to come near to where they end for the first time, in control steps.

    That is within a tenth of the furthest that they are from it. Steps that hold a place, or circle about it, do not
    count.

    Args:
        places: (N, G) what goals are about.
        starts: (E + 1,) first row of each episode, and the end.
    """
    places = places.astype(np.float64)
    places = places / np.where(changing(places, starts), places.std(0), 1)
    taken = []
    for first, last in pairwise(starts):
        away = np.linalg.norm(places[first:last] - places[last - 1], axis=1)
        taken.append(int(np.flatnonzero(away <= NEAR * away.max())[0]))
    return int(np.ceil(np.quantile(taken, 0.9)))


def matching_channels(observations: NDArray[Any], goals: NDArray[Any], named: Sequence[int] = ()) -> list[int] | None:
    """Return which observation channel each goal channel is a copy of, a `named` one if any; None unless all are."""
    found: list[int] = []
    for goal in goals.T:
        same = [c for c in _equal_to(goal, observations) if c not in found]
        if not same:
            return None
        found.append(min(same, key=lambda c: c not in named))
    return found


def _equal_to(column: NDArray[Any], observations: NDArray[Any]) -> list[int]:
    """Return the channels of observations (N, Do) that equal a column (N,), but for rounding."""
    rounding = 1e-6 * min(1.0, float(np.abs(column).max()))
    return np.flatnonzero((np.abs(observations - column[:, None]) <= rounding).all(0)).tolist()
