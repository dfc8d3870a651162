"""Multivariate time series to forecast: GluonTS's published sets, and one whose predictive distribution is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
# What GluonTS calls the sets of the original: electricity, exchange rates, solar power, taxis, traffic, Wikipedia.
PUBLISHED = (
    "electricity_nips", "exchange_rate_nips", "solar_nips", "taxi_30min", "traffic_nips", "wiki-rolling_nips",
)  # fmt: skip

MOST_DIMENSIONS = 2000  # of the published protocol, which matters for Wikipedia

# By the length of a step, as pandas writes it: the periods that series have [steps].
PERIODS: dict[str, tuple[float, ...]] = {
    "30min": (48, 336, 17532),
    "30t": (48, 336, 17532),
    "h": (24, 168, 8766),
    "d": (7, 30.44, 365.25),
    "b": (5, 21.7, 260.9),
}


@dataclass(frozen=True)
class Series:
    """One multivariate series to learn from, and windows to be judged by.

    Attributes:
        values: (T, D) for training.
        covariates: (T, C) what is known of every time beforehand; C may be 0.
        length: how many steps are forecast, and how many are shown.
        tests: (N, 2 length, D) windows that training does not see, each one's shown part first.
        test_covariates: (N, 2 length, C).
    """

    values: Array
    covariates: Array
    length: int
    tests: Array
    test_covariates: Array

    def __post_init__(self) -> None:
        t, d = self.values.shape
        n, c, whole = len(self.tests), self.covariates.shape[1], 2 * self.length
        wanted = {"covariates": (t, c), "tests": (n, whole, d), "test_covariates": (n, whole, c)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape} beside values of {(t, d)}, got {getattr(self, name).shape}")
        if t < whole:
            raise ValueError(f"a series to learn {whole} steps from must be at least as long, got {t}")
        for name in ("values", *wanted):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} hold NaN or infinity")


@dataclass(frozen=True)
class VectorAutoregression:
    """A series whose predictive distribution is known: a season, and x' = A x + Gaussian noise around it.

    Attributes:
        transition: (D, D) A; its eigenvalues lie inside the unit circle.
        noise: (D, D) factor of the noise's covariance.
        season: (D,) amplitude.
        period: of the season [steps].
    """

    transition: Array
    noise: Array
    season: Array
    period: int = 24

    @classmethod
    def draw(cls, dimensions: int = 8, seed: int = 0) -> VectorAutoregression:
        """Draw one at random: a rotation that shrinks by 0.97 a step, so that what is shown tells of days to come."""
        rng = np.random.default_rng(seed)
        a = 0.97 * np.linalg.qr(rng.normal(size=(dimensions, dimensions)))[0]
        factor = np.eye(dimensions) * 0.3 + 0.1 * rng.normal(size=(dimensions, dimensions))
        return cls(a, factor, rng.uniform(0.3, 1, dimensions))

    def mean_at(self, times: Indices) -> Array:
        """Return the season (..., D) at times (...)."""
        return np.asarray(10 + np.sin(2 * np.pi * times / self.period)[..., None] * self.season)

    def covariates(self, times: Indices) -> Array:
        """Return what a forecaster is told of times (...): sine and cosine of the season, (..., 2)."""
        angle = 2 * np.pi * times / self.period
        return np.asarray(np.stack([np.sin(angle), np.cos(angle)], -1))

    def futures(self, last: Array, times: Indices, rng: np.random.Generator) -> Array:
        """Return one future (N, H, D) of each of the values `last` (N, D), at times (N, H) behind them."""
        x, out = last - self.mean_at(times[:, 0] - 1), []
        for _ in range(times.shape[1]):
            x = x @ self.transition.T + rng.normal(size=x.shape) @ self.noise.T
            out.append(x)
        return np.stack(out, 1) + self.mean_at(times)

    def series(self, steps: int = 8000, length: int = 24, tests: int = 64, seed: int = 0) -> tuple[Series, Indices]:
        """Return a series with test windows behind its training part, and the times (N, 2 length) of these.

        Windows do not overlap and begin at all hours.
        """
        rng = np.random.default_rng(seed)
        warm, whole = 200, 2 * length
        apart = whole + 1
        total = warm + steps + tests * apart
        start = self.mean_at(np.array([-warm - 1]))
        values = self.futures(start, np.arange(-warm, total - warm)[None], rng)[0, warm:]
        times = np.asarray(steps + np.arange(tests)[:, None] * apart + np.arange(whole), np.int64)
        known = self.covariates(np.arange(steps))
        return Series(values[:steps], known, length, values[times], self.covariates(times)), times

    def best(self, series: Series, times: Indices, samples: int = 100, seed: int = 0) -> Array:
        """Return samples (S, N, length, D) from the true predictive distribution of the test windows."""
        rng, h = np.random.default_rng([seed, 1]), series.length  # not the noise that the series was made from
        last = np.tile(series.tests[:, h - 1], (samples, 1))
        ahead = np.tile(times[:, h:], (samples, 1))
        drawn = self.futures(last, ahead, rng)
        return np.asarray(drawn.reshape(samples, *series.tests[:, h:].shape))


def load_gluonts(name: str) -> Series:
    """Return one of GluonTS's published multivariate sets, downloaded by its own loader.

    Raises:
        ValueError: no such set.
        ImportError: GluonTS is not installed.
        ConnectionError: it cannot be downloaded.
    """
    if name not in PUBLISHED:
        raise ValueError(f"there is no set {name!r}, available: {', '.join(PUBLISHED)}, and var, which is generated")
    try:
        from gluonts.dataset.repository import get_dataset
    except ImportError as error:
        raise ImportError(f"the set {name} needs GluonTS: pip install gluonts") from error
    try:
        found = get_dataset(name)
    except Exception as error:  # of its HTTP library, of the OS, of a damaged archive
        raise ConnectionError(f"GluonTS could not fetch {name}: {type(error).__name__}: {error}") from error
    about = found.metadata
    return from_gluonts(list(found.train), list(found.test), int(about.prediction_length), str(about.freq))


def from_gluonts(train: list[Any], test: list[Any], length: int, frequency: str) -> Series:
    """Return a series from GluonTS's entries: one per dimension to learn from; per window and dimension to test.

    Of more than 2000 dimensions the first are taken. Covariates are where in the periods of its frequency (day, week,
    month, year) each step lies, by its number.

    Raises:
        ValueError: fewer test entries than dimensions, or a frequency that is not one of the published sets'.
    """
    periods = PERIODS.get(frequency.lower().removeprefix("1"))
    if periods is None:
        raise ValueError(f"steps of {frequency!r} are not known, available: {', '.join(PERIODS)}")
    dimensions = len(train)
    kept = min(dimensions, MOST_DIMENSIONS)
    shortest = min(len(entry["target"]) for entry in train)
    values = np.stack([np.asarray(entry["target"][-shortest:], float) for entry in train[:kept]], 1)
    windows, ends = [], []
    for k in range(len(test) // dimensions):
        rows = [np.asarray(entry["target"], float) for entry in test[k * dimensions :][:kept]]
        end = min(map(len, rows))
        windows.append(np.stack([row[:end][-2 * length :] for row in rows], 1))
        ends.append(end)
    if not windows:
        raise ValueError(f"the set has {len(test)} test entries, fewer than its {dimensions} dimensions")

    def known(times: Indices) -> Array:
        angle = 2 * np.pi * times[..., None] / np.array(periods)
        return np.asarray(np.concatenate([np.sin(angle), np.cos(angle)], -1))

    first = max(len(entry["target"]) for entry in train) - shortest
    times = np.array(ends)[:, None] - 2 * length + np.arange(2 * length)
    return Series(values, known(first + np.arange(shortest)), length, np.stack(windows), known(times))
