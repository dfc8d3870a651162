import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from df_envs import maze_of, register_maze
from df_envs.costs import PathDistance
from df_envs.dynamics import MazeDynamics
from df_envs.geometry import crosses_wall
from df_envs.maps import MAZES, OWN_MAZES, wall_boxes
from df_envs.oracle import OraclePolicy, lower_bound_steps, oracle_steps
from df_envs.own_mazes import as_maze, longest_way
from df_envs.physics import Physics
from df_envs.shortest_paths import ShortestPaths
from df_envs.waypoints import demonstrator

CORRIDOR = ["#####", "#G..#", "#####"]  # without a corner to go around
BEND = ["######", "#R  .#", "#.##.#", "#.##G#", "######"]


def test_rows_become_environments_of_every_family():
    name = register_maze(BEND, name="bend")
    assert name == "bend"
    assert maze_of("multi2d-bend").rows == ("######", "#....#", "#.##.#", "#.##.#", "######")
    assert maze_of("maze2d-bend-pixels").goal_cell == (3, 4)
    for env_id in ("maze2d-bend", "multi2d-bend", "walk2d-bend"):
        env = gym.make(env_id)
        observation, _ = env.reset(seed=0)
        assert maze_of("bend").is_free(maze_of("bend").cell_at(*observation["achieved_goal"]))
        assert env.step(env.action_space.sample())[0]["observation"].shape == (4,)
    assert gym.make("maze2d-bend").reset()[0]["desired_goal"].tolist() == list(maze_of("bend").centre((3, 4)))
    assert "maze2d-bend-pixels" in gym.registry


def test_a_file_names_its_maze_and_rows_get_a_name_of_their_own(tmp_path):
    (tmp_path / "my maze.txt").write_text("\n".join(CORRIDOR) + "\n\n", newline="\r\n")
    assert register_maze(tmp_path / "my maze.txt") == register_maze(str(tmp_path / "my maze.txt")) == "my_maze"
    assert as_maze(CORRIDOR).name == "my_maze"  # known by that name already
    own = register_maze(BEND)
    assert own.startswith("custom-")
    assert register_maze("\n".join(BEND)) == own
    assert maze_of(f"maze2d-{own}") is maze_of(own) is as_maze(own)


def test_gym_makes_one_at_once(tmp_path):
    env = gym.make("maze2d", maze=CORRIDOR)
    assert env.reset(seed=1)[0]["desired_goal"].tolist() == [-1, 0]
    (tmp_path / "bend.txt").write_text("\n".join(BEND))
    env = gym.make("multi2d", maze=str(tmp_path / "bend.txt"))
    goals = {tuple(env.reset(seed=seed)[0]["desired_goal"].tolist()) for seed in range(5)}
    assert len(goals) == 5
    assert env.unwrapped.maze.name == "bend"
    ended = next(step for step in range(1, 1000) if env.step(np.zeros(2))[3])
    assert ended == env.unwrapped.maze.max_episode_steps
    with pytest.raises(ValueError, match="say which maze"):
        gym.make("maze2d")


