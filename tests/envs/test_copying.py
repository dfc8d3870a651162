"""Copies of environments: in the same state, and apart."""

import copy
import importlib.util
import pickle
import subprocess
import sys
from functools import partial

import df_envs
import gymnasium as gym
import numpy as np
import pytest
from df_envs.camera import Endless, Filmed, Held
from df_envs.disturbances import DisturbedActions
from df_envs.ogbench_mazes import make_walk_maze
from df_envs.point_maze import PointMazeEnv
from df_envs.recall import GoalCue
from df_envs.rendering import opengl_backend
from gymnasium.utils.env_checker import data_equivalence

DRAWS = pytest.mark.skipif(opengl_backend() is None, reason="nothing here can draw")
OGBENCH = pytest.mark.skipif(importlib.util.find_spec("ogbench") is None, reason="needs OGBench")
MADE = {
    "maze2d": lambda: gym.make("maze2d-umaze"),
    "bare": lambda: gym.make("multi2d-medium").unwrapped,
    "walk": lambda: gym.make("walk2d-umaze"),
    "own maze": lambda: gym.make("maze2d", maze=["#####", "#G..#", "#####"]),
    "wrapped": lambda: DisturbedActions(Held(Endless(gym.make("multi2d-umaze"), 100), 2), noise=0.1, delay=2),
    "many": lambda: gym.vector.SyncVectorEnv([partial(gym.make, "maze2d-umaze")] * 2),
    "recall": lambda: gym.make("FetchPushRecall-v0"),
}
MARKED = {
    "pixels": (lambda: gym.make("maze2d-umaze-pixels"), DRAWS),
    "ogbench": (lambda: gym.make("pointmaze-medium-navigate"), OGBENCH),
    "teleports": (lambda: gym.make("pointmaze-teleport-stitch", task=2), OGBENCH),
    "ogbench walks": (lambda: make_walk_maze("pointmaze-medium-stitch"), OGBENCH),
}
CASES = [*MADE, *(pytest.param(name, marks=mark) for name, (_, mark) in MARKED.items())]


def through_pickle(env):
    return pickle.loads(pickle.dumps(env))


def seen(env, actions):
    """What an environment shows for the same actions, then in its next episode."""
    steps = [env.step(action) for action in actions]
    return [step[:2] for step in steps], env.reset()[0]


@pytest.mark.parametrize("copied", [copy.deepcopy, through_pickle])
@pytest.mark.parametrize("name", CASES)
def test_a_copy_goes_on_where_the_original_stands_and_leaves_it_alone(name, copied):
    env = {**MADE, **{name: make for name, (make, _) in MARKED.items()}}[name]()
    env.reset(seed=3)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(16)]
    for action in actions[:3]:
        env.step(action)
    first, second = copied(env), copied(copied(env))
    expected = seen(first, actions)
    assert not data_equivalence(expected[0][0], expected[0][-1]), "it moves"
    for other in (env, second):
        assert data_equivalence(seen(other, actions), expected)
    for each in (env, first, second):
        each.close()


@DRAWS
def test_the_copy_of_an_environment_that_has_drawn_draws_its_own_state():
    env = Filmed(gym.make("walk2d-umaze", render_mode="rgb_array"), size=16)
    before = env.reset(seed=0)[0]["pixels"]
    env.unwrapped.render()
    other = copy.deepcopy(env)
    for _ in range(60):
        pixels = other.step(np.ones(2, np.float32))[0]["pixels"]
    assert (pixels != before).any()
    np.testing.assert_array_equal(env.step(np.zeros(2, np.float32))[0]["pixels"], before)
    assert other.unwrapped.render().shape == (480, 480, 3)
    env.close()
    other.close()


def test_what_gymnasium_cannot_make_again_refuses_to_be_copied():
    env = GoalCue(PointMazeEnv("umaze"), 4, (0.0, 0.0))
    env.reset(seed=0)
    with pytest.raises(TypeError, match=r"cannot be copied: gymnasium\.make did not make it"):
        copy.deepcopy(env)


def test_a_maze_of_ones_own_travels_into_another_process(tmp_path):
    df_envs.register_maze(["######", "#...G#", "######"], "lane", max_episode_steps=50)
    env = gym.make("maze2d-lane")
    env.reset(seed=1)
    (tmp_path / "env").write_bytes(pickle.dumps(env))
    code = """
import pathlib, pickle, sys
env = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
start = env.step([1.0, 0.0])[0]["observation"]
assert len(env.unwrapped.references()["walls"]) and env.unwrapped.references()["score_limit"] == 50
import gymnasium as gym
assert gym.make("maze2d-lane").spec.max_episode_steps == 50
print(*start)
"""
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "env")], check=True, timeout=120, capture_output=True, text=True
    )
    assert [float(x) for x in told.stdout.split()] == env.step(np.array([1.0, 0.0]))[0]["observation"].tolist()
