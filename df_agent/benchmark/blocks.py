"""The sections of a comparison's report: tables, texts and pictures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from df_agent.benchmark.document import Block, Heading, Media, Paragraph, Table
from df_agent.benchmark.path_plots import plot_paths
from df_agent.benchmark.plots import (
    FEWEST,
    plot_curves,
    plot_distances,
    plot_paired,
    plot_speed,
    plot_successes,
)
from df_agent.benchmark.rows import EnvComparison, policy_of
from df_agent.benchmark.store import file_name
from df_agent.benchmark.style import Look
from df_agent.benchmark.survival import RESAMPLES, Estimate
from df_agent.benchmark.tables import EnvTables, PolicySummary, bin_edges

DASH = "–"
PAIRED_NOTE = (
    "Differences are of time to goal on the starts that both ran, timeouts as the limit; p is from a sign-flip "
    f"permutation test of the mean with {RESAMPLES:,} resamples, so that it cannot be smaller than "
    f"{2 / RESAMPLES:g} before it is adjusted after Holm for the number of policies compared. A difference counts as "
    "shown where the adjusted p is below 0.05 and the interval excludes 0; it is adjusted within an environment, the "
    "interval not at all. Success is compared by the exact McNemar test, adjusted in the same way. A verdict is about "
    "the weights that were run: another training of the same two methods may differ by more than the interval says."
)
RUNS_NOTE = (
    "Each training run is another seed. The interval holds for other runs and other starts: the half widths for runs "
    "and for starts, both from Student's t, add in squares (a bootstrap over three runs covers too little). The table "
    "of policies shows the first run."
)
AGAINST_RUNS_NOTE = (
    "How many steps later each policy reaches the goal than each run of {reference}, on the starts that both ran, with "
    "95 % intervals over starts. Where these differ by as much as they differ from 0, the verdict above hangs on which "
    "run it was."
)


def env_blocks(folder: Path, tables: EnvTables, seen: Mapping[str, Look]) -> list[Block]:
    """Return all that is said about one environment; its pictures are written to the folder."""
    env, name = tables.comparison.env, file_name(tables.comparison.env)
    inside = f" {tables.starts_inside} of these starts lie inside the goal." if tables.starts_inside else ""
    text = f"{tables.starts} starts, {tables.limit} control steps at most.{inside}"
    blocks: list[Block] = [Heading(env), Paragraph(text), _policy_table(tables)]
    if tables.failed:
        blocks += [Paragraph("What did not run, or not to its end:"), _failed_table(tables)]
    successes = plot_successes(tables, seen, folder / f"arrivals-{name}.png")
    blocks.append(Media(successes, f"{env}: share of episodes that have reached the goal by each step."))
    if tables.pairs:
        blocks += [Heading(f"{env}: against {tables.pairs[0].reference}", 3), Paragraph(PAIRED_NOTE)]
        blocks.append(_paired_table(tables))
        caption = f"{env}: how many steps later each policy reaches the goal from the same starts."
        blocks += _media(plot_paired(tables, seen, folder / f"paired-{name}.png"), caption)
    blocks += _runs_blocks(tables) + _distance_blocks(folder, tables, seen, name)
    caption = f"{env}: time to goal against planning time, from episodes run one at a time."
    speed = _media(plot_speed(tables, seen, folder / f"speed-{name}.png"), caption)
    if speed:
        blocks += [Heading(f"{env}: what it costs", 3), *speed]
    drawn = plot_paths(tables, seen, folder / f"paths-{name}.png")
    blocks.append(Heading(f"{env}: paths", 3))
    blocks.append(Paragraph("No paths were recorded.") if drawn is None else Media(*drawn))
    for caption, video in tables.comparison.videos.items():
        target = folder / video.name
        if video.resolve() != target.resolve():
            shutil.copyfile(video, target)
        blocks.append(Media(target, caption))
    return blocks


def _policy_table(tables: EnvTables) -> Table:
    marked = {episodes.name: episodes.marked for episodes in tables.episodes}
    pairs = {pair.policy: pair for pair in tables.pairs}
    cells: dict[str, Callable[[PolicySummary], str]] = {
        "policy": lambda s: marked[s.policy],
        "sees": lambda s: s.sees,
        "starts": lambda s: f"{s.starts}" + (f" of {s.of_starts}" if s.starts < s.of_starts else ""),
        "success": lambda s: s.success.text(3),
        "restricted mean, steps": lambda s: s.restricted_mean.text(),
        "the reference's on these": lambda s: f"{pairs[s.policy].reference_mean:.1f}" if s.policy in pairs else DASH,
        "median": lambda s: _median_text(s.median, s.limit),
        "ratio to oracle": lambda s: _ratio_text(s.oracle_ratio),
        "to time-optimal": lambda s: _ratio_text(s.optimal_ratio),
        "to bound": lambda s: _ratio_text(s.bound_ratio),
        "at goal at end": lambda s: f"{s.at_goal_at_end:.3f}",
        "occupancy": lambda s: f"{s.score_occupancy:.1f}",
        "latched": lambda s: f"{s.score_latched:.1f}",
        "plan ms, p50 / p95 / p99": lambda s: _latency_text(s),
        "plans (episodes) timed": lambda s: f"{s.plans_timed or DASH} ({s.episodes_timed})",
        "plans until the goal": lambda s: f"{s.plans_to_goal:.1f}" if s.plans_to_goal else DASH,
        "computed until the goal, s": lambda s: DASH if s.seconds_to_goal is None else f"{s.seconds_to_goal:.2g}",
        "computed / simulated time until the goal": lambda s: (
            DASH if s.real_time_factor is None else f"{s.real_time_factor:.3f}"
        ),
    }
    return Table(list(cells), [[make(line) for make in cells.values()] for line in tables.policies], wordy=(1,))


def _failed_table(tables: EnvTables) -> Table:
    return Table(["policy", "error"], [list(row) for row in tables.failed], wordy=(1,))


def _paired_table(tables: EnvTables) -> Table:
    columns = ["against", "verdict", "success", "faster / slower / equal", "p", "p, Holm"]
    columns += ["p of success", "p of success, Holm"]
    rows = []
    for pair in sorted(tables.pairs, key=lambda pair: pair.steps.value):
        shares = f"{pair.faster:.0%} / {pair.slower:.0%} / {pair.equal:.0%}"
        tests = [_p(p) for p in (pair.p, pair.p_adjusted, pair.p_success, pair.p_success_adjusted)]
        rows.append([pair.policy, pair.verdict, pair.verdict_success, shares, *tests])
    return Table(columns, rows, wordy=(1, 2))


def _runs_blocks(tables: EnvTables) -> list[Block]:
    """What other trainings of the policies say."""
    if not tables.runs:
        return []
    columns = ["policy", "runs", "starts", "restricted mean of each run", "success of each run", "mean [95 %]"]
    columns.append("less the reference's")
    differences = dict(tables.runs_difference)
    rows = []
    for runs in tables.runs:
        difference = differences.get(runs.policy)
        rows.append(
            [
                runs.policy,
                str(len(runs.names)),
                str(runs.starts),
                ", ".join(f"{mean:.1f}" for mean in runs.means),
                ", ".join(f"{success:.3f}" for success in runs.successes),
                runs.mean.text(),
                DASH if difference is None else difference.text(),
            ]
        )
    heading = Heading(f"{tables.comparison.env}: training runs", 3)
    blocks: list[Block] = [heading, Paragraph(RUNS_NOTE), Table(columns, rows)]
    if tables.against_runs:
        reference = tables.pairs[0].reference
        names = next(runs.names for runs in tables.runs if runs.policy == reference)
        texts = [
            [name, *(DASH if steps is None else steps.signed() for steps in by_run)]
            for name, by_run in tables.against_runs
        ]
        blocks += [Paragraph(AGAINST_RUNS_NOTE.format(reference=reference)), Table(["policy", *names], texts)]
    return blocks


def _distance_blocks(folder: Path, tables: EnvTables, seen: Mapping[str, Look], name: str) -> list[Block]:
    if not tables.distances:
        return []
    bins = sorted({row.bin for row in tables.distances})
    cuts = " / ".join(f"{cut:.0f}" for cut in bin_edges()[1:-1])
    labels = {row.bin: row.label for row in tables.distances}
    starts = {b: max(row.starts for row in tables.distances if row.bin == b) for b in bins}
    text = (
        f"How far a start is from its goal is said by the oracle's steps, with cuts at {cuts}: "
        f"{', '.join(f'{starts[b]} starts {labels[b]}' for b in bins)}. A cell holds success, the median of those that "
        f"succeeded and the restricted mean; the number of starts where a policy ran fewer, and no interval for fewer "
        f"than {FEWEST} of them."
    )
    found = {(row.policy, row.bin): row for row in tables.distances}
    marked = {episodes.name: episodes.marked for episodes in tables.episodes}
    rows = []
    for line in tables.policies:
        cells = []
        for b in bins:
            row = found.get((line.policy, b))
            if row is None:
                cells.append(DASH)
                continue
            median = DASH if np.isinf(row.median_of_arrived) else f"{row.median_of_arrived:.0f}"
            fewer = f" ({row.starts})" if row.starts < starts[b] else ""
            mean = row.restricted_mean.text(0) if row.starts >= FEWEST else f"{row.restricted_mean.value:.0f}"
            cells.append(f"{row.success.value:.2f} · {median} · {mean}{fewer}")
        rows.append([marked[line.policy], *cells])
    env = tables.comparison.env
    columns = ["policy", *(labels[b] for b in bins)]
    blocks: list[Block] = [Heading(f"{env}: by distance", 3), Paragraph(text), Table(columns, rows)]
    caption = f"{env}: restricted mean time to goal by distance."
    return blocks + _media(plot_distances(tables, seen, folder / f"distance-{name}.png"), caption)


def curve_blocks(folder: Path, comparisons: Sequence[EnvComparison], seen: Mapping[str, Look]) -> list[Block]:
    """Return the section on how trained the learned policies are; nothing without curves."""
    curves: dict[str, dict[str, Sequence[Mapping[str, float]]]] = {}
    for comparison in comparisons:
        if comparison.curves and comparison.curves not in curves.values():  # one agent may act in several environments
            curves[comparison.env] = dict(comparison.curves)
    if not curves:
        return []
    caption = (
        "How trained each learned policy is: success on validation starts against steps of training; of those that "
        "learn online, steps in the environment."
    )
    return [Heading("Training curves"), Media(plot_curves(curves, seen, folder / "curves.png"), caption)]


def policy_blocks(comparisons: Sequence[EnvComparison]) -> list[Block]:
    """Return the table of what the policies are; nothing if none says it."""
    said = {
        policy_of(rows.policy): (rows.what, rows.sees) for part in comparisons for rows in part.policies if rows.what
    }
    if not said:
        return []
    rows = [[name, what, sees] for name, (what, sees) in sorted(said.items())]
    return [Heading("The policies"), Table(["policy", "what it is", "sees"], rows, wordy=(1, 2))]


def tuning_blocks(comparisons: Sequence[EnvComparison]) -> list[Block]:
    """Return the table of tuning effort; nothing if none is given."""
    rows: list[Mapping[str, Any]] = []
    for comparison in comparisons:
        rows += [row for row in comparison.tuning if row not in rows]
    if not rows:
        return []
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[DASH if row.get(key) is None else str(row[key]) for key in columns] for row in rows]
    text = (
        "How much each method was tuned before it was compared, ours included, on validation starts (seeds of 1000 and "
        "above). Minutes are those of the episodes; trainings come on top. What is not listed was not tuned."
    )
    return [Heading("Tuning effort"), Paragraph(text), Table(columns, cells, wordy=tuple(range(1, len(columns))))]


def _media(path: Path | None, caption: str) -> list[Block]:
    return [] if path is None else [Media(path, caption)]


def _median_text(median: Estimate, limit: int) -> str:
    def text(value: float) -> str:
        return f"> {limit}" if np.isinf(value) else f"{value:.0f}"

    return f"{text(median.value)} [{text(median.low)}, {text(median.high)}]"


def _ratio_text(ratio: Estimate | None) -> str:
    return DASH if ratio is None else ratio.text(2)


def _latency_text(line: PolicySummary) -> str:
    if line.plan_ms_p50 is None:
        return DASH if line.act_ms is None else f"{short(line.act_ms)} per action"
    latencies = (line.plan_ms_p50, line.plan_ms_p95, line.plan_ms_p99)
    return " / ".join(DASH if value is None else short(value) for value in latencies)


def short(milliseconds: float) -> str:
    """Return a time in two or more digits."""
    return f"{milliseconds:.0f}" if milliseconds >= 10 else f"{milliseconds:.2g}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
