"""The README's way to an environment and data of one's own, from the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

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


gym.register("Mine-v0", Point, max_episode_steps=60)
'''


def run_script(script: str, *options: str, folder: Path) -> str:
    command = [sys.executable, str(ROOT / "scripts" / script), *options]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def walk(steps: int) -> np.ndarray:
    """Positions of a walk from place to place at 0.03 per step."""
    rng, x, goal, path = np.random.default_rng(0), np.zeros(2), np.zeros(2), []
    for _ in range(steps + 1):
        path.append(x)
        if np.linalg.norm(goal - x) < 0.1:
            goal = rng.uniform(-1, 1, 2)
        x = x + 0.03 * (goal - x) / max(float(np.linalg.norm(goal - x)), 0.03)
    return np.array(path)


def test_train_and_evaluate_in_an_environment_of_ones_own(tmp_path):
    (tmp_path / "mypackage.py").write_text(MODULE)
    positions = walk(3000)
    velocities = np.diff(positions, axis=0, append=positions[-1:]) / 0.01
    episode = {"observations": np.c_[positions, velocities], "actions": np.zeros((3000, 2)), "rewards": np.zeros(3000)}
    from_segments([episode]).save(tmp_path / "mine.npz")
    small = ["network.width=16", "network.depth=1", "network.heads=2", "train.compile=false", "train.batch_size=8"]
    short = ["steps=4", "train.warmup_steps=1", "train.validate_every=4", "validation.episodes=2", "tracker=none"]
    quick = ["time_to_goal.steps=4"]
    run_script(
        "train.py", "env=custom", "env_id=mypackage:Mine-v0", "dataset=mine.npz", "+policy.velocity_indices=[2,3]",
        "windows.max_tokens=4", "windows.short_tokens=[]", *small, *short, *quick, folder=tmp_path,
    )  # fmt: skip
    checkpoint = tmp_path / "runs" / "custom" / "final"
    options = ["episodes=2", "pictures=false", "output_dir=report"]
    run_script("evaluate.py", "env=mypackage:Mine-v0", f"checkpoint={checkpoint}", *options, folder=tmp_path)
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert (summary["env"], summary["episodes"], summary["max_episode_steps"]) == ("mypackage:Mine-v0", 2, 60)
    assert summary["plans_to_goal"] >= 1
