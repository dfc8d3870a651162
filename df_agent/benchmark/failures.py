"""Episodes that did not reach their goal: why, told from the path, and the page that draws the first of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.benchmark.document import Block, Heading, Media, Paragraph, Table
from df_agent.benchmark.path_plots import plot_failures
from df_agent.benchmark.rows import Episodes
from df_agent.benchmark.tables import EnvTables
from df_agent.evaluation.plots import drawing_bounds, positions
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import References, StepsFunction

Array = NDArray[Any]

STUCK, STILL = "stuck at a wall", "stayed in one place, away from walls"
ON_ITS_WAY, WANDERED = "timeout: still on its way", "wandered"
UNKNOWN = "unknown: its path was not recorded"
LAST_PART = 0.25  # of the episode is looked at
MOMENTS = 41  # at which the way that is left is measured
FAR_FROM_WALLS = 0.3  # of the unit length; an agent in contact with a wall is 0.2 away from it
DRAWN = 12  # failures drawn per policy and environment, at most
LISTED = 40

RULE = (
    "How the reasons are told: the last quarter of the path is looked at, in units of the goal's radius. If all of it "
    "lies within one unit, the agent stood still: stuck at a wall if it was within 0.3 units of one for more than half "
    "of that time. If it moved, it was still on its way if at the end it had less than half of the way to the goal "
    "left (around the walls, where that is known), and less than at any time before that quarter; otherwise it "
    "wandered. Of rows that were kept as CSV paths are not known unless episodes were run again (retrace=true): those "
    "that came out as the row says have the path of that second time, and a failure's may be another than the first."
)


@dataclass(frozen=True)
class Failure:
    """An episode that did not reach its goal.

    Attributes:
        record: the episode.
        reason: one of the reasons above.
        nearest: how near it came to the goal, in a straight line; NaN if its path was not recorded.
    """

    record: EpisodeRecord
    reason: str
    nearest: float


def failures(records: Sequence[EpisodeRecord], references: References) -> list[Failure]:
    """Return the episodes that did not reach their goal, in order, with the reason why."""
    found = []
    for record in records:
        if record.success:
            continue
        if not record.path:
            found.append(Failure(record, UNKNOWN, float("nan")))
            continue
        points = positions(record.path)
        unit = references.goal_radius or _unit(record)
        away = np.linalg.norm(points - positions([record.goal])[0], axis=1)
        ahead = way_ahead(record, references.lower_bound_steps, away)
        found.append(Failure(record, reason_of(points, ahead, references.walls, unit), float(away.min())))
    return found


def way_ahead(record: EpisodeRecord, bound: StepsFunction | None, away: Array) -> Array:
    """Return how much of the way to the goal was left, at some moments (K,) of a path, the end among them.

    Args:
        record: with its path.
        bound: steps that nothing can undercut; where it is unknown, straight distance stands in for it.
        away: (H,) that distance at each moment.
    """
    moments = np.unique(np.linspace(0, len(away) - 1, MOMENTS).astype(np.int64))
    if bound is None:
        return np.asarray(away[moments])
    # In goal-conditioned environments the leading numbers of an observation are the position.
    places = np.zeros((len(moments), len(record.start)))
    places[:, : len(record.goal)] = np.array(record.path)[moments]
    return np.asarray(bound(places, np.tile(record.goal, (len(moments), 1))), dtype=np.float64)


def reason_of(points: Array, ahead: Array, walls: Array | None, unit: float) -> str:
    """Return why a path (H, 2) did not reach its goal, by `RULE`.

    Args:
        points: positions, one per control step.
        ahead: (K,) what was left of the way to the goal, at moments evenly spread over the episode.
        walls: (M, 4) boxes [xmin, ymin, xmax, ymax], or None if unknown.
        unit: length that counts as a place, the goal's radius.
    """
    last = points[_last_part(len(points)) :]
    if np.linalg.norm(last.max(axis=0) - last.min(axis=0)) <= unit:
        near = distance_to_walls(last, walls) <= FAR_FROM_WALLS * unit
        return STUCK if near.mean() > 0.5 else STILL
    nearer = ahead[-1] < min(ahead[: _last_part(len(ahead))].min(initial=np.inf), ahead[0] / 2)
    return ON_ITS_WAY if nearer else WANDERED


def distance_to_walls(points: Array, walls: Array | None) -> Array:
    """Return the distances, (H,), of points (H, 2) to the nearest box; infinite without any."""
    if walls is None or not len(walls):
        return np.full(len(points), np.inf)
    boxes = np.asarray(walls, dtype=np.float64)[None]  # (1, M, 4)
    outside = np.maximum(np.maximum(boxes[..., :2] - points[:, None], points[:, None] - boxes[..., 2:]), 0.0)
    return np.asarray(np.linalg.norm(outside, axis=-1).min(axis=1))


def counted(found: Sequence[Failure]) -> str:
    """Return the reasons with their numbers, the most frequent first."""
    return ", ".join(f"{number} {reason}" for reason, number in Counter(f.reason for f in found).most_common())


def failure_blocks(folder: Path, tables: Sequence[EnvTables]) -> list[Block]:
    """Return the page; its pictures are written to `folder`/failures."""
    blocks: list[Block] = [Heading("Failures", 1), Paragraph(RULE)]
    pictures = folder / "failures"
    pictures.mkdir(exist_ok=True)
    for stale in pictures.glob("*.png"):
        stale.unlink()
    for table in tables:
        env, references = table.comparison.env, table.comparison.references
        found = {e.name: failures(e.rows.records, references) for e in table.episodes}
        blocks += [Heading(env), _overview(table, found)]
        for episodes in table.episodes:
            if found[episodes.name]:
                blocks += _of_policy(pictures, table, episodes, found[episodes.name])
    return blocks


def _overview(table: EnvTables, found: dict[str, list[Failure]]) -> Table:
    rows = []
    for episodes in table.episodes:
        failed = found[episodes.name]
        rows.append([episodes.name, f"{len(failed)} of {len(episodes.times)}", counted(failed)])
    return Table(["policy", "failed", "why"], rows, wordy=(2,))


def _of_policy(pictures: Path, table: EnvTables, episodes: Episodes, failed: Sequence[Failure]) -> list[Block]:
    env, name = table.comparison.env, episodes.name
    known = [failure for failure in failed if failure.record.path]
    drawn, listed = known[:DRAWN], failed[:LISTED]
    number = f"{len(failed)} of {len(episodes.times)} episodes failed"
    if len(known) < len(failed):
        number += f", known paths: {len(known)}"
    shown = "all of them are drawn" if len(drawn) == len(failed) else f"drawn: {len(drawn)}"
    rows = [
        [
            str(failure.record.episode),
            str(failure.record.seed),
            _place(failure.record.start),
            _place(failure.record.goal),
            "–" if np.isnan(failure.nearest) else f"{failure.nearest:.2f}",
            failure.reason,
        ]
        for failure in listed
    ]
    columns = ["episode", "reset seed", "start", "goal", "nearest to the goal", "why"]
    text = f"{number}: {counted(failed)}. "
    text += f"{shown.capitalize()}" + ("." if len(listed) == len(failed) else f", the first {LISTED} are listed.")
    blocks: list[Block] = [Heading(f"{env}: {name}", 3), Paragraph(text)]
    if drawn:
        path = pictures / f"{env}-{name}.png".replace("/", "_").replace(":", "_")
        episodes_drawn = [(failure.record, failure.reason) for failure in drawn]
        plot_failures(episodes_drawn, table.comparison.references, f"{name} in {env}", f"{number}; {shown}", path)
        blocks.append(Media(path, f"{name} in {env}: start, goal, path and why."))
    return [*blocks, Table(columns, rows, wordy=(5,))]


def _place(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values[:2])


def _last_part(length: int) -> int:
    return min(length - 1, int(np.ceil(length * (1 - LAST_PART))))


def _unit(record: EpisodeRecord) -> float:
    bounds = drawing_bounds([record], None)
    return 0.05 * float(np.hypot(bounds[2] - bounds[0], bounds[3] - bounds[1]))
