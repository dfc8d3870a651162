import sys

import df_envs
import gymnasium as gym
import numpy as np
import pytest
from df_envs.maps import OGBENCH_MAZES, maze_of
from df_envs.ogbench_mazes import (
    GOAL_RADIUS,
    OGBENCH_IDS,
    TASKS,
    Wanderer,
    make_walk_maze,
    published_walks,
    shortest_steps,
)
from df_envs.routes import cells_towards

pytest.importorskip("ogbench")


def goal_maze(env_id, **options):
    return gym.make(env_id, **options)


def inner(env):
    return env.unwrapped


@pytest.mark.parametrize("name", OGBENCH_MAZES)
def test_the_maps_cells_and_first_goals_are_ogbenchs_own(name):
    env, maze = inner(goal_maze(f"pointmaze-{name}-navigate")), maze_of(f"pointmaze-{name}-navigate")
    assert [[mark == "#" for mark in row] for row in maze.rows] == (env.maze_map == 1).tolist()
    for cell in maze.free_cells:
        assert maze.centre(cell) == env.ij_to_xy(cell)
        assert maze.cell_at(*maze.centre(cell)) == cell
    assert maze.cell_at(5.9, -1.9) == env.xy_to_ij((5.9, -1.9))
    assert maze.goal_cell == tuple(env.task_infos[0]["goal_ij"])
    assert len(env.task_infos) == TASKS


def test_a_seed_repeats_an_episode_and_leaves_numpys_generator_alone():
    first, second = goal_maze("pointmaze-teleport-navigate"), goal_maze("pointmaze-teleport-navigate")
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.random(3)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    starts = []
    for env in (first, second):
        observation, info = env.reset(seed=7)
        path = [observation["observation"]]
        for _ in range(200):  # to and through the entry of a teleport, whose exit is drawn
            way = np.array([12.0, 16.0]) - path[-1]
            path.append(env.step(np.clip(way / 0.2, -1, 1).astype(np.float32))[0]["observation"])
        starts.append((np.array(path), observation["desired_goal"], info["task"]))
    assert np.random.random(3) == pytest.approx(expected)  # noqa: NPY002
    (path, goal, task), (again, same_goal, same_task) = starts
    assert (path == again).all()
    assert (goal == same_goal).all()
    assert task == same_task
    assert (first.reset(seed=8)[0]["observation"] != path[0]).any()


def test_episodes_without_a_seed_go_on_from_the_last_seed():
    env = goal_maze("pointmaze-medium-navigate")
    sequences = []
    for _ in range(2):
        env.reset(seed=3)
        sequences.append([tuple(env.reset()[0]["desired_goal"]) for _ in range(4)])
    assert sequences[0] == sequences[1]
    assert len(set(sequences[0])) == 4


def test_environments_that_were_never_seeded_differ():
    first, second = (goal_maze("pointmaze-medium-navigate").reset()[0]["observation"] for _ in range(2))
    assert (first != second).any()


@pytest.mark.parametrize("task", range(1, TASKS + 1))
def test_a_task_is_given_by_name_and_is_solved_by_the_demonstrator(task):
    env, maze = goal_maze("pointmaze-medium-navigate", task=task), maze_of("pointmaze-medium")
    observation, info = env.reset(seed=task)
    told = inner(env).task_infos[task - 1]
    assert info["task"] == task
    assert maze.cell_at(*observation["observation"]) == tuple(told["init_ij"])
    assert maze.cell_at(*observation["desired_goal"]) == tuple(told["goal_ij"])
    assert (observation["achieved_goal"] == observation["observation"]).all()
    policy, bound = (
        Wanderer("pointmaze-medium-navigate"),
        shortest_steps(
            "pointmaze-medium-navigate", observation["observation"][None], observation["desired_goal"][None]
        ),
    )
    step = 0
    for _ in range(400):
        step += 1
        action, _ = policy.predict(observation, deterministic=True)
        observation, _, terminated, truncated, info = env.step(action.astype(np.float32))
        if terminated:
            break
    assert info["success"] is True
    assert not truncated
    assert np.linalg.norm(observation["achieved_goal"] - observation["desired_goal"]) <= GOAL_RADIUS
    assert bound[0] <= step <= 1.6 * bound[0] + 20


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="1 to 5"):
        goal_maze("pointmaze-medium-navigate", task=6)


