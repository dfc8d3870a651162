"""Episodes that did not reach their goal, by kind: near, stuck, slow or lost, told from the path. `RULE` says how."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import NO_REFERENCES, References, StepsFunction

Array = NDArray[Any]

NEAR, STUCK, SLOW, LOST, UNKNOWN = "near", "stuck", "slow", "lost", "unknown"
KINDS = (NEAR, STUCK, SLOW, LOST, UNKNOWN)
# Words of summaries that were written before there were kinds
EARLIER = {
    "stuck at a wall": STUCK,
    "stayed in one place, away from walls": STUCK,
    "timeout: still on its way": SLOW,
    "wandered": LOST,
    "unknown: its path was not recorded": UNKNOWN,
}

NEAR_UNITS = 2.0  # goal radii
LAST_PART = 0.25  # of the episode is looked at
PLACE_UNITS = 1.0  # extent of what counts as one place
OSCILLATION_UNITS = 4.0  # most extent of what goes to and fro about one place; or a quarter of the way, if that is more
MOMENTS = 41  # at which the way that is left is measured
ENOUGH = 3  # episodes with success whose first places at the goal tell its radius
SHARE = 0.05  # of the range of places that a radius is taken to be where nothing tells it, and at least is

RULE = (
    "The kinds of failures, in this order, the first that fits. near: at some time it was within two radii of the "
    "goal, with no wall between where walls are known, and yet that was no success. stuck: in the last quarter of the "
    "episode it stayed in one place, all of it within one radius, or went to and fro about one (within four radii, or "
    "a quarter of the way from start to goal, without getting on). slow: it was still coming nearer: at the end it had "
    "at most three quarters of the way left, and less than at any time before the last quarter, by a twentieth of the "
    "way (around the walls, where that is known). lost: it moved about without coming nearer. unknown: its path was "
    "not recorded. Distances are in radii of the goal, each number of a goal in its own: the environment's radius, or "
    "else how far off successful episodes were when they first counted as there, a twentieth of the range of places at "
    "least. Of rows that were kept as CSV paths are not known unless episodes were run again (retrace=true): those "
    "that came out as the row says have the path of that second time, and a failure's may be another than the first."
)


@dataclass(frozen=True)
class Failure:
    """An episode that did not reach its goal.

    Attributes:
        record: the episode.
        kind: one of `KINDS`.
        nearest: how near it came to the goal [radii of the goal]; NaN if its path was not recorded.
    """

    record: EpisodeRecord
    kind: str
    nearest: float


def failures(
    records: Sequence[EpisodeRecord], references: References = NO_REFERENCES, unit: Array | None = None
) -> list[Failure]:
    """Return the episodes that did not reach their goal, in order, with their kind.

    Args:
        records: of one environment.
        references: what is known of it.
        unit: (Dg,) the goal's radius in each number of a goal; None finds it from the records.
    """
    unit = goal_unit(records, references) if unit is None else unit
    found = []
    for record in records:
        if record.success:
            continue
        goal, path = np.array(record.goal, dtype=np.float64), _places(record)
        path = path[np.isfinite(path).all(axis=1)]  # of pictures, places may not be known
        if not len(path) or not np.isfinite(goal).all():
            found.append(Failure(record, UNKNOWN, float("nan")))
            continue
        away = (path - goal) / unit
        near = bool(_is_near(path, goal, unit, references).any())
        kind = kind_of(away, way_ahead(path, record, references.lower_bound_steps, away), near)
        found.append(Failure(record, kind, float(np.linalg.norm(away, axis=1).min())))
    return found


def kind_of(away: Array, ahead: Array | None = None, near: bool | None = None) -> str:
    """Return of which kind an episode is that failed, by `RULE`.

    Args:
        away: (H, Dg) places less the goal, one per control step [radii of the goal].
        ahead: (K,) what was left of the way to the goal at moments evenly spread over the episode, in any unit; None
            takes the straight distance.
        near: whether it ever was near the goal; None looks at `away`.
    """
    distance = np.linalg.norm(away, axis=1)
    if bool((distance <= NEAR_UNITS).any()) if near is None else near:
        return NEAR
    if keeps_to_a_place(away[_last_part(len(away)) :], distance[0] / 4):
        return STUCK
    ahead = distance if ahead is None else ahead
    before = ahead[: max(1, _last_part(len(ahead)))].min()
    return SLOW if ahead[-1] <= min(before - ahead[0] / 20, ahead[0] * 3 / 4) else LOST


def keeps_to_a_place(places: Array, wide: float = 0.0) -> bool:
    """Return whether places (H, Dg), in radii of the goal, are one, or go to and fro about one.

    What gets on has its second half elsewhere than its first; what goes to and fro has not.

    Args:
        places: consecutive ones.
        wide: extent that going to and fro may have besides `OSCILLATION_UNITS`.
    """
    extent = float(np.linalg.norm(np.ptp(places, axis=0)))
    half = len(places) // 2
    if extent <= PLACE_UNITS or not half:
        return extent <= PLACE_UNITS
    drift = float(np.linalg.norm(places[half:].mean(axis=0) - places[:half].mean(axis=0)))
    return extent <= max(OSCILLATION_UNITS, wide) and drift <= extent / 4


def goal_unit(records: Sequence[EpisodeRecord], references: References = NO_REFERENCES) -> Array:
    """Return the goal's radius in each of its numbers, (Dg,): known, seen where episodes succeeded, or guessed."""
    size = len(records[0].goal) if records else 0
    if references.goal_radius:
        return np.full(size, float(references.goal_radius))
    goals = np.array([record.goal for record in records], dtype=np.float64).reshape(-1, size)
    every = np.concatenate([goals, *(_places(record) for record in records)])
    every = every[np.isfinite(every).all(axis=1)]
    unit = SHARE * np.ptp(every, axis=0) if len(every) else np.zeros(size)
    arrived = [r for r in records if r.success and r.time_to_goal < len(r.path)]
    if len(arrived) >= ENOUGH:
        off = np.abs([np.subtract(r.path[r.time_to_goal], r.goal) for r in arrived])
        seen = np.nanquantile(off, 0.95, axis=0)
        # A number that hardly differs at success is one that the goal does not ask much of, not one that it asks all of
        unit = np.maximum(seen, unit / 5)
    return np.asarray(np.where(unit > 0, unit, 1.0))


