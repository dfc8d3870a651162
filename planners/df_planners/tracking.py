"""Low-level controllers that every planner shares: where to steer now, given a planned path.

All are functions of arrays with a leading environment axis and hold no state of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PathTrackerConfig:
    """Gains of path following.

    Attributes:
        position_gain: action per unit of distance to the target.
        velocity_gain: action per unit per second of velocity error.
        lookahead: how far ahead on the path the target lies, in position units (Euclidean arc length).
        action_limit: actions are clipped to this absolute value.
    """

    position_gain: float = 10.0
    velocity_gain: float = 1.0
    lookahead: float = 0.8
    action_limit: float = 1.0

    def __post_init__(self) -> None:
        values = (self.position_gain, self.velocity_gain, self.lookahead, self.action_limit)
        if not np.isfinite(np.asarray(values, dtype=np.float64)).all():
            raise ValueError(f"gains, lookahead and action_limit must be finite, got {values}")
        if self.lookahead <= 0 or self.action_limit <= 0:
            raise ValueError(
                f"lookahead and action_limit must be positive, got {self.lookahead} and {self.action_limit}"
            )


def pd_action(position: Array, velocity: Array, target: Array, target_velocity: Array, c: PathTrackerConfig) -> Array:
    """Proportional-derivative control, (B, D), with velocities in units per second; clipped.

    The original Diffusion Forcing controller takes the target's velocity as displacement per control
    step, a hundredth of what it should be at 100 Hz, and therefore lags.
    """
    action = c.position_gain * (target - position) + c.velocity_gain * (target_velocity - velocity)
    return np.asarray(np.clip(action, -c.action_limit, c.action_limit))


def arc_lengths(path: Array) -> Array:
    """Cumulative Euclidean length (B, H) along paths (B, H, D)."""
    step = np.linalg.norm(np.diff(path, axis=1), axis=-1)
    return np.concatenate([np.zeros((len(path), 1)), np.cumsum(step, axis=1)], axis=1)


def point_at(path: Array, arc: Array, s: Array) -> Array:
    """Points (B, D) at arc lengths s (B,) of paths (B, H, D) with `arc` (B, H); clamped to the ends."""
    row = np.arange(len(path))
    k = np.clip((arc <= s[:, None]).sum(1) - 1, 0, path.shape[1] - 2)
    length = arc[row, k + 1] - arc[row, k]
    share = np.clip((s - arc[row, k]) / np.maximum(length, 1e-9), 0, 1)[:, None]
    return np.asarray((1 - share) * path[row, k] + share * path[row, k + 1])


def project(path: Array, arc: Array, position: Array, progress: Array, reach: float) -> tuple[Array, Array]:
    """Find where on its path each position is.

    Only the stretch from `progress` to `progress + reach` is searched, so that a path which comes back
    past an earlier place is not cut short.

    Returns:
        Arc lengths (B,) of the nearest points, never below `progress`, and the distances to them (B,).
    """
    start, end = path[:, :-1], path[:, 1:]  # (B, H - 1, D)
    delta = end - start
    length = np.diff(arc, axis=1)
    along = ((position[:, None] - start) * delta).sum(-1) / np.maximum(length**2, 1e-12)
    lowest = (progress[:, None] - arc[:, :-1]) / np.maximum(length, 1e-9)
    highest = (progress[:, None] + reach - arc[:, :-1]) / np.maximum(length, 1e-9)
    along = np.clip(np.clip(along, lowest, highest), 0, 1)
    distance = np.linalg.norm(start + along[..., None] * delta - position[:, None], axis=-1)
    s = arc[:, :-1] + along * length
    outside = (s < progress[:, None] - 1e-9) | (s > progress[:, None] + reach + 1e-9)
    distance = np.where(outside, np.inf, distance)
    best = distance.argmin(1)
    row = np.arange(len(path))
    found = np.isfinite(distance[row, best])
    return np.where(found, s[row, best], progress), np.where(found, distance[row, best], 0.0)


def track_path(
    path: Array, position: Array, velocity: Array, progress: Array, c: PathTrackerConfig
) -> tuple[Array, Array, Array]:
    """Steer along a path as fast as the actuators allow, whatever pace it was planned at.

    Pure pursuit (Coulter 1992): the target is the point `lookahead` further along; far from it the clipped
    PD saturates, near the path's end it settles. The plan's own timing is dropped, since demonstrators
    dawdle.

    Args:
        path: (B, H, D) planned positions; rows that are shorter repeat their last point.
        position: (B, D) where the agent is.
        velocity: (B, D) in units per second.
        progress: (B,) arc length reached so far.
        c: gains.

    Returns:
        Actions (B, D), new progress (B,), distance to the path (B,).
    """
    arc = arc_lengths(path)
    progress, distance = project(path, arc, position, progress, reach=2 * c.lookahead)
    target = point_at(path, arc, progress + c.lookahead)
    return pd_action(position, velocity, target, np.zeros_like(target), c), progress, distance


def follow_waypoints(
    path: Array, position: Array, velocity: Array, age: NDArray[np.int64], frame_skip: int, c: PathTrackerConfig
) -> Array:
    """Steer to where the plan is one control step ahead, at the plan's own pace (Diffusion Forcing v1.5).

    As in the original, the velocity aimed at is the displacement per control step, beside velocities per second,
    so the agent lags behind the plan.

    Args:
        path: (B, H, D) planned positions; rows that are shorter repeat their last point.
        position: (B, D) where the agent is.
        velocity: (B, D) in units per second.
        age: (B,) control steps since the plan was made.
        frame_skip: control steps between two points of the path.
        c: gains; the lookahead plays no part.
    """
    target = planned_place(path, age + 1, frame_skip)
    return pd_action(position, velocity, target, target - planned_place(path, age, frame_skip), c)


def planned_place(path: Array, step: NDArray[np.int64], frame_skip: int) -> Array:
    """Return where, (B, D), paths (B, H, D) are at control steps `step` (B,) after their beginning."""
    row = np.arange(len(path))
    whole = np.minimum(step // frame_skip, path.shape[1] - 1)
    share = (step % frame_skip / frame_skip)[:, None]
    after = np.minimum(whole + 1, path.shape[1] - 1)
    return np.asarray((1 - share) * path[row, whole] + share * path[row, after])
