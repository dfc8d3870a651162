"""Planning in a thread of its own, while the plan before is being followed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from df_planners.plan import Plan
from numpy.typing import NDArray

from df_agent.policies.planning import PlanRequest
from df_agent.policies.state import Array

MEMORY = 0.8  # of the running mean of the planning times


@dataclass(frozen=True)
class Planned:
    """What a planner found for the rows of a situation: plans, how infeasible each is, (n,), and what it took [s]."""

    plan: Plan
    over: Array
    seconds: float


@dataclass(frozen=True)
class Pending:
    """One row of a plan that is being made.

    Attributes:
        future: the plan of all rows that were asked for together.
        row: which of them.
        asked: control step of its episode at which it was asked for.
        lead: control steps after that at which it is meant to be handed over.
        goal: (G,) goal it is for.
        fresh: whether the plan before it was for another goal.
        stuck: whether the plan before it led nowhere.
    """

    future: Future[Planned]
    row: int
    asked: int
    lead: int
    goal: Array
    fresh: bool
    stuck: bool

    def due(self, step: int) -> bool:
        """Return whether it is ready, and late enough, to be followed at this step of its episode."""
        return step >= self.asked + self.lead and self.future.done()


class Worker:
    """Runs a planner, timed, in one thread.

    Args:
        planner: the plans of a situation, and how infeasible each is.
    """

    def __init__(self, planner: Callable[[PlanRequest], tuple[Plan, Array]]) -> None:
        self._planner = planner
        self._executor: ThreadPoolExecutor | None = None
        self._mean = 0.0

    def plan(self, situation: PlanRequest) -> Planned:
        """Plan now, in the caller's thread."""
        began = time.perf_counter()
        plan, over = self._planner(situation)
        seconds = time.perf_counter() - began
        self._mean = MEMORY * self._mean + (1 - MEMORY) * seconds if self._mean else seconds
        return Planned(plan, over, seconds)

    def submit(self, situation: PlanRequest) -> Future[Planned]:
        """Plan beside the caller, behind what was asked for before."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="planner")
        return self._executor.submit(self.plan, situation)

    def lead(self, period: float) -> int:
        """Return how many control steps of `period` [s] a plan has taken of late; at least 1."""
        return max(1, math.ceil(self._mean / period))


def ready_rows(pending: list[Pending | None], step: NDArray[np.int64]) -> list[int]:
    """Return the rows whose plan is due at their control step, (B,)."""
    return [row for row, plan in enumerate(pending) if plan is not None and plan.due(int(step[row]))]
