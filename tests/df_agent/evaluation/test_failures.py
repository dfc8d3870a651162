"""Kinds of failures, by hand-made paths, in units of the goal's radius."""

import json
from pathlib import Path

import numpy as np
import pytest

from df_agent.evaluation.failures import (
    KINDS,
    LOST,
    NEAR,
    RULE,
    SLOW,
    STUCK,
    UNKNOWN,
    by_kind,
    counted,
    failures,
    goal_unit,
    keeps_to_a_place,
    kind_of,
    stored_kinds,
)
from df_agent.evaluation.references import References

ROOT = Path(__file__).parents[3]
# A wall between x = 2 and x = 3, open above y = 4; the goal is at (5, 0).
WALLS = np.array([[2.0, -5.0, 3.0, 4.0]])
REFERENCES = References(walls=WALLS, goal_radius=0.5)
STEPS = 200


@pytest.fixture
def kind(make_record):
    def which(path, references=REFERENCES):
        record = make_record(success=False, path=np.asarray(path).tolist(), goal=[5.0, 0.0], start=[0.0, 0.0])
        return failures([record], references)[0].kind

    return which


def line(*corners):
    share = np.linspace(0, len(corners) - 1, STEPS)
    return np.stack([np.interp(share, range(len(corners)), values) for values in zip(*corners, strict=True)], axis=1)


def test_what_stays_in_one_place_is_stuck_at_a_wall_or_not(kind):
    path = np.concatenate([line((0, 0), (1.9, 0))[::2], np.tile([1.9, 0.0], (STEPS, 1))])
    path[100:, 1] += 0.1 * np.sin(np.arange(STEPS))  # it trembles
    assert kind(path) == STUCK
    assert kind(np.tile([0.5, 0.0], (STEPS, 1))) == STUCK


@pytest.mark.parametrize("period", [5, 9, 20, 33])
def test_what_goes_to_and_fro_about_one_place_is_stuck(kind, period):
    phase = 2 * np.pi * np.arange(STEPS) / period
    assert kind(np.stack([0.9 * np.sin(phase), 0 * phase], 1)) == STUCK
    assert kind(np.stack([0.7 * np.sin(phase), 0.7 * np.cos(phase)], 1)) == STUCK  # in circles


def test_what_comes_nearer_until_the_end_is_slow(kind):
    assert kind(line((-2, 6), (3.5, 2))) == SLOW
    assert kind(line((-3, 0), (0.2, 0))) == SLOW  # with 60 % of the way left


def test_what_moves_and_gains_nothing_is_lost(kind):
    assert kind(line((0, 0), (0, 4), (0, 0), (0, 4), (0, 0))) == LOST
    assert kind(line((0, 0), (-4, 0))) == LOST
    # It has come nearer, but has most of the way left.
    assert kind(line((-2, 6), (-1, 6), (-2, 6), (-1, 5))) == LOST


def test_what_was_within_two_radii_at_some_time_is_near(kind):
    assert kind(line((0, 0), (4.1, 0), (-3, 0))) == NEAR
    assert kind(line((0, 0), (3.9, 0), (-3, 0))) == LOST
    assert kind(line((0, 0), (5, 0), (5, 0))) == NEAR  # there, and it did not count


def test_a_wall_between_is_not_near(kind):
    known = References(goal_radius=0.5, crosses_wall=lambda ways: ways[:, 0, 0] < 4.3)
    assert kind(line((0, 0), (4.2, 0), (4.2, 0))) == NEAR
    assert kind(line((0, 0), (4.2, 0), (4.2, 0)), known) == STUCK
    assert kind(line((0, 0), (4.4, 0), (4.2, 0)), known) == NEAR


def test_the_way_ahead_goes_around_the_walls_where_that_is_known(kind):
    def around(starts, goals):
        assert starts.shape[1] == goals.shape[1] == 2
        corner = np.array([2.5, 4.0])
        return np.linalg.norm(starts - corner, axis=1) + np.linalg.norm(goals - corner, axis=1)

    # Into the pocket before the wall: nearer as the crow flies, and not by the way around.
    known = References(walls=WALLS, goal_radius=0.5, lower_bound_steps=around)
    assert kind(line((-3, 0), (1.5, 0))) == SLOW
    assert kind(line((-3, 0), (1.5, 0)), known) == LOST


