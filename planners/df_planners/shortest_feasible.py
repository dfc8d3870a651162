"""Flexible-horizon planning over a generative model: propose many plans, take the fastest feasible one.

The planner knows nothing of diffusion, tokens or mazes. It is handed a `propose` function that samples paths
which end at the goal after a given number of tokens, statistics of what the data's paths do, and an estimate of
how long the data takes from one place to another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from df_planners.plan import Plan

Array = NDArray[np.float64]
PACES = ("planned", "full")


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


class Propose(Protocol):
    """Samples plans for environments `rows` (N,), ending at the goal after `horizons` (N,) tokens."""

    def __call__(self, rows: NDArray[np.int64], horizons: NDArray[np.int64], /) -> Plan:
        """Return one candidate per entry."""
        ...


class Reach(Protocol):
    """Estimates the control steps that the data's direct ways take between places of paths (N, H, G)."""

    def __call__(self, paths: Array, gaps: tuple[int, ...], /) -> list[Array]:
        """Return for every gap the estimates, (N, H - gap), from each place to the one `gap` frames later."""
        ...


@dataclass(frozen=True)
class ShortestFeasibleConfig:
    """How candidates are spread and judged.

    Attributes:
        stretch: horizons as multiples of the estimated time to the goal.
        horizons: horizons in tokens where there is no estimate; empty leaves the choice to the policy.
        whole_windows: round horizons up to whole windows, for a model that has not learned what padding is.
        samples: candidates per horizon.
        retries: further rounds of candidates, as long as none is feasible.
        roughness_limit: mean share per frame by which a candidate may exceed the data's steps and turns.
        shortcut_limit: how many times faster than the data's direct ways a stretch of it may be.
        shortcut_pace: at which pace that is, "planned" or "full". Who follows paths as fast as possible takes shortcuts
            that a plan takes slowly, as plans do that were learned from walks with stops.
        gaps: stretches looked at for shortcuts, in frames.
        hopeless: a candidate that exceeds a limit this many times, times the doubt, is no plan at all.
    """

    stretch: tuple[float, ...] = (0.8, 0.95, 1.1, 1.25, 1.4, 1.55)
    horizons: tuple[int, ...] = ()
    whole_windows: bool = False
    samples: int = 4
    retries: int = 0
    roughness_limit: float = 0.4
    shortcut_limit: float = 1.5
    shortcut_pace: str = "planned"
    gaps: tuple[int, ...] = (3, 4, 6)
    hopeless: float = 2.0

    def __post_init__(self) -> None:
        for name in ("stretch", "horizons", "gaps"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.stretch or not self.gaps or min(*self.stretch, 1) <= 0 or min(*self.gaps, 1) < 1:
            raise ValueError(
                f"need at least one stretch > 0 and one gap >= 1, got stretch={self.stretch}, gaps={self.gaps}"
            )
        limits = {k: getattr(self, k) for k in ("samples", "roughness_limit", "shortcut_limit", "hopeless")}
        if min(limits.values()) <= 0:
            raise ValueError(f"need positive samples and limits, got {limits}")
        if self.shortcut_pace not in PACES:
            raise ValueError(f"unknown shortcut_pace {self.shortcut_pace!r}, available: {list(PACES)}")
        if self.retries < 0:
            raise ValueError(f"retries must not be negative, got {self.retries}")


@dataclass
class BestPlans:
    """The best plan found so far for each of B rows.

    Attributes:
        plan: B plans.
        over: (B,) how infeasible each is; at most 1 is feasible.
        rank: (B,) by which plans are compared, lower is better: the time of a feasible one; all others lie behind.
    """

    plan: Plan
    over: Array
    rank: Array

    def improve(self, rows: NDArray[np.int64], found: BestPlans) -> None:
        """Take over what was found for `rows`, where it is better."""
        better = found.rank < self.rank[rows]
        taken = rows[better]
        self.plan.replace(taken, found.plan.rows(np.flatnonzero(better)))
        self.over[taken], self.rank[taken] = found.over[better], found.rank[better]


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


def shortcut(plan: Plan, paths: Array, reach: Reach, gaps: tuple[int, ...], full_speed: Array | None = None) -> Array:
    """Return how many times faster than the data's direct ways the boldest stretch of paths (N, H, G) is, (N,).

    A path through a wall joins places that lie close together but are far apart to walk. With a `full_speed` (G,) the
    pace is that, whatever the plan's own; half a frame is granted besides, for jitter is no way.
    """
    gaps = tuple(gap for gap in gaps if gap < paths.shape[1])
    worst = np.zeros(len(paths))
    if full_speed is not None:
        each = (np.abs(np.diff(paths, axis=1)) / full_speed).max(-1)
        passed = np.concatenate([np.zeros((len(paths), 1)), np.cumsum(each, axis=1)], axis=1)
    for gap, needed in zip(gaps, reach(paths, gaps), strict=True):
        frame = np.arange(paths.shape[1] - gap)[None]
        inside = (frame + gap < plan.lengths[:, None]) | (frame == 0)
        steps = np.minimum(gap, np.maximum(plan.lengths[:, None] - 1 - frame, 1)) * plan.frame_skip
        if full_speed is not None:
            steps = passed[:, gap:] - passed[:, :-gap] + plan.frame_skip / 2
        worst = np.maximum(worst, np.where(inside, needed / steps, 0).max(1))
    return worst


def infeasibility(
    plan: Plan,
    paths: Array,
    limits: MotionLimits,
    reach: Reach | None,
    c: ShortestFeasibleConfig,
    doubt: Array | None = None,
) -> Array:
    """Return how many times plans with paths (N, H, G) exceed what they may, (N,); at most 1 is feasible.

    `doubt` (N,) tightens the limit on shortcuts.
    """
    over = roughness(plan, paths, limits) / c.roughness_limit
    if reach is None:
        return over
    full_speed = limits.speed if c.shortcut_pace == "full" else None
    bold = shortcut(plan, paths, reach, c.gaps, full_speed) / c.shortcut_limit
    return np.maximum(over, bold if doubt is None else bold * doubt)


def shortest_feasible(
    propose: Propose,
    horizons: NDArray[np.int64],
    goal_channels: tuple[int, ...],
    limits: MotionLimits,
    reach: Reach | None,
    c: ShortestFeasibleConfig,
    doubt: Array | None = None,
    cost: Callable[[Plan], Array] | None = None,
    own_pace: bool = False,
) -> BestPlans:
    """Propose plans at `horizons` (B, K), all in one batch, and take the fastest feasible one of each row.

    Where none is feasible, the least infeasible one is taken. `doubt` (B,) tightens the limit on shortcuts. `cost` says
    by how many control steps (N,) plans are worse than the time they take, which is what travelling them at the data's
    speed takes, or, at their `own_pace`, what they were planned to take.
    """
    batch, k = horizons.shape
    plan = propose(np.repeat(np.arange(batch), k), horizons.ravel())
    paths = plan.observations[..., list(goal_channels)]
    over = infeasibility(plan, paths, limits, reach, c, None if doubt is None else np.repeat(doubt, k))
    time = (plan.lengths - 1.0) * plan.frame_skip if own_pace else travel_time(paths, limits.speed)
    time = (time if cost is None else time + cost(plan)).reshape(batch, k)
    over = np.where(np.isfinite(over.reshape(batch, k) + time), over.reshape(batch, k), 1e9)
    rank = np.where(over <= 1, time, 1e9 * (1 + over))  # infeasible ones behind all feasible ones
    row, best = np.arange(batch), rank.argmin(1)
    return BestPlans(plan.rows(row * k + best), over[row, best], rank[row, best])
