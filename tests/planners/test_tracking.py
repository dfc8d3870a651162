import numpy as np
import pytest
from df_planners.tracking import (
    PathTrackerConfig,
    arc_lengths,
    follow_waypoints,
    pd_action,
    point_at,
    project,
    track_path,
)

CONFIG = PathTrackerConfig()
PERIOD = 0.01  # [s]
PUSH = 23.9  # acceleration of full force: gear 100 over a mass of 4.19
CORNER = np.array([[[0.0, 0], [1, 0], [1, 2], [1, 2], [1, 2]]])  # an L, its end repeated


def drive(position, velocity, action):
    """One step of a ball on a plane, its velocity limited per axis."""
    velocity = np.clip(velocity + PUSH * action * PERIOD, -5, 5)
    return position + velocity * PERIOD, velocity


def where(path, position, progress=0.0, reach=100.0):
    """Project one position onto one path."""
    path = np.asarray(path, dtype=float)[None]
    s, distance = project(path, arc_lengths(path), np.array([position], float), np.array([progress]), reach)
    return s[0], distance[0]


# --- paths ---


def test_arc_lengths():
    assert arc_lengths(CORNER).tolist() == [[0, 1, 3, 3, 3]]


@pytest.mark.parametrize(
    ("s", "point"),
    [(-1, (0, 0)), (0, (0, 0)), (0.25, (0.25, 0)), (1, (1, 0)), (2.5, (1, 1.5)), (3, (1, 2)), (9, (1, 2))],
)
def test_point_at(s, point):
    np.testing.assert_allclose(point_at(CORNER, arc_lengths(CORNER), np.array([s])), [point], atol=1e-9)


def test_point_at_passes_over_repeated_points_within_a_path():
    path = np.array([[[0.0, 0], [1, 0], [1, 0], [1, 0], [1, 1]]])
    np.testing.assert_allclose(point_at(path, arc_lengths(path), np.array([1.25])), [[1, 0.25]])


def test_a_path_that_is_one_point():
    path = np.ones((1, 4, 2))
    np.testing.assert_allclose(point_at(path, arc_lengths(path), np.array([0.6])), [[1, 1]])
    assert where(path[0], (1, 3)) == (0, 2)


@pytest.mark.parametrize(
    ("position", "progress", "expected"),
    [
        ((0.5, 0.2), 0.0, (0.5, 0.2)),
        ((-1, 0), 0.0, (0, 1)),
        ((1.3, 0), 0.0, (1, 0.3)),
        ((1.1, 1.5), 0.0, (2.5, 0.1)),
        ((1, 5), 0.0, (3, 3)),
        ((0.2, 0), 0.7, (0.7, 0.5)),  # progress is not given back
        ((1, 2), 3.0, (3, 0)),
    ],
)
def test_project_on_a_corner(position, progress, expected):
    assert where(CORNER[0], position, progress) == pytest.approx(expected)


def test_project_looks_no_further_than_its_reach():
    assert where(CORNER[0], (1, 2), 0.0, reach=1.5) == pytest.approx((1.5, 1.5))


def test_projections_onto_paths_of_many_points_agree_with_brute_force():
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.normal(size=(50, 12, 2)), axis=1)
    arc, position, progress = arc_lengths(path), rng.normal(size=(50, 2)), rng.uniform(0, 3, 50)
    s, distance = project(path, arc, position, progress, reach=4.0)
    grid = progress[:, None] + np.linspace(0, 4, 4001)
    points = np.stack([point_at(path, arc, g) for g in grid.T], 1)
    brute = np.linalg.norm(points - position[:, None], axis=-1)
    np.testing.assert_allclose(distance, brute.min(1), atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(point_at(path, arc, s) - position, axis=-1), distance, atol=1e-6)
    assert (s >= progress - 1e-9).all()
    assert (s <= progress + 4 + 1e-9).all()


# East, then a loop back across the first leg at (1, 0), which lies at arc 1 and again at arc 6.
LOOP = [[0, 0], [2, 0], [2, 1], [1, 1], [1, 0], [1, -2]]


def test_a_crossing_is_taken_in_the_order_of_the_path():
    assert where(LOOP, (1, 0.01), 0.8, reach=1.2) == pytest.approx((1, 0.01))
    assert where(LOOP, (1, 0.01), 4.2, reach=1.2) == pytest.approx((4.99, 0), abs=1e-9)


def test_a_path_that_crosses_itself_is_driven_whole():
    path = np.array([LOOP], dtype=float)
    # It starts beside the path, and so comes nearer to the last leg than to the first where they cross.
    position, velocity, progress = np.array([[0.7, -0.1]]), np.zeros((1, 2)), np.zeros(1)
    farthest_east = 0.0
    for _ in range(600):
        action, progress, off = track_path(path, position, velocity, progress, CONFIG)
        position, velocity = drive(position, velocity, action)
        farthest_east = max(farthest_east, position[0, 0])
        assert off[0] < 0.5
    assert farthest_east > 1.7
    np.testing.assert_allclose(position, path[:, -1], atol=0.01)
    assert progress[0] == pytest.approx(7, abs=0.01)


