"""Planning by shooting with a known simulator: MPPI or CEM as a policy.

The planner, the simulator and the cost are handed over, so this knows no environment.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from df_planners.plan import PlanEvent
from df_planners.shooting import Array, Cost, Dynamics, ShootingPlanner, shifted
from numpy.typing import NDArray

from df_agent.policies.observations import EpisodeSeeds, beginning_rows, read_observation
from df_agent.types import Observation


@dataclass
class ShootingState:
    """What the policy remembers of B environments, one row each.

    Attributes:
        goal: (B, G) goal the plan is for.
        seed: (B,) seed of the episode's noise.
        plans: (B,) plans made in this episode.
        age: (B,) control steps since the last one.
        actions: (B, H, Da) planned actions.
    """

    goal: Array
    seed: NDArray[np.int64]
    plans: NDArray[np.int64]
    age: NDArray[np.int64]
    actions: Array


class ShootingPolicy:
    """Plans with the simulator, takes a few of the planned actions, and plans again from what is left of them.

    Args:
        planner: `df_planners.mppi.MPPI` or `df_planners.cem.CEM`.
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
        self._seeds = EpisodeSeeds()

    def set_random_seed(self, seed: int) -> None:
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
        values, goal, single = read_observation(observation)
        fresh = beginning_rows(None if state is None else len(state.goal), len(values), episode_start)
        # The caller may keep the old state.
        state = self._empty(goal) if state is None else copy.deepcopy(state)
        state.seed[fresh], state.plans[fresh] = self._seeds(values[fresh], goal[fresh], deterministic), 0
        state.age += 1
        moved = fresh | (np.abs(state.goal - goal) > 1e-6).any(1)
        state.goal = goal.copy()
        state.actions[moved] = 0.0
        due = moved | (state.age >= self.replan_every)
        if due.any():
            self._plan(state, np.flatnonzero(due), values)
        actions = state.actions[np.arange(len(values)), state.age]
        return (actions[0] if single else actions), state

    def _empty(self, goal: Array) -> ShootingState:
        rows = len(goal)
        seed, plans, age = (np.zeros(rows, dtype=np.int64) for _ in range(3))
        return ShootingState(goal, seed, plans, age, np.zeros((rows, self.planner.horizon, self.action_dim)))

    def _plan(self, state: ShootingState, rows: NDArray[np.int64], values: Array) -> None:
        began = time.perf_counter()

        def noise(iteration: int, shape: tuple[int, ...]) -> Array:
            seeds = [[self.base_seed, int(state.seed[r]), int(state.plans[r]), iteration] for r in rows]
            return np.stack([np.random.default_rng(seed).standard_normal(shape) for seed in seeds])

        plan, state.actions[rows] = self.planner.plan(
            values[rows],
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
