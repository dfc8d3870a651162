"""The report of a comparison: Markdown, CSV, pictures and two pages that need nothing else. Reads records only."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from df_agent.benchmark.blocks import DASH, curve_blocks, env_blocks, policy_blocks, tuning_blocks
from df_agent.benchmark.document import (
    Block,
    Heading,
    Link,
    Paragraph,
    Table,
    as_html,
    as_markdown,
    write_text,
)
from df_agent.benchmark.failures import failure_blocks, found_failures, overview
from df_agent.benchmark.origin import origin_blocks
from df_agent.benchmark.rows import EnvComparison, policy_of
from df_agent.benchmark.store import file_name
from df_agent.benchmark.style import looks
from df_agent.benchmark.survival import Estimate
from df_agent.benchmark.tables import EnvTables, make_tables

REPORT, PAGE, FAILURES = "report.md", "report.html", "failures.html"

HOW_TO_READ = (
    "Time to goal counts control steps until the goal is first reached. An episode that times out is censored: nobody "
    "knows when it would have reached it. The restricted mean counts it as the limit; the median is left open (“>”) "
    "where fewer than half reach the goal. Brackets are 95 % intervals: Wilson's for success, a bootstrap over starts "
    "for the rest. Ratios are of means, from the same starts; below 1 is faster. Policies are ordered by success, then "
    "by restricted mean. For one that ran fewer starts their number is given, and its mean is to be compared with the "
    "reference's on the same starts, beside it. † had more than the recorded data: the map, a simulator, or its own "
    "interaction with the environment."
)
GLOSSARY = (
    "“Sees” is what a policy knows besides the observation. The oracle reads the map and follows the shortest path by "
    "simple control; “time-optimal” is a numerical solution over position and velocity, near the limit; “bound” is a "
    "time that nothing can beat. Plans are counted until the goal is reached or to the end of the episode. "
    "Latencies are of one environment at a time, of so many plans in so many episodes. A plan's time does not say how "
    "often one is made; the seconds computed until the goal do, and these per second simulated: below 1, a policy "
    "keeps up on average, which an episode that takes long makes easier."
)
LATCHED_NOTE = (
    "The occupancy score counts the steps inside the goal (D4RL's rule, used by Diffuser), the latched score every "
    "step from the first success on (Diffusion Veteran's): they differ by the steps a policy spends outside again "
    "after it was there, so one that passes through the goal and leaves looks good only in the second. Where D4RL "
    "has no reference returns, as for goals drawn at random or episodes of another length, both are in steps."
)


def write_comparison(folder: str | Path, comparisons: Sequence[EnvComparison]) -> Path:
    """Write the report of a comparison over one or more environments.

    The folder gets report.md, report.html and failures.html (self-contained), summary-ENV.csv, paired-ENV.csv and
    distance-ENV.csv, and the pictures.

    Args:
        folder: made if needed; files of the same names are replaced.
        comparisons: one per environment.

    Returns:
        The page, report.html.

    Raises:
        ValueError: see `make_tables`.
    """
    folder = Path(folder)
    tables = [make_tables(comparison) for comparison in comparisons]
    if not tables:
        raise ValueError("nothing to compare: no environments")
    folder.mkdir(parents=True, exist_ok=True)
    seen = looks(_names(comparisons))
    for table in tables:
        _write_csv(folder, table)
    blocks: list[Block] = [Heading("Comparison of policies", 1), Paragraph(HOW_TO_READ)]
    blocks += [Paragraph(GLOSSARY), Paragraph(LATCHED_NOTE), *policy_blocks(comparisons)]
    for table in tables:
        blocks += env_blocks(folder, table, seen)
    blocks += curve_blocks(folder, comparisons, seen) + tuning_blocks(comparisons) + origin_blocks(comparisons)
    blocks.append(Heading("Failures"))
    found = [found_failures(table) for table in tables]
    for table, failed in zip(tables, found, strict=True):
        blocks += [Paragraph(f"{table.comparison.env}, by kind:"), overview(table, failed)]
    blocks.append(Link("Every policy's failed episodes, with their kinds where paths are known", FAILURES))
    write_text(folder / FAILURES, as_html(failure_blocks(folder, tables, found)))
    write_text(folder / REPORT, as_markdown(blocks))
    return write_text(folder / PAGE, as_html(blocks))


def readme_table(comparisons: Sequence[EnvComparison]) -> str:
    """Return one Markdown table over all environments: success, mean, and the difference to the reference.

    The difference is how many steps later a policy reaches the goal than the reference on the starts that both ran, in
    bold where it is shown to be faster. Behind the mean of one that ran fewer starts is the reference's on these. The
    fastest come first. A line below says how many starts count as inside the goal, if any.
    """
    tables = [make_tables(comparison) for comparison in comparisons]
    lines = {(table.comparison.env, line.policy): line for table in tables for line in table.policies}
    pairs = {(table.comparison.env, pair.policy): pair for table in tables for pair in table.pairs}
    marked = {episodes.name: episodes.marked for table in tables for episodes in table.episodes}

    def rank(name: str) -> float:
        """How much later than the reference, as a share of an episode's length, where it ran."""
        own = [pair.steps.value / lines[env, name].limit for (env, policy), pair in pairs.items() if policy == name]
        return float(np.mean(own)) if own else 0.0

    def cell(env: str, name: str) -> str:
        if (env, name) not in lines:
            return DASH
        line, pair = lines[env, name], pairs.get((env, name))
        digits = 0 if line.limit > 100 else 1
        mean = f"{line.success.value:.2f} · {line.restricted_mean.value:.{digits}f}"
        if pair is None:
            return mean
        if line.starts < line.of_starts:
            mean += f" / {pair.reference_mean:.{digits}f}"
        steps = pair.steps.signed()
        if pair.shown and pair.steps.value < 0:
            steps = f"**{steps}**"
        fewer = f" ({pair.starts})" if line.starts < line.of_starts else ""
        return f"{mean} · {steps}{fewer}"

    def computing(name: str) -> str:
        found = [line.real_time_factor for (_, policy), line in lines.items() if policy == name]
        return _range_text([factor for factor in found if factor is not None])

    columns = ["policy", "sees", *(table.comparison.env for table in tables), "computed / simulated time"]
    rows = []
    for name in sorted(marked, key=rank):
        sees = next(line.sees for (_, policy), line in lines.items() if policy == name)
        cells = [cell(table.comparison.env, name) for table in tables]
        rows.append([marked[name], sees, *cells, computing(name)])
    blocks: list[Block] = [Table(columns, rows, wordy=(1,))]
    # Where an environment does not say at its reset whether it is solved, as Fetch does not, none counts as 0 steps.
    if any(table.starts_inside for table in tables):
        inside = " / ".join(f"{table.starts_inside} of {table.starts}" for table in tables)
        blocks.append(Paragraph(f"Starts inside the goal, which count as 0 steps: {inside}."))
    return as_markdown(blocks).rstrip("\n")


