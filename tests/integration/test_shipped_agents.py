"""What ships does what the README says of it: the agents succeed, and the committed rows can be made again."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from df_envs.oracle import OraclePolicy

from df_agent import DiffusionForcingPolicy
from df_agent.benchmark.raw_rows import read_lines
from df_agent.checkpoint import list_pretrained
from df_agent.evaluation.metrics import time_to_goal
from df_agent.evaluation.rollout import rollout
from df_agent.runtime import computes_in_bf16

ROOT = Path(__file__).parents[2]
MAZES = ("maze2d-umaze", "maze2d-medium", "maze2d-large", "multi2d-large")
REFERENCES = ("oracle", "tracker_map")
LEARNED = ("gcbc", "gciql", "sac_her", "diffuser", "diffuser_tracker", "diffuser_ddim")
EPISODES = 50  # the first of seed 0, side by side as the committed rows were made


def shipped():
    """Policies and mazes whose weights ship, or that have none; Diffuser's plans take a minute."""
    found = []
    for env_id in MAZES:
        maze = env_id.replace("multi2d", "maze2d")
        for policy in ("diffusion_forcing", *REFERENCES, *LEARNED):
            diffuser = policy.startswith("diffuser")
            if policy not in LEARNED or f"{maze}-{'diffuser' if diffuser else policy}" in list_pretrained():
                found.append(pytest.param(env_id, policy, marks=pytest.mark.slow if diffuser else ()))
    return found


@cache
def committed(env_id):
    """{policy: rows of its first training on the first starts of seed 0}."""
    found = {}
    for row in read_lines(ROOT / "results" / "comparison" / f"rows-{env_id}.csv"):
        if row["run"] == "0" and row["seed"] == "0" and int(row["episode"]) < EPISODES:
            found.setdefault(row["policy"], []).append(row)
    return found


@pytest.mark.parametrize("env_id", ["maze2d-umaze", "multi2d-large"])
def test_the_shipped_agent_succeeds_stays_and_is_faster_than_the_oracle(env_id):
    policy = DiffusionForcingPolicy.from_pretrained(env_id.replace("multi2d", "maze2d"), precision="fp32")
    ours, oracle = (
        rollout(each, env_id, episodes=12, seed=1000, num_envs=12, keep_paths=False)
        for each in (policy, OraclePolicy(env_id))
    )
    assert all(record.success and record.at_goal_at_end for record in ours)
    assert time_to_goal(ours)["mean"] < time_to_goal(oracle)["mean"]


@pytest.mark.parametrize(("env_id", "policy_name"), shipped())
def test_committed_rows_can_be_made_again(env_id, policy_name, monkeypatch):
    """On the same starts: references to the step, the learned nearly, since another processor rounds otherwise."""
    from df_agent.cli.policies import make_policy, policy_config

    precision = "bf16" if computes_in_bf16(torch.device("cpu")) else "fp32"
    policy = make_policy(policy_config(policy_name, env_id, precision=precision))
    records = rollout(policy, env_id, episodes=EPISODES, seed=0, num_envs=EPISODES, keep_paths=False)
    rows = committed(env_id)[policy_name]
    assert [record.seed for record in records] == [int(row["start_id"]) for row in rows]
    steps, then = ([int(float(s)) for s in values] for values in zip(
        *((record.time_to_goal, row["time_to_goal"]) for record, row in zip(records, rows, strict=True)), strict=True
    ))  # fmt: skip
    if policy_name in REFERENCES:
        assert sum(now != before for now, before in zip(steps, then, strict=True)) <= 2
        return
    arrived = sum(record.success for record in records), sum(row["success"] == "1" for row in rows)
    assert arrived[0] >= arrived[1] - 3
    assert np.mean(steps) <= 1.05 * np.mean(then) + 3


@pytest.mark.slow
def test_an_agent_that_is_trained_for_minutes_succeeds(tmp_path):
    """From nothing: trajectories are collected, an agent is trained on them and evaluated, as the README has it."""

    def run(script, *arguments):
        command = [sys.executable, str(ROOT / "scripts" / script), "env=maze2d-umaze", *arguments]
        subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "MINARI_DATASETS_PATH": str(tmp_path)})

    run("collect.py", "steps=100000", "pack=walks.npz")
    run(
        "train.py", "dataset=walks.npz", "run_dir=run", "train.steps=800", "time_to_goal.steps=1500",
        "train.validate_every=0", "tracker=none",
    )  # fmt: skip
    policy = DiffusionForcingPolicy.from_pretrained(tmp_path / "run" / "final", device="cpu")
    records = rollout(policy, "maze2d-umaze", episodes=50, seed=1000, keep_paths=False)
    assert np.mean([record.success for record in records]) >= 0.9
