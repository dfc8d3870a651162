"""Forecasts: the measure against closed forms, the process against its own theory, a model that learns it."""

import json
import sys
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from scipy.stats import norm

from df_agent.checkpoint import CheckpointError, save_checkpoint
from df_agent.world_model.forecasting import QUANTILES, Forecaster, crps_sum, train_forecaster
from df_agent.world_model.series import VectorAutoregression, from_gluonts, load_gluonts

SMALL = {
    "diffusion": {"schedule": "cosine", "prediction_type": "v"},
    "sampling": {"steps": 10, "matrix": "pyramid", "eta": 1.0},
}
NETWORKS = {
    "recurrent": {"name": "recurrent", "width": 32, "state": 48, "depth": 1},
    "transformer": {"name": "transformer", "width": 16, "depth": 1, "heads": 2},
    "cached_transformer": {"name": "cached_transformer", "width": 16, "depth": 1, "heads": 2},
}


def config(folder, network="recurrent", **train):
    train = {"steps": 4, "warmup_steps": 1, "precision": "fp32", **train}
    return {"run_dir": str(folder), "network": NETWORKS[network], "train": train, **SMALL}


def test_a_sure_forecast_costs_its_error_and_the_true_one_what_theory_says():
    truth = np.array([[[1.0, 2.0], [3.0, -1.0]]])
    assert crps_sum(truth[None].repeat(7, 0), truth) == 0
    # A sure forecast's loss, doubled, is twice its error times q or 1 - q, the mean of which is a half.
    assert crps_sum((truth + 0.5)[None], truth) == pytest.approx((1 + 1) / 5)
    rng = np.random.default_rng(0)
    truth = 5 + rng.normal(size=(4000, 1, 1))
    found = crps_sum(5 + rng.normal(size=(400, 4000, 1, 1)), truth)
    expected = (
        2 * norm.pdf(norm.ppf(QUANTILES)).mean() / 5
    )  # a Gaussian's loss at its own quantile is its density there
    assert found == pytest.approx(expected, rel=0.03)
    assert crps_sum(5 + 2 * rng.normal(size=(400, 4000, 1, 1)), truth) > 1.1 * found  # too unsure
    assert crps_sum(5 + 0.3 * rng.normal(size=(400, 4000, 1, 1)), truth) > 1.1 * found  # too sure
    assert crps_sum(6 + rng.normal(size=(400, 4000, 1, 1)), truth) > 1.2 * found  # off


def test_the_process_has_the_moments_that_its_matrices_imply():
    process = VectorAutoregression.draw(3, seed=1)
    assert np.abs(np.linalg.eigvals(process.transition)).max() == pytest.approx(0.97)
    rng, times = np.random.default_rng(0), np.tile([10, 11], (40000, 1))
    last = process.mean_at(np.array([9])) + np.array([[1.0, -1.0, 0.5]])
    ahead = process.futures(np.tile(last, (40000, 1)), times, rng)
    a, covariance = process.transition, process.noise @ process.noise.T
    mean = process.mean_at(np.array([11])) + np.array([1.0, -1.0, 0.5]) @ (a @ a).T
    np.testing.assert_allclose(ahead[:, 1].mean(0), mean[0], atol=0.02)
    np.testing.assert_allclose(np.cov(ahead[:, 1].T), covariance + a @ covariance @ a.T, atol=0.02)


def test_test_windows_follow_the_series_and_lie_behind_it():
    process = VectorAutoregression.draw(2)
    series, times = process.series(steps=300, length=5, tests=3)
    assert series.tests.shape == (3, 10, 2)
    assert times.min() == 300
    np.testing.assert_allclose(series.test_covariates, process.covariates(times))
    assert process.best(series, times, samples=4).shape == (4, 3, 5, 2)
    noiseless = replace(process, noise=process.noise * 0, transition=process.transition * 0)
    series, times = noiseless.series(steps=300, length=5, tests=3)
    np.testing.assert_allclose(series.tests, noiseless.mean_at(times))


