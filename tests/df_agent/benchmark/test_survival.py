import numpy as np
import pytest

from df_agent.benchmark.survival import (
    Estimate,
    mean_estimate,
    median_time,
    ratio_of_means,
    resample_counts,
    restricted_mean,
    success_share,
)

YES, NO = True, False


def test_the_restricted_mean_counts_a_timeout_as_the_limit():
    # By hand: (10 + 20 + 60 + 100 + 100) / 5; what a timed out episode is said to have taken does not matter.
    steps, success = np.array([10, 20, 60, 7, 999]), np.array([YES, YES, YES, NO, NO])
    found = restricted_mean(steps, success, 100)
    assert found.value == 58.0
    assert 10 <= found.low < 58 < found.high <= 100


@pytest.mark.parametrize(
    ("steps", "success", "median"),
    [
        ([10, 20, 30], [YES, YES, YES], 20),
        ([10, 20, 30, 40], [YES] * 4, 20),  # half have arrived by step 20
        ([30, 10, 20, 99], [YES, YES, YES, NO], 20),
        ([10, 99, 99, 20], [YES, NO, NO, YES], 20),
        ([10, 99, 99], [YES, NO, NO], np.inf),
        ([100, 50], [YES, NO], 100),  # arriving at the limit is not a timeout
    ],
)
def test_the_median_is_the_step_by_which_half_have_arrived(steps, success, median):
    assert median_time(np.array(steps), np.array(success)).value == median


def test_the_median_interval_is_open_where_resamples_do_not_arrive():
    success = np.arange(40) < 22
    found = median_time(np.where(success, 10 + np.arange(40), 100), success)
    assert found.value == 29
    assert found.low < 29
    assert found.high == np.inf
    never = median_time(np.full(5, 100), np.zeros(5, bool))
    assert (never.value, never.low, never.high) == (np.inf, np.inf, np.inf)


def test_resamples_are_whole_and_shared_by_all_policies():
    counts = resample_counts(30)
    assert counts.shape == (10_000, 30)
    assert (counts.sum(axis=1) == 30).all()
    assert counts.mean() == 1.0
    assert counts.var() == pytest.approx(29 / 30, rel=0.02)  # of a draw among 30
    # The same resamples for two policies on the same starts: a constant difference has no spread.
    steps = np.random.default_rng(0).uniform(50, 100, 30)
    one, other = mean_estimate(steps), mean_estimate(steps + 7)
    assert (other.low - one.low, other.high - one.high) == pytest.approx((7, 7), abs=1e-4)
    with pytest.raises(ValueError, match="no starts"):
        resample_counts(0)


def test_the_interval_of_the_restricted_mean_covers_about_as_often_as_it_says():
    rng, limit = np.random.default_rng(0), 150.0
    truth = 100 * (1 - np.exp(-limit / 100))  # of min(exponential, limit)
    hits = 0
    for _ in range(300):
        times = rng.exponential(100.0, size=60)
        found = restricted_mean(times, times < limit, 150)
        hits += found.low <= truth <= found.high
    assert 0.91 <= hits / 300 <= 0.98  # 95 % aimed at; the standard error is 1.3 %


def test_the_median_interval_covers_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(1), 0
    for _ in range(300):
        times = rng.exponential(100.0, size=61)
        found = median_time(times, times < 150)
        hits += found.low <= 100 * np.log(2) <= found.high
    assert 0.91 <= hits / 300 <= 0.985


def test_ratios_are_of_means_over_the_starts_whose_reference_is_known():
    found = ratio_of_means(np.array([10.0, 30.0, 500.0]), np.array([5.0, 15.0, np.nan]))
    assert (found.value, found.low, found.high) == pytest.approx((2, 2, 2))
    assert ratio_of_means(np.array([10.0, 30.0]), np.array([10.0, 10.0])).value == 2.0
    assert ratio_of_means(np.array([10.0]), np.array([np.nan])) is None
    assert ratio_of_means(np.array([10.0]), np.array([0.0])) is None


def test_success_has_wilsons_interval_and_estimates_have_a_text():
    found = success_share(np.arange(10) < 8)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.49016, 0.94331), abs=2e-5)
    assert Estimate(168.31, 158.8, 177.74).text() == "168.3 [158.8, 177.7]"
    assert Estimate(0.5, 0.25, 1).text(2) == "0.50 [0.25, 1.00]"
