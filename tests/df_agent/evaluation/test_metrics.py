import numpy as np
import pytest

from df_agent.evaluation.metrics import (
    bootstrap_interval,
    normalised_score,
    planning_latency,
    real_time_factor,
    reference_steps,
    seconds_per_action,
    success_curve,
    summarize,
    wall_crossing_rate,
    wilson_interval,
)
from df_agent.evaluation.records import PlanRecord
from df_agent.evaluation.references import References
from df_agent.evaluation.terminal import summary_rows


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Wilson's formula worked by hand: (p + z^2/2n -+ z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n), z = 1.959964.
    [(8, 10, 0.49016, 0.94331), (50, 100, 0.40383, 0.59617), (100, 100, 0.96301, 1.0), (0, 20, 0.0, 0.16113)],
)
def test_wilson_interval_against_hand_computed_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=2e-5)


def test_wilson_interval_mirrors_and_refuses_nonsense():
    low, high = wilson_interval(3, 40)
    assert wilson_interval(37, 40) == pytest.approx((1 - high, 1 - low))
    with pytest.raises(ValueError, match="successes=5, trials=4"):
        wilson_interval(5, 4)


def test_bootstrap_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(300):
        low, high = bootstrap_interval(rng.exponential(100.0, size=60), resamples=400)
        hits += low <= 100.0 <= high
    # 95 % aimed at; skew and a small sample cost a few. 0.90 to 0.98 is 3 standard errors around 0.94.
    assert 0.90 <= hits / 300 <= 0.98


