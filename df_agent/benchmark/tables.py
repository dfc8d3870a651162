"""The numbers of a comparison: every policy by itself, against the reference, by distance and over training runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.benchmark.paired import PairedDifference, adjusted, paired_episodes
from df_agent.benchmark.rows import EnvComparison, Episodes, align, check_pairing, common_starts, policy_of
from df_agent.benchmark.survival import (
    Estimate,
    median_time,
    ratio_of_means,
    restricted_mean,
    success_share,
)
from df_agent.benchmark.training_runs import RunsSummary, against_runs, over_runs, runs_differences
from df_agent.evaluation.metrics import comparable, normalised_score, real_time_factor, seconds_per_action
from df_agent.evaluation.records import EpisodeRecord

Array = NDArray[Any]
DISTANCE_BINS = (64, 128, 256, 384)


@dataclass(frozen=True)
class PolicySummary:
    """A line of the table of policies. Steps are control steps; `score_*` are D4RL-style where references are known.

    Attributes:
        env, policy, sees: which line it is.
        runs: training runs there are of it; the numbers are those of the first one.
        starts: how many it ran, `of_starts` of how many that any policy ran.
        success: share that reached the goal, with Wilson's interval.
        restricted_mean: mean of min(time to goal, `limit`).
        median: infinity where fewer than half reached it.
        oracle_ratio, optimal_ratio, bound_ratio: restricted mean against that of the oracle, the time-optimal solution
            and the kinematic bound, from the same starts.
        at_goal_at_end: share that was at the goal at the last step.
        score_occupancy, score_latched: see `LATCHED_NOTE`.
        plan_ms_p50, plan_ms_p95, plan_ms_p99: wall time of a plan with one environment [ms].
        act_ms: mean wall time of an action with one environment until the goal, planning included [ms].
        plans_timed: plans that these are of, in `episodes_timed` episodes.
        seconds_to_goal: wall time spent computing until the goal, per episode, with one environment [s].
        plans_to_goal: plans made until the goal, per episode.
        real_time_factor: seconds computed per second simulated until the goal, with one environment.
    """

    env: str
    policy: str
    sees: str
    runs: int
    starts: int
    of_starts: int
    limit: int
    success: Estimate
    restricted_mean: Estimate
    median: Estimate
    oracle_ratio: Estimate | None
    optimal_ratio: Estimate | None
    bound_ratio: Estimate | None
    at_goal_at_end: float
    score_occupancy: float
    score_latched: float
    plan_ms_p50: float | None
    plan_ms_p95: float | None
    plan_ms_p99: float | None
    act_ms: float | None
    plans_timed: int
    episodes_timed: int
    seconds_to_goal: float | None
    plans_to_goal: float
    real_time_factor: float | None


@dataclass(frozen=True)
class DistanceRow:
    """A policy on the starts that the oracle needs about `bin` steps from (from `low` to below `high`).

    `oracle_mean` is restricted as the policy's mean is; which bin a start is in is not.
    """

    env: str
    policy: str
    bin: int
    low: float
    high: float
    starts: int
    success: Estimate
    restricted_mean: Estimate
    median_of_arrived: float
    oracle_mean: float

    @property
    def label(self) -> str:
        """The bin in words, in the oracle's steps."""
        if not self.low:
            return f"below {self.high:.0f}"
        return f"{self.low:.0f} and more" if np.isinf(self.high) else f"{self.low:.0f} to {self.high:.0f}"


@dataclass(frozen=True)
class EnvTables:
    """All numbers about one environment, policies in the order of the table.

    Attributes:
        comparison: what they were made from.
        limit: of an episode [control steps].
        starts: how many starts any policy ran; `starts_inside`: how many of them count as inside the goal, with 0
            steps. An environment that does not call a start solved at its reset, as Fetch does not, has none.
        episodes: one entry per policy that has any, its first training run.
        policies: the same as lines of the table.
        pairs: the reference against every other policy.
        distances: by start-goal distance; empty without an oracle.
        runs: policies with several training runs.
        runs_difference: (policy, difference to the reference) over runs, where both have several.
        against_runs: (policy, its first run's difference to each run of the reference), where that has several.
        failed: (name, error).
    """

    comparison: EnvComparison
    limit: int
    starts: int
    starts_inside: int
    episodes: Sequence[Episodes]
    policies: Sequence[PolicySummary]
    pairs: Sequence[PairedDifference]
    distances: Sequence[DistanceRow]
    runs: Sequence[RunsSummary]
    runs_difference: Sequence[tuple[str, Estimate]]
    against_runs: Sequence[tuple[str, Sequence[Estimate | None]]]
    failed: Sequence[tuple[str, str]]


