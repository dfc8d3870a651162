"""Whether a path can be followed: what the data's motion allows, and how long the data takes from place to place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from df_planners.plan import Plan

Array = NDArray[np.float64]
PACES = ("planned", "full")
TimeAlong = Callable[[Array, tuple[int, ...]], list[Array]]
"""Paths (N, H, G) and gaps -> for every gap the control steps, (N, H - gap), that the data's direct ways take from each
place to the one `gap` frames later."""


Support = Callable[[Array], Array]
"""Paths (N, H, G) -> for each of their moves, (N, H - 1), how well the data supports it: the logarithm of how much
likelier it is there than in a blurred copy of the data."""


@dataclass(frozen=True)
class MotionLimits:
    """What the data's motion allows, per goal channel, in environment units.

    A channel that does not move in the data, where 0 is given, allows everything: there is nothing to judge it by.

    Attributes:
        step: (G,) largest change between two frames of a plan.
        turn: (G,) largest second difference between frames.
        speed: (G,) largest change per control step.
    """

    step: Array
    turn: Array
    speed: Array

    def __post_init__(self) -> None:
        if not np.any(self.speed):
            raise ValueError("nothing moves in any goal channel of the data, so there is nothing to plan")
        for name in ("step", "turn", "speed"):
            given = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, np.where(given > 0, given, np.inf))

    @property
    def fastest(self) -> float:
        """The largest change per control step of any channel that moves."""
        return float(self.speed[np.isfinite(self.speed)].max())


@dataclass(frozen=True)
class FeasibilityConfig:
    """When a plan is taken to be feasible.

    Attributes:
        roughness_limit: mean share per frame by which a plan may exceed the data's steps and turns.
        shortcut_limit: how many times faster than the data's direct ways a stretch of it may be.
        shortcut_pace: at which pace that is, "planned" or "full". A controller that follows paths as fast as possible
            takes shortcuts that a plan takes slowly, as plans do that were learned from trajectories with stops.
        gaps: stretches looked at for shortcuts, in frames.
        least_support: a move that the data supports less is one that it does not make.
        support_limit: share of such moves that a plan may have.
    """

    roughness_limit: float = 0.4
    shortcut_limit: float = 1.5
    shortcut_pace: str = "planned"
    gaps: tuple[int, ...] = (3, 4, 6)
    least_support: float = -3.0
    support_limit: float = 0.05

    def __post_init__(self) -> None:
        object.__setattr__(self, "gaps", tuple(self.gaps))
        if not self.gaps or min(*self.gaps, 1) < 1:
            raise ValueError(f"need at least one gap >= 1, got gaps={self.gaps}")
        limits = ("roughness_limit", "shortcut_limit", "support_limit")
        if min(getattr(self, name) for name in limits) <= 0:
            given = ", ".join(f"{name}={getattr(self, name)}" for name in limits)
            raise ValueError(f"limits must be positive, got {given}")
        if self.shortcut_pace not in PACES:
            raise ValueError(f"unknown shortcut_pace {self.shortcut_pace!r}, available: {list(PACES)}")


def travel_time(paths: Array, speed: Array) -> Array:
    """Control steps, (N,), that paths (N, H, G) take when the fastest channel always moves at its limit."""
    return np.asarray((np.abs(np.diff(paths, axis=1)) / speed).max(-1).sum(1))


def roughness(plan: Plan, paths: Array, limits: MotionLimits) -> Array:
    """Mean share per frame, (N,), by which steps and turns of paths (N, H, G) exceed the data's limits."""
    step = np.maximum(np.abs(np.diff(paths, axis=1)) / limits.step - 1, 0)
    turn = np.maximum(np.abs(np.diff(paths, 2, axis=1)) / limits.turn - 1, 0)
    frame = np.arange(paths.shape[1])[None, :, None]
    inside = frame < plan.lengths[:, None, None]  # a repeated last frame stops dead, which no plan means
    return np.asarray(((step * inside[:, 1:]).sum((1, 2)) + (turn * inside[:, 2:]).sum((1, 2))) / plan.lengths)


def shortcut(
    plan: Plan, paths: Array, time_along: TimeAlong, gaps: tuple[int, ...], full_speed: Array | None = None
) -> Array:
    """Return how many times faster than the data's direct ways the boldest stretch of paths (N, H, G) is, (N,).

    A path through a wall joins places that lie close together but are far apart to travel. With a `full_speed` (G,) the
    pace is that, whatever the plan's own; half a frame is granted besides, for jitter is no progress.
    """
    gaps = tuple(gap for gap in gaps if gap < paths.shape[1])
    worst = np.zeros(len(paths))
    if full_speed is not None:
        each = (np.abs(np.diff(paths, axis=1)) / full_speed).max(-1)
        passed = np.concatenate([np.zeros((len(paths), 1)), np.cumsum(each, axis=1)], axis=1)
    for gap, needed in zip(gaps, time_along(paths, gaps), strict=True):
        frame = np.arange(paths.shape[1] - gap)[None]
        inside = (frame + gap < plan.lengths[:, None]) | (frame == 0)
        steps = np.minimum(gap, np.maximum(plan.lengths[:, None] - 1 - frame, 1)) * plan.frame_skip
        if full_speed is not None:
            steps = passed[:, gap:] - passed[:, :-gap] + plan.frame_skip / 2
        worst = np.maximum(worst, np.where(inside, needed / steps, 0).max(1))
    return worst


def unsupported(plan: Plan, paths: Array, support: Support, least: float) -> Array:
    """Return the share, (N,), of the moves of paths (N, H, G) that the data supports less than `least`."""
    inside = np.arange(paths.shape[1] - 1) < plan.lengths[:, None] - 1
    return np.asarray(((support(paths) < least) & inside).sum(1) / np.maximum(inside.sum(1), 1))


def violation(
    plan: Plan,
    paths: Array,
    limits: MotionLimits,
    time_along: TimeAlong | None,
    c: FeasibilityConfig,
    shortcut_penalty: Array | None = None,
    support: Support | None = None,
) -> Array:
    """Return how many times plans with paths (N, H, G) exceed what they may, (N,); at most 1 is feasible.

    `shortcut_penalty` (N,) tightens the limit on shortcuts. Without an estimate of the time, or of the data's support,
    these are not judged.
    """
    rough = roughness(plan, paths, limits) / c.roughness_limit
    if support is not None:
        rough = np.maximum(rough, unsupported(plan, paths, support, c.least_support) / c.support_limit)
    if time_along is None:
        return rough
    full_speed = limits.speed if c.shortcut_pace == "full" else None
    bold = shortcut(plan, paths, time_along, c.gaps, full_speed) / c.shortcut_limit
    return np.maximum(rough, bold if shortcut_penalty is None else bold * shortcut_penalty)
