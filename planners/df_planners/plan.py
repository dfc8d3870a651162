"""What a planner is asked and what it returns, and what a policy tells those who watch it plan."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass
class Plan:
    """A batch of plans in environment units.

    Attributes:
        observations: (B, H, Do) planned frames; frame 0 is where the plan starts (the present).
        lengths: (B,) number of valid frames of each row, 1 <= lengths <= H; later frames repeat the last valid one.
        frame_skip: control steps between two frames.
        actions: (B, A, Da) what to do in every control step from the present on, or None when the plan holds
            observations only.
        action_lengths: (B,) number of valid actions of each row; later ones repeat the last valid one.
        violation: (B,) how many times a plan exceeds what it may; at most 1 is feasible, inf does not lead to the goal.
            None where the planner does not judge its plans.
        passes: denoising passes that the plans were made in, the least of the batch; 0 without a diffusion model.
    """

    observations: Array
    lengths: IntArray
    frame_skip: int
    actions: Array | None = None
    action_lengths: IntArray | None = None
    violation: Array | None = None
    passes: int = 0

    def __len__(self) -> int:
        return len(self.observations)

    def rows(self, index: IntArray) -> Plan:
        """Return the plans of the rows in `index`."""
        arrays: dict[str, Any] = {name: value[index] for name, value in self._arrays().items()}
        return replace(self, **arrays)

    def replace(self, index: IntArray, other: Plan) -> None:
        """Put the plans of `other` in place of the rows in `index`."""
        others = other._arrays()
        for name, own in self._arrays().items():
            if name in others:
                own[index] = others[name]

    def _arrays(self) -> dict[str, NDArray[Any]]:
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in found.items() if isinstance(value, np.ndarray)}


class Deadline:
    """Tells whether there is time for another piece of work, each about as long as the longest so far.

    Args:
        milliseconds: from now on.
        clock: seconds that pass, for tests.
    """

    def __init__(self, milliseconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began = self._last = clock()
        self._end = self._began + milliseconds / 1000
        self._longest = 0.0

    def over(self) -> bool:
        """Return whether another piece of work would end too late; called after each."""
        now = self._clock()
        self._longest, self._last = max(self._longest, now - self._last), now
        return now + self._longest > self._end

    def spent(self) -> float:
        """Return the seconds since it was set."""
        return self._clock() - self._began


@dataclass(frozen=True)
class PlanRequest:
    """Where n environments stand that need a plan.

    Attributes:
        history: (n, F, Do) the last observations, one per frame of the observed tokens, the present last.
        level: (n, F) noise level at which each is shown to a diffusion model; 0 is the truth.
        goal: (n, G).
        seeds: n seeds of the plans' noise, a few integers each.
        fresh: (n,) whether the environment has no plan for this goal yet.
        steps_left: (n,) control steps until the episode ends; None where that is not known.
        shortcut_penalty: (n,) by how much earlier plans have proved too bold; 1 at first.
        age: (n,) control steps since the plan before was made.
        frames_left: (n,) frames of the plan before that still lie ahead.
        actions: (n, A, Da) planned actions of the plan before, from its beginning; A = 0 without.
        own_pace: the controller follows plans at their own pace, so that one takes as long as it was planned to;
            otherwise it is followed as fast as possible.
        max_plan_ms: how long planning may take [ms], counted from when it begins; None for as long as it takes.
        deadline: what tells whether there is time for another pass of the model, see `started`.
    """

    history: Array
    level: IntArray
    goal: Array
    seeds: list[list[int]]
    fresh: NDArray[np.bool_]
    steps_left: IntArray | None
    shortcut_penalty: Array
    age: IntArray
    frames_left: IntArray
    actions: Array
    own_pace: bool = False
    max_plan_ms: float | None = None
    deadline: Deadline | None = None

    def __len__(self) -> int:
        return len(self.goal)

    def take(self, rows: IntArray) -> PlanRequest:
        """Return some rows of it."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        arrays: dict[str, Any] = {name: value[rows] for name, value in found.items() if isinstance(value, np.ndarray)}
        return replace(self, seeds=[self.seeds[row] for row in rows], **arrays)

    def started(self) -> PlanRequest:
        """Return the request with a deadline that runs from now on, if there is one; called by who runs the planner."""
        return self if self.max_plan_ms is None else replace(self, deadline=Deadline(self.max_plan_ms))

    def new_deadline(self) -> Deadline | None:
        """Return another deadline that runs from now on: each measures how long its own kind of work takes."""
        return None if self.max_plan_ms is None else Deadline(self.max_plan_ms)


class Planner(ABC):
    """Makes plans for batches of environments. What it can do is said by attributes of the class.

    Attributes:
        Config: dataclass of its options.
        ends_at_goal: its plans end at the goal.
        settles: the end of a plan is a place to stay, unless its violation is infinite: near it no new plan is made.
        plans_actions: its plans can hold actions.
        plans_whole_episode: it plans for all that is left of the episode, so it has to be told how long that is.
        max_frames: frames of its longest plans, as far as they are known beforehand.
    """

    Config: ClassVar[type[Any]]
    ends_at_goal: ClassVar[bool] = False
    settles: ClassVar[bool] = False
    plans_actions: ClassVar[bool] = True
    plans_whole_episode: ClassVar[bool] = False
    max_frames: int = 1

    @abstractmethod
    def plan(self, request: PlanRequest) -> Plan:
        """Return one plan per row of the request."""

    def cost(self, plan: Plan) -> Array:
        """Return by how many control steps, (B,), plans are worse than the time they take."""
        return np.zeros(len(plan))


@dataclass(frozen=True)
class PlanEvent:
    """One call of a planner, handed to `policy.on_plan`.

    Attributes:
        rows: (n,) indices into the policy's batch of the environments that were planned for.
        plan: their n plans.
        seconds: wall time of the whole call [s].
        executed: (n,) whether each plan is followed; the others were no better than the one before.
        goal_channels: where in the plan's observations the goal is found, in its own order.
    """

    rows: IntArray
    plan: Plan
    seconds: float
    executed: NDArray[np.bool_] | None = None
    goal_channels: tuple[int, ...] | None = None
