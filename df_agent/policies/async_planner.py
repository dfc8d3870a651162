"""Planning in a thread of its own, while the plan before is being followed."""

from __future__ import annotations

import math
import os
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from df_planners.plan import Plan, Planner, PlanRequest

from df_agent.runtime import own_modes

EWMA_DECAY = 0.8  # of the running mean of the planning times


class AsyncPlanner:
    """Runs a planner, timed, here or in one thread; one plan at a time, whoever asks.

    A copy, and a process that was forked, has a thread of its own.

    Args:
        planner: any.
    """

    def __init__(self, planner: Planner) -> None:
        self._planner = planner
        self._mean = 0.0
        self._begin()

    def _begin(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._failure: BaseException | None = None
        self._lock, self._starting, self._process = threading.RLock(), threading.Lock(), os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {"_planner": self._planner, "_mean": self._mean}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    @own_modes()
    def plan(self, request: PlanRequest) -> tuple[Plan, float]:
        """Plan at once; return the plans and what they took [s]."""
        self._note_fork()
        with self._lock:
            began = time.perf_counter()
            plan = self._planner.plan(request.started())
            return plan, time.perf_counter() - began

    def submit(self, request: PlanRequest) -> Future[tuple[Plan, float]]:
        """Plan beside the caller, behind what was asked for before; gives the plans and what they took [s].

        What the planner raises is in `Future.exception` and is raised by `raise_failure` besides.
        """
        return self._thread().submit(self._noted, request)

    def wait_for(self, request: PlanRequest) -> tuple[Plan, float]:
        """Plan behind what was asked for before, and wait for it; raises what the planner raises."""
        return self._thread().submit(self._timed, request).result()

    def raise_failure(self) -> None:
        """Raise, once, what the planner has raised since the last call."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def lead(self, period: float) -> int:
        """Return how many control steps of `period` [s] a plan has taken of late; at least 1."""
        return max(1, math.ceil(self._mean / period))

    def _thread(self) -> ThreadPoolExecutor:
        self._note_fork()
        with self._starting:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="planner")
            return self._executor

    def _note_fork(self) -> None:
        """Begin anew in a forked process: the thread is not in it, and its locks may be held for ever."""
        if self._process != os.getpid():
            self._begin()

    def _timed(self, request: PlanRequest) -> tuple[Plan, float]:
        plan, seconds = self.plan(request)
        self._mean = EWMA_DECAY * self._mean + (1 - EWMA_DECAY) * seconds if self._mean else seconds
        return plan, seconds

    def _noted(self, request: PlanRequest) -> tuple[Plan, float]:
        try:
            return self._timed(request)
        except BaseException as error:
            self._failure = error
            raise
