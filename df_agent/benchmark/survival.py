"""Time to goal as the censored time it is: nobody knows when an episode that timed out would have succeeded.

All episodes are watched for the same number of steps L, so two summaries need no model of what comes after L: the
*restricted mean*, the mean of min(time, L) (Royston and Parmar 2013), and the *median*, which exists where at least
half succeed. Their intervals resample starts. The resamples follow from the number of starts alone, so policies that
ran on the same starts, put in the same order, share them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from df_agent.evaluation.metrics import wilson_interval

Array = NDArray[Any]
RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval; infinity stands for "later than the limit"."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 1) -> str:
        """Return "168.3 [158.8, 177.7]"."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def signed(self) -> str:
        """Return "+3.4 [-1.0, +7.8]", of a difference."""
        return f"{self.value:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


@lru_cache(maxsize=16)
def resample_counts(n: int, resamples: int = RESAMPLES, seed: int = 0) -> NDArray[np.float32]:
    """Return (R, n) how often each of n starts is in each bootstrap resample (Efron 1979); the same at every call."""
    if n < 1:
        raise ValueError("there are no starts to resample")
    counts: NDArray[np.float32] = (
        np.random.default_rng([seed, n]).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float32)
    )
    counts.flags.writeable = False
    return counts


def success_share(success: Array) -> Estimate:
    """Return the share of True in (N,) with its Wilson interval."""
    return Estimate(float(np.mean(success)), *wilson_interval(int(np.sum(success)), len(success)))


def mean_estimate(values: Array) -> Estimate:
    """Return the mean of (N,) values with its percentile bootstrap interval over starts."""
    values = np.asarray(values, dtype=np.float64)
    return _with_interval(float(values.mean()), resample_counts(len(values)) @ values / len(values))


def restricted_mean(steps: Array, success: Array, limit: int) -> Estimate:
    """Return the mean of min(time, limit) with its bootstrap interval.

    Args:
        steps: (N,) control steps until the goal is first reached; not looked at where there was none.
        success: (N,) whether there was one.
        limit: L, the same for all episodes.
    """
    return mean_estimate(np.where(success, np.minimum(steps, limit), limit))


def median_time(steps: Array, success: Array) -> Estimate:
    """Return the first step by which half of the episodes have reached the goal; infinity if fewer than half did.

    As all episodes are censored at the same step, this is the Kaplan-Meier median.
    """
    times = np.where(success, steps, np.inf).astype(np.float64)
    order = np.argsort(times, kind="stable")
    times, counts = times[order], resample_counts(len(times))[:, order]
    half = len(times) / 2
    medians = times[np.argmax(np.cumsum(counts, axis=1) >= half, axis=1)]
    return _with_interval(float(times[int(np.ceil(half)) - 1]), medians)


def ratio_of_means(numerator: Array, denominator: Array) -> Estimate | None:
    """Return sum(numerator) / sum(denominator), both (N,) on the same starts; None if there is nothing to divide by."""
    known = np.isfinite(denominator)
    top, bottom = np.asarray(numerator, float)[known], np.asarray(denominator, float)[known]
    if not known.any() or bottom.sum() <= 0:
        return None
    counts = resample_counts(len(top))
    # A resample may hold nothing but starts inside the goal; its ratio is then merely enormous.
    return _with_interval(float(top.sum() / bottom.sum()), (counts @ top) / np.maximum(counts @ bottom, 1e-9))


def _with_interval(value: float, resampled: Array) -> Estimate:
    tail = (1 - CONFIDENCE) / 2
    # Between a finite and an infinite order statistic there is nothing to interpolate.
    method: Literal["linear", "inverted_cdf"] = "linear" if np.isfinite(resampled).all() else "inverted_cdf"
    low, high = np.quantile(resampled, [tail, 1 - tail], method=method)
    return Estimate(value, float(low), float(high))
