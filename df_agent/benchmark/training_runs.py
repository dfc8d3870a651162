"""Several training runs of one policy: how much of a result is the run's luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from df_agent.benchmark.paired import paired_episodes
from df_agent.benchmark.rows import Episodes, common_starts, policy_of, stacked
from df_agent.benchmark.survival import CONFIDENCE, Estimate

Array = NDArray[Any]


@dataclass(frozen=True)
class RunsSummary:
    """A policy over its training runs, on the starts that all of them ran.

    Attributes:
        policy: its name.
        names: of its runs.
        starts: common to the runs.
        means: restricted mean of each run [steps].
        successes: success of each run.
        mean: over runs and starts, with an interval that holds for other runs and other starts.
    """

    policy: str
    names: tuple[str, ...]
    starts: int
    means: tuple[float, ...]
    successes: tuple[float, ...]
    mean: Estimate


def mean_over_runs(*groups: Array) -> Estimate:
    """Return the mean of (runs, starts) values, or of a first group less a second one on the same starts.

    Runs and starts are both drawn at random and crossed: y = mean + run + start + rest. The half widths for runs and
    for starts, each from Student's t with its own degrees of freedom, add in squares. That is on the safe side: three
    runs cover 98 %, the difference of three and three nearly all. With three runs that differ, a bootstrap of runs and
    starts covers 84 % where 95 % is meant, since three numbers cannot show their spread, and Satterthwaite's
    approximation 91 % (simulated).

    Args:
        groups: one or two arrays (R, S); columns are the same starts in both.
    """
    if len(groups) not in (1, 2) or len({group.shape[1] for group in groups}) != 1:
        raise ValueError(f"need one or two arrays (runs, starts) of equal starts, got {[g.shape for g in groups]}")
    signs = (1.0, -1.0)
    per_start = np.sum([sign * group.mean(axis=0) for sign, group in zip(signs, groups, strict=False)], axis=0)
    starts = per_start.size
    if min(len(group) for group in groups) < 2 or starts < 2:
        raise ValueError("an interval over runs needs two runs and two starts at least")
    # What is left when runs and starts are taken out counts twice, which errs on the safe side.
    terms = np.array([per_start.var(ddof=1) / starts, *(g.mean(axis=1).var(ddof=1) / len(g) for g in groups)])
    freedom = np.array([starts - 1, *(len(group) - 1 for group in groups)])
    half = float(np.sqrt(np.sum(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) ** 2 * terms)))
    value = float(per_start.mean())
    return Estimate(value, value - half, value + half)


def over_runs(policy: str, runs: Sequence[Episodes]) -> RunsSummary:
    """Summarise training runs of a policy on the starts that all of them ran."""
    times, success = stacked(runs, common_starts(runs))
    return summarise_runs(policy, [run.name for run in runs], times, success)


def summarise_runs(policy: str, names: Sequence[str], times: Array, success: Array) -> RunsSummary:
    """Summarise training runs from times to goal and successes, both (runs, starts)."""
    return RunsSummary(
        policy,
        tuple(names),
        times.shape[1],
        tuple(float(mean) for mean in times.mean(axis=1)),
        tuple(float(mean) for mean in success.mean(axis=1)),
        mean_over_runs(np.asarray(times, dtype=np.float64)),
    )


def runs_differences(
    reference: Sequence[Episodes], policies: Sequence[Sequence[Episodes]]
) -> list[tuple[str, Estimate]]:
    """Return each policy's mean over runs less the reference's, where both have several runs and common starts."""
    found = []
    for runs in policies:
        common = common_starts([*reference, *runs])
        if min(len(reference), len(runs)) < 2 or runs[0] is reference[0] or len(common) < 2:
            continue
        difference = mean_over_runs(stacked(runs, common)[0], stacked(reference, common)[0])
        found.append((policy_of(runs[0].name), difference))
    return found


def against_runs(
    reference: Sequence[Episodes], policies: Sequence[Episodes]
) -> list[tuple[str, list[Estimate | None]]]:
    """Return each policy's paired difference to every run of the reference, where it has several."""
    if len(reference) < 2:
        return []
    others = [entry for entry in policies if entry is not reference[0]]
    found = [(entry.name, [paired_episodes(run, entry) for run in reference]) for entry in others]
    return [(name, [None if pair is None else pair.steps for pair in pairs]) for name, pairs in found]
