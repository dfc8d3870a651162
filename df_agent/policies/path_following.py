"""Following ways that somebody else knows, with the controller that all planners here share.

It shows what the controller makes of a perfect plan: what is left to the time-optimal solution is the controller's,
what a learned planner takes longer is the plan's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from df_planners.controllers import PathTrackerConfig, track_path
from df_planners.plan import Plan, PlanEvent
from numpy.typing import NDArray

from df_agent.options import make
from df_agent.policies.observations import beginning_rows, read_observation
from df_agent.types import Observation

Array = NDArray[np.float64]
# Places (B, G) and goals (B, G) -> ways (B, H, G); shorter ones repeat their end
Paths = Callable[[Array, Array], Array]


@dataclass
class PathState:
    """What the policy remembers of B environments, one row each.

    Attributes:
        goal: (B, G) goal the way leads to.
        path: (B, H, G) the way; shorter ones repeat their end.
        progress: (B,) arc length of it that is done.
    """

    goal: Array
    path: Array
    progress: Array


class PathFollowingPolicy:
    """Asks for the way once, and again for a new goal, and follows it as fast as the agent can.

    Observations begin with the place that goals are about, (G,), and its velocity. Nothing is drawn at random, so
    `deterministic` makes no difference.

    Args:
        paths: ways from places to goals.
        tracker: options of `PathTrackerConfig`.
    """

    def __init__(self, paths: Paths, tracker: Mapping[str, Any] | None = None) -> None:
        self.paths, self.tracker = paths, make(PathTrackerConfig, dict(tracker or {}))
        self.on_plan: Callable[[PlanEvent], None] | None = None

    def predict(
        self,
        observation: Observation,
        state: PathState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, PathState]:
        """Return actions (B, Da) or (Da,), in [-1, 1], and the next state; see `df_agent.types.Policy`."""
        values, goal, single = read_observation(observation)
        dims = goal.shape[1]
        if values.shape[1] < 2 * dims:
            raise ValueError(f"observations begin with place and velocity, {2 * dims} values, got {values.shape[1]}")
        fresh = beginning_rows(None if state is None else len(state.goal), len(values), episode_start)
        position, velocity = values[:, :dims], values[:, dims : 2 * dims]
        if state is None:
            state = PathState(goal.copy(), position[:, None].copy(), np.zeros(len(goal)))
        rows = np.flatnonzero(fresh | (np.abs(state.goal - goal) > 1e-6).any(1))
        path, progress = state.path, state.progress.copy()
        if len(rows):
            path, progress[rows] = self._renewed(path, rows, position, goal), 0.0
        actions, progress, _ = track_path(path, position, velocity, progress, self.tracker)
        return (actions[0] if single else actions), PathState(goal.copy(), path, progress)

    def _renewed(self, path: Array, rows: NDArray[np.int64], position: Array, goal: Array) -> Array:
        """Return the ways (B, H, G), those of some rows new."""
        began = time.perf_counter()
        new = np.asarray(self.paths(position[rows], goal[rows]), dtype=np.float64)
        length = max(path.shape[1], new.shape[1])
        renewed, new = (_padded(ways, length) for ways in (path, new))
        renewed[rows] = new
        if self.on_plan is not None:
            plan = Plan(new.copy(), np.full(len(rows), length), 1)
            self.on_plan(PlanEvent(rows, plan, time.perf_counter() - began))
        return renewed


def _padded(ways: Array, length: int) -> Array:
    """Return a copy (B, length, G) of ways (B, H, G) whose ends are repeated."""
    return np.concatenate([ways, np.repeat(ways[:, -1:], length - ways.shape[1], axis=1)], axis=1)
