"""What a policy remembers of its environments between two steps. All of it is replaced as a whole, never written to."""

from __future__ import annotations

import os
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from df_planners.plan import Plan
from numpy.typing import ArrayLike, NDArray

from df_agent.policies.getting_on import Progress

Array = NDArray[np.float64]
T = TypeVar("T", bound=np.generic)
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Seen:
    """An observation of B environments, checked.

    Attributes:
        values: (B, Do) all of it.
        goal: (B, G).
        level: (B,) noise level at which it is shown to a model; 0 is the truth, the top level says nothing.
        single: whether it came without the leading axis.
    """

    values: Array
    goal: Array
    level: IntArray
    single: bool


@dataclass(frozen=True)
class PendingPlan:
    """One row of a plan that is being made in the background.

    Attributes:
        future: the plans of all rows that were asked for together, and what they took [s].
        row: which of them.
        asked: control step of its episode at which it was asked for.
        lead: control steps after that at which it is meant to be handed over.
        goal: (G,) goal it is for.
        fresh: whether the plan before it was for another goal.
        stuck: whether the plan before it led nowhere.
        process: in which it is being made.
    """

    future: Future[tuple[Plan, float]]
    row: int
    asked: int
    lead: int
    goal: Array
    fresh: bool
    stuck: bool
    process: int = field(default_factory=os.getpid)

    @property
    def failed(self) -> bool:
        """Whether it will never be ready: planning raised, or went on in the process that this one was forked from."""
        if self.process != os.getpid():  # and so did whoever may hold the future's lock
            return True
        return self.future.done() and (self.future.cancelled() or self.future.exception() is not None)

    def due(self, step: int) -> bool:
        """Return whether it is ready, and late enough, to be followed at this step of its episode."""
        return step >= self.asked + self.lead and self.future.done()

    def __getstate__(self) -> dict[str, Any]:
        # A copy cannot wait for another one's thread, so the plan is waited for, and travels as it is.
        made = None
        if self.process == os.getpid():
            wait([self.future])
            made = None if self.failed else self.future.result()
        return {**vars(self), "future": made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        future: Future[tuple[Plan, float]] = Future()
        if state["future"] is None:
            future.cancel()
        else:
            future.set_result(state["future"])
        vars(self).update(state, future=future, process=os.getpid())


@dataclass(frozen=True)
class PolicyState:
    """What a policy remembers of B environments, one row each.

    Attributes:
        step: (B,) control steps since the episode began.
        values: (B, Dv) the whole of the last observation; what is missing is as it was seen last.
        history: (B, L, Do) the last observations, the present last.
        level: (B, L) noise level at which each of these is shown to a model; 0 is the truth.
        goal: (B, G) as it was seen last.
        planned_goal: (B, G) goal that the plan is for, which a moved goal is compared with.
        seed: (B,) seed of the episode's noise.
        plans: (B,) plans made in this episode.
        age: (B,) control steps since the last replan.
        frames: (B, H, Do) the plan that is followed; its first frame is where it began, its last one is repeated.
        length: (B,) how many frames of it are valid.
        actions: (B, A, Da) planned actions, the first for the step of the last replan; A = 0 where none are executed.
        action_count: (B,) how many of these there are.
        progress: (B,) arc length of the plan's path that is done; its control steps for `LocalPolicyController`.
        progress_at_plan: (B,) the same at the last replan.
        off_path: (B,) distance to the path.
        shortcut_penalty: (B,) by how much plans have proved too bold since the episode or its goal began; 1 at first.
        settled: (B,) whether the path ends at a place to stay.
        cost: (B,) cost of the plan that is followed, see `df_agent.policies.costs` [control steps].
        progress_to_goal: how it gets on, as a local policy's clock tells it.
        pending: B plans that are being made in the background, or None.
    """

    step: IntArray
    values: Array
    history: Array
    level: IntArray
    goal: Array
    planned_goal: Array
    seed: IntArray
    plans: IntArray
    age: IntArray
    frames: Array
    length: IntArray
    actions: Array
    action_count: IntArray
    progress: Array
    progress_at_plan: Array
    off_path: Array
    shortcut_penalty: Array
    settled: BoolArray
    cost: Array
    progress_to_goal: Progress
    pending: list[PendingPlan | None]


def with_rows(array: NDArray[T], rows: IntArray, values: ArrayLike) -> NDArray[T]:
    """Return a copy of an array in which some rows hold other values."""
    array = array.copy()
    array[rows] = values
    return array


def with_plans(held: Array, rows: IntArray, new: Array) -> Array:
    """Return planned sequences (B, H, D) in which `rows` hold new ones (n, H', D); shorter ones repeat their end."""
    width = max(held.shape[1], new.shape[1])
    if held.shape[2] != new.shape[2]:  # before the first plan
        held = np.zeros((len(held), width, new.shape[2]))
    out = held[:, np.minimum(np.arange(width), held.shape[1] - 1)]
    out[rows] = new[:, np.minimum(np.arange(width), new.shape[1] - 1)]
    return out
