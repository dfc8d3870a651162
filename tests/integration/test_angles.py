"""A heading that wraps, in the observation and in the goal, from the data to the report, by the README's commands."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from df_agent.checkpoint import load_checkpoint
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.learned_actors import GCBCPolicy

ROOT = Path(__file__).parents[2]
GOAL = ["goal.achieved=[0,1]", "goal.desired=[4,5]"]

MODULE = '''
import gymnasium as gym
import numpy as np


class Dial(gym.Env):
    """A hand that turns and a slider, which are to be where they are asked to be.

    Observation (7,): the slider, the hand in [-pi, pi], its rate, the slider again, the goal's two, and a sensor that
    is not there.
    """

    def __init__(self, render_mode=None):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (7,), np.float64)
        self.action_space = gym.spaces.Box(-1, 1, (2,), np.float64)

    def observe(self):
        angle = (self.angle + np.pi) % (2 * np.pi) - np.pi
        return np.array([self.x, angle, self.rate, self.x, *self.goal, np.nan])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.angle, self.rate = self.np_random.uniform(-1, 1), self.np_random.uniform(-np.pi, np.pi), 0.0
        self.goal = self.np_random.uniform([-1, -np.pi], [1, np.pi])
        return self.observe(), {}

    def step(self, action):
        self.x += 0.1 * action[0]
        self.rate = 0.3 * action[1]
        self.angle += self.rate
        turn = np.angle(np.exp(1j * (self.angle - self.goal[1])))
        there = bool(np.hypot(self.x - self.goal[0], turn) < 0.2)
        return self.observe(), float(there), there, False, {"is_success": there}


class Turner:
    """Turns the short way, a little clumsily."""

    def __init__(self):
        self.random = np.random.default_rng(0)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        turn = np.angle(np.exp(1j * (observation[..., 5] - observation[..., 1])))
        push = np.stack([5 * (observation[..., 4] - observation[..., 0]), 2 * turn], -1)
        return np.clip(push + self.random.normal(0, 0.3, push.shape), -1, 1), state


gym.register("Dial-v0", Dial, max_episode_steps=40)
'''

SMALL = [
    "network.width=16", "network.depth=1", "network.heads=2", "train.compile=false", "train.batch_size=8", "steps=4",
    "train.warmup_steps=1", "train.validate_every=4", "validation.episodes=2", "tracker=none", "time_to_goal.steps=4",
    "validation.choose=false", "policy.planner=direct", "policy.controller=local_policy", "policy.open_loop_horizon=50",
]  # fmt: skip


def run_script(script, *options, folder):
    """Return what a script prints."""
    modules = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": modules, "MINARI_DATASETS_PATH": str(folder / "store")}
    command = [sys.executable, str(ROOT / "scripts" / script), "env=mypackage:Dial-v0", *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, an agent of a local policy that was trained for seconds, and a clone; the agent's words are in said.txt."""
    folder = tmp_path_factory.mktemp("dial")
    (folder / "mypackage.py").write_text(MODULE)
    run_script("collect.py", "policy=mypackage:Turner", "steps=4000", folder=folder)
    dataset = "dataset=df-agent/Dial-v0-mypackage-Turner-v0"
    said = run_script("train.py", dataset, *GOAL, *SMALL, "local_policy.steps=400", folder=folder)
    clone = ["train.steps=4", "train.warmup_steps=1", "train.validate_every=4", "validation.episodes=2", "tracker=none"]
    cloned = run_script("train_baseline.py", "algorithm=gcbc", dataset, *GOAL, *clone, folder=folder)
    (folder / "said.txt").write_text(said)
    (folder / "cloned.txt").write_text(cloned)
    return folder


def test_training_says_what_it_found_and_the_checkpoint_remembers_it(folder):
    said = (folder / "said.txt").read_text()
    assert "4 observation channels, of which [0, 1, 3] are about the goal" in said
    assert "  channel 1 is an angle, modelled as its sine and cosine\n" in said
    assert "  channel 3 is a copy of channel 0, and is left out" in said
    assert "  channel 6 is never a number, and is left out" in said
    assert "channel 1 is an angle" in (folder / "cloned.txt").read_text()
    for run in ("Dial-v0", "Dial-v0-gcbc"):
        goal = load_checkpoint(str(folder / "runs" / run / "final")).config["goal"]
        assert (goal["angles"], goal["ignored"]) == ([1, 5], [6])


@pytest.mark.parametrize("options", [["checkpoint=runs/Dial-v0/final"], ["policy=gcbc"]])
def test_evaluation_needs_not_be_told(folder, options):
    report = f"output_dir=report-{options[0][:4]}"
    run_script("evaluate.py", *options, "episodes=4", "pictures=false", report, folder=folder)
    rows = [json.loads(line) for line in (folder / report[11:] / "episodes.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    assert all(len(row["goal"]) == len(row["path"][0]) == 2 for row in rows)  # as the environment shows them


def test_a_loop_of_the_users_own_turns_the_short_way(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    env = gym.make("mypackage:Dial-v0")
    policy = DiffusionForcingPolicy.from_pretrained(folder / "runs" / "Dial-v0" / "final")
    clone = GCBCPolicy.from_pretrained(folder / "runs" / "Dial-v0-gcbc" / "final")
    asked = np.array([0.0, 3.0, 0.0, 0.0, 0.0, -3.0, np.nan])  # over the seam
    back = np.array([0.0, -3.0, 0.0, 0.0, 0.0, 3.0, np.nan])
    forth, _ = policy.predict(asked)
    return_way, _ = policy.predict(back)
    assert forth[1] > 0.1
    assert return_way[1] < -0.1
    assert clone.predict(asked)[0].shape == (2,)

    arrived = 0
    for seed in range(1000, 1020):
        observation, _ = env.reset(seed=seed)
        state, over = None, False
        while not over:
            action, state = policy.predict(observation, state)
            observation, _, there, over, _ = env.step(action)
            over |= there
        arrived += there
    assert arrived >= 15
