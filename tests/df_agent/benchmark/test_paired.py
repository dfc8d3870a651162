import numpy as np
import pytest

from df_agent.benchmark.paired import adjusted, holm, mcnemar_test, paired_difference, sign_flip_test

N = 40
ALL = np.ones(N, bool)


@pytest.fixture
def times():
    return np.random.default_rng(0).uniform(50, 200, N)


def test_a_policy_compared_with_itself_shows_no_difference(times):
    pair = paired_difference("a", "a again", (times, times), (ALL, ALL))
    assert (pair.steps.value, pair.steps.low, pair.steps.high) == (0, 0, 0)
    assert (pair.faster, pair.slower, pair.equal) == (0, 0, 1)
    assert (pair.p, pair.p_success) == (1, 1)
    assert pair.verdict == "no difference is shown: +0.0 steps [+0.0, +0.0] on the same 40 starts"
    assert pair.verdict_success == "both succeed from the same starts"


def test_a_constant_difference_is_found_and_put_into_words(times):
    pair = paired_difference("ours", "theirs", (times, times + 35), (ALL, ALL))
    assert pair.verdict == "ours is faster by 35.0 steps [35.0, 35.0] on the same 40 starts"
    assert (pair.faster, pair.slower, pair.equal) == (1, 0, 0)
    assert pair.p < 0.001
    back = paired_difference("theirs", "ours", (times + 35, times), (ALL, ALL))
    assert back.verdict == "theirs is slower by 35.0 steps [35.0, 35.0] on the same 40 starts"


def test_pairing_finds_what_two_separate_intervals_would_miss(times):
    # Starts spread by 40 steps, the difference by 3: unpaired its standard error would be 9 steps, paired it is 0.5.
    later = times + 5 + np.random.default_rng(1).normal(0, 3, N)
    pair = paired_difference("ours", "theirs", (times, later), (ALL, ALL))
    assert pair.verdict.startswith("ours is faster by")
    assert pair.steps.high - pair.steps.low == pytest.approx(2 * 1.96 * 3 / N**0.5, rel=0.3)


def test_order_of_the_starts_does_not_matter(times):
    later, order = times + np.arange(N), np.random.default_rng(2).permutation(N)
    one = paired_difference("a", "b", (times, later), (ALL, ALL))
    other = paired_difference("a", "b", (times[order], later[order]), (ALL, ALL))
    assert other.steps.value == pytest.approx(one.steps.value)
    assert (other.steps.low, other.steps.high) == pytest.approx((one.steps.low, one.steps.high), abs=0.5)


def test_the_sign_flip_test_against_hand_counted_patterns():
    # 2^3 patterns; only +++ and --- have a mean as large as this one.
    assert sign_flip_test(np.array([1.0, 2.0, 3.0])) == pytest.approx(2 / 8)
    # |mean| >= 2: +++, -++ (4 - 1 = 3 -> 1 is less), so of sums 6, 4, 2, 0 and their negatives those of 4 and 6.
    assert sign_flip_test(np.array([-1.0, 2.0, 3.0])) == pytest.approx(4 / 8)
    assert sign_flip_test(np.zeros(5)) == sign_flip_test(np.array([3.0])) == 1.0


def test_the_sign_flip_test_errs_as_often_as_it_says():
    rng = np.random.default_rng(3)
    p = np.array([sign_flip_test(rng.standard_t(3, 25)) for _ in range(150)])
    assert 0.01 <= (p < 0.05).mean() <= 0.10


def test_mcnemar_and_holm_against_hand_computed_values():
    assert mcnemar_test(5, 0) == pytest.approx(2 / 32)
    assert mcnemar_test(1, 3) == pytest.approx(2 * (1 + 4) / 16)
    assert mcnemar_test(0, 0) == 1.0
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


def test_success_is_compared_on_the_starts_where_they_differ(times):
    fails = np.arange(N) < 9
    pair = paired_difference("ours", "theirs", (times, times), (ALL, ~fails))
    assert (pair.only_reference, pair.only_policy) == (9, 0)
    assert pair.p_success == pytest.approx(2 / 2**9)
    counts = "only ours succeeds from 9 of them, only theirs from 0"
    assert pair.verdict_success == f"ours succeeds more often: {counts}"
    fewer = paired_difference("ours", "theirs", (times, times), (ALL, np.arange(N) > 1))
    assert fewer.verdict_success.startswith("no difference in success is shown: only ours succeeds from 2 of them")


def test_many_comparisons_make_the_verdict_more_careful(times):
    later = times + np.random.default_rng(9).normal(2.6, 7, N)
    pair = paired_difference("ours", "theirs", (times, later), (ALL, ALL))
    assert 0.005 < pair.p < 0.05
    assert pair.verdict.startswith("ours is faster")
    nothing = paired_difference("ours", "same", (times, times), (ALL, ALL))
    judged = adjusted([pair] + [nothing] * 20)[0]
    assert judged.p_adjusted == pytest.approx(21 * pair.p)
    assert judged.verdict.startswith("no difference is shown")
    assert judged.p == pair.p


def test_different_starts_are_refused(times):
    with pytest.raises(ValueError, match="got 40 and 39"):
        paired_difference("a", "b", (times, times[1:]), (ALL, ALL[1:]))
