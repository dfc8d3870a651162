"""The page of a comparison's failures: how many of which kind, and the first of them drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from df_agent.benchmark.document import Block, Heading, Media, Paragraph, Table
from df_agent.benchmark.path_plots import plot_failures
from df_agent.benchmark.rows import Episodes
from df_agent.benchmark.tables import EnvTables
from df_agent.evaluation.failures import RULE, Failure, by_kind, counted, failures, goal_unit

DRAWN = 12  # failures drawn per policy and environment, at most
LISTED = 40


Found = dict[str, list[Failure]]  # by policy


def found_failures(table: EnvTables) -> Found:
    """Return every policy's failures in an environment; the goal's radius is the same for all of them."""
    references = table.comparison.references
    unit = goal_unit([record for episodes in table.episodes for record in episodes.rows.records], references)
    return {episodes.name: failures(episodes.rows.records, references, unit) for episodes in table.episodes}


def failure_blocks(folder: Path, tables: Sequence[EnvTables], found: Sequence[Found]) -> list[Block]:
    """Return the page; its pictures are written to `folder`/failures."""
    blocks: list[Block] = [Heading("Failures", 1), Paragraph(RULE)]
    pictures = folder / "failures"
    pictures.mkdir(exist_ok=True)
    for stale in pictures.glob("*.png"):
        stale.unlink()
    for table, failed in zip(tables, found, strict=True):
        blocks += [Heading(table.comparison.env), overview(table, failed)]
        for episodes in table.episodes:
            if failed[episodes.name]:
                blocks += _of_policy(pictures, table, episodes, failed[episodes.name])
    return blocks


def overview(table: EnvTables, found: Found) -> Table:
    """Return how many episodes of each policy failed, and of which kinds."""
    rows = []
    for episodes in table.episodes:
        failed = found[episodes.name]
        rows.append([episodes.name, f"{len(failed)} of {len(episodes.times)}", counted(by_kind(failed))])
    return Table(["policy", "failed", "kinds"], rows, wordy=(2,))


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
            failure.kind,
        ]
        for failure in listed
    ]
    columns = ["episode", "reset seed", "start", "goal", "nearest to the goal [radii]", "kind"]
    text = f"{number}: {counted(by_kind(failed))}. "
    text += f"{shown.capitalize()}" + ("." if len(listed) == len(failed) else f", the first {LISTED} are listed.")
    blocks: list[Block] = [Heading(f"{env}: {name}", 3), Paragraph(text)]
    if drawn:
        path = pictures / f"{env}-{name}.png".replace("/", "_").replace(":", "_")
        episodes_drawn = [(failure.record, failure.kind) for failure in drawn]
        plot_failures(episodes_drawn, table.comparison.references, f"{name} in {env}", f"{number}; {shown}", path)
        blocks.append(Media(path, f"{name} in {env}: start, goal, path and kind."))
    return [*blocks, Table(columns, rows, wordy=(5,))]


def _place(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values[:2])
