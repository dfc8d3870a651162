"""When a goal that moves is another one, and how a plan for the goal of a moment ago still leads to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from df_planners.plan import Plan
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

SAME_GOAL = 1e-6  # goals that differ by less are one, where nothing is known of the environment's precision
SHARE_OF_SPREAD = 0.02  # of the data's standard deviation, where its motion is not known
MOST_OF_SPREAD = 0.1  # where it is: the largest motion may be a jump


def goal_precision(spread: ArrayLike, speed: ArrayLike | None = None) -> Array:
    """Return how far, (G,), goals may be apart to be one: no further than the agent moves in a control step.

    Args:
        spread: (G,) standard deviation of the goal channels in the data.
        speed: (G,) their largest change per control step; None where it is not known. A channel that does not move in
            the data, with 0 or inf, says nothing.
    """
    spread = np.asarray(spread, dtype=np.float64)
    if speed is None:
        return np.maximum(SHARE_OF_SPREAD * spread, SAME_GOAL)
    speed = np.asarray(speed, dtype=np.float64)
    moves = np.isfinite(speed) & (speed > 0)
    return np.maximum(np.where(moves, np.minimum(speed, MOST_OF_SPREAD * spread), 0.0), SAME_GOAL)


def moved(goal: Array, now: Array, precision: Array) -> BoolArray:
    """Return which goals, (n,), are others `now` than they were, both (n, G)."""
    return np.asarray((np.abs(goal - now) > precision).any(1))


def led_on(plan: Plan, channels: Sequence[int], goal: Array, rows: BoolArray) -> Plan:
    """Return n plans of which some, `rows` (n,), go on to `goal` (n, G), in these channels, by a frame behind them."""
    if not rows.any():
        return plan
    frames = np.concatenate([plan.observations, plan.observations[:, -1:]], axis=1)
    behind = rows[:, None] & (np.arange(frames.shape[1]) >= plan.lengths[:, None])  # (n, H + 1)
    places = frames[..., list(channels)]
    frames[..., list(channels)] = np.where(behind[..., None], goal[:, None], places)
    return replace(plan, observations=frames, lengths=plan.lengths + rows)