def test_it_learns_the_distribution(tmp_path):
    """A short training beats what knows only the past's values, and stays behind the true distribution."""
    process = VectorAutoregression.draw(2, seed=0)
    series, times = process.series(steps=3000, length=6, tests=64)
    truth, shown = series.tests[:, 6:], series.tests[:, :6]
    forecaster = train_forecaster(series, config(tmp_path, steps=500, learning_rate=3e-3))
    found = forecaster.predict(shown, series.test_covariates, samples=50)
    ours, best = crps_sum(found, truth), crps_sum(process.best(series, times), truth)
    repeated = crps_sum(np.broadcast_to(shown[None, :, -1:], (1, 64, 6, 2)), truth)
    assert best < ours < 0.7 * repeated
    loaded = Forecaster.from_pretrained(tmp_path / "final")
    np.testing.assert_allclose(loaded.predict(shown, series.test_covariates, samples=50), found, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_forecasts_with_and_without_covariates(network, tmp_path):
    series, _ = VectorAutoregression.draw(3).series(steps=200, length=4, tests=2)
    for name, given in (
        ("a", series),
        ("b", replace(series, covariates=np.zeros((200, 0)), test_covariates=np.zeros((2, 8, 0)))),
    ):
        forecaster = train_forecaster(given, config(tmp_path / name, network))
        known = given.test_covariates if name == "a" else None
        found = forecaster.predict(given.tests[:, :4], known, samples=3, seed=1)
        assert found.shape == (3, 2, 4, 3)
        assert np.isfinite(found).all()
        assert np.array_equal(found, forecaster.predict(given.tests[:, :4], known, samples=3, seed=1))
        assert not np.array_equal(found, forecaster.predict(given.tests[:, :4], known, samples=3, seed=2))


def test_mistakes_are_named(tmp_path):
    series, _ = VectorAutoregression.draw(3).series(steps=200, length=4, tests=2)
    with pytest.raises(ValueError, match=r"covariates must be \(200, 2\)"):
        replace(series, covariates=series.covariates[:-1])
    with pytest.raises(ValueError, match="values hold NaN"):
        replace(series, values=series.values * np.nan)
    forecaster = train_forecaster(series, config(tmp_path))
    with pytest.raises(ValueError, match=r"of shape \(N, 4, 3\), got \(2, 8, 3\)"):
        forecaster.predict(series.tests, series.test_covariates)
    with pytest.raises(ValueError, match=r"covariates must be finite, of shape \(2, 8, 2\), got None"):
        forecaster.predict(series.tests[:, :4])
    save_checkpoint(tmp_path / "other", {}, {})
    with pytest.raises(CheckpointError, match="not a forecaster"):
        Forecaster.from_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=r"no set 'exchange'.*exchange_rate_nips"):
        load_gluonts("exchange")


def gluonts_entries():
    whole = [np.arange(60.0) * 10 + d for d in range(3)]
    train = [{"target": row[:40]} for row in whole]
    return train, [{"target": row[:end]} for end in (45, 50) for row in whole]


def test_sets_of_gluonts_become_windows(monkeypatch):
    train, test = gluonts_entries()
    series = from_gluonts(train, test, 5, "B")
    assert series.values.shape == (40, 3)
    np.testing.assert_array_equal(series.tests[:, -1], [[440, 441, 442], [490, 491, 492]])
    np.testing.assert_array_equal(series.tests[1, 0], [400, 401, 402])
    assert series.covariates.shape == (40, 6)
    np.testing.assert_allclose(series.test_covariates[0, :5], series.covariates[35:40])  # they go on where it ends
    with pytest.raises(ValueError, match="2 test entries, fewer than its 3 dimensions"):
        from_gluonts(train, test[:2], 5, "B")
    with pytest.raises(ValueError, match=r"steps of 'Q' are not known, available: 30min"):
        from_gluonts(train, test, 5, "Q")
    hourly = from_gluonts(train, test, 5, "1H").covariates
    np.testing.assert_allclose(hourly[:24:6, 0], [0, 1, 0, -1], atol=1e-9)  # the day

    with pytest.raises(ImportError, match="pip install gluonts"):
        load_gluonts("solar_nips")
    repository = ModuleType("gluonts.dataset.repository")
    found = SimpleNamespace(train=train, test=test, metadata=SimpleNamespace(prediction_length=5, freq="H"))
    repository.get_dataset = lambda name: found
    for name in ("gluonts", "gluonts.dataset"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "gluonts.dataset.repository", repository)
    assert load_gluonts("solar_nips").length == 5

    def offline(name):
        raise OSError("no route to host")

    repository.get_dataset = offline
    with pytest.raises(ConnectionError, match=r"could not fetch solar_nips: OSError: no route to host"):
        load_gluonts("solar_nips")


def test_the_script_writes_numbers_and_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from studies import forecast

    whole = forecast.VectorAutoregression.series
    monkeypatch.setattr(forecast.VectorAutoregression, "series", lambda self, seed: whole(self, tests=8, seed=seed))
    options = ["--steps=4", "--sampling-steps=2", f"--output={tmp_path}/f.json", f"--picture={tmp_path}/f.png"]
    forecast.run(forecast.read_options(options))
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    result = json.loads((tmp_path / "f.json").read_text())["crps_sum"]
    assert result["the true distribution"] < min(result["last value"], result["stretches of the past"])
