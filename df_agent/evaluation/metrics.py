"""Numbers from episode records: shares, times to goal and latencies, with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import NO_REFERENCES, References, StepsFunction

Array = NDArray[Any]


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the Wilson score interval of a share (Wilson 1927); z = 1.96 gives 95 %.

    Unlike the normal approximation it has a width for 0 or all of `trials` successes too.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"need 0 <= successes <= trials and trials >= 1, got {successes=}, {trials=}")
    share = successes / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # The exact ends at 0 and at all successes are 0 and 1; rounding must not leave them.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


def bootstrap_interval(
    values: Array,
    statistic: Callable[[Array], Array] = lambda sample: sample.mean(axis=1),
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic (Efron 1979).

    Args:
        values: (N,) or (N, K); rows are resampled, so that paired columns stay paired.
        statistic: (R, N[, K]) resamples -> (R,).
        confidence: coverage aimed at.
        resamples: R.
        seed: of the resampling; the same values give the same interval.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) < 1:
        raise ValueError("cannot resample an empty array")
    index = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(statistic(values[index]), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def normalised_score(reward: float, references: tuple[float, float]) -> float:
    """Return 100 (reward - low) / (high - low), D4RL's normalisation."""
    low, high = references
    return 100.0 * (reward - low) / (high - low)


