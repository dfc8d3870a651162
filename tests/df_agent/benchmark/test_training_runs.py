import numpy as np
import pytest

from df_agent.benchmark.training_runs import mean_over_runs, policy_of, summarise_runs


def simulated(rng, runs, starts, spread):
    """(runs, starts): 100 on average, runs spread by `spread`, starts by 70, the rest by 30."""
    return 100 + rng.normal(0, spread, (runs, 1)) + rng.normal(0, 70, (1, starts)) + rng.normal(0, 30, (runs, starts))


@pytest.mark.parametrize("spread", [0, 5, 30])
def test_the_interval_holds_for_other_runs_and_other_starts(spread):
    rng, hits, widths = np.random.default_rng(0), 0, []
    for _ in range(400):
        found = mean_over_runs(simulated(rng, 3, 100, spread))
        hits += found.low <= 100 <= found.high
        widths.append(found.high - found.low)
    assert hits / 400 >= 0.93  # 95 % at least; the standard error is 1.1 %
    if spread == 0:
        assert np.median(widths) < 1.5 * 2 * 1.96 * np.sqrt(70**2 / 100 + 30**2 / 300)  # and not for its width


def test_the_difference_of_two_policies_keeps_the_starts_paired():
    rng, hits, widths = np.random.default_rng(1), 0, []
    for _ in range(300):
        ours, theirs = rng.normal(0, 70, (1, 100)) + rng.normal(0, 1, (2, 3, 1)) + rng.normal(0, 10, (2, 3, 100))
        found = mean_over_runs(theirs, ours)
        hits += found.low <= 0 <= found.high
        widths.append(found.high - found.low)
    assert hits / 300 >= 0.93
    # Unpaired, the starts alone would give 2 * 1.96 * 70 * sqrt(2 / 100) = 39 steps.
    assert np.median(widths) < 15


def test_equal_runs_leave_the_spread_over_starts_and_equal_policies_nothing():
    starts = np.random.default_rng(2).normal(100, 70, 200)
    found = mean_over_runs(np.tile(starts, (3, 1)))
    half = 1.972 * starts.std(ddof=1) / 200**0.5  # Student's t with 199 degrees of freedom
    assert (found.value, found.high - found.value) == pytest.approx((starts.mean(), half), rel=1e-3)
    same = mean_over_runs(np.tile(starts, (3, 1)), np.tile(starts, (2, 1)))
    assert (same.value, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-9)


def test_runs_are_summarised_one_by_one_and_together():
    times = np.array([[10.0, 20.0, 30.0], [20.0, 40.0, 60.0]])
    found = summarise_runs("a", ["a", "a@1"], times, np.array([[True] * 3, [True, False, True]]))
    assert (found.means, found.starts, found.names) == ((20.0, 40.0), 3, ("a", "a@1"))
    assert found.successes == pytest.approx((1, 2 / 3))
    assert found.mean.value == 30.0
    assert found.mean.low < 20


def test_what_gives_no_interval_is_refused():
    with pytest.raises(ValueError, match="two runs"):
        mean_over_runs(np.ones((1, 5)))
    with pytest.raises(ValueError, match="equal starts"):
        mean_over_runs(np.ones((2, 5)), np.ones((2, 6)))
    assert policy_of("diffuser@1") == policy_of("diffuser") == "diffuser"
