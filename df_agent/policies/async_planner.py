"""Planning in a thread of its own, while the plan before is being followed."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor

from df_planners.plan import Plan, Planner, PlanRequest

EWMA_DECAY = 0.8  # of the running mean of the planning times


class AsyncPlanner:
    """Runs a planner, timed, in one thread.

    Args:
        planner: any.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._executor: ThreadPoolExecutor | None = None
        self._mean = 0.0

    def submit(self, request: PlanRequest) -> Future[tuple[Plan, float]]:
        """Plan beside the caller, behind what was asked for before; gives the plans and what they took [s]."""
        if self._executor is None:
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="planner")
        return self._executor.submit(self._plan, request)

    def lead(self, period: float) -> int:
        """Return how many control steps of `period` [s] a plan has taken of late; at least 1."""
        return max(1, math.ceil(self._mean / period))

    def _plan(self, request: PlanRequest) -> tuple[Plan, float]:
        began = time.perf_counter()
        plan = self._planner.plan(request.started())
        seconds = time.perf_counter() - began
        self._mean = EWMA_DECAY * self._mean + (1 - EWMA_DECAY) * seconds if self._mean else seconds
        return plan, seconds
