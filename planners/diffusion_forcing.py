"""Flexible-horizon planning over a generative model: propose many plans, take the fastest feasible one.

The planner knows nothing of diffusion, tokens or mazes. It is handed a `propose` function that samples
paths which end at the goal after a given number of tokens, and statistics of what the data's paths do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from planners.plan import Plan

Array = NDArray[np.float64]


@dataclass(frozen=True)
class MotionLimits:
    """What the data's motion allows, per goal channel, in environment units.

    Attributes:
        step: (G,) largest change between two frames of a plan.
        turn: (G,) largest second difference between frames.
        speed: (G,) largest change per control step.
    """

    step: Array
    turn: Array
    speed: Array


@dataclass
class Proposals:
    """N candidate plans.

    Attributes:
        plan: the candidates.
        surprise: (N,) how unlikely the model finds each, 1 at the limit of what it finds in the data.
    """

    plan: Plan
    surprise: Array


class Propose(Protocol):
    """Sample plans for environments `rows` (N,), ending at the goal after `horizons` (N,) tokens."""

    def __call__(self, rows: NDArray[np.int64], horizons: NDArray[np.int64], /) -> Proposals:
        """Return one candidate per entry."""
        ...


@dataclass(frozen=True)
class ShortestFeasibleConfig:
    """How candidates are spread and judged.

    Attributes:
        horizons: numbers of tokens after which the goal may be reached; empty leaves the choice to the policy.
        samples: candidates per horizon.
        tolerance: how far, as a share of the limit, steps and turns may exceed it in sum.
        surprise_limit: candidates that surprise the model more than this are infeasible.
    """

    horizons: tuple[int, ...] = ()
    samples: int = 1
    tolerance: float = 0.2
    surprise_limit: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "horizons", tuple(self.horizons))
        if self.samples < 1 or self.tolerance <= 0 or self.surprise_limit <= 0:
            raise ValueError(
                f"need samples >= 1, tolerance > 0, surprise_limit > 0; got samples={self.samples}, "
                f"tolerance={self.tolerance}, surprise_limit={self.surprise_limit}"
            )


def travel_time(paths: Array, speed: Array) -> Array:
    """Control steps, (N,), that paths (N, H, G) take when the fastest channel always moves at its limit."""
    return np.asarray((np.abs(np.diff(paths, axis=1)) / speed).max(-1).sum(1))


def excess(paths: Array, lengths: NDArray[np.int64], limits: MotionLimits) -> Array:
    """Summed share, (N,), by which steps and turns of paths (N, H, G) exceed the data's limits."""
    step = np.maximum(np.abs(np.diff(paths, axis=1)) / limits.step - 1, 0)
    turn = np.maximum(np.abs(np.diff(paths, 2, axis=1)) / limits.turn - 1, 0)
    frame = np.arange(paths.shape[1])[None, :, None]
    inside = frame < lengths[:, None, None]  # a repeated last frame stops dead, which no plan means
    return np.asarray((step * inside[:, 1:]).sum((1, 2)) + (turn * inside[:, 2:]).sum((1, 2)))


def shortest_feasible(
    propose: Propose,
    batch: int,
    goal_channels: tuple[int, ...],
    limits: MotionLimits,
    c: ShortestFeasibleConfig,
) -> tuple[Plan, Array, NDArray[np.bool_]]:
    """Plan for `batch` environments: all horizons and samples at once, then the fastest feasible candidate.

    Where none is feasible, the least infeasible one is taken: a plan to try beats standing still, and the
    next replan starts elsewhere.

    Returns:
        The chosen plans, their travel times (batch,) in control steps, and whether they are feasible (batch,).
    """
    grid = np.repeat(np.asarray(c.horizons, dtype=np.int64), c.samples)
    rows = np.repeat(np.arange(batch), len(grid))
    proposals = propose(rows, np.tile(grid, batch))
    paths = proposals.plan.observations[..., list(goal_channels)]
    over = excess(paths, proposals.plan.lengths, limits) / c.tolerance
    over = np.maximum(over, proposals.surprise / c.surprise_limit).reshape(batch, -1)
    time = travel_time(paths, limits.speed).reshape(batch, -1)
    over = np.nan_to_num(over, nan=np.inf)  # a candidate that is not finite comes last
    feasible = over <= 1
    # Infeasible candidates rank behind all feasible ones, by how infeasible they are.
    rank = np.where(feasible, time, 1e9 * np.maximum(over, 1))
    best = rank.argmin(1)
    row = np.arange(batch)
    return proposals.plan.rows(row * len(grid) + best), time[row, best], feasible[row, best]
