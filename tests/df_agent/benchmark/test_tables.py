from dataclasses import replace

import numpy as np
import pytest

from df_agent.benchmark.rows import EnvComparison, PolicyRows
from df_agent.benchmark.tables import bin_edges, make_tables, plan_latency
from df_agent.evaluation.records import PlanRecord
from df_agent.evaluation.references import References

# The toy oracle takes as many steps as the start's first number says.
REFERENCES = References(
    oracle_steps=lambda starts, goals: starts[:, 0],
    lower_bound_steps=lambda starts, goals: starts[:, 0] / 2,
    score_references=(0.0, 50.0),
    control_period=0.01,
)


@pytest.fixture
def rows(make_record):
    """Make a policy's rows: `rows("a", {seed: steps or None})`; the start of seed i is (10 i, 0)."""

    def make(name, times, **changes):
        records = []
        for seed, steps in times.items():
            late = {"success": False, "time_to_goal": 100, "at_goal_at_end": False, "episode_reward": 0.0}
            found = late if steps is None else {"time_to_goal": steps, "episode_reward": 50.0}
            stay = 0.0 if steps is None else 101.0 - steps
            records.append(make_record(seed=seed, start=[10.0 * seed, 0.0], episode_reward_if_stay=stay, **found))
        return PolicyRows(name, "data", records, **changes)

    return make


def compared(*policies, **changes):
    return make_tables(EnvComparison("toy-point", list(policies), REFERENCES, **changes))


def test_every_number_of_a_line_by_hand(rows, make_record):
    seconds = np.repeat((0.1, 0.2, 0.3), (24, 2, 24))
    alone = [make_record(num_envs=1, plans=[PlanRecord(i, 0, s, 1) for i, s in enumerate(seconds)])]
    ours = rows("ours", {1: 10, 2: 30, 3: None}, timing=alone)
    # The time-optimal solution is known from the first start only.
    optimal = lambda starts, goals: np.where(starts[:, 0] < 15, 5.0, np.nan)  # noqa: E731
    (line,) = compared(ours, time_optimal_steps=optimal).policies
    assert (line.success.value, line.at_goal_at_end) == pytest.approx((2 / 3, 2 / 3))
    assert line.restricted_mean.value == pytest.approx((10 + 30 + 100) / 3)
    assert line.median.value == 30
    assert line.oracle_ratio.value == pytest.approx(140 / 60)
    assert line.bound_ratio.value == pytest.approx(140 / 30)
    assert line.optimal_ratio.value == pytest.approx(10 / 5)
    assert line.score_occupancy == pytest.approx(2 * 100 / 3)
    assert line.score_latched == pytest.approx(2 * (91 + 71) / 3)
    assert (line.plan_ms_p50, line.plan_ms_p95, line.plan_ms_p99) == pytest.approx((200, 300, 300))
    assert (line.act_ms, line.real_time_factor) == pytest.approx((20.0, 2.0))
    assert (line.plans_timed, line.episodes_timed) == (50, 1)
    assert line.seconds_to_goal == alone[0].policy_seconds_to_goal > 0
    assert (line.plans_to_goal, line.runs, line.starts, line.of_starts, line.limit) == (1, 1, 3, 3, 100)


def test_who_never_succeeds_is_not_faster_than_a_reference_that_succeeds_after_the_limit(rows):
    never = rows("never", {1: None, 30: None, 40: None})
    (line,) = compared(never, time_optimal_steps=lambda starts, goals: starts[:, 0]).policies
    found = [ratio.value for ratio in (line.oracle_ratio, line.optimal_ratio, line.bound_ratio)]
    assert found == pytest.approx([300 / 210, 300 / 210, 300 / 205])


def test_no_ratio_where_neither_the_policy_nor_the_reference_ever_arrives(rows):
    never = rows("never", {30: None, 40: None})
    (line,) = compared(never, time_optimal_steps=lambda starts, goals: np.full(len(starts), np.nan)).policies
    assert (line.oracle_ratio, line.optimal_ratio, line.bound_ratio) == (None, None, None)


def test_scores_are_in_steps_where_episodes_have_another_length(rows):
    for limit, score in ((100, 100.0), (60, 50.0)):
        known = replace(REFERENCES, score_limit=limit)
        (line,) = make_tables(EnvComparison("toy-point", [rows("ours", {1: 10})], known)).policies
        assert line.score_occupancy == score


def test_policies_are_ordered_by_success_then_by_restricted_mean(rows):
    tables = compared(rows("slow", {1: 50, 2: 60}), rows("fails", {1: 1, 2: None}), rows("fast", {1: 20, 2: 30}))
    assert [line.policy for line in tables.policies] == ["fast", "slow", "fails"]


def test_only_common_starts_are_paired(rows):
    ours = rows("ours", {1: 10, 2: 20, 3: 30, 4: 40})
    slow = rows("slow", {4: 45, 2: 25, 9: 1})
    other = rows("elsewhere", {7: 1})
    tables = compared(ours, slow, other)
    (pair,) = tables.pairs
    assert (pair.policy, pair.starts, pair.steps.value, pair.steps.low) == ("slow", 2, 5, 5)
    assert (tables.starts, [line.starts for line in tables.policies]) == (6, [1, 3, 4])
    assert {line.of_starts for line in tables.policies} == {6}