def test_the_demonstrator_takes_the_steps_of_ogbenchs_oracle():
    env, policy = inner(goal_maze("pointmaze-giant-navigate")), Wanderer("pointmaze-giant-navigate")
    rng, cells = np.random.default_rng(0), maze_of("pointmaze-giant").free_cells
    for start, goal in rng.integers(len(cells), size=(60, 2)):
        place, target = (np.array(env.ij_to_xy(cells[k])) + rng.uniform(-1, 1, 2) for k in (start, goal))
        told, _ = env.get_oracle_subgoal(place, target)
        own = policy.maze.centre(policy.next_cell(cells[start], cells[goal]))
        assert tuple(told) == own


def test_in_the_goals_cell_it_may_steer_to_the_goal_itself():
    middle = np.array(maze_of("pointmaze-medium").centre((1, 1)))
    seen = {key: middle + np.array([0.5, up]) for key, up in (("achieved_goal", -1.0), ("desired_goal", 1.0))}
    seen["observation"] = seen["achieved_goal"]
    for to_goal, expected in ((True, [0.0, 1.0]), (False, np.array([-0.5, 1.0]) / np.hypot(0.5, 1.0))):
        policy = Wanderer("pointmaze-medium-navigate", to_goal=to_goal)
        np.testing.assert_allclose(policy.predict(seen, deterministic=True)[0], expected, atol=1e-5)


@pytest.mark.parametrize("env_id", ["pointmaze-medium-navigate", "pointmaze-medium-stitch"])
def test_walks_are_those_of_the_published_sets(env_id):
    env, maze = make_walk_maze(env_id), maze_of(env_id)
    walls = np.array([[mark == "#" for mark in row] for row in maze.rows], dtype=np.int64)
    policy, goals = Wanderer(env_id, seed=1), []
    for seed in (0, 1):
        observation, _ = env.reset(seed=seed)
        start = maze.cell_at(*observation["observation"])
        goals.append(maze.cell_at(*observation["desired_goal"]))
        steps, arrived, done = 0, 0, False
        while not done:
            action, _ = policy.predict(observation)
            assert (np.abs(action) <= 1).all()
            observation, _, terminated, done, info = env.step(action.astype(np.float32))
            arrived += info["success"]
            steps += 1
            assert not terminated
        assert steps == published_walks(env_id).steps
        if env_id.endswith("stitch"):
            assert cells_towards(walls, start)[goals[-1]] == 4
            assert arrived > 50  # it stays
        else:
            assert 3 <= arrived < 20  # each time the goal moves on
            assert maze.cell_at(*observation["desired_goal"]) != goals[-1]


def test_published_sizes():
    assert {name: (w.walks, w.steps) for name in OGBENCH_IDS if (w := published_walks(name))} == {
        f"pointmaze-{maze}-{kind}": (5000, 200)
        if kind == "stitch"
        else (500, 2000)
        if maze == "giant"
        else (1000, 1000)
        for maze in ("medium", "large", "giant", "teleport")
        for kind in ("navigate", "stitch")
    }


def test_goals_of_navigate_walks_are_no_hallways():
    env = make_walk_maze("pointmaze-medium-navigate").env
    free = inner(env).maze_map == 0
    for i, j in env._goal_cells:
        straight = (free[i - 1, j] and free[i + 1, j] and not free[i, j - 1] and not free[i, j + 1]) or (
            free[i, j - 1] and free[i, j + 1] and not free[i - 1, j] and not free[i + 1, j]
        )
        assert not straight
    assert 0 < len(env._goal_cells) < free.sum()


def test_the_bound_of_a_straight_corridor_is_its_length():
    # Cells (1, 1) to (1, 4) of the large maze; the point may stop a radius short of the goal.
    start, goal = np.array([[0.0, 0.0]]), np.array([[12.0, 0.0]])
    assert shortest_steps("pointmaze-large-navigate", start, goal) == pytest.approx([(12 - 1) / 0.2])
    assert shortest_steps("pointmaze-large-navigate", goal, goal) == pytest.approx([0.0])


def test_what_to_install_is_said(monkeypatch):
    import builtins

    found = builtins.__import__

    def missing(name, *rest):
        if name == "ogbench":
            raise ImportError("No module named 'ogbench'")
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    for version, said in (
        ((3, 12, 1), r"needs OGBench: pip install"),
        ((3, 13, 0), "no build for this Python; take 3.11"),
    ):
        monkeypatch.setattr(sys, "version_info", version)
        with pytest.raises(ImportError, match=rf"{said}.*\[ogbench\]") as error:
            df_envs.ogbench_mazes.make_goal_maze("medium")
        assert "\n" not in str(error.value)
