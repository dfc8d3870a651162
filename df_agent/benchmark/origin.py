"""The report's section on where its rows come from, so that it can be defended without the folder it was made in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from df_agent.benchmark.blocks import DASH
from df_agent.benchmark.document import Block, Heading, Paragraph, Table
from df_agent.benchmark.rows import EnvComparison, PolicyRows
from df_agent.benchmark.store import file_name

TEXT = (
    "Every number follows from the rows in {files} (an episode per line; in timing-*.csv are those run "
    "one at a time) and policies-*.json (options, weights and code that they were made with)."
)


def origin_blocks(comparisons: Sequence[EnvComparison]) -> list[Block]:
    """Return commands, commits, machine and versions, and whose rows are not those of the options in its file.

    Nothing if the rows do not say where they come from.
    """
    found = [(part.env, rows) for part in comparisons for rows in part.policies if rows.provenance.get("about")]
    if not found:
        return []
    about = [rows.provenance["about"] for _, rows in found]
    timed = [rows.provenance["timed"] for _, rows in found if rows.provenance.get("timed")]
    facts = [[name, _unique(about, read), _unique(timed, read) or DASH] for name, read in FACTS.items()]
    lines = [line for line in facts if line[1]]
    files = ", ".join(f"rows-{file_name(part.env)}.csv" for part in comparisons)
    blocks: list[Block] = [Heading("Where this comes from"), Paragraph(TEXT.format(files=files))]
    blocks.append(Table(["", "rows were made with", "latencies were measured with"], lines, wordy=(1, 2)))
    unlike = _unlike_timings(found)
    if unlike:
        blocks.append(Paragraph("Latencies are to be compared with care where they were not measured alike:"))
        blocks.append(Table(["environment", "measured with", "policies"], unlike, wordy=(1, 2)))
    odd: dict[tuple[str, str], list[str]] = {}
    for env, rows in found:
        for text in _departures(rows):
            odd.setdefault((env, text), []).append(rows.policy)
    if odd:
        blocks.append(Paragraph("Rows that are not plainly of the options and the code named above:"))
        lines = [[env, ", ".join(names), text] for (env, text), names in odd.items()]
        blocks.append(Table(["environment", "policies", "what"], lines, wordy=(1, 2)))
    return blocks


def _unique(entries: Sequence[Mapping[str, Any]], read: Callable[[Mapping[str, Any]], str]) -> str:
    return "; ".join(dict.fromkeys(text for entry in entries if (text := read(entry))))


def _unlike_timings(found: Sequence[tuple[str, PolicyRows]]) -> list[list[str]]:
    """Return environment, machine and policies where latencies of one environment are of several machines."""
    lines = []
    for env in dict.fromkeys(env for env, _ in found):
        groups: dict[str, list[str]] = {}
        for rows in (rows for where, rows in found if where == env and rows.timing):
            groups.setdefault(_machine(rows.provenance.get("timed") or {}) or "not recorded", []).append(rows.policy)
        if len(groups) > 1:
            lines += [[env, machine, ", ".join(names)] for machine, names in groups.items()]
    return lines


def _machine(about: Mapping[str, Any]) -> str:
    machine = about.get("hardware") or {}
    if not machine:
        return ""
    accelerator = machine.get("accelerator") or "no accelerator"
    threads = machine.get("torch_threads")
    cores = f"{machine.get('cores')} cores" + (f", {threads} thread{'s' if threads > 1 else ''}" if threads else "")
    return f"{machine.get('processor')}, {cores}, {accelerator}, {machine.get('system')}"


def _versions(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in (about.get("versions") or {}).items() if version)


FACTS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "command": lambda about: about.get("command") or "",
    "commit": lambda about: about.get("commit") or "",
    "machine": _machine,
    "versions": _versions,
}


def _departures(rows: PolicyRows) -> list[str]:
    about, texts = rows.provenance["about"], []
    if about.get("changes"):
        texts.append(f"options changed for this comparison: {json.dumps(about['changes'])}")
    earlier = rows.provenance.get("earlier") or []
    if earlier:
        code = any(entry.get("code") != rows.provenance["identity"].get("code") for entry in earlier)
        texts.append(f"some rows are of earlier {'code' if code else 'versions'} (adopted)")
    if "@" in rows.policy:
        weights = about.get("checkpoint_sha256") or DASH
        texts.append(f"weights: {about.get('checkpoint') or DASH}, sha256 {weights[:12]}")
    return texts
