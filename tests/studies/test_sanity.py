import numpy as np
import pytest

from df_agent.evaluation.rollout import rollout
from studies.sanity import ReplaceGoals, sanity_row, shuffled_goals, wandering_rate


def test_replaced_goals_are_gone_to_and_break_success(straight):
    records = rollout(straight, "toy-point", episodes=40, seed=1)
    goals = shuffled_goals(records)
    wrong = rollout(ReplaceGoals(straight, goals), "toy-point", episodes=40, seed=1, num_envs=15)
    assert [record.start for record in wrong] == [record.start for record in records]
    assert sum(record.success for record in records) == 40
    assert sum(record.success for record in wrong) < 20
    for record, goal in zip(wrong, goals, strict=True):
        assert np.allclose(record.path[-1], goal, atol=0.01), "it must end at the goal it was shown"
        assert np.allclose(record.plans[0].path[-1], goal, atol=1e-3), "plans must come through"
    assert straight.seeds == [1, 1]


def test_shuffled_goals_are_others_goals_or_starts(make_record):
    varied = [make_record(goal=[float(i), 0.0]) for i in range(3)]
    assert shuffled_goals(varied).tolist() == [[1, 0], [2, 0], [0, 0]]
    fixed = [make_record(path=[[float(i), 5.0], [9.0, 9.0]]) for i in range(3)]
    assert shuffled_goals(fixed).tolist() == [[1, 5], [2, 5], [0, 5]]
    with pytest.raises(ValueError, match="at least 2"):
        shuffled_goals([make_record()])


def test_replace_goals_has_a_plan_hook_only_if_the_policy_has_one(straight):
    class Mute:
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros((1, 2)), None

    assert hasattr(ReplaceGoals(straight, np.zeros((1, 2))), "on_plan")
    assert not hasattr(ReplaceGoals(Mute(), np.zeros((1, 2))), "on_plan")
    with pytest.raises(ValueError, match="leading environment axis"):
        ReplaceGoals(Mute(), np.zeros((1, 2))).predict({"desired_goal": np.zeros(2)})


def test_wandering_rate_counts_windows_that_touch_the_goal():
    # One walk of 1000 steps along a line; the goal, at 500, is within 10 for 21 positions. A window of 100
    # steps (101 positions) that begins in 390..510 touches it: 121 of the 900 that there are.
    line = np.arange(1000.0)[:, None]
    starts = np.array([0, 1000])

    def near(here, goal):
        return np.abs(here - goal)[..., 0] <= 10

    rate = wandering_rate(line, starts, np.array([[500.0]]), 100, near, samples=4000)
    assert rate == pytest.approx(121 / 901, abs=4 * np.sqrt(0.134 * 0.866 / 4000))
    # Windows do not run on into the next trajectory.
    split = wandering_rate(line, np.array([0, 485, 1000]), np.array([[500.0]]), 100, near, samples=4000)
    assert split == pytest.approx((510 - 485 + 1) / (386 + 416), abs=0.012)


def test_wandering_rate_pairs_windows_with_the_goals_in_turn():
    line, never = np.zeros((50, 1)), np.array([[0.0], [99.0]])
    rate = wandering_rate(line, np.array([0, 50]), never, 10, lambda here, goal: here[..., 0] == goal[..., 0])
    assert rate == 0.5


def test_sanity_row_reports_success_with_its_interval(make_record):
    row = sanity_row("no goal", [make_record(), make_record(success=False, time_to_goal=100)])
    assert (row["policy"], row["episodes"], row["success_rate"], row["time_to_goal_mean"]) == ("no goal", 2, 0.5, 55)
    assert row["success_rate_ci95"][0] < 0.5 < row["success_rate_ci95"][1]