def test_goals_of_one_number_and_of_three():
    time = np.arange(STEPS)[:, None] / STEPS
    direction = np.array([[6.0, 0.0, 8.0]])
    for away in (10.0 * np.ones((1, 1)), direction):  # ten radii from the goal
        assert kind_of(away * (1 - 0.5 * time)) == SLOW
        assert kind_of(away * (1 + 0.5 * time)) == LOST
        assert kind_of(away * (1 - 0.9 * time)) == NEAR
        assert kind_of(away + 0 * time) == STUCK
        assert kind_of(away * (1 + 0.1 * np.sin(80 * time))) == STUCK
        assert kind_of(away * np.maximum(1 - 2 * time, 0.5)) == STUCK  # halfway it stopped


def test_the_fourth_number_of_a_goal_counts_as_the_first(make_record):
    path = np.zeros((STEPS, 4))
    path[:, 3] = np.linspace(0, 0.5, STEPS)
    record = make_record(success=False, path=path.tolist(), goal=[0.0, 0.0, 0.0, 1.0], start=[0.0] * 4)
    assert failures([record])[0].kind == SLOW


def test_episodes_shorter_than_a_handful_of_steps_are_told_too():
    for steps in (1, 2, 3):
        assert kind_of(np.full((steps, 2), 9.0)) == STUCK


def test_what_gets_on_slowly_keeps_to_no_place():
    assert keeps_to_a_place(np.linspace(0, 0.9, 50)[:, None])
    assert not keeps_to_a_place(np.linspace(0, 1.1, 50)[:, None])
    wide = 10 * np.sin(np.arange(50))[:, None]
    assert not keeps_to_a_place(wide)
    assert keeps_to_a_place(wide, wide=20.0)


def test_the_radius_is_told_or_seen_where_episodes_succeed_or_guessed(make_record):
    def arrived(at, **changes):
        path = [[0.0, 0.0], [5.0, 0.0], at]
        return make_record(path=path, time_to_goal=2, goal=[10.0, 0.0], start=[0.0, 0.0], **changes)

    records = [arrived(at) for at in ([9.0, 0.0], [9.0, 0.2], [10.0, 0.2])]
    assert goal_unit(records, References(goal_radius=0.3)).tolist() == [0.3, 0.3]
    assert goal_unit(records) == pytest.approx([1.0, 0.2])
    assert goal_unit([arrived([9.0, 0.2], success=False)]) == pytest.approx([0.05 * 10, 0.05 * 0.2])
    still = arrived([9.0, 0.0], success=False)
    assert goal_unit([still]) == pytest.approx([0.5, 1.0])  # what never differs divides nothing by zero


def test_only_failures_are_told_and_how_near_they_came(make_record):
    path = line((0, 0), (5, 3), (0, 0)).tolist()
    records = [
        make_record(),
        make_record(episode=1, success=False, path=path, goal=[5.0, 0.0]),
        make_record(episode=2, success=False, path=[]),
        make_record(episode=3, success=False, path=[[np.nan, np.nan]] * 5),
    ]
    found = failures(records, REFERENCES)
    assert [failure.record.episode for failure in found] == [1, 2, 3]
    assert found[0].nearest == pytest.approx(2 * np.linalg.norm([5, 0]) * 3 / np.hypot(5, 3), abs=0.06)
    assert [failure.kind for failure in found] == [LOST, UNKNOWN, UNKNOWN]
    assert np.isnan(found[1].nearest)
    assert counted(by_kind(found)) == "2 unknown, 1 lost"
    assert all(f"{each}:" in RULE for each in KINDS)


def test_summaries_that_were_stored_before_there_were_kinds_are_read():
    old = json.loads((ROOT / "results" / "own_environment" / "Payload-demonstrator" / "summary.json").read_text())
    assert stored_kinds({"failures": {"stuck at a wall": 2, "stayed in one place, away from walls": 1}}) == {STUCK: 3}
    assert stored_kinds({"failures": {"near": 2, "lost": 3}}) == {"lost": 3, "near": 2}
    assert stored_kinds({}) == {}
    assert set(stored_kinds(old)) <= set(KINDS)
    assert sum(stored_kinds(old).values()) == round(old["episodes"] * (1 - old["success_rate"]))
