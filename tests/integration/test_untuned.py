"""The recipe for an environment of one's own, in three that nothing is fitted to; the recipe itself by `-m slow`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import untuned
from car import CarPilot

ROOT = Path(__file__).parents[2]
GOALS = {"Boat": ["goal.achieved=[0,1]", "goal.desired=[6,7]"], "Drone": [], "Payload": []}


def times_to_goal(env, policy, episodes):
    """Return the control steps to the goal, inf where it is not reached."""
    times = []
    for seed in range(2000, 2000 + episodes):
        observation, _ = env.reset(seed=seed)
        state, time = None, np.inf
        for step in range(1, env.spec.max_episode_steps + 1):
            action, state = policy.predict(observation, state)
            observation, *_, info = env.step(action)
            if info["is_success"]:
                time = step
                break
        times.append(time)
    return np.array(times)


@pytest.mark.parametrize("name", GOALS)
def test_demonstrators_arrive_and_take_at_most_twice_the_references_time(name):
    env = gym.make(f"{name}-v0")
    clumsy, quick = (times_to_goal(env, getattr(untuned, f"{name}{who}")(), 100) for who in ("Pilot", "Reference"))
    limit = env.spec.max_episode_steps
    assert np.isfinite(clumsy).mean() >= 0.93  # over the 100,000 steps of a dataset 0.97 to 0.99
    assert np.isfinite(quick).all()
    assert quick.mean() < np.minimum(clumsy, limit).mean() < 2 * quick.mean()


def test_the_cars_demonstrator_arrives_too():
    assert np.isfinite(times_to_goal(gym.make("Car-v0"), CarPilot(), 50)).mean() >= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("name", GOALS)
def test_three_commands_make_an_agent_that_is_better_than_the_demonstrator(name, tmp_path):
    modules = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": modules, "MINARI_DATASETS_PATH": str(tmp_path / "store")}
    env, pilot = f"env=untuned:{name}-v0", f"policy=untuned:{name}Pilot"

    def run(script, *options):
        command = [sys.executable, str(ROOT / "scripts" / script), env, *options]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]

    run("collect.py", pilot, "steps=100000")
    run("train.py", f"dataset=df-agent/{name}-v0-untuned-{name}Pilot-v0", *GOALS[name])
    run("evaluate.py", f"checkpoint=runs/{name}-v0/final", "episodes=200", "output_dir=ours")
    run("evaluate.py", pilot, *GOALS[name], "episodes=200", "output_dir=demonstrator")
    ours, theirs = (json.loads((tmp_path / who / "summary.json").read_text()) for who in ("ours", "demonstrator"))
    assert ours["success_rate"] >= 0.95
    assert ours["time_to_goal"]["mean"] <= 0.9 * theirs["time_to_goal"]["mean"]
