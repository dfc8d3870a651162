"""Planning by shooting with a known simulator: MPPI or CEM as a policy.

The planner, the simulator and the cost are handed over, so this knows no environment.
"""

from __future__ import annotations

import copy
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from df_agent.types import Observation
from planners.plan import PlanEvent
from planners.shooting import Array, Cost, Dynamics, ShootingPlanner, shifted


@dataclass
class ShootingState:
    """What the policy remembers of B environments, one row each.

    Attributes:
        observation: (B, Do) the last one.
        goal: (B, G) goal the plan is for.
        seed: (B,) seed of the episode's noise.
        plans: (B,) plans made in this episode.
        age: (B,) control steps since the last one.
        actions: (B, H, Da) planned actions.
    """

    observation: Array
    goal: Array
    seed: NDArray[np.int64]
    plans: NDArray[np.int64]
    age: NDArray[np.int64]
    actions: Array


class ShootingPolicy:
    """Plans with the simulator, takes a few of the planned actions, and plans again from what is left of them.

    Args:
        planner: `planners.mppi.MPPI` or `planners.cem.CEM`.
        dynamics: the simulator, whose states are the observations: (N, Do), (N, H, Da) -> (N, H, Do).
        cost: (B, K, H, Do), (B, G) -> (B, K).
        action_dim: Da.
        replan_every: control steps between plans.
    """

    def __init__(
        self, planner: ShootingPlanner, dynamics: Dynamics, cost: Cost, *, action_dim: int = 2, replan_every: int = 5
    ) -> None:
        if not 1 <= replan_every <= planner.horizon:
            raise ValueError(f"replan_every must be in 1 ... {planner.horizon}, the horizon, got {replan_every}")
        self.planner, self.dynamics, self.cost = planner, dynamics, cost
        self.action_dim, self.replan_every = action_dim, replan_every
        self.on_plan: Callable[[PlanEvent], None] | None = None
        self.base_seed = 0
        self._entropy = np.random.default_rng()

    def reset_seed(self, seed: int) -> None:
        """Choose another set of noise: with `deterministic=True` it follows from this seed and the episode's start."""
        self.base_seed = seed

    def predict(
        self,
        observation: Observation,
        state: ShootingState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, ShootingState]:
        """Return actions (B, Da) or (Da,) and the next state; see `df_agent.types.Policy`."""
        if not isinstance(observation, dict):
            raise TypeError("Shooting needs dict observations with 'observation' and 'desired_goal'")
        values, goal = np.atleast_2d(observation["observation"]), np.atleast_2d(observation["desired_goal"])
        if state is None or len(state.goal) != len(values):
            state, fresh = self._empty(values, goal), np.ones(len(values), dtype=bool)
        else:
            state = copy.deepcopy(state)  # the caller may keep the old one
            fresh = np.zeros(len(values), dtype=bool) if episode_start is None else np.ravel(episode_start).astype(bool)
        # A row whose episode has ended is sent its last observation over and over. It looks like one that is pinned to
        # a wall, so it gets a plan all the same, but only once it has used up the last one to its end.
        still = (values == state.observation).all(1) & ~fresh
        fresh |= (np.abs(state.goal - goal) > 1e-6).any(1)
        state.observation, state.goal = values.copy(), goal.copy()
        state.age += 1
        for row in np.flatnonzero(fresh):
            state.plans[row], state.actions[row] = 0, 0.0
            start = zlib.crc32(values[row].tobytes() + goal[row].tobytes())
            state.seed[row] = start if deterministic else self._entropy.integers(2**32)
        due = fresh | (state.age >= self.replan_every) & ~still | (state.age >= self.planner.horizon)
        if due.any():
            self._plan(state, np.flatnonzero(due), fresh)
        actions = state.actions[np.arange(len(values)), state.age]
        return (actions if observation["observation"].ndim > 1 else actions[0]), state

    def _empty(self, values: Array, goal: Array) -> ShootingState:
        rows = len(values)
        seed, plans, age = (np.zeros(rows, dtype=np.int64) for _ in range(3))
        return ShootingState(values, goal, seed, plans, age, np.zeros((rows, self.planner.horizon, self.action_dim)))

    def _plan(self, state: ShootingState, rows: NDArray[np.int64], fresh: NDArray[np.bool_]) -> None:
        began = time.perf_counter()

        def noise(iteration: int, shape: tuple[int, ...]) -> Array:
            seeds = [[self.base_seed, int(state.seed[r]), int(state.plans[r]), iteration] for r in rows]
            return np.stack([np.random.default_rng(seed).standard_normal(shape) for seed in seeds])

        plan, state.actions[rows] = self.planner.plan(
            state.observation[rows],
            state.goal[rows],
            shifted(state.actions[rows], state.age[rows]),
            noise,
            self.dynamics,
            self.cost,
        )
        state.plans[rows] += 1
        state.age[rows] = 0
        if self.on_plan is not None:
            self.on_plan(PlanEvent(rows, plan, time.perf_counter() - began))