# --- control ---


def test_pd_by_hand_and_clipped():
    def act(position, velocity, target, speed):
        return pd_action(*(np.array([[v]]) for v in (position, velocity, target, speed)), CONFIG)[0, 0]

    assert act(0.0, 0.0, 0.05, 0.0) == pytest.approx(0.5)
    assert act(0.0, 0.3, 0.05, 0.1) == pytest.approx(0.3)
    assert act(0.0, 0.0, 9.0, 0.0) == 1
    assert act(0.0, 4.0, 0.0, 0.0) == -1


@pytest.mark.parametrize(("speed_unit", "low", "high"), [("second", 0.0, 0.05), ("step", 0.25, 0.45)])
def test_velocity_per_second_follows_a_plan_of_constant_speed(speed_unit, low, high):
    """At 3.5 units/s; with displacement per step for a velocity, as the original has it, it trails behind."""
    speed = 3.5
    told = np.array([[speed if speed_unit == "second" else speed * PERIOD, 0.0]])
    position, velocity = np.zeros((1, 2)), np.zeros((1, 2))
    for step in range(400):
        target = np.array([[speed * PERIOD * step, 0.0]])
        lag = target[0, 0] - position[0, 0]
        position, velocity = drive(position, velocity, pd_action(position, velocity, target, told, CONFIG))
    assert low <= abs(lag) <= high


def test_tracks_a_corner_to_its_end_and_stays():
    path = np.array([[[0.0, 0], [2, 0], [2, 3], [2, 3]]])
    position, velocity, progress = path[:, 0], np.zeros((1, 2)), np.zeros(1)
    positions, arcs = [], []
    for _ in range(600):
        action, progress, off = track_path(path, position, velocity, progress, CONFIG)
        assert (np.abs(action) <= 1).all()
        position, velocity = drive(position, velocity, action)
        positions.append(position[0])
        arcs.append(progress[0])
        assert off[0] < 0.5
    away = np.linalg.norm(np.array(positions) - path[0, -1], axis=1)
    arrived = int((away < 0.1).argmax())
    assert 60 < arrived < 250
    assert (away[arrived + 50 :] < 0.05).all()
    assert (np.diff(arcs) >= 0).all()
    assert arcs[-1] == pytest.approx(5, abs=0.01)
    assert np.abs(velocity).max() < 0.01


def test_the_pace_of_a_plan_does_not_matter():
    """The same line planned slowly and fast is driven alike."""
    slow, fast = np.linspace(0, 4, 101), np.linspace(0, 4, 9)
    fast = np.concatenate([fast, np.full(92, 4.0)])
    path = np.stack([np.stack([p, 0 * p], -1) for p in (slow, fast)])
    position, velocity, progress = path[:, 0], np.zeros((2, 2)), np.zeros(2)
    for _ in range(150):
        action, progress, _ = track_path(path, position, velocity, progress, CONFIG)
        np.testing.assert_allclose(action[0], action[1], atol=1e-6)
        position, velocity = drive(position, velocity, action)
    assert position[0, 0] > 3


def test_rows_are_independent():
    rng = np.random.default_rng(0)
    path = np.cumsum(rng.normal(size=(6, 9, 2)), axis=1)
    position, velocity, progress = rng.normal(size=(6, 2)), rng.normal(size=(6, 2)), rng.uniform(0, 2, 6)
    together = track_path(path, position, velocity, progress, CONFIG)
    for row in range(6):
        one = slice(row, row + 1)
        alone = track_path(path[one], position[one], velocity[one], progress[one], CONFIG)
        for a, b in zip(together, alone, strict=True):
            np.testing.assert_array_equal(a[one], b)


def test_waypoints_are_followed_at_the_plan_s_own_pace_with_displacements_as_velocities():
    path = np.array([[[0.0, 0.0], [0.4, 0.0], [0.4, 0.8]]])  # four control steps from point to point
    c = PathTrackerConfig(position_gain=12.5, velocity_gain=1.2)
    position, velocity = np.array([[0.25, 0.01]]), np.array([[0.02, 0.0]])
    action = follow_waypoints(path, position, velocity, np.array([2]), 4, c)
    # one step ahead, at step 3, the plan is at 0.3, and moves by 0.1 per step
    np.testing.assert_allclose(action, [[12.5 * 0.05 + 1.2 * (0.1 - 0.02), 12.5 * -0.01]])
    action = follow_waypoints(path, position, velocity, np.array([50]), 4, c)  # long past the end: hold it
    np.testing.assert_allclose(action, [[1.0, 1.0]])
    action = follow_waypoints(path, path[:, -1], 0 * velocity, np.array([50]), 4, c)
    np.testing.assert_allclose(action, 0.0)
