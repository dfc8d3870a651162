"""What the agent remembers of its environments between two steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from df_agent.policies.async_planner import Pending

Array = NDArray[np.float64]


@dataclass
class PolicyState:
    """What the agent remembers of B environments, one row each.

    Attributes:
        step: (B,) control steps since the episode began.
        history: (B, L, Do) the last observations, the present last.
        level: (B, L) noise level at which each of these is fed to the model; 0 is the truth.
        goal: (B, G) goal the plan is for.
        seed: (B,) seed of the episode's noise.
        plans: (B,) plans made in this episode.
        age: (B,) control steps since the last replan.
        actions: (B, A, Da) planned actions, the first for the step after the last replan; A = 0 without.
        planned: (B,) how many of these there are.
        path: (B, H, G) positions to follow; its first point is where the plan began.
        progress: (B,) arc length of the path that is done.
        progress_at_plan: (B,) the same at the last replan.
        off_path: (B,) distance to the path.
        doubt: (B,) by how much plans have proved too bold since the episode or its goal began; 1 at first.
        settled: (B,) whether the path ends at the goal, so that its end is a place to stay.
        cost: (B,) cost of the plan that is followed, see `df_agent.policies.costs` [control steps].
        pending: B plans that are being made in the background, or None.
    """

    step: NDArray[np.int64]
    history: Array
    level: NDArray[np.int64]
    goal: Array
    seed: NDArray[np.int64]
    plans: NDArray[np.int64]
    age: NDArray[np.int64]
    actions: Array
    planned: NDArray[np.int64]
    path: Array
    progress: Array
    progress_at_plan: Array
    off_path: Array
    doubt: Array
    settled: NDArray[np.bool_]
    cost: Array
    pending: list[Pending | None]
