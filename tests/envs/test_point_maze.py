import subprocess
import sys
import warnings

import df_envs  # noqa: F401
import gymnasium as gym
import numpy as np
import pytest
from df_envs.maps import MAZES
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_env_sb3

IDS = [f"{family}-{name}" for family in ("maze2d", "multi2d") for name in MAZES]
RIGHT = np.array([1.0, 0.0], dtype=np.float32)


@pytest.mark.parametrize("env_id", [*IDS, "walk2d-umaze"])
def test_passes_the_environment_checkers(env_id):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Positions and velocities have no sharp bounds, here as in Gymnasium-Robotics.
        warnings.filterwarnings("ignore", message=".*(minimum|maximum) value is -?infinity")
        check_env(gym.make(env_id).unwrapped, skip_render_check=True)
        check_env_sb3(gym.make(env_id).unwrapped)


def test_is_made_by_a_bare_name_and_in_spawned_workers():
    code = """
import gymnasium as gym, sys
if __name__ == "__main__":
    env = gym.make("df_envs:maze2d-large")
    assert env.reset(seed=0)[0]["observation"].shape == (4,)
    venv = gym.make_vec("maze2d-umaze", num_envs=2, vectorization_mode="async", vector_kwargs={"context": "spawn"})
    obs, _ = venv.reset(seed=[3, 4])
    single = gym.make("maze2d-umaze").reset(seed=4)[0]
    assert (obs["observation"][1] == single["observation"]).all()
    venv.close()
    assert not any(name.startswith("gymnasium_robotics") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_folders_of_ones_own_shadow_nothing_of_ours(tmp_path):
    for folder in ("envs", "planners"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("MINE = True\n")
    code = """
import df_agent.policies, df_envs, df_planners, envs, planners
import gymnasium as gym
assert envs.MINE and planners.MINE
gym.make("maze2d-umaze").reset(seed=0)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=tmp_path)


@pytest.mark.parametrize("env_id", IDS)
def test_starts_and_goals_follow_the_protocol(env_id):
    env = gym.make(env_id)
    maze = env.unwrapped.maze
    starts, goals = [], []
    for seed in range(600):
        observation, info = env.reset(seed=seed)
        starts.append(observation["observation"])
        goals.append(observation["desired_goal"])
        distance = np.linalg.norm(observation["achieved_goal"] - observation["desired_goal"])
        assert info["success"] is bool(distance <= 0.5)
    starts, goals = np.array(starts), np.array(goals)

    def offsets(points):
        cells = [maze.cell_at(*point) for point in points.tolist()]
        return set(cells), points - np.array([maze.centre(cell) for cell in cells])

    cells, noise = offsets(starts[:, :2])
    assert cells == set(maze.free_cells)  # the goal's too
    assert 0.095 < np.abs(noise).max() <= 0.1
    assert abs(starts[:, 2:].std() - 0.1) < 0.01
    if env_id.startswith("maze2d"):
        assert (goals == maze.centre(maze.goal_cell)).all()
    else:
        cells, noise = offsets(goals)
        assert cells == set(maze.free_cells)
        assert 0.095 < np.abs(noise).max() <= 0.1


@pytest.mark.parametrize("env_id", IDS)
def test_an_episode_never_terminates_and_lasts_its_length(env_id):
    env = gym.make(env_id)
    goal = env.reset(seed=1)[0]["desired_goal"]
    observation, _ = env.reset(seed=1, options={"state": goal})
    steps, truncated = 0, False
    while not truncated:
        position, velocity = np.split(observation["observation"], 2)
        hold = np.clip(10 * (goal - position) - velocity, -1, 1)
        observation, reward, terminated, truncated, info = env.step(hold)
        steps += 1
        assert not terminated
        assert reward == 1.0
        assert info["success"] is True
        assert (observation["desired_goal"] == goal).all()
    assert steps == {"umaze": 300, "medium": 600, "large": 800}[env.unwrapped.maze.name]


@pytest.mark.parametrize(("distance", "inside"), [(0.4999, True), (0.5, True), (0.5001, False), (0.46, True)])
def test_success_radius(distance, inside):
    env = gym.make("maze2d-umaze")
    goal = env.reset(seed=0)[0]["desired_goal"]
    observation, info = env.reset(options={"state": (goal[0] + distance, goal[1])})
    assert info["success"] is inside
    reward = env.unwrapped.compute_reward(observation["achieved_goal"], goal, {})
    assert reward == float(inside)


def test_reward_is_computed_for_arrays_as_in_steps():
    env = gym.make("multi2d-large").unwrapped
    observation, _ = env.reset(seed=5)
    env.set_goal(observation["achieved_goal"] + (0.45, 0.3))
    achieved, desired, rewards = [], [], []
    for _ in range(60):
        observation, reward, _, _, _ = env.step(RIGHT)
        achieved.append(observation["achieved_goal"])
        desired.append(observation["desired_goal"])
        rewards.append(reward)
    assert 0 < sum(rewards) < 60
    computed = env.compute_reward(np.array(achieved), np.array(desired), [{}] * 60)
    assert computed.dtype == np.float64
    assert computed.tolist() == rewards
    assert env.compute_reward(np.zeros((4, 3, 2)), np.zeros(2), None).shape == (4, 3)