def time_to_goal(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Return statistics of the steps until the goal is first reached; a timeout counts as the limit."""
    steps = np.array([record.time_to_goal for record in records], dtype=np.float64)
    return {
        "mean": float(steps.mean()),
        "median": float(np.median(steps)),
        "p90": float(np.quantile(steps, 0.9)),
        "ci95": list(bootstrap_interval(steps)),
        "timeouts": sum(not record.success for record in records),
    }


def planning_latency(records: Sequence[EpisodeRecord]) -> dict[str, float | None]:
    """Return p50 and p95 of the wall time of planning calls [ms], and their mean number of environments."""
    calls = {plan.call: plan for record in records for plan in record.plans}
    if not calls:
        return {"p50": None, "p95": None, "batch": None}
    p50, p95 = np.quantile([1e3 * plan.seconds for plan in calls.values()], [0.5, 0.95])
    batch = np.mean([plan.batch for plan in calls.values()])
    return {"p50": float(p50), "p95": float(p95), "batch": float(batch)}


def wall_crossing_rate(records: Sequence[EpisodeRecord], crosses_wall: Callable[[Array], Array]) -> float | None:
    """Return the share of executed plans that run into a wall; None if no plan's path was kept."""
    plans = [plan for record in records for plan in record.plans if plan.executed and plan.path]
    paths = [np.array(plan.path) for plan in plans]
    if not paths:
        return None
    longest = max(len(path) for path in paths)
    # Standing still at the last position crosses nothing, so it may fill shorter plans up.
    padded = np.stack([np.pad(path, ((0, longest - len(path)), (0, 0)), mode="edge") for path in paths])
    return float(np.mean(crosses_wall(padded)))


def seconds_per_action(records: Sequence[EpisodeRecord]) -> float | None:
    """Return the time spent planning and acting per control step [s], until the goal; None if all start there.

    What comes after is left out: some policies plan on there and others have no need to.
    """
    # An episode that ended early without reaching the goal counts with its steps, not with the limit.
    steps = sum(min(record.time_to_goal, record.length) for record in records)
    return sum(record.policy_seconds_to_goal for record in records) / steps if steps else None


def real_time_factor(records: Sequence[EpisodeRecord], control_period: float) -> float | None:
    """Return seconds spent planning and acting per simulated second, until the goal; below 1 the policy keeps up."""
    seconds = seconds_per_action(records)
    return None if seconds is None else seconds / control_period


def reference_steps(records: Sequence[EpisodeRecord], steps: StepsFunction | None) -> Array | None:
    """Return (N,) steps of a reference from the records' own starts to their own goals.

    Both are rounded as rows are that are kept as CSV, so that it is the same for these.
    """
    if steps is None:
        return None
    starts, goals = (np.round([getattr(record, key) for record in records], 6) for key in ("start", "goal"))
    return np.asarray(steps(starts, goals), dtype=np.float64)


def censored(steps: Array, records: Sequence[EpisodeRecord]) -> Array:
    """Return (N,) steps of a reference, at most the limit of each record's episode, as the policy's own are.

    Otherwise a policy that never reaches the goal would look faster than a reference that does so after the limit.
    """
    return np.minimum(steps, [record.max_episode_steps for record in records])


def comparable(success: ArrayLike, steps: Array, limits: ArrayLike) -> bool:
    """Whether a ratio to a reference says anything: one of the two reaches some goal within the limit.

    Where every episode of both times out, their times are the limit, and the ratio 1 would be of two unknown times.

    Args:
        success: (N,) of the policy.
        steps: (N,) of the reference, NaN where unknown.
        limits: (N,) or one for all [control steps].
    """
    return bool(np.any(success) or np.any(steps < np.asarray(limits)))


def success_curve(steps: Array, success: Array, limit: int) -> Array:
    """Return (limit + 1,) share of episodes that have reached the goal by step 0, 1, ..., limit."""
    reached = np.bincount(np.asarray(steps)[success].astype(np.int64), minlength=limit + 1)
    return np.cumsum(reached[: limit + 1]) / len(steps)


def summarize(
    records: Sequence[EpisodeRecord],
    references: References = NO_REFERENCES,
    *,
    seed: int,
    oracle: Array | None = None,
    lower_bound: Array | None = None,
    single: Sequence[EpisodeRecord] = (),
) -> dict[str, Any]:
    """Return the summary of a rollout; what cannot be computed is None.

    Args:
        records: of one policy in one environment.
        references: its crosses_wall, references and control_period are used.
        seed: of the rollout.
        oracle, lower_bound: (N,) what `reference_steps` returned for these records.
        single: records of a rollout with one environment at a time, for the latencies that users feel.
    """
    if not records:
        raise ValueError("no episodes to summarise")
    first, n = records[0], len(records)
    successes = sum(record.success for record in records)
    reached = [record.time_to_goal for record in records if record.success]
    latency, alone = planning_latency(records), planning_latency(single)
    period, steps = references.control_period, sum(record.length for record in records)
    return {
        "env": first.env,
        "policy": first.policy,
        "episodes": n,
        "seed": seed,
        "max_episode_steps": first.max_episode_steps,
        "success_rate": successes / n,
        "success_rate_ci95": list(wilson_interval(successes, n)),
        "time_to_goal": time_to_goal(records),
        "time_to_goal_successful_mean": float(np.mean(reached)) if reached else None,
        **_against_references(records, oracle, lower_bound),
        "at_goal_at_end": float(np.mean([record.at_goal_at_end for record in records])),
        **_rewards(records, references.score_range(first.max_episode_steps)),
        "plan_ms": latency,
        "plan_ms_single": {"p50": alone["p50"], "p95": alone["p95"]},
        "real_time_factor": real_time_factor(single, period) if single and period else None,
        "plans_to_goal": sum(len(record.plans_to_goal) for record in records) / n,
        "env_steps_per_second": steps / max(sum(record.wall_seconds for record in records), 1e-9),
        "wall_crossing_rate": (
            None if references.crosses_wall is None else wall_crossing_rate(records, references.crosses_wall)
        ),
    }


def _rewards(records: Sequence[EpisodeRecord], references: tuple[float, float] | None) -> dict[str, Any]:
    reward = float(np.mean([record.episode_reward for record in records]))
    if_stay = float(np.mean([record.episode_reward_if_stay for record in records]))
    return {
        "episode_reward": reward,
        "episode_reward_if_stay": if_stay,
        "first_reach": float(np.mean([record.first_reach for record in records])),
        "score_occupancy": None if references is None else normalised_score(reward, references),
        "score_latched": None if references is None else normalised_score(if_stay, references),
    }


def _against_references(records: Sequence[EpisodeRecord], oracle: Array | None, bound: Array | None) -> dict[str, Any]:
    oracle, bound = (None if steps is None else censored(steps, records) for steps in (oracle, bound))
    ratio, interval = None, None
    limits, success = [record.max_episode_steps for record in records], [record.success for record in records]
    if oracle is not None and oracle.mean() > 0 and comparable(success, oracle, limits):
        steps = np.array([record.time_to_goal for record in records], dtype=np.float64)
        ratio, interval = paired_ratio(steps, oracle)
    return {
        "oracle_time_to_goal_mean": None if oracle is None else float(oracle.mean()),
        "lower_bound_mean": None if bound is None else float(bound.mean()),
        "time_ratio_to_oracle": ratio,
        "time_ratio_to_oracle_ci95": interval,
    }


def paired_ratio(steps: Array, others: Array) -> tuple[float, list[float]]:
    """Return the ratio of two means over the same starts, and its bootstrap interval over these."""
    interval = bootstrap_interval(np.stack([steps, others], axis=1), _ratio_of_means)
    return float(steps.mean() / others.mean()), list(interval)


def _ratio_of_means(sample: Array) -> Array:
    """(R, N, 2) -> (R,)."""
    # A resample may hold nothing but starts inside the goal; its ratio is then merely enormous.
    ratio: Array = sample[..., 0].mean(axis=1) / np.maximum(sample[..., 1].mean(axis=1), 1e-9)
    return ratio