def _names(comparisons: Sequence[EnvComparison]) -> list[str]:
    """Return the names of all policies, in the order in which they were first asked for."""
    names = [rows.policy for comparison in comparisons for rows in comparison.policies]
    names += [name for comparison in comparisons for name in comparison.curves]
    bare = [policy_of(name) for name in names]
    return list(dict.fromkeys([*bare, *names]))


def _write_csv(folder: Path, tables: EnvTables) -> None:
    name = file_name(tables.comparison.env)
    for kind, rows in (("summary", tables.policies), ("paired", tables.pairs), ("distance", tables.distances)):
        path = folder / f"{kind}-{name}.csv"
        if rows:
            write_text(path, csv_text(rows))
        else:
            path.unlink(missing_ok=True)


def csv_text(rows: Sequence[Any]) -> str:
    """Return dataclasses as CSV; an estimate `x` becomes the columns x, x_low and x_high, what is unknown is empty."""
    lines = [_flat(row) for row in rows]
    columns = list(dict.fromkeys(key for line in lines for key in line))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _flat(row: Any) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for field in fields(row):
        value = getattr(row, field.name)
        if isinstance(value, Estimate):
            flat |= {field.name: value.value, f"{field.name}_low": value.low, f"{field.name}_high": value.high}
        else:
            flat[field.name] = value
    return flat


def _range_text(values: Sequence[float]) -> str:
    if not values:
        return DASH
    low, high = f"{min(values):.2g}", f"{max(values):.2g}"
    return low if low == high else f"{low} to {high}"
