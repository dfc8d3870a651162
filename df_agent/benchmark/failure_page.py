"""The page of failures: per policy how many, why, and the first of them drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from df_agent.benchmark.document import Block, Heading, Media, Paragraph, Table
from df_agent.benchmark.failures import RULE, Failure, counted, failures
from df_agent.benchmark.pairing import Episodes
from df_agent.benchmark.path_plots import plot_failures
from df_agent.benchmark.tables import EnvTables

DRAWN = 12  # failures drawn per policy and environment, at most
LISTED = 40


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
        plot_failures(drawn, table.comparison.references, f"{name} in {env}", f"{number}; {shown}", path)
        blocks.append(Media(path, f"{name} in {env}: start, goal, path and why."))
    return [*blocks, Table(columns, rows, wordy=(5,))]


def _place(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.2f}" for value in values[:2])