def test_another_process_makes_it_from_what_a_dataset_keeps():
    register_maze(BEND, name="bend")
    kept = gym.make("walk2d-bend").spec.to_json()
    code = f"""
import gymnasium as gym
from gymnasium.envs.registration import EnvSpec
env = gym.make(EnvSpec.from_json({kept!r}))
assert env.unwrapped.maze.rows == {maze_of("bend").rows!r} and env.unwrapped.maze.goal_cell == (3, 4)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_episodes_are_as_long_as_the_longest_way_asks():
    assert [longest_way(maze) for maze in MAZES.values()] == [6, 11, 19]
    assert maze_of(register_maze(CORRIDOR)).max_episode_steps == 300  # 200 + 2 * 30, in hundreds
    assert maze_of(register_maze(BEND)).max_episode_steps == 500
    name = register_maze(BEND, name="short", max_episode_steps=42)
    assert gym.spec(f"maze2d-{name}").max_episode_steps == 42


def test_without_a_goal_there_is_multi2d_alone():
    name = register_maze(["####", "#..#", "####"])
    gym.make(f"multi2d-{name}").reset(seed=0)
    assert f"maze2d-{name}" not in gym.registry
    with pytest.raises(ValueError, match="no fixed goal, which maze2d needs: mark its cell with G"):
        gym.make("maze2d", maze=["####", "#..#", "####"])


@pytest.mark.parametrize("rows", [CORRIDOR, BEND])
def test_the_oracle_arrives_and_no_faster_than_the_bound(rows):
    env_id = f"maze2d-{register_maze(rows)}"
    env = gym.make(env_id)
    starts, goals = [], []
    for seed in range(8):
        observation, _ = env.reset(seed=seed)
        starts.append(observation["observation"])
        goals.append(observation["desired_goal"])
    steps, bound = oracle_steps(env_id, starts, goals), lower_bound_steps(env_id, starts, goals)
    assert (steps < env.spec.max_episode_steps).all()
    assert (bound <= steps).all()
    assert bound.max() > 0
    assert OraclePolicy(env_id).predict(observation)[0].shape == (2,)
    assert demonstrator(env_id).predict(observation)[0].shape == (2,)


@pytest.mark.parametrize("rows", [CORRIDOR, BEND])
def test_planners_that_know_the_map_know_it(rows):
    name = register_maze(rows)
    env_id, maze = f"maze2d-{name}", maze_of(name)
    start, goal = np.array(maze.centre(maze.free_cells[-1])), np.array(maze.goal)
    if rows is BEND:
        start = np.array(maze.centre((3, 1)))
    path = ShortestPaths(env_id)(start[None], goal[None])
    assert not crosses_wall(env_id, path).any()
    length = np.linalg.norm(np.diff(path[0], axis=0), axis=1).sum()
    assert PathDistance(env_id)(start[None, None, None], goal[None])[0, 0, 0] == pytest.approx(length, rel=0.1)
    assert len(wall_boxes(env_id)) == maze.width * maze.height - len(maze.free_cells)
    force = np.array([[1.0, -1.0]] * 30)
    rolled = MazeDynamics(env_id)(np.array([[*start, 0, 0]]), force[None])[0]
    physics = Physics(maze)
    physics.set_state(*start, 0, 0)
    assert np.allclose(rolled, [physics.step(*each) for each in force], atol=1e-9)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["#####", "#G.#", "#####"], r"row 2 of the maze has 4 columns, row 1 has 5"),
        (["#####", "#G?.#", "#####"], r"row 2, column 3 is '\?'; known are '#' wall"),
        (["#####", "#G...", "#####"], r"row 2, column 5 is '.', but a maze has walls, '#', all around"),
        (["##.##", "#G..#", "#####"], r"row 1, column 3 is '.', but"),
        (["###", "###", "###"], r"no free cell"),
        ([], r"needs rows"),
        (["#####", "#G#.#", "#####"], r"no way between row 2, column 4 and row 2, column 2"),
        (["#####", "#G.G#", "#####"], r"one goal, 'G', at most; this one has them at row 2, column 2, row 2, column 4"),
    ],
)
def test_what_is_no_maze_is_named_by_row_and_column(rows, says):
    with pytest.raises(ValueError, match=says):
        register_maze(rows)
    assert not OWN_MAZES


def test_names_that_cannot_be(tmp_path):
    for name in ("large", "maze2d-mine", "mine-v0", "a b"):
        with pytest.raises(ValueError, match=r"another maze 'large'|cannot be a maze's name"):
            register_maze(BEND, name=name)
    register_maze(BEND, name="bend", max_episode_steps=500)
    with pytest.raises(ValueError, match="another maze 'bend' already"):
        register_maze(CORRIDOR, name="bend")
    with pytest.raises(ValueError, match="registered already, with episodes of 500 steps"):
        register_maze(BEND, name="bend", max_episode_steps=7)
    with pytest.raises(ValueError, match="max_episode_steps must be at least 1"):
        register_maze(BEND, name="other", max_episode_steps=0)
    with pytest.raises(
        FileNotFoundError, match=r"no file 'my_maze.txt', and no maze of that name; there are umaze, .*bend"
    ):
        gym.make("maze2d", maze="my_maze.txt")