def test_the_order_of_rows_changes_nothing(rows):
    rng = np.random.default_rng(0)
    times = {i: int(t) for i, t in enumerate(rng.integers(10, 90, 30), start=1)}
    ours, theirs = rows("ours", times), rows("theirs", {i: t + 3 for i, t in times.items()})
    shuffled = replace(theirs, records=[theirs.records[i] for i in rng.permutation(30)])
    one, other = compared(ours, theirs), compared(ours, shuffled)
    assert other.policies == one.policies
    assert other.pairs == one.pairs
    assert other.distances == one.distances


def test_a_start_that_is_not_the_same_is_refused(rows, make_record):
    ours = rows("ours", {1: 10})
    moved = PolicyRows("moved", "data", [make_record(seed=1, start=[11.0, 0.0])])
    with pytest.raises(ValueError, match=r"moved and ours differ under seed 1: start \[11.0, 0.0\]"):
        compared(ours, moved)
    longer = PolicyRows("longer", "data", [make_record(seed=2, max_episode_steps=200)])
    with pytest.raises(ValueError, match=r"different limits .* \[100, 200\]"):
        compared(ours, longer)
    twice = PolicyRows("twice", "data", [*ours.records, *ours.records])
    with pytest.raises(ValueError, match="twice ran the start of seed 1 more than once"):
        compared(twice)
    with pytest.raises(ValueError, match="no policy has any episode"):
        compared(PolicyRows("a", "data", []))


def test_a_policy_that_failed_is_listed_and_sinks_nothing(rows):
    broken = PolicyRows("broken", "data", [], error="PolicyError: no")
    half = rows("half", {1: 12}, error="KeyboardInterrupt")
    tables = compared(rows("ours", {1: 10, 2: 20}), broken, half)
    assert tables.failed == [("broken", "PolicyError: no"), ("half", "KeyboardInterrupt")]
    assert [line.policy for line in tables.policies] == ["half", "ours"]
    # Without the reference there is nothing to compare with.
    assert compared(broken, rows("ours", {1: 10})).pairs == []


def test_distance_bins_are_cut_half_way_between_their_names(rows):
    assert bin_edges() == [0, 96, 192, 320, np.inf]
    tables = compared(rows("ours", {1: 10, 9: 40, 10: None, 19: 80, 20: 90, 50: 99}))
    assert [(row.bin, row.starts) for row in tables.distances] == [(64, 2), (128, 2), (256, 1), (384, 1)]
    assert [row.oracle_mean for row in tables.distances] == [50, 100, 100, 100], "censored as the policy's mean is"
    middle = tables.distances[1]
    assert (middle.success.value, middle.median_of_arrived, middle.restricted_mean.value) == (0.5, 80, 90)
    assert make_tables(EnvComparison("toy-point", [rows("ours", {1: 10})])).distances == []


def test_training_runs_are_one_line_and_a_summary(rows):
    ours = [rows(name, {1: 10 + k, 2: 20 + k, 3: 30 + k}) for k, name in enumerate(("ours", "ours@1", "ours@2"))]
    theirs = [rows(name, {1: 60 + k, 2: 70 + k}) for k, name in enumerate(("theirs", "theirs@1"))]
    tables = compared(*ours, *theirs, rows("single", {1: 50, 2: 60, 3: 70}))
    assert [(line.policy, line.runs) for line in tables.policies] == [("ours", 3), ("single", 1), ("theirs", 2)]
    assert [(runs.policy, runs.starts, runs.means) for runs in tables.runs] == [
        ("ours", 3, (20, 21, 22)),
        ("theirs", 2, (65, 66)),
    ]
    assert [(pair.policy, pair.reference_mean) for pair in tables.pairs] == [("single", 20), ("theirs", 15)]
    ((name, difference),) = tables.runs_difference
    assert (name, difference.value) == ("theirs", 65.5 - 16)
    assert difference.low < 49.5 < difference.high
    by_run = {name: [steps.value for steps in found] for name, found in tables.against_runs}
    assert by_run == {"single": [40, 39, 38], "theirs": [50, 49, 48]}


def test_latencies_need_one_environment_at_a_time(make_record):
    with pytest.raises(ValueError, match="one at a time, got 4"):
        plan_latency([make_record(num_envs=4)])
    assert plan_latency([]) == (None, None, None)


def test_the_slowest_of_a_few_plans_is_not_called_p99(rows, make_record):
    alone = [make_record(num_envs=1, plans=[PlanRecord(i, 0, 0.1, 1) for i in range(49)])]
    (line,) = compared(rows("ours", {1: 10}, timing=alone)).policies
    assert (line.plan_ms_p50, line.plan_ms_p95, line.plan_ms_p99) == (pytest.approx(100), pytest.approx(100), None)
