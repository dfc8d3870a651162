import itertools

import df_envs
import gymnasium as gym
import numpy as np
import pytest
from df_envs import camera
from df_envs.camera import DRAWN_RADIUS, Endless, Filmed, camera_on, open_renderer, view_of
from df_envs.fetch import FETCH_TASKS
from df_envs.physics import Physics
from df_envs.pictures import agent_in, pixel_of
from df_envs.rendering import opengl_backend
from df_envs.waypoints import demonstrator

SIZE = 64
pytestmark = pytest.mark.skipif(opengl_backend() is None, reason="nothing here can draw")


@pytest.fixture(scope="module")
def maze():
    env = gym.make("multi2d-medium-pixels")
    yield env
    env.close()


@pytest.mark.parametrize("name", ["umaze", "medium", "large"])
def test_the_ball_is_read_from_its_picture_to_a_tenth_of_a_metre(name):
    env = Filmed(gym.make(f"walk2d-{name}").unwrapped, SIZE)
    plan = df_envs.maze_of(name)
    rng = np.random.default_rng(0)
    true = np.array([np.array(plan.centre(cell)) + rng.uniform(-0.3, 0.3, 2) for cell in plan.free_cells])
    frames = np.stack(
        [env.reset(options={"state": place, "goal": plan.centre(plan.free_cells[0])})[0]["pixels"] for place in true]
    )
    env.close()
    found, spots = agent_in(frames, plan)
    assert np.linalg.norm(found - true, axis=1).max() < 0.2
    assert np.linalg.norm(found - true, axis=1).mean() < 0.1
    assert (spots == 1).all()
    row, column = np.rint(pixel_of(plan, true, SIZE)).astype(int).T
    shown = frames[np.arange(len(true)), row, column].astype(int)
    assert (shown[:, 1] > shown[:, 0]).all()
    assert (shown[:, 1] > shown[:, 2]).all()


def test_no_ball_is_no_position():
    found, spots = agent_in(np.zeros((2, SIZE, SIZE, 3), np.uint8), df_envs.maze_of("umaze"))
    assert np.isnan(found).all()
    assert (spots == 0).all()


def test_goals_are_not_drawn():
    env = Filmed(gym.make("walk2d-umaze").unwrapped, SIZE)
    place = df_envs.maze_of("umaze").centre((1, 1))
    seen = [
        env.reset(options={"state": place, "goal": df_envs.maze_of("umaze").centre(c)})[0]["pixels"]
        for c in ((3, 1), (2, 3))
    ]
    env.close()
    assert np.array_equal(*seen)


def test_a_picture_is_taken_every_so_many_steps():
    env = Filmed(gym.make("walk2d-umaze").unwrapped, SIZE, every=3)
    observation, _ = env.reset(seed=0)
    assert observation["pixels"].shape == (SIZE, SIZE, 3)
    assert env.observation_space["pixels"].contains(observation["pixels"])
    frames = [observation["pixels"]] + [env.step(np.ones(2))[0]["pixels"] for _ in range(6)]
    env.close()
    same = [np.array_equal(a, b) for a, b in itertools.pairwise(frames)]
    assert same[:2] == [True, True]
    assert same[3:5] == [True, True]
    assert not (same[2] and same[5])


def test_of_a_pixel_maze_only_pictures_are_seen(maze):
    observation, info = maze.reset(seed=3)
    assert set(observation) == {"observation", "achieved_goal", "desired_goal"}
    assert all(part.dtype == np.uint8 and part.shape == (SIZE, SIZE, 3) for part in observation.values())
    assert maze.observation_space.contains(observation)
    plan = df_envs.maze_of("medium")
    for key, place in (("observation", "achieved_goal"), ("desired_goal", "desired_goal")):
        found, _ = agent_in(observation[key], plan)
        assert np.linalg.norm(found - info[place]) < 0.2
    state = info["state"].copy()
    _, reward, terminated, truncated, info = maze.step(np.zeros(2, np.float32))
    assert np.linalg.norm(info["state"][:2] - state[:2]) < 0.01  # taking the goal's picture left the ball alone
    assert not terminated
    assert not truncated
    assert reward == float(info["success"])


def test_a_pixel_maze_begins_where_the_maze_does(maze):
    plain = gym.make("multi2d-medium")
    observation, _ = plain.reset(seed=11)
    _, info = maze.reset(seed=11)
    assert np.array_equal(info["state"], observation["observation"])
    assert np.array_equal(info["desired_goal"], observation["desired_goal"])


def test_an_endless_walk_goes_on_at_the_next_goal_and_ends_at_its_limit():
    env = Endless(gym.make("walk2d-umaze").unwrapped, limit=400)
    observation, _ = env.reset(seed=0)
    goals, truncated = {tuple(observation["desired_goal"])}, False
    follower = demonstrator("umaze", action_noise=0.0)
    state, steps = None, 0
    while not truncated:
        action, state = follower.predict(observation, state)
        observation, _, _, truncated, _ = env.step(action)
        goals.add(tuple(observation["desired_goal"]))
        steps += 1
    assert steps == 400
    assert len(goals) > 2
    again, _ = env.reset()
    assert not np.allclose(again["observation"], observation["observation"])


def test_the_camera_stands_where_a_robot_has_its_own():
    env = gym.make(next(iter(FETCH_TASKS)))
    view = view_of(env)
    assert view.extent is None
    assert view.lookat != (0.0, 0.0, 0.0)
    env.reset(seed=0)
    drawn = camera_on(env, 32)
    frame = drawn.frame()
    drawn.close()
    env.close()
    assert frame.shape == (32, 32, 3)
    assert frame.std() > 10


def test_what_is_no_simulation_cannot_be_filmed():
    with pytest.raises(ValueError, match="no MuJoCo simulation"):
        view_of(gym.make("CartPole-v1"))


def test_where_nothing_can_draw_the_packages_are_named(monkeypatch):
    def fail(*_):
        raise camera.mujoco.FatalError("no context")

    monkeypatch.setattr(camera, "opengl_backend", lambda: None)
    monkeypatch.setattr(camera.mujoco, "Renderer", fail)
    with pytest.raises(RuntimeError, match=r"libegl1 \(or libosmesa6\)"):
        open_renderer(Physics(df_envs.maze_of("umaze")).model, 8)


def test_the_ball_is_drawn_larger_than_it_is():
    assert Physics(df_envs.maze_of("umaze")).model.geom("particle_geom").size[0] < DRAWN_RADIUS
