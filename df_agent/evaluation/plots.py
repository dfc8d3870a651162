"""Pictures from episode records: plans and executed paths, and how many have reached the goal by when."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Rectangle
from numpy.typing import NDArray

from df_agent.evaluation.metrics import success_curve, wilson_interval
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import NO_REFERENCES, References
from df_agent.files import naming

Array = NDArray[Any]
Bounds = tuple[float, float, float, float]

WALL, FLOOR, INK, MUTED = "#3b3f46", "#f7f7f5", "#22262b", "#7a808a"
PLAN, GOAL, START, FAIL = "#e4572e", "#2a9d5c", "#22262b", "#c1121f"
AGENT = "#2f5fd0"
TIME_MAP = "viridis"
# Broad and pale, so that it shows on both sides of the path executed over it.
PLAN_LINE: dict[str, Any] = {"color": PLAN, "lw": 5.5, "alpha": 0.4, "solid_capstyle": "round"}
TITLE: dict[str, Any] = {"fontsize": 12, "color": INK, "weight": "bold", "va": "center"}


def positions(path: Sequence[Sequence[float]] | Array) -> Array:
    """Return (H, 2) drawable positions of a path in goal space: two of its numbers, or its one over time."""
    points = np.asarray(path, dtype=np.float64).reshape(len(path), -1)
    if points.shape[1] >= 2:
        return points[:, :2]
    return np.stack([np.arange(len(points), dtype=np.float64), points[:, 0]], axis=1)


def drawing_bounds(records: Sequence[EpisodeRecord], walls: Array | None) -> Bounds:
    """Return xmin, ymin, xmax, ymax around the walls, or else around all executed paths and goals."""
    if walls is not None and len(walls):
        xmin, ymin = walls[:, :2].min(axis=0)
        xmax, ymax = walls[:, 2:].max(axis=0)
        return float(xmin), float(ymin), float(xmax), float(ymax)
    points = [positions(record.path) for record in records if record.path]
    points += [positions([record.goal]) for record in records]
    every = np.concatenate(points)
    low, high = np.nanmin(every, axis=0), np.nanmax(every, axis=0)  # a place may not be known
    margin = 0.08 * max(float((high - low).max()), 1e-6)
    return tuple(float(v) for v in (*(low - margin), *(high + margin)))  # type: ignore[return-value]


def plot_plans(
    records: Sequence[EpisodeRecord],
    path: str | Path,
    references: References = NO_REFERENCES,
    *,
    oracle: Array | None = None,
    panels: int = 12,
) -> Path:
    """Draw the first episodes side by side: first plan, executed path coloured by time, start and goal.

    Args:
        records: with paths; episodes are taken in order, so nothing is picked for its looks.
        path: PNG to write.
        references: walls and goal radius are drawn if known.
        oracle: (N,) steps of the reference policy, for the captions.
        panels: how many at most.
    """
    shown = [record for record in records if record.path][:panels]
    if not shown:
        raise ValueError("no episode has its path recorded: call rollout with keep_paths=True")
    bounds = drawing_bounds(records, references.walls)
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    width = 2.9
    height = width * np.clip((bounds[3] - bounds[1]) / (bounds[2] - bounds[0]), 0.4, 1.5)
    size = (max(columns * (width + 0.12), 7.4), rows * (height + 0.34) + 0.95)
    figure = new_figure(*size)
    grid = figure.add_gridspec(
        rows, columns, left=0.015, right=0.985, wspace=0.05, hspace=0.34 / height,
        bottom=0.5 / size[1], top=1 - 0.68 / size[1],
    )  # fmt: skip
    last = max(record.time_to_goal if record.success else record.length for record in shown)
    scale = Normalize(0, max(last, 1))
    for i, record in enumerate(shown):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        draw_map(axes, bounds, references.walls)
        _draw_episode(axes, record, references.goal_radius, scale)
        _caption(axes, record, None if oracle is None else float(oracle[records.index(record)]))
    _header(figure, shown, size[1])
    _time_bar(figure, scale, size)
    with naming(Path(path)):
        figure.savefig(path)
    return Path(path)


def plot_time_to_goal(
    records: Sequence[EpisodeRecord],
    path: str | Path,
    *,
    oracle: Array | None = None,
    lower_bound: Array | None = None,
) -> Path:
    """Draw the share of episodes that have reached the goal by each step, with a 95 % band, against the references.

    Args:
        records: of one policy.
        path: PNG to write.
        oracle: (N,) steps of the reference policy on the same starts and goals.
        lower_bound: (N,) steps below which no policy can come.
    """
    limit, n = records[0].max_episode_steps, len(records)
    steps = np.array([record.time_to_goal for record in records])
    success = np.array([record.success for record in records])
    curve = success_curve(steps, success, limit)
    time = np.arange(limit + 1)
    band = np.array([wilson_interval(round(share * n), n) for share in curve])

    figure = new_figure(7.2, 4.5, dpi=140)
    axes = figure.add_axes((0.085, 0.12, 0.885, 0.72))
    axes.fill_between(time, band[:, 0], band[:, 1], step="post", color=AGENT, alpha=0.15, linewidth=0)
    if lower_bound is not None:
        _reference_curve(axes, "lower bound", lower_bound, limit, color=MUTED, lw=1.2, ls=":")
    if oracle is not None:
        _reference_curve(axes, "oracle", oracle, limit, color=INK, lw=1.4, ls="--")
    label = f"{records[0].policy}, mean {steps.mean():.0f}"
    axes.step(time, curve, where="post", color=AGENT, lw=2.4, label=label, zorder=5)
    slowest = max([*steps[success].tolist(), *([] if oracle is None else oracle.tolist())], default=limit)
    success_axes(axes, limit if not success.all() else min(limit, 1.08 * slowest + 1), fontsize=9)
    axes.legend(loc="lower right", fontsize=9, facecolor="white", edgecolor="none", framealpha=0.9)
    missed = "" if success.all() else f", {n - int(success.sum())} timed out at {limit}"
    figure.text(0.085, 0.945, "Episodes that have reached the goal", **TITLE)
    text = f"{records[0].env}, {n} episodes{missed}; band: 95 % (Wilson)"
    figure.text(0.085, 0.885, text, fontsize=9, color=MUTED, va="center")
    with naming(Path(path)):
        figure.savefig(path)
    return Path(path)


def new_figure(width: float, height: float, dpi: int = 130) -> Figure:
    """Return an empty figure of a size in inches, for files only."""
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain(axes: Axes, grid: str = "both") -> None:
    """Leave nothing of the axes but a pale grid and the numbers."""
    axes.tick_params(which="both", labelsize=8.5, colors=INK, length=0)
    axes.grid(axis=grid, color="#e3e5e8", lw=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def success_axes(axes: Axes, end: float, fontsize: float = 8.5) -> None:
    """Prepare axes for the share of episodes that have succeeded by each control step up to `end`."""
    axes.set_xlim(0, end)
    axes.set_ylim(0, 1.015)
    axes.set_yticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    axes.set_xlabel("control steps since the start", fontsize=fontsize, color=INK)
    plain(axes)


def draw_map(axes: Axes, bounds: Bounds, walls: Array | None) -> None:
    """Prepare axes for a drawing: the walls on the floor, no ticks, equal scales."""
    axes.set_xlim(bounds[0], bounds[2])
    axes.set_ylim(bounds[1], bounds[3])
    axes.set_aspect("equal")
    axes.set_facecolor(FLOOR)
    axes.set_xticks([])
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    for xmin, ymin, xmax, ymax in [] if walls is None else walls:
        # The edge in the same colour hides the seams between neighbouring boxes.
        box = Rectangle((xmin, ymin), xmax - xmin, ymax - ymin, facecolor=WALL, edgecolor=WALL, lw=0.6)
        axes.add_patch(box)


def _reference_curve(axes: Axes, name: str, steps: Array, limit: int, **style: Any) -> None:
    share = success_curve(np.ceil(steps), steps < limit, limit)
    label = f"{name}, mean {np.minimum(steps, limit).mean():.0f}"
    axes.step(np.arange(limit + 1), share, where="post", label=label, **style)


def _draw_episode(axes: Axes, record: EpisodeRecord, goal_radius: float | None, scale: Normalize) -> None:
    points, goal = positions(record.path), positions([record.goal])[0]
    if goal_radius is not None:
        axes.add_patch(Circle((goal[0], goal[1]), goal_radius, facecolor=GOAL, alpha=0.22, lw=0, zorder=2))
    if record.plans and record.plans[0].path:
        plan = positions(record.plans[0].path)
        axes.plot(plan[:, 0], plan[:, 1], **PLAN_LINE, zorder=3)
    # What follows is hovering at the goal: a thin tail, so that it does not cover the goal.
    end = record.time_to_goal if record.success else record.length
    axes.plot(points[end:, 0], points[end:, 1], color=MUTED, lw=0.7, alpha=0.8, zorder=4)
    segments = np.stack([points[:end], points[1 : end + 1]], axis=1)
    line = LineCollection(list(segments), cmap=TIME_MAP, norm=scale, lw=1.9, capstyle="round", zorder=5)
    line.set_array(np.arange(end))
    axes.add_collection(line)
    axes.plot(*points[0], marker="o", ms=6.5, mfc="white", mec=START, mew=1.6, zorder=6)
    axes.plot(*goal, marker="*", ms=11, mfc=GOAL, mec="white", mew=0.9, zorder=7)


def _caption(axes: Axes, record: EpisodeRecord, oracle: float | None) -> None:
    steps = f"{record.time_to_goal} steps" if record.success else f"not reached in {record.length}"
    against = "" if oracle is None else f"  (oracle {oracle:.0f})"
    colour = INK if record.success else FAIL
    axes.set_title(f"{steps}{against}", fontsize=8.5, color=colour, pad=3.5)


def _header(figure: Figure, shown: Sequence[EpisodeRecord], height: float) -> None:
    first = shown[0]
    y = 1 - 0.24 / height
    figure.text(0.015, y, f"{first.policy} in {first.env}", **TITLE)
    handles = [
        Line2D([], [], marker="o", ms=6.5, mfc="white", mec=START, mew=1.6, lw=0, label="start"),
        Line2D([], [], marker="*", ms=11, mfc=GOAL, mec="white", mew=0.9, lw=0, label="goal"),
        Line2D([], [], color="#2a788e", lw=1.9, label="executed"),
    ]
    if any(record.plans and record.plans[0].path for record in shown):
        handles.append(Line2D([], [], **PLAN_LINE, label="first plan"))
    figure.legend(
        handles=handles, loc="center right", bbox_to_anchor=(0.99, y), ncols=len(handles), frameon=False,
        fontsize=9, labelcolor=INK, handletextpad=0.5, columnspacing=1.4, borderpad=0,
    )  # fmt: skip


def _time_bar(figure: Figure, scale: Normalize, size: tuple[float, float]) -> None:
    axes = figure.add_axes((0.35, 0.29 / size[1], 0.3, 0.085 / size[1]))
    extent = (0.0, float(scale.vmax or 1), 0.0, 1.0)
    axes.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=TIME_MAP, extent=extent)
    axes.set_yticks([])
    axes.tick_params(labelsize=8, colors=INK, length=0, pad=2)
    for side in axes.spines.values():
        side.set_visible(False)
    style: dict[str, Any] = {
        "transform": axes.transAxes,
        "ha": "right",
        "va": "center",
        "fontsize": 8.5,
        "color": INK,
    }
    axes.text(-0.02, 0.5, "control step", **style)
