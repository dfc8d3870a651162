"""The rows of several policies, laid side by side: equal seeds mean equal starts and goals, and that is checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.evaluation.metrics import reference_steps
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import NO_REFERENCES, References, StepsFunction

Array = NDArray[Any]
PRIVILEGED = ("map", "simulator", "environment")


@dataclass(frozen=True)
class PolicyRows:
    """What one policy (one training run of it) did in one environment.

    Attributes:
        policy: its name; "diffuser@1" is another training run of "diffuser".
        sees: what it knows besides the observation, e.g. "data", "simulator, map".
        records: its episodes, of all rollout seeds; `record.seed` identifies a start, whoever acts.
        timing: episodes run one environment at a time, for the latencies.
        error: why there are none, or not all, of the episodes that were asked for.
        provenance: what the rows were made with.
        what: what it is, in words.
    """

    policy: str
    sees: str
    records: Sequence[EpisodeRecord]
    timing: Sequence[EpisodeRecord] = ()
    error: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    what: str = ""


@dataclass(frozen=True)
class EnvComparison:
    """All policies in one environment.

    Attributes:
        env: gymnasium id.
        policies: their rows; the first is what the others are compared with.
        references: what is known about the environment.
        time_optimal_steps: (starts (N, Do), goals (N, Dg)) -> (N,) steps of the numerical time-optimal
            solution, NaN where unknown; None if there is none.
        curves: learned policy -> rows of {"step", "success_rate", "time_to_goal"} measured while it was trained. Of
            those given, the ones of policies that have episodes here; likewise `tuning`.
        tuning: rows of the table of tuning effort, with "policy".
        videos: caption -> file; the report keeps a copy beside it and one inside its page.
        seeds: reset seed of a start -> seed of the rollout that it belongs to.
    """

    env: str
    policies: Sequence[PolicyRows]
    references: References = NO_REFERENCES
    time_optimal_steps: StepsFunction | None = None
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    tuning: Sequence[Mapping[str, Any]] = ()
    videos: Mapping[str, Path] = field(default_factory=dict)
    seeds: Mapping[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # The files that these come from know many policies; a report speaks of those that it compares.
        compared = {policy_of(rows.policy) for rows in self.policies if rows.records}
        curves = {name: rows for name, rows in self.curves.items() if rows and policy_of(name) in compared}
        object.__setattr__(self, "curves", curves)
        object.__setattr__(self, "tuning", [row for row in self.tuning if policy_of(str(row["policy"])) in compared])


def policy_of(name: str) -> str:
    """Return whose training run "diffuser@1" is: "diffuser"."""
    return name.partition("@")[0]


@dataclass(frozen=True)
class Episodes:
    """A policy's episodes in the order of their starts, so that those of two policies can be laid side by side.

    Attributes:
        rows: what they come from.
        ids: (N,) ascending, which start each had.
        times: (N,) steps to goal, timeouts as the limit.
        success: (N,) whether the goal was reached.
        oracle, optimal, bound: (N,) steps of the references from the same starts, not cut at the limit; None if there
            is no such reference, NaN where it is unknown.
    """

    rows: PolicyRows
    ids: NDArray[np.int64]
    times: Array
    success: NDArray[np.bool_]
    oracle: Array | None
    optimal: Array | None
    bound: Array | None

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.rows.policy

    @property
    def marked(self) -> str:
        """The name, with a dagger if the policy had more than recorded data to go by."""
        return f"{self.name}†" if any(word in self.rows.sees for word in PRIVILEGED) else self.name


def check_pairing(env: str, policies: Sequence[PolicyRows]) -> int:
    """Return the limit all episodes share; raise ValueError unless equal seeds mean equal starts and goals."""
    known: dict[int, tuple[str, EpisodeRecord]] = {}
    for rows in policies:
        ids = start_ids(rows.records)
        if len(np.unique(ids)) < len(ids):
            twice = sorted({int(i) for i in ids if (ids == i).sum() > 1})
            raise ValueError(f"{env}: {rows.policy} ran the start of seed {twice[0]} more than once")
        for record in rows.records:
            other, seen = known.setdefault(record.seed, (rows.policy, record))
            # Rows that were kept as CSV have six decimals.
            pairs = ((record.start, seen.start), (record.goal, seen.goal))
            same = all(np.allclose(own, others, atol=1e-6, equal_nan=True) for own, others in pairs)
            if not same or record.max_episode_steps != seen.max_episode_steps:
                raise ValueError(
                    f"{env}: {rows.policy} and {other} differ under seed {record.seed}: start {record.start} and "
                    f"{seen.start}, goal {record.goal} and {seen.goal}, limit {record.max_episode_steps} and "
                    f"{seen.max_episode_steps}; run one of them anew with refresh=, or in a folder of its own"
                )
    limits = {record.max_episode_steps for _, record in known.values()}
    if len(limits) > 1:
        raise ValueError(f"{env}: episodes of different limits cannot be compared, got {sorted(limits)}")
    return limits.pop()


def align(rows: PolicyRows, comparison: EnvComparison) -> Episodes:
    """Put a policy's episodes into the order of their starts, and the references beside them."""
    records = sorted(rows.records, key=lambda record: record.seed)
    success = np.array([record.success for record in records])
    limits = np.array([record.max_episode_steps for record in records], dtype=np.float64)
    times = np.minimum([record.time_to_goal for record in records], limits)
    references = comparison.references
    return Episodes(
        rows,
        start_ids(records),
        np.where(success, times, limits),
        success,
        reference_steps(records, references.oracle_steps),
        reference_steps(records, comparison.time_optimal_steps),
        reference_steps(records, references.lower_bound_steps),
    )


def start_ids(records: Sequence[EpisodeRecord]) -> NDArray[np.int64]:
    """Return (N,) the reset seeds, which say which start and goal an episode had."""
    return np.array([record.seed for record in records], dtype=np.int64)


def common_starts(runs: Sequence[Episodes]) -> NDArray[np.int64]:
    """Return the starts, ascending, that all of them ran."""
    common = set.intersection(*(set(run.ids.tolist()) for run in runs))
    return np.array(sorted(common), dtype=np.int64)


def stacked(runs: Sequence[Episodes], ids: NDArray[np.int64]) -> tuple[Array, Array]:
    """Return times and successes, both (runs, starts), on the given starts."""
    index = [np.searchsorted(run.ids, ids) for run in runs]
    times = np.stack([run.times[i] for run, i in zip(runs, index, strict=True)])
    return times, np.stack([run.success[i] for run, i in zip(runs, index, strict=True)])
