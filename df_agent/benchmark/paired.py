"""Is one policy faster than another? Differences on the starts that both ran, and a verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from df_agent.benchmark.rows import Episodes
from df_agent.benchmark.survival import RESAMPLES, Estimate, mean_estimate

Array = NDArray[Any]
SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class PairedDifference:
    """How a policy compares with a reference on the starts that both ran.

    Attributes:
        reference, policy: their names.
        starts: how many both ran.
        reference_mean: the reference's mean time to goal on these, timeouts as the limit.
        steps: the policy's time to goal less the reference's; positive: the reference is faster.
        p: of a sign-flip permutation test of no difference; `p_adjusted`: after Holm, over all policies compared.
        faster, slower, equal: shares of starts on which the reference was so.
        only_reference, only_policy: starts from which only one of the two reached the goal.
        p_success: of the exact McNemar test on these; `p_success_adjusted`: after Holm.
        verdict, verdict_success: what that comes to, in words.
    """

    reference: str
    policy: str
    starts: int
    reference_mean: float
    steps: Estimate
    p: float
    p_adjusted: float
    faster: float
    slower: float
    equal: float
    only_reference: int
    only_policy: int
    p_success: float
    p_success_adjusted: float
    verdict: str
    verdict_success: str

    @property
    def shown(self) -> bool:
        """Whether there is a difference in time: test and interval agree on it."""
        return self.p_adjusted < SIGNIFICANCE and (self.steps.low > 0 or self.steps.high < 0)


def sign_flip_test(differences: Array) -> float:
    """Return the two-sided p-value of the mean of paired differences (N,): their signs are flipped at random.

    Up to 13 differences all sign patterns are gone through (Fisher 1935), beyond `RESAMPLES` random ones.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if len(differences) < 2 or not differences.any():
        return 1.0
    result = stats.permutation_test(
        (differences,),
        lambda sample, axis: sample.mean(axis=axis),
        permutation_type="samples",
        n_resamples=RESAMPLES - 1,
        vectorized=True,
        batch=1000,
        random_state=np.random.default_rng(0),
    )
    return float(result.pvalue)


def mcnemar_test(only_first: int, only_second: int) -> float:
    """Return the p-value of the exact McNemar test (1947): a fair coin decides who alone succeeds."""
    discordant = only_first + only_second
    return float(stats.binomtest(only_first, discordant).pvalue) if discordant else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979)."""
    adjusted, worst = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable")):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = worst
    return adjusted


def paired_difference(
    reference: str, policy: str, times: tuple[Array, Array], success: tuple[Array, Array]
) -> PairedDifference:
    """Compare a policy with a reference on the same starts.

    Args:
        reference, policy: names.
        times: (N,) of the reference and of the policy, in the same order of starts, timeouts as the limit.
        success: (N,) of both, whether the goal was reached.
    """
    if len(times[0]) != len(times[1]) or not len(times[0]):
        raise ValueError(f"need the same starts, at least one, for both; got {len(times[0])} and {len(times[1])}")
    differences = np.asarray(times[1], dtype=np.float64) - np.asarray(times[0], dtype=np.float64)
    only_reference, only_policy = int((success[0] & ~success[1]).sum()), int((success[1] & ~success[0]).sum())
    p, p_success = sign_flip_test(differences), mcnemar_test(only_reference, only_policy)
    found = PairedDifference(
        reference,
        policy,
        len(differences),
        float(np.mean(times[0])),
        mean_estimate(differences),
        p,
        p,
        float((differences > 0).mean()),
        float((differences < 0).mean()),
        float((differences == 0).mean()),
        only_reference,
        only_policy,
        p_success,
        p_success,
        "",
        "",
    )
    return _judged(found)


def paired_episodes(reference: Episodes, other: Episodes) -> PairedDifference | None:
    """Compare two policies on the starts that both ran; None if there are none."""
    _, mine, theirs = np.intersect1d(reference.ids, other.ids, return_indices=True)
    if not len(mine):
        return None
    return paired_difference(
        reference.name,
        other.name,
        (reference.times[mine], other.times[theirs]),
        (reference.success[mine], other.success[theirs]),
    )


def adjusted(pairs: Sequence[PairedDifference]) -> list[PairedDifference]:
    """Return the comparisons with p-values and verdicts adjusted for how many there are."""
    steps, success = holm([pair.p for pair in pairs]), holm([pair.p_success for pair in pairs])
    return [_judged(replace(pair, p_adjusted=steps[i], p_success_adjusted=success[i])) for i, pair in enumerate(pairs)]


def _judged(pair: PairedDifference) -> PairedDifference:
    """Put the verdicts into words."""
    low, high, mean = pair.steps.low, pair.steps.high, pair.steps.value
    where = f"on the same {pair.starts} starts"
    if pair.shown:
        word = "faster" if mean > 0 else "slower"
        ends = (low, high) if mean > 0 else (-high, -low)
        verdict = f"{pair.reference} is {word} by {abs(mean):.1f} steps [{ends[0]:.1f}, {ends[1]:.1f}] {where}"
    else:
        verdict = f"no difference is shown: {mean:+.1f} steps [{low:+.1f}, {high:+.1f}] {where}"
    n, m = pair.only_reference, pair.only_policy
    counts = f"only {pair.reference} succeeds from {n} of them, only {pair.policy} from {m}"
    if pair.p_success_adjusted < SIGNIFICANCE:
        word = "more" if pair.only_reference > pair.only_policy else "less"
        success = f"{pair.reference} succeeds {word} often: {counts}"
    elif pair.only_reference + pair.only_policy:
        success = f"no difference in success is shown: {counts}"
    else:
        success = "both succeed from the same starts"
    return replace(pair, verdict=verdict, verdict_success=success)