def make_tables(comparison: EnvComparison) -> EnvTables:
    """Compute everything that is said about one environment.

    Raises:
        ValueError: no policy has any episode, a policy ran a start twice, or two policies were not given the same
            start, goal or limit under the same seed.
    """
    given = [rows for rows in comparison.policies if rows.records]
    if not given:
        raise ValueError(f"{comparison.env}: no policy has any episode")
    limit = check_pairing(comparison.env, given)
    episodes = [align(rows, comparison) for rows in given]
    first = list({policy_of(entry.name): entry for entry in reversed(episodes)}.values())[::-1]
    every = len(set().union(*(entry.ids.tolist() for entry in first)))
    inside = len(set().union(*(entry.ids[entry.success & (entry.times == 0)].tolist() for entry in first)))
    members = {entry.name: [e for e in episodes if policy_of(e.name) == policy_of(entry.name)] for entry in first}
    lines = {e.name: summarise(e, comparison, limit, len(members[e.name]), every) for e in first}
    ordered = sorted(first, key=lambda e: (-lines[e.name].success.value, lines[e.name].restricted_mean.value))
    reference = next((e for e in first if policy_of(e.name) == policy_of(comparison.policies[0].policy)), None)
    pairs = [] if reference is None else [paired_episodes(reference, e) for e in ordered if e is not reference]
    return EnvTables(
        comparison,
        limit,
        every,
        inside,
        ordered,
        [lines[entry.name] for entry in ordered],
        adjusted([pair for pair in pairs if pair is not None]),
        [row for entry in ordered for row in by_distance(entry, comparison.env, limit)],
        [
            over_runs(policy_of(e.name), members[e.name])
            for e in ordered
            if len(members[e.name]) > 1 and len(common_starts(members[e.name])) > 1
        ],
        [] if reference is None else runs_differences(members[reference.name], [members[e.name] for e in ordered]),
        [] if reference is None else against_runs(members[reference.name], ordered),
        [(rows.policy, rows.error) for rows in comparison.policies if rows.error],
    )


def summarise(episodes: Episodes, comparison: EnvComparison, limit: int, runs: int, of_starts: int) -> PolicySummary:
    """Return a policy's line of the table."""
    rows, times = episodes.rows, episodes.times
    records, timing = rows.records, rows.timing
    occupancy = float(np.mean([record.episode_reward for record in records]))
    latched = float(np.mean([record.episode_reward_if_stay for record in records]))
    references = comparison.references.score_range(limit)
    if references is not None:
        occupancy, latched = normalised_score(occupancy, references), normalised_score(latched, references)
    p50, p95, p99 = plan_latency(timing)
    acting = seconds_per_action(timing)
    period = comparison.references.control_period
    return PolicySummary(
        env=comparison.env,
        policy=rows.policy,
        sees=rows.sees,
        runs=runs,
        starts=len(records),
        of_starts=of_starts,
        limit=limit,
        success=success_share(episodes.success),
        restricted_mean=restricted_mean(times, episodes.success, limit),
        median=median_time(times, episodes.success),
        oracle_ratio=_ratio(episodes, episodes.oracle, limit),
        optimal_ratio=_ratio(episodes, episodes.optimal, limit),
        bound_ratio=_ratio(episodes, episodes.bound, limit),
        at_goal_at_end=float(np.mean([record.at_goal_at_end for record in records])),
        score_occupancy=occupancy,
        score_latched=latched,
        plan_ms_p50=p50,
        plan_ms_p95=p95,
        plan_ms_p99=p99,
        act_ms=None if acting is None else 1e3 * acting,
        plans_timed=sum(len(record.plans) for record in timing),
        episodes_timed=len(timing),
        seconds_to_goal=float(np.mean([record.policy_seconds_to_goal for record in timing])) if timing else None,
        plans_to_goal=sum(len(record.plans_to_goal) for record in records) / len(records),
        real_time_factor=real_time_factor(timing, period) if period else None,
    )


def plan_latency(timing: Sequence[EpisodeRecord]) -> tuple[float | None, float | None, float | None]:
    """Return p50, p95 and p99 of the wall time of a plan with one environment [ms].

    None for who does not plan; p99 is None for fewer than 50 plans, of which it would be the slowest.

    Raises:
        ValueError: the episodes were not run one at a time.
    """
    if any(record.num_envs != 1 for record in timing):
        raise ValueError(f"latencies need episodes run one at a time, got {max(r.num_envs for r in timing)} at once")
    seconds = [plan.seconds for record in timing for plan in record.plans]
    if not seconds:
        return None, None, None
    p50, p95, p99 = (1e3 * np.quantile(seconds, [0.5, 0.95, 0.99])).tolist()
    return p50, p95, p99 if len(seconds) >= 50 else None


def bin_edges() -> list[float]:
    """Return the cuts between the distance bins: half way from one to the next."""
    return [0.0, *((a + b) / 2 for a, b in pairwise(DISTANCE_BINS)), np.inf]


def by_distance(episodes: Episodes, env: str, limit: int) -> list[DistanceRow]:
    """Return a row per distance bin that has starts."""
    if episodes.oracle is None:
        return []
    edges, found = bin_edges(), []
    for name, low, high in zip(DISTANCE_BINS, edges, edges[1:], strict=False):
        inside = (low <= episodes.oracle) & (episodes.oracle < high)
        if not inside.any():
            continue
        times, success = episodes.times[inside], episodes.success[inside]
        found.append(
            DistanceRow(
                env=env,
                policy=episodes.name,
                bin=name,
                low=low,
                high=high,
                starts=int(inside.sum()),
                success=success_share(success),
                restricted_mean=restricted_mean(times, success, limit),
                median_of_arrived=median_time(times[success], success[success]).value if success.any() else np.inf,
                oracle_mean=float(np.minimum(episodes.oracle[inside], limit).mean()),
            )
        )
    return found


def _ratio(episodes: Episodes, steps: Array | None, limit: int) -> Estimate | None:
    if steps is None or not comparable(episodes.success, steps, limit):
        return None
    # Cut at the limit as the times are: who never reaches the goal is not faster than a reference that does so later.
    return ratio_of_means(episodes.times, np.minimum(steps, limit))
