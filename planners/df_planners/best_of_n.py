"""Planning by choice alone: of many plans that know no goal, the one that comes nearest to it, soonest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from df_planners.plan import Plan


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
