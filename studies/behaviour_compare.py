"""What two recordings of a case have to agree in; used by `behaviour.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
ACTIONS = ("actions", "asked again", "alone")  # what of a recording is actions
LEAST_SECONDS = 0.05  # a shorter case says nothing of the runtime by itself


@dataclass(frozen=True)
class Recording:
    """What one tree did in one case.

    Attributes:
        arrays: by name; "actions" (T, B, Da), and what else was noted.
        seconds: processor time of all calls of `predict` [s].
        error: "Type: last line" if it raised; then there are no arrays.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""

    @property
    def actions(self) -> int:
        """How many actions it holds."""
        return sum(int(np.prod(self.arrays[name].shape[:-1])) for name in ACTIONS if name in self.arrays)


@dataclass(frozen=True)
class Verdict:
    """What a case came to.

    Attributes:
        group, name: of the case.
        problems: what differs; nothing if all is well.
        actions: how many were compared.
        before, after: seconds spent in `predict`, the least of all repeats [s].
    """

    group: str
    name: str
    problems: tuple[str, ...]
    actions: int
    before: float
    after: float

    @property
    def ratio(self) -> float:
        """Runtime after over that before; NaN where either raised."""
        return self.after / self.before if self.before > 0 and self.after > 0 else float("nan")


def difference(name: str, before: Array, after: Array, tolerance: float = 0.0) -> str:
    """Return how two arrays differ by more than `tolerance`, or "" if they do not; NaN equals NaN.

    Their first axis is told as where they begin to differ: of "actions" it is the control step.
    """
    if before.shape != after.shape:
        return f"{name}: {before.shape} before, {after.shape} after"
    one, two = before.astype(np.float64), after.astype(np.float64)
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(one - two))
    wrong = ~(apart <= tolerance)  # NaN on one side only is not within any tolerance
    if not wrong.any():
        return ""
    first = int(np.argwhere(wrong)[0][0]) if wrong.ndim else 0
    largest = float(np.where(np.isnan(apart), np.inf, apart).max())
    return f"{name}: {int(wrong.sum())} of {wrong.size} numbers differ from index {first} on, by up to {largest:.3g}"


def problems_of(before: Recording | None, after: Recording | None, tolerance: float = 0.0) -> list[str]:
    """Return all that keeps a case from having gone alike in both trees.

    One that raises in both is a problem too: it would go on to pass whatever became of what it is to check.
    """
    if before is None or after is None:
        return [f"not recorded {'before' if before is None else 'after'}"]
    if before.error or after.error:
        sides = (("before", before.error), ("after", after.error))
        return [f"raised {side}: {error}" for side, error in sides if error]
    if not before.actions:
        return ["no actions were recorded, so there is nothing to compare"]
    problems = []
    for name in sorted({*before.arrays, *after.arrays}):
        if name not in before.arrays or name not in after.arrays:
            problems.append(f"{name}: only {'after' if name not in before.arrays else 'before'}")
        elif found := difference(name, before.arrays[name], after.arrays[name], tolerance):
            problems.append(found)
    return problems


def verdict(
    group: str, name: str, before: Sequence[Recording], after: Sequence[Recording], tolerance: float = 0.0
) -> Verdict:
    """Return what the repeats of a case came to in both trees.

    The first ones are compared with each other and every later one with the first of its own tree: a case that does
    not repeat in one tree could not tell whether two of them agree.
    """
    problems = problems_of(before[0] if before else None, after[0] if after else None, tolerance)
    for side, recordings in (("before", before), ("after", after)):
        for repeat in recordings[1:]:
            again = [] if problems else problems_of(recordings[0], repeat)
            problems += [f"does not repeat {side}: {problem}" for problem in again]
    least = [min((recording.seconds for recording in side), default=0.0) for side in (before, after)]
    return Verdict(group, name, tuple(problems), before[0].actions if before else 0, *least)


def runtime_ratio(verdicts: Sequence[Verdict]) -> float:
    """Return the runtime of all cases together, after over before; NaN if none ran in both trees."""
    ran = [each for each in verdicts if each.before > 0 and each.after > 0]
    return sum(each.after for each in ran) / sum(each.before for each in ran) if ran else float("nan")


def slowest(verdicts: Sequence[Verdict], most: int = 5) -> list[Verdict]:
    """Return the cases that became slower the most, those that are too short to say left out."""
    long = [each for each in verdicts if each.before >= LEAST_SECONDS and each.after > 0]
    return sorted(long, key=lambda each: -each.ratio)[:most]


def missing_cases(asked: Sequence[tuple[str, str]], verdicts: Sequence[Verdict]) -> list[str]:
    """Return the cases, (group, name), that were asked for and got no verdict."""
    found = {(each.group, each.name) for each in verdicts}
    return [f"{group}: {name}" for group, name in asked if (group, name) not in found]
