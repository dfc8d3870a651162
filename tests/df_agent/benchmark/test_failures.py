import numpy as np
import pytest

from df_agent.benchmark.failures import (
    ON_ITS_WAY,
    STILL,
    STUCK,
    UNKNOWN,
    WANDERED,
    counted,
    distance_to_walls,
    failures,
)
from df_agent.evaluation.references import References

# A wall between x = 2 and x = 3, open above y = 4; the goal is at (5, 0).
WALLS = np.array([[2.0, -5.0, 3.0, 4.0]])
REFERENCES = References(walls=WALLS, goal_radius=0.5)
STEPS = 200


@pytest.fixture
def reason(make_record):
    def why(path, references=REFERENCES):
        record = make_record(success=False, path=np.asarray(path).tolist(), goal=[5.0, 0.0], start=[0.0, 0.0])
        return failures([record], references)[0].reason

    return why


def line(*corners):
    share = np.linspace(0, len(corners) - 1, STEPS)
    return np.stack([np.interp(share, range(len(corners)), values) for values in zip(*corners, strict=True)], axis=1)


def test_a_ball_that_pushes_against_a_wall_is_stuck_there(reason):
    path = np.concatenate([line((0, 0), (1.9, 0))[::2], np.tile([1.9, 0.0], (STEPS, 1))])
    path[100:, 1] += 0.1 * np.sin(np.arange(STEPS))  # it trembles
    assert reason(path) == STUCK


def test_a_ball_that_rests_elsewhere_stands_still(reason):
    assert reason(np.tile([0.5, 0.0], (STEPS, 1))) == STILL
    assert reason(np.tile([1.9, 0.0], (STEPS, 1)), References(goal_radius=0.5)) == STILL


def test_a_ball_that_comes_nearer_until_the_end_is_on_its_way(reason):
    assert reason(line((-2, 6), (4, 4))) == ON_ITS_WAY


def test_a_ball_that_moves_and_gains_nothing_wanders(reason):
    assert reason(line((0, 0), (0, 4), (0, 0), (0, 4), (0, 0))) == WANDERED
    assert reason(line((0, 0), (-4, 0))) == WANDERED
    # It has come nearer, but has more than half of the way left.
    assert reason(line((-2, 6), (-1, 6), (-2, 6), (-1, 5))) == WANDERED


def test_the_way_ahead_goes_around_the_walls_where_that_is_known(reason):
    def around(starts, goals):
        assert starts.shape[1] == goals.shape[1] == 2
        corner = np.array([2.5, 4.0])
        return np.linalg.norm(starts - corner, axis=1) + np.linalg.norm(goals - corner, axis=1)

    # Into the pocket before the wall: nearer as the crow flies, and not by the way around.
    known = References(walls=WALLS, goal_radius=0.5, lower_bound_steps=around)
    assert reason(line((-3, 0), (1.5, 0))) == ON_ITS_WAY
    assert reason(line((-3, 0), (1.5, 0)), known) == WANDERED


def test_only_failures_are_told_and_how_near_they_came(make_record):
    path = line((0, 0), (5, 3), (0, 0)).tolist()
    records = [
        make_record(),
        make_record(episode=1, success=False, path=path, goal=[5.0, 0.0]),
        make_record(episode=2, success=False, path=[]),
    ]
    found = failures(records, REFERENCES)
    assert [failure.record.episode for failure in found] == [1, 2]
    assert found[0].nearest == pytest.approx(np.linalg.norm([5, 0]) * 3 / np.hypot(5, 3), abs=0.03)
    assert (found[1].reason, np.isnan(found[1].nearest)) == (UNKNOWN, True)
    assert counted([*found, found[1]]) == f"2 {UNKNOWN}, 1 {found[0].reason}"


def test_distances_to_boxes_by_hand():
    points = np.array([[2.5, 0.0], [1.5, 0.0], [0.0, 8.0]])
    assert distance_to_walls(points, WALLS) == pytest.approx([0, 0.5, np.hypot(2, 4)])
    assert np.isinf(distance_to_walls(points, None)).all()