def way_ahead(path: Array, record: EpisodeRecord, bound: StepsFunction | None, away: Array) -> Array:
    """Return how much of the way to the goal was left, at some moments (K,) of a path (H, Dg), the end among them.

    Args:
        path: places, in environment units.
        record: the episode.
        bound: steps that nothing can undercut; where it is unknown, straight distance stands in for it.
        away: (H, Dg) the path less the goal [radii of the goal].
    """
    moments = np.unique(np.linspace(0, len(path) - 1, MOMENTS).astype(np.int64))
    if bound is None:
        return np.asarray(np.linalg.norm(away[moments], axis=1))
    # In goal-conditioned environments the leading numbers of an observation are the position.
    places = np.zeros((len(moments), len(record.start)))
    places[:, : len(record.goal)] = path[moments]
    return np.asarray(bound(places, np.tile(record.goal, (len(moments), 1))), dtype=np.float64)


def counted(kinds: Mapping[str, int]) -> str:
    """Return the kinds with their numbers, the most frequent first."""
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items(), key=lambda item: -item[1]))


def by_kind(found: Sequence[Failure]) -> dict[str, int]:
    """Return how many failures there are of each kind, the most frequent first."""
    return dict(Counter(failure.kind for failure in found).most_common())


def stored_kinds(summary: Mapping[str, Any]) -> dict[str, int]:
    """Return the failures of a summary by kind; one that was written before there were kinds is read too."""
    kinds: Counter[str] = Counter()
    for word, number in (summary.get("failures") or {}).items():
        kinds[EARLIER.get(word, word)] += number
    return dict(kinds.most_common())


def _places(record: EpisodeRecord) -> Array:
    """Return the path, (H, Dg); of none, (0, Dg)."""
    return np.array(record.path, dtype=np.float64).reshape(-1, len(record.goal))


def _is_near(path: Array, goal: Array, unit: Array, references: References) -> Array:
    """Return at which moments, (H,), the agent was near the goal, and no wall between."""
    near = np.linalg.norm((path - goal) / unit, axis=1) <= NEAR_UNITS
    if references.crosses_wall is not None and near.any():
        ways = np.stack([path[near], np.tile(goal, (int(near.sum()), 1))], axis=1)  # (n, 2, Dg)
        near[near] = ~np.asarray(references.crosses_wall(ways), dtype=bool)
    return np.asarray(near)


def _last_part(length: int) -> int:
    return min(length - 1, int(np.ceil(length * (1 - LAST_PART))))
