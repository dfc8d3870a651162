"""Forecast time series: `python studies/forecast.py`. Started again, its training goes on where it stopped.

A generated series of eight dimensions, whose true predictive distribution is known, unless `--series` names one of
GluonTS's published sets. Writes results/forecast.json and docs/forecast.png: CRPS-sum beside what the best forecaster
and two simple ones reach, and a fan of forecasts.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.progress import Progress
from rich.table import Table

from df_agent.cli.measuring import at_least_one, console, new_figure, parser_of, write
from df_agent.training.run_folder import RunError
from df_agent.training.trainer import TrainingError
from df_agent.world_model.forecasting import crps_sum, train_forecaster
from df_agent.world_model.series import Array, Indices, Series, VectorAutoregression, load_gluonts

NETWORKS: dict[str, dict[str, Any]] = {
    "recurrent": {"name": "recurrent", "width": 128, "state": 256, "depth": 2},
    "cached_transformer": {"name": "cached_transformer", "width": 64, "depth": 4, "heads": 4},
    "transformer": {"name": "transformer", "width": 64, "depth": 4, "heads": 4},
}


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("forecast", "forecasts of time series", episodes=False)
    parser.add_argument("--series", default="var", help="var, or one of GluonTS's, e.g. exchange_rate_nips")
    parser.add_argument("--network", choices=sorted(NETWORKS), default="recurrent")
    parser.add_argument("--steps", type=at_least_one, default=3000, help="of training")
    parser.add_argument("--sampling-steps", type=at_least_one, default=20, help="of a step in time")
    parser.add_argument("--run-dir", default=None)
    return parser.parse_args(arguments)


def past(series: Series, samples: int, seed: int, begin: Indices | None = None, period: int = 1) -> Array:
    """Return samples (S, N, length, D) that do not look at what is shown: stretches of the training data at random.

    Args:
        series: whose.
        samples: S.
        seed: of the choice.
        begin: (N,) when the windows to forecast begin; stretches begin at the same point of the `period`.
        period: [steps].
    """
    rng, h = np.random.default_rng(seed), series.length
    cycles = rng.integers(0, (len(series.values) - h) // period, (samples, len(series.tests)))
    first = cycles * period + (0 if begin is None else begin % period)
    return np.asarray(series.values[first[..., None] + np.arange(h)])


def last_value(series: Series, samples: int) -> Array:
    """Return samples (S, N, length, D) that all repeat the last value."""
    h = series.length
    return np.broadcast_to(series.tests[None, :, h - 1 : h], (samples, len(series.tests), h, series.values.shape[1]))


def draw(series: Series, samples: Array) -> Figure:
    """Draw quantiles of the forecast sum, and the truth, of three windows."""
    figure, h = new_figure(10, 3.2), series.length
    for n, axis in enumerate(np.atleast_1d(figure.subplots(1, min(3, len(series.tests))))):
        axis.plot(np.arange(-h, h), series.tests[n].sum(-1), color="#222222", lw=1, label="truth")
        for share, alpha in ((0.9, 0.2), (0.5, 0.35)):
            low, high = np.quantile(samples[:, n].sum(-1), [(1 - share) / 2, (1 + share) / 2], axis=0)
            axis.fill_between(np.arange(h), low, high, color="#1f6fe5", alpha=alpha, lw=0, label=f"{share:.0%}")
        axis.set(xlabel="steps ahead", ylabel="sum over dimensions" if n == 0 else "")
    figure.axes[0].legend(fontsize=7)
    return figure


def main() -> None:
    """Train, forecast, compare."""
    options = read_options()
    try:
        run(options)
    except (ValueError, ImportError, ConnectionError, RunError, TrainingError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


def run(options: argparse.Namespace) -> None:
    """Do what the options say."""
    known_process = None
    if options.series == "var":
        process = VectorAutoregression.draw(seed=options.seed)
        series, times = process.series(seed=options.seed)
        known_process = process, times
    else:
        series = load_gluonts(options.series)
    config = {
        "run_dir": options.run_dir or f"runs/forecast-{options.series}-{options.network}",
        "network": NETWORKS[options.network],
        "diffusion": {"schedule": "cosine", "prediction_type": "v"},
        "sampling": {"steps": 20, "matrix": "pyramid", "eta": 1.0},
        "train": {
            "steps": options.steps,
            "batch_size": 64,
            "warmup_steps": min(100, options.steps),
            "precision": "fp32",
        },
    }
    forecaster = train_forecaster(series, config)
    forecaster.sampling["steps"] = options.sampling_steps
    known = series.test_covariates if series.covariates.shape[1] else None
    with Progress(console=console) as bar:
        task = bar.add_task("forecasting", total=1.0)
        samples = forecaster.predict(
            series.tests[:, : series.length],
            known,
            seed=options.seed,
            on_progress=lambda share: bar.update(task, completed=share),
        )
    truth = series.tests[:, series.length :]
    rows = {"Diffusion Forcing": samples, "last value": last_value(series, 1)}
    rows["stretches of the past"] = past(series, 100, options.seed)
    if known_process is not None:
        process, times = known_process
        begin = times[:, series.length]
        rows["the same hours of the past"] = past(series, 100, options.seed, begin, process.period)
        rows = {"the true distribution": process.best(series, times), **rows}
    table = Table(
        title=f"{options.series}: {len(truth)} windows of {series.length} steps, {truth.shape[-1]} dimensions"
    )
    for column in ("forecast", "CRPS-sum"):
        table.add_column(column)
    result = {label: crps_sum(found, truth) for label, found in rows.items()}
    for label, value in result.items():
        table.add_row(label, f"{value:.5f}")
    write(
        options,
        {"series": options.series, "network": options.network, "crps_sum": result},
        table,
        draw(series, samples),
    )


if __name__ == "__main__":
    main()
