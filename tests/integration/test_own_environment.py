"""The README's way to an environment and data of one's own, from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from df_agent.data.episodes import from_segments

ROOT = Path(__file__).parents[2]

MODULE = '''
import gymnasium as gym
import numpy as np


class Point(gym.Env):
    """A point in the plane that goes where it is pushed."""

    def __init__(self, render_mode=None):
        plane = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        state = gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.observation_space = gym.spaces.Dict(observation=state, achieved_goal=plane, desired_goal=plane)
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float64)

    def observe(self):
        return {"observation": np.r_[self.x, self.v], "achieved_goal": self.x.copy(), "desired_goal": self.goal.copy()}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.v, self.goal = self.np_random.uniform(-1, 1, 2), np.zeros(2), self.np_random.uniform(-1, 1, 2)
        return self.observe(), {}

    def step(self, action):
        self.v = np.clip(self.v + 0.2 * action, -5, 5)
        self.x = self.x + 0.01 * self.v
        there = bool(np.linalg.norm(self.x - self.goal) < 0.3)
        return self.observe(), float(there), False, False, {"success": there}


class Flat(Point):
    """The same with a flat observation, the goal in its last two numbers, that does not say when it is reached."""

    def __init__(self, render_mode=None):
        super().__init__()
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (6,), np.float64)

    def observe(self):
        return np.r_[self.x, self.v, self.goal]

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, {}


def there(observation, info):
    return np.linalg.norm(observation["achieved_goal"] - observation["desired_goal"]) < 0.3


class Walker:
    """Goes to the goal, a little clumsily."""

    def __init__(self):
        self.random = np.random.default_rng(0)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        way = observation[..., 4:6] - observation[..., :2]
        push = 5 * way - observation[..., 2:4] + self.random.normal(0, 0.1, way.shape)
        return np.clip(push, -1, 1), state


gym.register("Mine-v0", Point, max_episode_steps=60)
gym.register("Flat-v0", Flat, max_episode_steps=60)
'''


def run_script(script: str, *options: str, folder: Path, fails: bool = False) -> str:
    """Return what a script prints; what it says of a mistake, if it is to fail."""
    command = [sys.executable, str(ROOT / "scripts" / script), *options]
    store = str(folder / "store")
    modules = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "configs")])
    environment = {**os.environ, "PYTHONPATH": modules, "OMP_NUM_THREADS": "1", "MINARI_DATASETS_PATH": store}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode != 0) == fails, done.stderr[-2000:]
    return done.stderr if fails else done.stdout


SMALL = [
    "network.width=16", "network.depth=1", "network.heads=2", "train.compile=false", "train.batch_size=8", "steps=4",
    "train.warmup_steps=1", "train.validate_every=4", "validation.episodes=2", "tracker=none", "local_policy.steps=4",
    "time_to_goal.steps=4", "validation.choose=false",
]  # fmt: skip


def test_a_goal_env_and_a_file_of_walks(tmp_path):
    (tmp_path / "mypackage.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    positions = np.cumsum(rng.uniform(-0.05, 0.05, (201, 2)), axis=0)
    walks = []
    for _ in range(5):
        velocities = np.diff(positions, axis=0, append=positions[-1:]) / 0.01
        observations = np.c_[positions, velocities]
        walks.append({"observations": observations, "actions": np.zeros((200, 2)), "rewards": np.zeros(200)})
        positions = positions + 1
    from_segments(walks).save(tmp_path / "mine.npz")
    said = run_script(
        "train.py", "env=mypackage:Mine-v0", "dataset=mine.npz", "goal.achieved=[0,1]", *SMALL, folder=tmp_path
    )
    assert "plans of 2 channels, of which [0, 1] are about the goal, without the 2 actions; windows of" in said
    checkpoint = tmp_path / "runs" / "Mine-v0" / "final"
    options = ["episodes=2", "pictures=false", "output_dir=report"]
    run_script("evaluate.py", "env=mypackage:Mine-v0", f"checkpoint={checkpoint}", *options, folder=tmp_path)
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert (summary["env"], summary["episodes"], summary["max_episode_steps"]) == ("mypackage:Mine-v0", 2, 60)
    assert summary["plans_to_goal"] >= 1


def test_an_environment_without_goals_of_its_own_from_collecting_to_evaluating(tmp_path):
    (tmp_path / "mypackage.py").write_text(MODULE)
    env = "env=mypackage:Flat-v0"
    run_script("collect.py", env, "policy=mypackage:Walker", "steps=600", folder=tmp_path)
    dataset = "dataset=df-agent/Flat-v0-mypackage-Walker-v0"
    wrong = run_script("train.py", env, dataset, *SMALL, folder=tmp_path, fails=True)
    assert "goal.achieved=[0,1]" in wrong
    achieved, desired = "goal.achieved=[0,1]", "goal.desired=[4,5]"
    wrong = run_script("train.py", env, dataset, achieved, *SMALL, folder=tmp_path, fails=True)
    assert "name channels of it, or a 'module:function', with goal.desired" in wrong
    assert not (tmp_path / "runs").exists()  # before anything is trained
    goal = [achieved, desired, "goal.success=mypackage:there"]
    said = run_script("train.py", env, dataset, *goal, *SMALL, "run_dir=runs/flat", folder=tmp_path)
    assert "plans of 2 channels, of which [0, 1] are about the goal" in said  # the goal itself is not modelled
    run_script(
        "evaluate.py", env, "checkpoint=runs/flat/final", "episodes=2", "pictures=false", "output_dir=report",
        folder=tmp_path,
    )  # fmt: skip
    assert json.loads((tmp_path / "report" / "summary.json").read_text())["episodes"] == 2

    # A baseline is trained and found by the same words.
    clone = ["train.steps=4", "train.warmup_steps=1", "train.validate_every=4", "validation.episodes=2", "tracker=none"]
    run_script("train_baseline.py", "algorithm=gcbc", env, dataset, *goal, *clone, folder=tmp_path)
    run_script("evaluate.py", env, "policy=gcbc", "episodes=2", "pictures=false", "output_dir=clone", folder=tmp_path)
    assert json.loads((tmp_path / "clone" / "summary.json").read_text())["policy"] == "gcbc"

    # Of a policy without a checkpoint it is said on the command line.
    bare = ["episodes=2", "pictures=false", "timing_episodes=0", "output_dir=bare"]
    run_script("evaluate.py", env, "policy=random", *goal, *bare, folder=tmp_path)
    record = json.loads((tmp_path / "bare" / "episodes.jsonl").read_text().splitlines()[0])
    assert (record["goal"], record["path"][0]) == (record["start"][4:], np.round(record["start"][:2], 4).tolist())

    few = ["checkpoint=runs/flat/final", "episodes=2", "max_steps=7", "output=tuning.jsonl"]
    run_script("tune.py", env, *few, "grid={open_loop_horizon: [5]}", folder=tmp_path)
    assert json.loads((tmp_path / "tuning.jsonl").read_text())["time_to_goal"] <= 7

    ours = ["policies=[diffusion_forcing]", "changes={diffusion_forcing: {checkpoint: runs/flat/final}}", "film=false"]
    few = ["episodes=2", "seeds=[1000]", "timing_episodes=1", "max_steps=7", "output_dir=compared"]
    run_script("compare.py", env, *ours, *few, folder=tmp_path)
    assert (tmp_path / "compared" / "report.md").exists()


def test_minaris_pen_by_its_name(tmp_path):
    """With a stand-in of the published set's layout: flat observations and actions of the same environment."""
    pen = "env=AdroitHandPen-v1"
    run_script("collect.py", pen, "policy=random", "dataset=D4RL/pen/expert-v2", "steps=300", folder=tmp_path)
    run_script("train.py", pen, *SMALL, "train.validate_every=0", folder=tmp_path)
    checkpoint = "checkpoint=runs/AdroitHandPen-v1/final"
    options = ["episodes=2", "max_steps=20", "timing_episodes=0", "scenes=0", "output_dir=report"]
    run_script("evaluate.py", pen, checkpoint, *options, folder=tmp_path)
    records = [json.loads(line) for line in (tmp_path / "report" / "episodes.jsonl").read_text().splitlines()]
    assert len(records) == 2
    for record in records:
        assert np.linalg.norm(record["goal"]) == pytest.approx(1, abs=1e-3)  # the direction that the pen is to have
        assert np.linalg.norm(record["path"][-1]) == pytest.approx(1, abs=1e-3)  # and the one that it has
        assert len(record["plans"]) == 10
