"""Shortest ways: as short as they can be, never through a wall, and the same whatever is asked beside them."""

import numpy as np
import pytest
from df_envs.costs import PathDistance
from df_envs.geometry import convex_corners, crosses_wall, wall_distance
from df_envs.maps import maze_of
from df_envs.shortest_paths import CHORD, ShortestPaths


def places(env_id, number, seed=0):
    """Starts and goals as the environments draw them: a free cell's centre and up to 0.25 to each side."""
    rng = np.random.default_rng(seed)
    maze = maze_of(env_id)
    cells = [(r, c) for r in range(maze.height) for c in range(maze.width) if maze.is_free((r, c))]
    drawn = [maze.centre(cells[i]) for i in rng.integers(len(cells), size=2 * number)]
    points = np.array(drawn) + rng.uniform(-0.25, 0.25, (2 * number, 2))
    return points[:number], points[number:]


@pytest.mark.parametrize("maze", ["umaze", "medium", "large"])
def test_ways_are_free_and_as_short_as_dijkstras(maze):
    env_id = f"maze2d-{maze}"
    starts, goals = places(env_id, 20)
    paths = ShortestPaths(env_id, clearance=0.11)(starts, goals)
    np.testing.assert_array_equal(paths[:, 0], starts)
    np.testing.assert_array_equal(paths[:, -1], goals)
    assert not crosses_wall(env_id, paths, radius=CHORD * 0.11 - 1e-5).any()
    length = np.linalg.norm(np.diff(paths, axis=1), axis=-1).sum(1)
    walked = PathDistance(env_id)(starts[:, None, None], goals)[:, 0, 0]  # on a grid, at most 2.8 % too long
    assert (length < 1.01 * walked + 0.05).all()
    assert (length > 0.95 * walked - 0.1).all()


def test_what_is_in_sight_is_gone_to_straight():
    env_id = "maze2d-umaze"
    corner = maze_of(env_id).centre((1, 1))
    starts, goals = np.array([corner, corner]), np.array([corner, maze_of(env_id).centre((1, 3))])
    paths = ShortestPaths(env_id)(starts, goals)
    assert paths.shape == (2, 2, 2)
    np.testing.assert_array_equal(paths, np.stack([starts, goals], axis=1))


def test_shorter_ways_repeat_their_goal_and_rows_do_not_meet():
    env_id = "maze2d-medium"
    starts, goals = places(env_id, 6, seed=1)
    ways = ShortestPaths(env_id)
    together = ways(starts, goals)
    for start, goal, row in zip(starts, goals, together, strict=True):
        (alone,) = ways(start[None], goal[None])
        np.testing.assert_array_equal(row[: len(alone)], alone)
        assert (row[len(alone) :] == goal).all()


def test_the_room_is_kept_at_corners_and_given_up_where_one_stands_nearer():
    env_id = "maze2d-umaze"
    wide = ShortestPaths(env_id, clearance=0.4)
    start, goal = (np.array(maze_of(env_id).centre(cell)) for cell in ((1, 1), (3, 1)))  # around the wall between
    path = wide(start[None], goal[None])[0]
    between = path[:-1, None] + np.linspace(0, 1, 50)[:, None] * np.diff(path, axis=0)[:, None]
    assert wall_distance(env_id, between.reshape(-1, 2)).min() > CHORD * 0.4 - 1e-5
    x, y, right, up = convex_corners("umaze")[0]
    near = np.array([[x + 0.11 * right, y + 0.11 * up]])
    assert len(wide(near, goal[None])[0]) >= 2


@pytest.mark.parametrize("clearance", [0.0, 0.5, -1])
def test_room_that_no_way_has_is_refused(clearance):
    with pytest.raises(ValueError, match="between 0 and half a cell"):
        ShortestPaths("maze2d-umaze", clearance)
