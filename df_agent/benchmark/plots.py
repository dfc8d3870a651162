"""The pictures of a comparison. Each takes tables, writes a PNG and returns its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from df_agent.benchmark.rows import Episodes
from df_agent.benchmark.style import Look, header, save
from df_agent.benchmark.tables import EnvTables, PolicySummary
from df_agent.evaluation.metrics import success_curve
from df_agent.evaluation.plots import INK, MUTED, new_figure, plain, success_axes

Array = NDArray[Any]
Looks = Mapping[str, Look]
CROWD = 10  # policies whose curves one panel holds
FEWEST = 10  # starts that an interval by distance is drawn from
SMALL: dict[str, Any] = {"fontsize": 8.5, "color": INK}


def plot_successes(tables: EnvTables, looks: Looks, path: Path) -> Path:
    """Draw, for every policy, the share of its episodes that have reached the goal by each step.

    Many are drawn in two panels: those that learn from the recorded data alone, and the rest, with the reference in
    both.
    """
    reference = max(tables.episodes, key=lambda episodes: looks[episodes.name].width)
    alone = [episodes for episodes in tables.episodes if episodes.rows.sees == "data" or episodes is reference]
    rest = [episodes for episodes in tables.episodes if episodes not in alone or episodes is reference]
    panels = {"learned from the data alone": alone, "with other or no information": rest}
    if len(tables.episodes) <= CROWD or min(len(alone), len(rest)) < 2:
        panels = {"": list(tables.episodes)}
    heights = [max(3.5 if len(panels) > 1 else 3.9, 0.5 + 0.235 * len(drawn)) for drawn in panels.values()]
    figure = new_figure(9.6, sum(heights) + 1.3 + 1.2 * (len(panels) - 1))
    late = [float(np.max(e.times[e.success])) for e in tables.episodes if e.success.any()]
    complete = all(episodes.success.all() for episodes in tables.episodes)
    end = min(tables.limit, 1.05 * max(late) + 1) if complete else tables.limit
    top = 0.75 if len(panels) == 1 else 0.95
    for (title, drawn), height in zip(panels.items(), heights, strict=True):
        below = figure.get_figheight() - top - height
        axes = _room(figure, left=0.62, right=3.05, bottom=below, top=top)
        top += height + 1.0
        success_axes(axes, end)
        if title:
            axes.set_title(title, loc="left", fontsize=9, color=INK, pad=6)
        _draw_successes(axes, tables, drawn, reference, looks)
    header(
        figure,
        "Episodes that have reached the goal",
        f"{tables.comparison.env}, up to {tables.starts} starts per policy",
    )
    return save(figure, path)


def _draw_successes(
    axes: Axes, tables: EnvTables, drawn: Sequence[Episodes], reference: Episodes, looks: Looks
) -> None:
    for episodes in reversed(drawn):
        look = looks[episodes.name]
        curve = success_curve(episodes.times, episodes.success, tables.limit)
        above = 4 if episodes is reference else 3  # covered by none
        style: dict[str, Any] = {"color": look.colour, "ls": look.dashes, "lw": look.width, "zorder": above}
        axes.step(np.arange(tables.limit + 1), curve, where="post", label=_legend(tables, episodes), **style)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.015, 1.02), frameon=False,
        fontsize=8.5, labelcolor=INK, handlelength=2.8, borderpad=0,
        title="by success, then restricted mean, steps", title_fontsize=8.5, alignment="left",
    )  # fmt: skip


def plot_speed(tables: EnvTables, looks: Looks, path: Path) -> Path | None:
    """Draw restricted mean time to goal against the time a plan takes; None if no policy has been timed."""
    timed = [(line, _planning_ms(line)) for line in tables.policies]
    shown = [(line, milliseconds) for line, milliseconds in timed if milliseconds is not None]
    if not shown:
        return None
    figure = new_figure(8.6, 5.6)
    axes = _room(figure, left=0.7, right=1.2, bottom=0.6, top=0.75)
    axes.set_xscale("log")
    for line, x in sorted(shown, key=lambda spot: looks[spot[0].policy].width):  # the reference on top
        look, mean = looks[line.policy], line.restricted_mean
        filled = look.colour if line.plan_ms_p50 is not None else "white"
        axes.vlines(x, mean.low, mean.high, color=look.colour, lw=1.6, zorder=2)
        marker = "o" if look.marker == "|" else look.marker
        axes.plot(x, mean.value, marker, ms=8, mfc=filled, mec=look.colour, mew=1.5, zorder=3)
    axes.margins(x=0.12, y=0.08)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("wall time of a plan with one environment, median [ms]", **SMALL)
    axes.set_ylabel("restricted mean time to goal [control steps]", **SMALL)
    plain(axes)
    _name_spots(figure, axes, shown, looks)
    some = any(line.starts < line.of_starts for line, _ in shown)
    fewer = f"; (n): from n of the {tables.starts} starts" if some else ""
    title = f"{tables.comparison.env}; hollow: plans nothing, time per action{fewer}"
    header(figure, "Time to goal against planning time", title)
    return save(figure, path)


def plot_paired(tables: EnvTables, looks: Looks, path: Path) -> Path | None:
    """Draw how much later each policy reaches the goal than the reference on the same starts; None without pairs."""
    pairs = sorted(tables.pairs, key=lambda pair: pair.steps.value)
    if not pairs:
        return None
    figure = new_figure(9.6, 1.5 + 0.3 * len(pairs))
    axes = _room(figure, left=2.2, right=2.75, bottom=0.55, top=0.75)
    ends = np.abs([[pair.steps.low, pair.steps.high] for pair in pairs])
    squeezed = bool(ends.max() > 40 * max(np.median(ends), 1.0) or ends.max() > 100)
    if squeezed:
        axes.set_xscale("symlog", linthresh=20, linscale=0.8)
        ticks = [t for t in (-500, -200, -80, -20, -10, 0, 10, 20, 80, 200, 500) if abs(t) < 1.3 * ends.max()]
        axes.set_xticks(ticks, [f"{tick:+d}" if tick else "0" for tick in ticks])
        axes.minorticks_off()
    axes.axvline(0, color=INK, lw=1.1, zorder=1)
    for y, pair in enumerate(pairs):
        look, steps = looks[pair.policy], pair.steps
        shown = not pair.verdict.startswith("no difference")
        axes.hlines(y, steps.low, steps.high, color=look.colour, lw=2.2, zorder=2)
        axes.plot(steps.value, y, "o", ms=7, mfc=look.colour if shown else "white", mec=look.colour, mew=1.6, zorder=3)
        text = f"{steps.signed()}   n = {pair.starts}"
        axes.text(1.02, y, text, transform=axes.get_yaxis_transform(), va="center", **SMALL)
    marked = {episodes.name: episodes.marked for episodes in tables.episodes}
    axes.set_yticks(range(len(pairs)), [marked[pair.policy] for pair in pairs])
    axes.set_ylim(len(pairs) - 0.4, -0.6)
    scale = "; logarithmic beyond 20" if squeezed else ""
    axes.set_xlabel(f"steps later than {pairs[0].reference} (timeouts count as {tables.limit}{scale})", **SMALL)
    plain(axes, "x")
    header(
        figure,
        f"Against {pairs[0].reference}, from the same starts",
        f"{tables.comparison.env}; mean difference with its 95 % interval; hollow: no difference is shown",
    )
    return save(figure, path)


def plot_distances(tables: EnvTables, looks: Looks, path: Path) -> Path | None:
    """Draw restricted means by start-goal distance, a panel per bin; None without an oracle."""
    bins = sorted({row.bin for row in tables.distances})
    if not bins:
        return None
    names, marked = [line.policy for line in tables.policies], [episodes.marked for episodes in tables.episodes]
    figure = new_figure(2.2 + 2.35 * max(len(bins), 2), 1.6 + 0.25 * len(names))
    width, height = figure.get_figwidth(), figure.get_figheight()
    grid = figure.add_gridspec(
        1, len(bins), left=1.95 / width, right=1 - 0.2 / width, bottom=0.55 / height, top=1 - 1.02 / height, wspace=0.1
    )
    for column, name in enumerate(bins):
        axes = figure.add_subplot(grid[0, column])
        rows = [row for row in tables.distances if row.bin == name]
        most = max(rows, key=lambda row: row.starts)
        axes.axvline(most.oracle_mean, color=INK, lw=1.2, ls=(0, (5, 1.6)), zorder=1)
        for row in rows:
            look, mean, y = looks[row.policy], row.restricted_mean, names.index(row.policy)
            if row.starts >= FEWEST:
                axes.hlines(y, mean.low, mean.high, color=look.colour, lw=2, zorder=2)
            full = look.colour if row.success.value == 1 else "white"
            axes.plot(mean.value, y, "o", ms=6, mfc=full, mec=look.colour, mew=1.5, zorder=3)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_yticks(range(len(names)), marked if column == 0 else [""] * len(names))
        axes.set_xlim(0, 1.08 * max(row.restricted_mean.high for row in rows))
        title = f"{most.label} steps away\n({most.starts} starts, oracle {most.oracle_mean:.0f})"
        axes.set_title(title, fontsize=8.5, color=INK, pad=5)
        plain(axes)
    figure.text(0.5, 0.16 / height, "restricted mean time to goal [control steps]", ha="center", **SMALL)
    header(
        figure, "By distance", f"{tables.comparison.env}; dashes: the oracle; hollow: some of these episodes timed out"
    )
    return save(figure, path)


def plot_curves(curves: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]], looks: Looks, path: Path) -> Path:
    """Draw success against training steps: environment -> policy -> rows with "step" and "success_rate"."""
    figure = new_figure(max(3.5 * len(curves) + 2.6, 6.6), 4.2)
    width, height = figure.get_figwidth(), figure.get_figheight()
    grid = figure.add_gridspec(
        1, len(curves), left=0.6 / width, right=1 - 2.2 / width, bottom=0.58 / height, top=1 - 1.0 / height, wspace=0.12
    )
    handles: dict[str, Any] = {}
    steps = [row["step"] for env in curves.values() for rows in env.values() for row in rows if row["step"] > 0]
    # Online learners take steps by the million, offline ones by the thousand.
    log = max(steps, default=1) > 30 * min(steps, default=1)
    for column, (env, policies) in enumerate(curves.items()):
        axes = figure.add_subplot(grid[0, column])
        for name, rows in policies.items():
            look = looks[name]
            line = [(row["step"], row["success_rate"]) for row in rows if row["step"] > 0 or not log]
            style: dict[str, Any] = {"color": look.colour, "ls": look.dashes, "marker": look.marker, "ms": 4, "lw": 1.7}
            (handles[name],) = axes.plot(*zip(*sorted(line), strict=True), **style)
        if log:
            axes.set_xscale("log")
            axes.set_xlim(0.8 * min(steps), 1.25 * max(steps))
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(-0.02, 1.03)
        shares = np.linspace(0, 1, 6)
        axes.set_yticks(shares, [f"{share:.0%}" if column == 0 else "" for share in shares])
        axes.set_title(env, fontsize=9, color=INK, pad=6)
        axes.set_xlabel("training steps; online: the environment's", **SMALL)
        plain(axes)
    figure.legend(
        handles.values(), handles.keys(), loc="upper left", bbox_to_anchor=(1 - 2.1 / width, 1 - 0.95 / height),
        frameon=False, fontsize=8.5, labelcolor=INK, handlelength=2.8,
    )  # fmt: skip
    header(figure, "Success while training", "share of validation episodes that reach the goal")
    return save(figure, path)


def _planning_ms(line: PolicySummary) -> float | None:
    return line.act_ms if line.plan_ms_p50 is None else line.plan_ms_p50


def _legend(tables: EnvTables, episodes: Episodes) -> str:
    line = next(line for line in tables.policies if line.policy == episodes.name)
    fewer = f" (n = {line.starts})" if line.starts < tables.starts else ""
    return f"{episodes.marked}, {line.restricted_mean.value:.0f}{fewer}"


def _name_spots(figure: Figure, axes: Axes, lines: Sequence[tuple[PolicySummary, float]], looks: Looks) -> None:
    """Write names beside spots, each at the nearest place where it covers no other name, spot or interval."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    taken = []
    for line, x in lines:
        mean = line.restricted_mean
        (left, low), (_, middle), (_, high) = axes.transData.transform(
            [(x, y) for y in (mean.low, mean.value, mean.high)]
        )
        taken += [
            Bbox.from_extents(left - 9, middle - 9, left + 9, middle + 9),
            Bbox.from_extents(left, low, left, high),
        ]
    sides = [(9, "left"), (-9, "right")]
    offsets = sorted((abs(y) + 4 * (x < 0), x, y, side) for y in range(-120, 121, 6) for x, side in sides)
    for line, x in lines:
        spot, look = (x, line.restricted_mean.value), looks[line.policy]
        name = line.policy + (f" ({line.starts})" if line.starts < line.of_starts else "")
        style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 8.5, "color": look.colour}
        for _, dx, dy, side in offsets:
            text = axes.annotate(name, spot, xytext=(dx, dy), ha=side, **style)
            box = text.get_window_extent(renderer)
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and axes.bbox.y0 <= box.y0
            if inside and not any(box.overlaps(other) for other in taken):
                break
            text.remove()
        else:
            dx, dy, side = 9, 0, "left"
            text = axes.annotate(name, spot, xytext=(dx, dy), ha=side, **style)
        taken.append(text.get_window_extent(renderer))
        if abs(dy) > 6:
            leader = {"arrowstyle": "-", "color": MUTED, "lw": 0.6, "shrinkA": 0, "shrinkB": 5}
            dx -= 2 if side == "left" else -2  # short of the text
            axes.annotate("", spot, xytext=(dx, dy), textcoords="offset points", arrowprops=leader)


def _room(figure: Figure, *, left: float, right: float, bottom: float, top: float) -> Axes:
    """Add axes with margins in inches."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    return figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height))
