"""Whether an agent gets on towards its goal, and what it does where it does not: it backs off, and it wanders.

Getting on means that a clock, the learned time to the goal, shows less than ever. So it is told in any environment that
an agent stands still, oscillates or drifts away, without knowing what its places mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

TRAIL = 32  # places that are remembered
LEAST_GAIN = 1.0  # control steps by which the clock must show less
LONGEST = 4  # times the first detour
AT_GOAL = 5  # control steps to the goal, within which nothing is stuck
FREE = 4.0  # control steps at the fastest, by which an agent that stood still must move
NEAR = 6  # control steps to the goal, from which it should be reached soon


@dataclass(frozen=True)
class DetourConfig:
    """What an agent does that does not get on.

    Attributes:
        after: how often it must have proved stuck on the way to a goal, each time for `patience` steps, before it
            leaves its way. Before that its plan is made anew, and a slower way is asked for.
        steps: control steps of the first detour; the next ones are longer, up to four times. One that has stood still
            for as long wanders, since there is no way back for it. 0: none is made.
    """

    after: int = 2
    steps: int = 10

    def __post_init__(self) -> None:
        if self.after < 1 or self.steps < 0:
            raise ValueError(f"need detour.after >= 1 and detour.steps >= 0, got {self.after} and {self.steps}")


@dataclass(frozen=True)
class Progress:
    """How B agents get on towards their goals, one row each.

    Attributes:
        least_steps: (B,) fewest control steps to the goal so far, as the clock tells them; inf at first.
        stalled: (B,) control steps since that has last become less.
        stuck: (B,) how often it proved stuck since its goal began.
        near_for: (B,) control steps since the goal was first near; 0 before.
        trail: (B, TRAIL, G) the last places at which it got on, the newest last.
        detour_left: (B,) control steps of a detour that are left.
        detour_place: (B, G) place that it leads back to; NaN where it wanders.
        detour_action: (B, Da) what it does while it wanders; Da = 0 where none has.
        anchor: (B, G) place that it has last moved away from.
        still: (B,) control steps since then.
    """

    least_steps: Array
    stalled: IntArray
    stuck: IntArray
    near_for: IntArray
    trail: Array
    detour_left: IntArray
    detour_place: Array
    detour_action: Array
    anchor: Array
    still: IntArray

    @classmethod
    def blank(cls, goal: Array) -> Progress:
        """Return that of agents whose goals (B, G) are about to begin."""
        b, zeros = len(goal), np.zeros(len(goal), np.int64)
        never, trail = np.full(b, np.inf), np.repeat(goal[:, None], TRAIL, axis=1)
        none, nowhere = np.zeros((b, 0)), np.full(goal.shape, np.inf)
        return cls(never, zeros, zeros, zeros, trail, zeros, goal.copy(), none, nowhere, zeros)

    def noted(self, steps: Array, place: Array, speed: Array) -> Progress:
        """Take in the clock's (B,) control steps to the goal, and the places (B, G) where the agents are.

        `speed` (G,) is the largest change of a place in a control step. Who wanders does so until it is free.
        """
        away, wanders = self.detour_left > 0, np.isnan(self.detour_place).any(1)
        left = ~((np.abs(place - self.anchor) / speed).max(1) <= FREE)  # also where there is no anchor yet
        nearer = (steps < self.least_steps - LEAST_GAIN) & ~away
        first = np.isinf(self.least_steps) & (self.stuck == 0)
        trail = np.where(first[:, None, None], place[:, None], self.trail)
        moved = np.concatenate([trail[:, 1:], place[:, None]], axis=1)
        return replace(
            self,
            least_steps=np.where(nearer, steps, self.least_steps),
            near_for=np.where((self.near_for > 0) | (steps <= NEAR), self.near_for + 1, 0),
            stalled=np.where(nearer | away | (steps <= AT_GOAL), 0, self.stalled + 1),
            trail=np.where((nearer & np.isfinite(self.least_steps))[:, None, None], moved, trail),
            detour_left=np.where(wanders & left, 0, np.maximum(self.detour_left - 1, 0)),
            anchor=np.where(left[:, None], place, self.anchor),
            still=np.where(left, 0, self.still + 1),
        )

    def begun(self, rows: IntArray) -> Progress:
        """Forget what was on the way to another goal."""
        least = self.least_steps.copy()
        least[rows] = np.inf
        numbers = {name: getattr(self, name).copy() for name in ("stalled", "stuck", "near_for", "detour_left")}
        for number in numbers.values():
            number[rows] = 0
        return replace(self, least_steps=least, **numbers)

    def off_the_way(self, rows: IntArray, c: DetourConfig, limits: tuple[Array, Array], seeds: IntArray) -> Progress:
        """Count that `rows`, (n,), are stuck, and begin a detour of those that were so often enough.

        The first leads back to where it got on, ever further; every second one wanders: an action is held that is at
        one of its `limits` in each of its numbers, drawn by `seeds` (n, S). Who stands still always wanders.
        """
        again = self.begun_anew(rows)
        number = again.stuck[rows] - c.after
        left, place = again.detour_left.copy(), again.detour_place.copy()
        action = again.detour_action
        for row, n, seed in zip(rows, number, seeds, strict=True):
            if n < 0 or c.steps == 0:
                continue
            left[row] = c.steps * min(1 + n, LONGEST) + 1  # it is counted down before the first of them, too
            place[row] = again.trail[row, -min(4 * (n + 2), TRAIL)]
            if (again.still[row] >= c.steps or n % 2) and np.isfinite(limits).all():
                low, high = np.broadcast_arrays(*limits)
                drawn = np.where(np.random.default_rng(seed).random(low.shape) < 0.5, low, high)
                action = action if action.shape[1] else np.zeros((len(left), len(drawn)))
                action, place[row] = action.copy(), np.nan
                action[row] = drawn
        return replace(again, detour_left=left, detour_place=place, detour_action=action)

    def begun_anew(self, rows: IntArray) -> Progress:
        """Count that `rows` are stuck, and give them time to get on anew."""
        least, stalled, stuck = self.least_steps.copy(), self.stalled.copy(), self.stuck.copy()
        least[rows], stalled[rows] = np.inf, 0
        stuck[rows] += 1
        return replace(self, least_steps=least, stalled=stalled, stuck=stuck)
