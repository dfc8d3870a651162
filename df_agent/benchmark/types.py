"""What a comparison is made of: the rows of several policies on the same starts and goals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import NO_REFERENCES, References


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
        curves: learned policy -> rows of {"step", "success_rate", "time_to_goal"} measured while it was trained.
        tuning: rows of the table of tuning effort.
        videos: caption -> file; the report keeps a copy beside it and one inside its page.
        seeds: reset seed of a start -> seed of the rollout that it belongs to.
    """

    env: str
    policies: Sequence[PolicyRows]
    references: References = NO_REFERENCES
    time_optimal_steps: Any = None  # metrics.StepsFunction | None
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    tuning: Sequence[Mapping[str, Any]] = ()
    videos: Mapping[str, Path] = field(default_factory=dict)
    seeds: Mapping[int, int] = field(default_factory=dict)


def start_ids(records: Sequence[EpisodeRecord]) -> NDArray[np.int64]:
    """Return (N,) the reset seeds, which say which start and goal an episode had."""
    return np.array([record.seed for record in records], dtype=np.int64)