def test_seeds_repeat_and_unseeded_resets_go_on():
    env, other = gym.make("multi2d-medium"), gym.make("multi2d-medium")

    def three(env):
        resets = [env.reset(seed=11)[0], env.reset()[0], env.reset()[0]]
        return np.array([np.concatenate([r["observation"], r["desired_goal"]]) for r in resets])

    first = three(env)
    assert (first == three(other)).all()
    assert (first == three(env)).all()
    assert len(np.unique(first, axis=0)) == 3


def test_exact_starts_and_goals():
    env = gym.make("multi2d-large")
    plain, _ = env.reset(seed=2)
    after = env.reset()[0]
    state, goal = plain["observation"] + (0, 0, 1.5, -2.0), plain["desired_goal"]
    observation, _ = env.reset(seed=99, options={"state": state, "goal": goal})
    assert (observation["observation"] == state).all()
    assert (observation["desired_goal"] == goal).all()
    # A given start leaves the goal as drawn, and the generator where it would be.
    env.reset(seed=2, options={"state": state[:2]})
    assert (env.unwrapped.goal == goal).all()
    assert (env.reset()[0]["observation"] == after["observation"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"state": (0.0, 99.0)}, "wall of umaze or outside"),
        ({"goal": (-1.0, 0.0)}, "wall of umaze or outside"),
        ({"goal": (-1.0, np.nan)}, "finite"),
        ({"state": (1.0, 1.0, 0.0)}, "shape"),
        ({"goal_cell": (1, 1)}, "Unknown reset option 'goal_cell'"),
    ],
)
def test_bad_reset_options_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        gym.make("maze2d-umaze").reset(seed=0, options=options)


def test_actions_are_clipped_and_nan_is_an_error():
    env = gym.make("maze2d-umaze").unwrapped
    outcome = []
    for action in ((1.0, -1.0), (7.0, -np.inf)):
        env.reset(seed=0)
        outcome.append(env.step(np.array(action))[0]["observation"])
    assert (outcome[0] == outcome[1]).all()
    for bad in (np.array([np.nan, 0.0]), np.zeros(3)):
        with pytest.raises(ValueError, match="two forces"):
            env.step(bad)


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_vector_autoreset_modes(mode):
    venv = gym.make_vec("maze2d-umaze", num_envs=3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})
    observation, info = venv.reset(seed=[0, 1, 2])
    assert observation["observation"].shape == (3, 4)
    assert info["success"].shape == (3,)
    for step in range(1, 301):
        observation, _, terminations, truncations, info = venv.step(np.tile(RIGHT, (3, 1)))
        assert truncations.all() == (step == 300)
        assert not terminations.any()
    if mode is AutoresetMode.SAME_STEP:
        assert (info["final_obs"][0]["observation"] != observation["observation"][0]).any()
    elif mode is AutoresetMode.NEXT_STEP:
        after, _, _, truncations, _ = venv.step(np.tile(RIGHT, (3, 1)))
        assert not truncations.any()
        assert (after["observation"] != observation["observation"]).any()
    venv.close()


def test_the_walk_goes_on_from_where_it_arrived():
    env = gym.make("walk2d-umaze")
    observation, info = env.reset(seed=0)
    arrivals = 0
    while arrivals < 5:
        assert not info["success"]
        start, goal = observation["achieved_goal"], observation["desired_goal"]
        env.unwrapped.physics.set_state(goal[0] + 0.44, goal[1], 0.5, 0.0)
        last, reward, terminated, truncated, info = env.step(np.zeros(2, dtype=np.float32))
        assert (truncated, terminated, reward, info["success"]) == (True, False, 1.0, True)
        assert (last["desired_goal"] == goal).all()  # the goal that was reached
        observation, info = env.reset()
        assert (observation["observation"] == last["observation"]).all()
        assert np.linalg.norm(observation["desired_goal"] - observation["achieved_goal"]) > 0.45
        arrivals += 1
    restarted, _ = env.reset(seed=0)
    assert (restarted["desired_goal"] != goal).any()
    assert np.linalg.norm(start - restarted["achieved_goal"]) > 0


def test_frames_come_from_above_and_missing_opengl_is_explained():
    code = """
import gymnasium as gym, df_envs
env = gym.make("maze2d-umaze", render_mode="rgb_array", width=96, height=64)
env.reset(seed=0)
try:
    frame = env.render()
except RuntimeError as error:
    assert "MUJOCO_GL" in str(error)
    print("no OpenGL")
else:
    assert frame.shape == (64, 96, 3) and frame.std() > 10
    print("drawn")
"""
    result = subprocess.run([sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True)
    assert result.stdout.strip() in ("drawn", "no OpenGL")
