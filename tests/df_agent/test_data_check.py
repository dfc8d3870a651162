"""What training says of its data, and keeps."""

import json
from pathlib import Path

import numpy as np
import pytest

from df_agent.data.episodes import Episodes
from df_agent.data.goal_spec import GoalSpec
from df_agent.data.quality import Asked
from df_agent.evaluation.rollout import episode_seed
from df_agent.evaluation.validation import Validation
from df_agent.training.run import train

LENGTH, COUNT = 21, 60


@pytest.fixture
def config(tmp_path):
    draw = np.random.default_rng(0)
    actions = np.repeat(draw.uniform(-1, 1, (COUNT, 1, 2)), LENGTH, axis=1)
    places = draw.uniform(-1, 0, (COUNT, 1, 2)) + np.cumsum(0.05 * actions, axis=1)
    rows, done = (values.reshape(-1, 2).astype(np.float32) for values in (places, actions))
    starts = np.arange(0, COUNT * LENGTH + 1, LENGTH)
    Episodes(rows, done, np.zeros(len(rows), np.float32), None, None, starts).save(tmp_path / "ways.npz")
    return {
        "dataset": str(tmp_path / "ways.npz"),
        "run_dir": str(tmp_path / "run"),
        "tracker": "none",
        "tokenizer": {"observation_indices": [0, 1], "goal_channels": [0, 1]},
        "windows": {"max_tokens": 3},
        "network": {"width": 16, "depth": 1, "heads": 2},
        "time_to_goal": {"steps": 0},
        "local_policy": {"steps": 100, "width": 16},
        "train": {"steps": 1, "batch_size": 8, "warmup_steps": 1, "precision": "fp32"},
    }


def kept(config):
    return json.loads(Path(config["run_dir"], "data.json").read_text())


def test_good_data_is_said_to_be_good(config, capsys):
    train(config)
    assert f"Data: {COUNT} episodes, {COUNT * (LENGTH - 1)} steps; nothing is wrong" in capsys.readouterr().out
    facts = kept(config)
    assert (facts["episodes"], facts["steps"], facts["findings"]) == (COUNT, COUNT * (LENGTH - 1), [])
    assert 0 < facts["unexplained_share_of_actions"] < 0.9


def test_what_is_wrong_is_said_before_training_and_kept(config, capsys):
    goals = np.random.default_rng(1).uniform(4, 5, (20, 2))
    train(config, asked=Asked(goals - 5, goals, 30))
    out = capsys.readouterr().out
    assert "Data, coverage: 100% of the goals asked for lie where the data never was" in out
    assert out.index("Data, coverage") < out.index("local_policy: starts")
    assert kept(config)["findings"][0]["kind"] == "coverage"


def test_actions_that_nothing_explains_are_told_after_the_local_policy(config, capsys):
    pack = dict(np.load(config["dataset"]))
    noise = np.random.default_rng(2).normal(size=pack["actions"].shape)
    pack["actions"] = (noise + np.roll(noise, 1, axis=0)).astype(np.float32)  # neighbours are alike
    np.savez(config["dataset"], **pack)
    train(config)
    assert "of the variance of the actions follow neither from the observation" in capsys.readouterr().out
    assert [finding["kind"] for finding in kept(config)["findings"]] == ["noise"]


def test_the_starts_and_goals_are_those_of_the_validation():
    asked = Validation("toy-point", 5, 1000).asked()
    assert asked.starts.shape == asked.goals.shape == (5, 2)
    assert asked.limit == 30
    draw = np.random.default_rng(episode_seed(1000, 3)).uniform(-1, 1, (2, 2))
    assert np.allclose([asked.starts[3], asked.goals[3]], draw)
    named = Validation("toy-point", 2, 1000, GoalSpec(achieved=(1,), desired=(0,), success="success")).asked()
    assert named.starts.shape == (2, 1)
