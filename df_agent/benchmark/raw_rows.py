"""A comparison's rows as CSV: small enough to be committed, enough to make every number again.

rows-ENV.csv holds an episode per line, timing-ENV.csv the episodes that were run one at a time, policies-ENV.json what
the policies are. Paths are left out. The CSV files are read compressed too, as rows-ENV.csv.gz.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.benchmark.rows import EnvComparison, PolicyRows
from df_agent.benchmark.store import PolicyStore, StoreError, file_name
from df_agent.evaluation.metrics import reference_steps
from df_agent.evaluation.records import EpisodeRecord, PlanRecord, read_text
from df_agent.evaluation.references import NO_REFERENCES, References, StepsFunction
from df_agent.files import json_bytes, replace_file, temporary_name

Array = NDArray[Any]
COLUMNS = (
    "policy", "run", "seed", "episode", "start_id", "start", "goal", "limit", "length", "success", "time_to_goal",
    "first_reach", "at_goal_at_end", "episode_reward", "episode_reward_if_stay", "plan_steps", "plan_seconds",
    "policy_seconds", "policy_seconds_to_goal", "num_envs", "oracle", "lower_bound", "time_optimal",
)  # fmt: skip
REFERENCES = ("oracle", "lower_bound", "time_optimal")


def write_raw_rows(folder: Path, comparison: EnvComparison, seeds: Mapping[int, int], position: int = 0) -> list[Path]:
    """Write the rows of an environment.

    Args:
        folder: where; files of the same name are replaced.
        comparison: the rows.
        seeds: start id -> seed of the rollout.
        position: of the environment among those that are compared.

    Returns:
        The files.
    """
    name = file_name(comparison.env)
    rows, timing = folder / f"rows-{name}.csv", folder / f"timing-{name}.csv"
    replace_file(rows, _table(comparison, {p.policy: p.records for p in comparison.policies}, seeds, timed=False))
    replace_file(timing, _table(comparison, {p.policy: p.timing for p in comparison.policies}, seeds, timed=True))
    about = [
        {"policy": p.policy, "what": p.what, "sees": p.sees, "error": p.error, "provenance": dict(p.provenance)}
        for p in comparison.policies
    ]
    policies = folder / f"policies-{name}.json"
    replace_file(policies, json_bytes({"env": comparison.env, "position": position, "policies": about}))
    return [rows, timing, policies]


def read_raw_rows(folder: Path, references: Callable[[str], References]) -> list[EnvComparison]:
    """Read all environments of a folder; the references are those in the files.

    Args:
        folder: with what `write_raw_rows` wrote.
        references: environment -> what is known about it, for drawing and scores.

    Raises:
        FileNotFoundError: there are none.
    """
    found = []
    files = {path: json.loads(path.read_text()) for path in sorted(folder.glob("policies-*.json"))}
    for path, about in sorted(files.items(), key=lambda item: item[1].get("position", 0)):
        env, name = about["env"], path.stem.removeprefix("policies-")
        lines = read_lines(folder / f"rows-{name}.csv")
        timing = read_lines(folder / f"timing-{name}.csv")
        policies = [
            PolicyRows(
                entry["policy"],
                entry["sees"],
                [_record(env, line) for line in lines if _label(line) == entry["policy"]],
                [_record(env, line) for line in timing if _label(line) == entry["policy"]],
                entry["error"],
                entry["provenance"],
                entry.get("what", ""),
            )
            for entry in about["policies"]
        ]
        oracle, bound, optimal = (_lookup(lines, column) for column in REFERENCES)
        known = replace(references(env), oracle_steps=oracle, lower_bound_steps=bound)
        found.append(EnvComparison(env, policies, known, optimal))
    if not found:
        raise FileNotFoundError(f"{folder} holds no rows of a comparison: no policies-ENV.json")
    return found


def restore_rows(kept: Path, folder: Path) -> None:
    """Begin the comparison in `folder` with the rows of `kept`, all or none; it can go on then. Their paths are lost.

    Args:
        kept: with what `write_raw_rows` wrote.
        folder: of a comparison, without rows yet.

    Raises:
        FileNotFoundError: there are none to begin with.
        StoreError: the comparison has rows already.
    """
    if (folder / "rows").exists():
        raise StoreError(f"{folder} holds rows already")
    temporary = temporary_name(folder / "restored")
    for part in read_raw_rows(kept, lambda env: NO_REFERENCES):
        lines = read_lines(kept / f"rows-{file_name(part.env)}.csv")
        seeds = {int(line["start_id"]): int(line["seed"]) for line in lines}
        for rows in part.policies:
            by_seed: dict[int, list[EpisodeRecord]] = {}
            for record in rows.records:
                by_seed.setdefault(seeds[record.seed], []).append(record)
            if by_seed:
                PolicyStore(temporary, part.env, rows.policy).restore(rows.provenance, by_seed, rows.timing)
    os.replace(temporary / "rows", folder / "rows")
    temporary.rmdir()


def _table(
    comparison: EnvComparison, records: Mapping[str, Sequence[EpisodeRecord]], seeds: Mapping[int, int], *, timed: bool
) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    functions = (
        comparison.references.oracle_steps,
        comparison.references.lower_bound_steps,
        comparison.time_optimal_steps,
    )
    for label, episodes in records.items():
        steps = [reference_steps(episodes, function) if len(episodes) else None for function in functions]
        policy, _, run = label.partition("@")
        for i, record in enumerate(episodes):
            known = ["" if values is None else _number(values[i]) for values in steps]
            seed = seeds.get(record.seed, "")
            writer.writerow([policy, run or 0, seed, *_cells(record, timed), *known])
    return out.getvalue().encode()


def _cells(record: EpisodeRecord, timed: bool) -> list[Any]:
    seconds = " ".join(f"{plan.seconds:.5g}" for plan in record.plans) if timed else ""
    return [
        record.episode,
        record.seed,
        _numbers(record.start),
        _numbers(record.goal),
        record.max_episode_steps,
        record.length,
        int(record.success),
        record.time_to_goal,
        record.first_reach,
        int(record.at_goal_at_end),
        _number(record.episode_reward),
        _number(record.episode_reward_if_stay),
        " ".join(str(plan.step) for plan in record.plans),
        seconds,
        f"{record.policy_seconds:.5g}",
        f"{record.policy_seconds_to_goal:.5g}",
        record.num_envs,
    ]


def read_lines(path: Path) -> list[dict[str, str]]:
    """Return the rows of rows-ENV.csv or timing-ENV.csv, plain or .gz, as text by column.

    Raises:
        FileNotFoundError: there is neither the file nor a compressed one.
        ValueError: it has other columns, or a line is cut off.
    """
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise ValueError(f"{path} has the columns {reader.fieldnames}, expected {list(COLUMNS)}")
    lines = list(reader)
    for number, line in enumerate(lines, start=2):
        if None in line or None in line.values():
            raise ValueError(f"{path}, line {number}, is cut off or has cells too many")
    return lines


def _label(line: Mapping[str, str]) -> str:
    return line["policy"] if line["run"] == "0" else f"{line['policy']}@{line['run']}"


def _record(env: str, line: Mapping[str, str]) -> EpisodeRecord:
    steps = [int(text) for text in line["plan_steps"].split()]
    seconds = [float(text) for text in line["plan_seconds"].split()] or [0.0] * len(steps)
    return EpisodeRecord(
        env=env,
        policy=_label(line),
        episode=int(line["episode"]),
        seed=int(line["start_id"]),
        max_episode_steps=int(line["limit"]),
        length=int(line["length"]),
        start=[float(text) for text in line["start"].split()],
        goal=[float(text) for text in line["goal"].split()],
        success=line["success"] == "1",
        time_to_goal=int(line["time_to_goal"]),
        at_goal_at_end=line["at_goal_at_end"] == "1",
        episode_reward=float(line["episode_reward"]),
        first_reach=int(line["first_reach"]),
        episode_reward_if_stay=float(line["episode_reward_if_stay"]),
        plans=[
            PlanRecord(call, step, value, int(line["num_envs"]))
            for call, (step, value) in enumerate(zip(steps, seconds, strict=True))
        ],
        num_envs=int(line["num_envs"]),
        policy_seconds=float(line["policy_seconds"]),
        policy_seconds_to_goal=float(line["policy_seconds_to_goal"]),
    )


def _lookup(lines: Sequence[Mapping[str, str]], column: str) -> StepsFunction | None:
    """Return a reference that repeats what the rows say."""
    known = {(line["start"], line["goal"]): float(line[column]) for line in lines if line[column]}
    if not known:
        return None

    def steps(starts: Array, goals: Array) -> Array:
        keys = [(_numbers(start), _numbers(goal)) for start, goal in zip(starts, goals, strict=True)]
        return np.array([known.get(key, np.nan) for key in keys])

    return steps


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _numbers(values: Any) -> str:
    return " ".join(_number(float(value)) for value in values)
