"""How good the agent is, said before the diffusion model is trained; the training does not notice."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from df_agent.checkpoint import load_checkpoint
from df_agent.data.episodes import Episodes
from df_agent.evaluation.choosing import FIRST_PACE, LocalPolicyLook
from df_agent.evaluation.validation import Validation
from df_agent.policies import DiffusionForcingPolicy
from df_agent.training.run import train


class Killed(Exception):
    """Stands for a kill."""


@pytest.fixture
def config(tmp_path):
    draw = np.random.default_rng(0)
    angle, length, count = draw.uniform(-np.pi, np.pi, 200), 21, 200
    action = draw.uniform(0.4, 1, count)[:, None] * np.c_[np.cos(angle), np.sin(angle)]
    places = draw.uniform(-1, 1, (count, 1, 2)) + 0.1 * action[:, None] * np.arange(length)[:, None]
    rows, actions = places.reshape(-1, 2).astype(np.float32), np.repeat(action, length, axis=0).astype(np.float32)
    starts = np.arange(0, count * length + 1, length)
    Episodes(rows, actions, np.zeros(len(rows), np.float32), None, None, starts).save(tmp_path / "ways.npz")
    return {
        "dataset": str(tmp_path / "ways.npz"),
        "run_dir": str(tmp_path / "run"),
        "tracker": "none",
        "tokenizer": {"observation_indices": [0, 1], "goal_channels": [0, 1]},
        "windows": {"max_tokens": 3},
        "network": {"width": 16, "depth": 1, "heads": 2},
        "time_to_goal": {"steps": 0},
        "local_policy": {"steps": 400, "width": 32},
        "policy": {"planner": "direct", "controller": "local_policy"},
        "train": {"steps": 4, "batch_size": 8, "warmup_steps": 1, "precision": "fp32", "validate_every": 1},
    }


def weights(config):
    return load_checkpoint(Path(config["run_dir"], "final")).weights


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def rows_of(config, step):
    lines = Path(config["run_dir"], "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["step"] == step]


class Counting:
    """A look that counts how often it is taken, and validations that end in a kill."""

    def __init__(self, kill_at=None):
        self.look, self.looks, self.kill_at = LocalPolicyLook(Validation("toy-point", 6, 1000)), 0, kill_at

    def __call__(self, model, checkpoint):
        self.looks += 1
        return self.look(model, checkpoint)

    def validate(self, model, step, checkpoint):
        if step == self.kill_at:
            raise Killed
        return {"time_to_goal": 1.0}


def test_it_is_said_and_logged_before_the_diffusion_model_is_trained(config, capsys):
    look = Counting()
    train(config, look.validate, look)
    out = capsys.readouterr().out
    line = next(line for line in out.splitlines() if "local policy aimed at the goal" in line)
    assert line.startswith("after 0.")
    assert ": success " in line
    assert line.endswith(" steps")
    assert out.index(line) < out.index("validation at step 1")
    (row,) = rows_of(config, 0)
    assert row["local_policy/success_rate"] > 0.5
    assert row["local_policy/time_to_goal"] < 30
    assert row["local_policy/training_minutes"] > 0
    assert look.looks == 1


def test_the_training_is_the_same_with_it_and_without(config, tmp_path):
    train(config, Counting().validate, Counting())
    without = {**config, "run_dir": str(tmp_path / "without")}
    train(without, Counting().validate)
    assert same(weights(config), weights(without))


@pytest.mark.parametrize(("kill_at", "again"), [(1, 1), (3, 0)])
def test_a_run_that_was_killed_ends_in_the_same_weights(config, tmp_path, kill_at, again):
    whole = {**config, "run_dir": str(tmp_path / "whole")}
    train(whole, Counting().validate, Counting())
    killed = Counting(kill_at)
    with pytest.raises(Killed):
        train(config, killed.validate, killed)
    look = Counting()
    train(config, look.validate, look)
    assert look.looks == again  # before the first checkpoint there is nothing to continue
    assert len(rows_of(config, 0)) == 1
    assert same(weights(config), weights(whole))


def test_without_a_local_policy_there_is_nothing_to_look_at(config):
    config["local_policy"] = {"steps": 0}
    look = Counting()
    train(config, look.validate, look)
    assert look.looks == 0


def test_it_acts_by_the_local_policy_aimed_at_the_goal_whatever_is_stored(config, monkeypatch):
    made = []
    original = DiffusionForcingPolicy.from_model.__func__

    def from_model(cls, *arguments, **options):
        made.append(original(cls, *arguments, **options).config)
        return original(cls, *arguments, **options)

    monkeypatch.setattr(DiffusionForcingPolicy, "from_model", classmethod(from_model))
    config["policy"] = {"planner": "shortest_feasible", "controller": "local_policy"}
    train(config, Counting().validate, Counting())
    assert [(c.planner, c.controller, c.local_policy.pace) for c in made] == [("direct", "local_policy", FIRST_PACE)]
