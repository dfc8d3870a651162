"""Environments tell their own references; those of ours are written down here."""

import df_envs
import df_envs.fetch  # registers Gymnasium-Robotics' environments
import gymnasium as gym
import numpy as np
import pytest

from df_agent.evaluation.references import References, references_of


class Plain(gym.Env):
    """Tells nothing, but how often it is drawn."""

    metadata = {"render_modes": [], "render_fps": 25}  # noqa: RUF012
    observation_space = action_space = gym.spaces.Box(-1, 1, (2,))


class Telling(Plain):
    def __init__(self, more=()):
        self.more = more

    def references(self):
        return {"lower_bound_steps": lambda starts, goals: np.ones(len(starts)), **dict(self.more)}


@pytest.fixture(autouse=True)
def _registered():
    gym.register("Plain-v0", Plain)
    gym.register("Telling-v0", Telling)
    yield
    del gym.registry["Plain-v0"], gym.registry["Telling-v0"]


# From the first free cell to the last: oracle, lower bound; to the fixed goal: time-optimal; sum of the walls' corners.
MAZES = {
    "maze2d-umaze": (80.0, 48.473, 0.0, (18, -2.0), (23.85, 161.86), 300),
    "maze2d-medium": (200.0, 106.489, 122.0, (38, 6.0), (13.13, 277.39), 600),
    "maze2d-large": (299.0, 166.794, 173.0, (62, -18.0), (6.7, 273.99), 800),
    "multi2d-umaze": (80.0, 48.473, None, (18, -2.0), None, 300),
    "multi2d-medium": (200.0, 106.489, None, (38, 6.0), None, 600),
    "multi2d-large": (299.0, 166.794, None, (62, -18.0), None, 800),
}


def steps(function, start, goal):
    return None if function is None else function(np.array([[*start, 0, 0]]), np.array([goal])).round(3).item()


@pytest.mark.parametrize("pixels", ["", "-pixels"])
@pytest.mark.parametrize("env_id", MAZES)
def test_the_mazes(env_id, pixels):
    found, maze = references_of(env_id + pixels), df_envs.maze_of(env_id)
    start, end, goal = maze.centre(maze.free_cells[0]), maze.centre(maze.free_cells[-1]), maze.goal
    assert (
        steps(found.oracle_steps, start, end),
        steps(found.lower_bound_steps, start, end),
        steps(found.time_optimal_steps, start, goal),
        (len(found.walls), found.walls.sum()),
        found.score_references,
        found.score_limit,
    ) == MAZES[env_id]
    assert (found.goal_radius, found.control_period) == (0.5, 0.01)
    if pixels:
        assert found.crosses_wall is None
    else:
        side = start[1] + 0.5 - np.array([0.1, 0.0895])  # the agent's radius is 0.1, a hundredth less is allowed
        paths = np.array([[(start[0], y), (start[0] + 0.2, y)] for y in side] + [[start, end]])
        assert found.crosses_wall(paths).tolist() == [False, True, True]


OGBENCH = {"medium": (116.6, 38, 1512.0), "large": (179.8, 62, 3744.0), "giant": (383.0, 106, 9304.0)}


@pytest.mark.parametrize("kind", ["navigate", "stitch"])
@pytest.mark.parametrize("maze", [*OGBENCH, "teleport"])
def test_ogbenchs_mazes(maze, kind):
    pytest.importorskip("ogbench")
    env_id = f"pointmaze-{maze}-{kind}"
    found, plan = references_of(env_id), df_envs.maze_of(env_id)
    start, end = plan.centre(plan.free_cells[0]), plan.centre(plan.free_cells[-1])
    bound = steps(found.lower_bound_steps, start, end)
    assert (bound, len(found.walls), found.walls.sum()) == OGBENCH.get(maze, (None, 63, 3784.0))
    assert (found.oracle_steps, found.time_optimal_steps, found.score_references, found.score_limit) == (None,) * 4
    assert (found.goal_radius, found.control_period) == (1.0, 0.1)
    paths = np.array([[(start[0] - 2 + x, start[1])] for x in (0.51, 0.49)])
    assert found.crosses_wall(paths).tolist() == [False, True]


@pytest.mark.parametrize(
    "env_id",
    [
        "FetchReach-v4",
        "FetchPush-v4",
        "FetchPickAndPlace-v4",
        "FetchSlide-v4",
        "FetchPushRecall-v0",
        "FetchPushCued-v0",
    ],
)
def test_fetch_knows_its_control_period_alone(env_id):
    assert references_of(env_id) == References(control_period=0.04)


def test_a_users_environment_tells_what_it_has():
    assert references_of("Plain-v0") == References(control_period=1 / 25)
    found = references_of("Telling-v0", {"more": {"walls": [[0, 0, 1, 1]], "control_period": 0.5}})
    assert found.lower_bound_steps(np.zeros((3, 2)), np.zeros((3, 2))).tolist() == [1, 1, 1]
    assert found.walls.shape == (1, 4)
    assert (found.control_period, found.oracle_steps, found.goal_radius) == (0.5, None, None)


def test_an_unknown_reference_is_named_beside_those_that_are_known():
    with pytest.raises(ValueError, match=r"of Telling-v0 tells oracle; known are oracle_steps, lower_bound_steps, .*"):
        references_of("Telling-v0", {"more": {"oracle": None}})
