"""What a planner returns, and what a policy tells those who watch it plan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Plan:
    """A batch of plans in environment units.

    Attributes:
        observations: (B, H, Do) planned frames; frame 0 is where the plan starts (the present).
        lengths: (B,) number of valid frames of each row, 1 <= lengths <= H; later frames repeat the last valid one.
        frame_skip: control steps between two frames.
        actions: (B, (H - 1) * frame_skip, Da) what to do in every control step from the present on, or None when
            the plan holds observations only.
        action_lengths: (B,) number of valid actions of each row; later ones repeat the last valid one.
    """

    observations: NDArray[np.float64]
    lengths: NDArray[np.int64]
    frame_skip: int
    actions: NDArray[np.float64] | None = None
    action_lengths: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.observations)

    def rows(self, index: NDArray[np.int64]) -> Plan:
        """Return the plans of the rows in `index`."""
        actions = None if self.actions is None else self.actions[index]
        valid = None if self.action_lengths is None else self.action_lengths[index]
        return Plan(self.observations[index], self.lengths[index], self.frame_skip, actions, valid)

    def replace(self, index: NDArray[np.int64], other: Plan) -> None:
        """Put the plans of `other` in place of the rows in `index`."""
        self.observations[index], self.lengths[index] = other.observations, other.lengths
        for own, others in ((self.actions, other.actions), (self.action_lengths, other.action_lengths)):
            if own is not None and others is not None:
                own[index] = others


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

    rows: NDArray[np.int64]
    plan: Plan
    seconds: float
    executed: NDArray[np.bool_] | None = None
    goal_channels: tuple[int, ...] | None = None