def test_bootstrap_interval_has_the_normal_width_and_repeats():
    values = np.random.default_rng(1).normal(5.0, 2.0, size=400)
    low, high = bootstrap_interval(values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(np.full(7, 3.0)) == (3.0, 3.0)


def test_scores_normalise_d4rl_style():
    assert normalised_score(6.7, (6.7, 273.99)) == 0.0
    assert normalised_score(273.99, (6.7, 273.99)) == pytest.approx(100.0)
    assert normalised_score(800 - 249, (6.7, 273.99)) == pytest.approx(203.63, abs=0.01)


def test_times_to_goal_count_timeouts_as_the_limit(make_record):
    late = {"success": False, "time_to_goal": 100, "first_reach": 100, "episode_reward_if_stay": 0.0}
    records = [
        make_record(time_to_goal=0, first_reach=0, episode_reward_if_stay=100.0),
        make_record(time_to_goal=20, first_reach=19, episode_reward_if_stay=81.0),
        make_record(time_to_goal=40, first_reach=39, episode_reward_if_stay=61.0),
        make_record(**late, at_goal_at_end=False, episode_reward=0.0),
    ]
    summary = summarize(
        records,
        References(score_references=(0.0, 50.0)),
        seed=3,
        oracle=np.array([0.0, 20.0, 30.0, 50.0]),
        lower_bound=np.array([0.0, 10.0, 20.0, 30.0]),
    )
    time = summary["time_to_goal"]
    assert (time["mean"], time["median"], time["timeouts"]) == (40.0, 30.0, 1)
    assert time["p90"] == pytest.approx(40 + 0.7 * 60)
    assert 0 <= time["ci95"][0] < 40 < time["ci95"][1] <= 100
    assert summary["time_to_goal_successful_mean"] == 20.0
    assert summary["success_rate"] == 0.75
    assert summary["success_rate_ci95"] == list(wilson_interval(3, 4))
    assert summary["time_ratio_to_oracle"] == pytest.approx(40 / 25)
    low, high = summary["time_ratio_to_oracle_ci95"]
    assert low < 1.6 < high
    assert (summary["oracle_time_to_goal_mean"], summary["lower_bound_mean"]) == (25.0, 15.0)
    assert summary["at_goal_at_end"] == 0.75
    assert summary["first_reach"] == 100 - summary["episode_reward_if_stay"] == 39.5
    assert summary["score_occupancy"] == pytest.approx(2 * (3 * 91.0) / 4)
    assert summary["score_latched"] == pytest.approx(2 * 60.5)


def test_the_summary_has_the_promised_keys_and_none_where_nothing_is_known(make_record):
    record = make_record(success=False, time_to_goal=100, plans=[])
    summary = summarize([record], seed=0)
    promised = {
        "env", "policy", "episodes", "seed", "max_episode_steps", "success_rate", "success_rate_ci95",
        "time_to_goal", "time_to_goal_successful_mean", "oracle_time_to_goal_mean", "lower_bound_mean",
        "time_ratio_to_oracle", "at_goal_at_end", "episode_reward", "episode_reward_if_stay", "first_reach",
        "score_occupancy", "score_latched", "plan_ms", "plan_ms_single", "real_time_factor",
        "plans_to_goal", "env_steps_per_second", "wall_crossing_rate",
    }  # fmt: skip
    assert promised <= set(summary)
    assert set(summary["time_to_goal"]) == {"mean", "median", "p90", "ci95", "timeouts"}
    assert summary["plan_ms"] == {"p50": None, "p95": None, "batch": None}
    unknown = {key for key in promised if summary[key] is None}
    assert unknown == {
        "time_to_goal_successful_mean", "oracle_time_to_goal_mean", "lower_bound_mean", "time_ratio_to_oracle",
        "score_occupancy", "score_latched", "real_time_factor", "wall_crossing_rate",
    }  # fmt: skip


def test_latency_counts_a_shared_planning_call_once(make_record):
    shared, alone = PlanRecord(0, 0, 0.1, 3), PlanRecord(1, 50, 0.2, 1)
    late = make_record(plans=[shared, alone], time_to_goal=60)
    records = [make_record(plans=[shared]), make_record(plans=[shared]), late]
    latency = planning_latency(records)
    assert latency["p50"] == pytest.approx(150.0)
    assert latency["p95"] == pytest.approx(195.0)
    assert latency["batch"] == 2.0
    assert summarize(records, seed=0)["plans_to_goal"] == pytest.approx(4 / 3)


def test_real_time_factor_is_computing_over_simulated_seconds(make_record):
    records = [
        make_record(policy_seconds_to_goal=0.5),
        make_record(policy_seconds_to_goal=0.3, time_to_goal=60),
        make_record(policy_seconds_to_goal=0.0, time_to_goal=0),
    ]
    assert real_time_factor(records, 0.01) == pytest.approx(0.8 / 0.7)
    assert real_time_factor(records[2:], 0.01) is None


def test_wall_crossing_rate_fills_short_plans_up_without_moving_them(make_record):
    plans = [
        PlanRecord(0, 0, 0.0, 1, True, [[0.0, 0.0], [2.0, 0.0], [3.0, 0.0]]),
        PlanRecord(1, 1, 0.0, 1, True, [[0.0, 0.0]]),
        PlanRecord(2, 2, 0.0, 1, True, [[0.0, 0.0], [0.0, 5.0]]),
        PlanRecord(3, 3, 0.0, 1),
        PlanRecord(4, 4, 0.0, 1, False, [[0.0, 0.0], [0.0, 9.0]]),  # not executed: does not count
    ]

    def long_step(paths):
        return (np.linalg.norm(np.diff(paths, axis=1), axis=-1) > 1.5).any(axis=1)

    assert wall_crossing_rate([make_record(plans=plans)], long_step) == pytest.approx(2 / 3)
    assert wall_crossing_rate([make_record(plans=[])], long_step) is None


def test_references_get_the_records_own_starts_and_goals(make_record):
    records = [make_record(start=[1.0, 2.0, 3.0], goal=[4.0]), make_record(start=[5.0, 6.0, 7.0], goal=[8.0])]

    def steps(starts, goals):
        assert starts.tolist() == [[1, 2, 3], [5, 6, 7]]
        return goals[:, 0]

    assert reference_steps(records, steps).tolist() == [4.0, 8.0]
    assert reference_steps(records, None) is None


def test_a_reference_that_succeeds_after_the_limit_is_censored_too(make_record):
    never = make_record(success=False, time_to_goal=100, at_goal_at_end=False)
    summary = summarize([never, make_record()], seed=0, oracle=np.array([400.0, 5.0]), lower_bound=np.array([300.0, 4]))
    assert summary["time_ratio_to_oracle"] == pytest.approx((100 + 10) / (100 + 5))
    assert (summary["oracle_time_to_goal_mean"], summary["lower_bound_mean"]) == (52.5, 52.0)


@pytest.mark.parametrize(
    ("success", "oracle", "ratio"), [(False, 400.0, None), (False, 100.0, None), (True, 400.0, 0.1), (False, 50.0, 2.0)]
)
def test_no_ratio_where_every_time_is_the_limit(make_record, success, oracle, ratio):
    record = make_record() if success else make_record(success=False, time_to_goal=100, at_goal_at_end=False)
    summary = summarize([record, record], seed=0, oracle=np.array([oracle, oracle]))
    assert summary["time_ratio_to_oracle"] == (ratio if ratio is None else pytest.approx(ratio))
    assert any(label == "  ratio to oracle" for label, _ in summary_rows(summary)) == (ratio is not None)


def test_scores_are_of_episodes_of_the_references_length(make_record):
    for limit, score in ((100, 182.0), (60, None), (None, 182.0)):
        known = References(score_references=(0.0, 50.0), score_limit=limit)
        summary = summarize([make_record()], known, seed=0)
        assert (summary["score_occupancy"], summary["score_latched"]) == (score, score)


def test_an_episode_that_ended_early_without_arriving_counts_with_its_steps(make_record):
    fell = make_record(success=False, time_to_goal=100, length=20, policy_seconds_to_goal=2.0)
    assert seconds_per_action([fell]) == pytest.approx(0.1)


def test_success_curve_rises_where_goals_are_reached_only():
    curve = success_curve(np.array([0, 2, 5, 5]), np.array([True, True, True, False]), 5)
    assert curve.tolist() == [0.25, 0.25, 0.5, 0.5, 0.5, 0.75]
