"""Paths in the maze: every policy's way for one start and goal, and the episodes that failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle

from df_agent.benchmark.rows import Episodes
from df_agent.benchmark.style import Look, header, save
from df_agent.benchmark.tables import EnvTables
from df_agent.evaluation.plots import (
    FAIL,
    GOAL,
    INK,
    MUTED,
    START,
    Bounds,
    draw_map,
    drawing_bounds,
    new_figure,
    positions,
)  # fmt: skip
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import References

PANEL = 2.25  # width of a panel [inches]


def far_start(tables: EnvTables) -> int | None:
    """Return the seed of the start that is farthest from its goal by the oracle's steps, or in a straight line.

    It is one of those that most policies ran, and of these one of which most paths were recorded; None without rows.
    """
    ran: Counter[int] = Counter()
    drawn: Counter[int] = Counter()
    distance: dict[int, float] = {}
    for episodes in tables.episodes:
        records = {record.seed: record for record in episodes.rows.records}
        for i, start in enumerate(episodes.ids.tolist()):
            ran[start] += 1
            drawn[start] += bool(records[start].path)
            ends = [positions([place])[0] for place in (records[start].start, records[start].goal)]
            away = float(np.linalg.norm(ends[1] - ends[0]))
            distance[start] = away if episodes.oracle is None else float(episodes.oracle[i])
    return max(ran, key=lambda start: (ran[start], drawn[start], distance[start], -start), default=None)


def plot_paths(tables: EnvTables, looks: Mapping[str, Look], path: Path) -> tuple[Path, str] | None:
    """Draw every policy's path from the same far start to the same goal, a panel each.

    Returns:
        The picture and which episode it shows; None if no paths were recorded.
    """
    start = far_start(tables)
    shown = [
        (episodes, record)
        for episodes in tables.episodes
        for record in episodes.rows.records
        if record.seed == start and record.path
    ]
    if start is None or not shown:
        return None
    references = tables.comparison.references
    first = shown[0][1]
    bounds = drawing_bounds([record for _, record in shown], references.walls)
    figure, panels = _panels(len(shown), bounds)
    for axes, (episodes, record) in zip(panels, shown, strict=True):
        draw_map(axes, bounds, references.walls)
        _draw_path(axes, record, references, looks[episodes.name].colour)
        _title(
            axes, episodes.marked, f"{record.time_to_goal} steps" if record.success else "not reached", record.success
        )
    key = "ring: start; star and disc: goal; cross: end without success; grey: after the goal was reached"
    header(
        figure, "One start, one goal", f"{tables.comparison.env}, episode {first.episode} (reset seed {start}) · {key}"
    )
    save(figure, path)
    oracle = _oracle_of(shown[0][0], start)
    text = f"{tables.comparison.env}, episode {first.episode} (reset seed {start})"
    why = "of the starts that most policies had, the farthest"
    why += " by the oracle" if oracle is not None else ""
    without = [episodes.name for episodes in tables.episodes if episodes.name not in {e.name for e, _ in shown}]
    missing = f" No path of it was kept of {', '.join(without)}." if without else ""
    return path, f"{text}: {why}{'' if oracle is None else f', which needs {oracle:.0f} steps'}.{missing}"


def plot_failures(
    found: Sequence[tuple[EpisodeRecord, str]], references: References, title: str, subtitle: str, path: Path
) -> Path:
    """Draw episodes that did not reach their goal, a panel each, with the kind: start, goal and path."""
    bounds = drawing_bounds([record for record, _ in found], references.walls)
    figure, panels = _panels(len(found), bounds, dpi=90)
    for axes, (record, kind) in zip(panels, found, strict=True):
        draw_map(axes, bounds, references.walls)
        _draw_path(axes, record, references, FAIL)
        _title(axes, f"episode {record.episode}", kind, False)
    header(figure, title, subtitle)
    save(figure, path)
    return path


def _panels(number: int, bounds: Bounds, dpi: int = 130) -> tuple[Any, list[Axes]]:
    columns = min(max(number, 2), 6 if number > 15 else 5 if number > 8 else 4)
    rows = -(-number // columns)
    tall = PANEL * float(np.clip((bounds[3] - bounds[1]) / (bounds[2] - bounds[0]), 0.4, 1.5))
    width, height = columns * (PANEL + 0.12) + 0.2, rows * (tall + 0.48) + 0.78
    figure = new_figure(width, height, dpi)
    axes = []
    for i in range(number):
        left = 0.15 + (i % columns) * (PANEL + 0.12)
        bottom = height - 0.7 - (i // columns) * (tall + 0.48) - 0.38 - tall
        axes.append(figure.add_axes((left / width, bottom / height, PANEL / width, tall / height)))
    return figure, axes


def _draw_path(axes: Axes, record: EpisodeRecord, references: References, colour: str) -> None:
    goal = positions([record.goal])[0]
    if references.goal_radius is not None:
        disc = Circle((goal[0], goal[1]), references.goal_radius, facecolor=GOAL, alpha=0.22, lw=0, zorder=2)
        axes.add_patch(disc)
    points = positions(record.path) if record.path else positions([record.start])
    end = record.time_to_goal if record.success else len(points) - 1
    axes.plot(points[end:, 0], points[end:, 1], color=MUTED, lw=0.6, zorder=3)
    axes.plot(points[: end + 1, 0], points[: end + 1, 1], color=colour, lw=1.7, solid_capstyle="round", zorder=4)
    axes.plot(*points[0], marker="o", ms=5, mfc="white", mec=START, mew=1.4, zorder=6)
    axes.plot(*goal, marker="*", ms=9, mfc=GOAL, mec="white", mew=0.8, zorder=7)
    if not record.success:
        axes.plot(*points[-1], marker="X", ms=7, mfc=FAIL, mec="white", mew=0.8, zorder=8)


def _title(axes: Axes, name: str, text: str, success: bool) -> None:
    axes.text(0, 1.115, name, transform=axes.transAxes, fontsize=8.2, color=INK, weight="bold", va="center")
    axes.text(0, 1.035, text, transform=axes.transAxes, fontsize=8, color=MUTED if success else FAIL, va="center")


def _oracle_of(episodes: Episodes, start: int) -> float | None:
    if episodes.oracle is None:
        return None
    return float(episodes.oracle[int(np.searchsorted(episodes.ids, start))])
