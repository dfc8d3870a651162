"""Planning by choice alone: of many plans that know no goal, the one that comes nearest to it, soonest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from df_planners.model_planner import ModelPlanner
from df_planners.plan import Plan, PlanRequest


@dataclass(frozen=True)
class BestOfNConfig:
    """How many plans there are to choose from.

    Attributes:
        candidates: how many plans are made, N, of which the best is taken.
    """

    candidates: int = 64

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {self.candidates}")


class BestOfN(ModelPlanner):
    """Samples N plans without a goal for what is left of the episode and takes the best, see `best_of_n`."""

    Config = BestOfNConfig

    def plan(self, request: PlanRequest) -> Plan:
        """Return the best plans."""
        n = self.config.candidates
        rows, horizons = np.repeat(np.arange(len(request)), n), np.repeat(self.horizons_left(request), n)
        plans = self.sampler.sample_plans(request, rows, horizons, to_goal=False)
        return best_of_n(plans, request.goal, self.sampler.goal_channels, n)


def best_of_n(plan: Plan, goals: NDArray[np.float64], goal_channels: tuple[int, ...], n: int) -> Plan:
    """Take the best of each row's n candidates and cut it where it is nearest to the goal.

    The best one has the smallest mean over time of how near it has come so far, so arriving soon counts, and
    leaving again does not.

    Args:
        plan: B * n candidates, those of a row side by side and equally long.
        goals: (B, G).
        goal_channels: where the goal lies in a planned observation.
        n: candidates per row.
    """
    batch = len(goals)
    paths = plan.observations[..., list(goal_channels)]  # (B * n, H, G)
    distance = np.linalg.norm(paths - np.repeat(goals, n, axis=0)[:, None], axis=-1)
    distance[~np.isfinite(distance).all(1)] = np.inf
    nearest = np.minimum.accumulate(distance, axis=1)
    best = nearest.mean(1).reshape(batch, n).argmin(1) + n * np.arange(batch)
    chosen = plan.rows(best)
    chosen.lengths = np.clip(distance[best].argmin(1) + 1, 2, chosen.lengths)
    if chosen.action_lengths is not None:
        chosen.action_lengths = np.minimum(chosen.action_lengths, (chosen.lengths - 1) * chosen.frame_skip)
    last = np.minimum(np.arange(paths.shape[1])[None], chosen.lengths[:, None] - 1)
    chosen.observations = np.take_along_axis(chosen.observations, last[..., None], axis=1)
    return chosen
