"""The inverse model, on a point that goes where it is pushed: each action moves it by a tenth of it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from df_planners.plan import Plan

from df_agent.agent_model import AgentModel
from df_agent.checkpoint import load_checkpoint
from df_agent.data.episodes import Episodes
from df_agent.data.samplers.side_models import displacement_scale
from df_agent.policies import DiffusionForcingPolicy
from df_agent.training.run import train


def config_in(folder, **changes):
    draw = np.random.default_rng(0)
    actions = draw.uniform(-1, 1, (4001, 2)).astype(np.float32)
    steps = np.concatenate([np.zeros((1, 2), np.float32), 0.1 * actions[:-1]])
    walk = np.cumsum(steps, axis=0).astype(np.float32)
    # A third channel that has nothing to do with it.
    observations = np.c_[walk, draw.normal(size=len(walk))].astype(np.float32)
    episodes = Episodes(observations, actions, np.zeros(4001, np.float32), None, None, np.array([0, 4001]))
    episodes.save(folder / "walk.npz")
    return {
        "dataset": str(folder / "walk.npz"),
        "run_dir": str(folder / "run"),
        "tracker": "none",
        "tokenizer": {"observation_indices": [0, 1, 2]},
        "windows": {"max_tokens": 6},
        "network": {"width": 16, "depth": 1, "heads": 2},
        "time_to_goal": {"steps": 0},
        "inverse_dynamics": {"steps": 600, "width": 64, "depth": 2},
        "train": {"steps": 2, "batch_size": 8, "warmup_steps": 1, "precision": "fp32"},
        **changes,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inverse")
    torch.manual_seed(0)
    train(config_in(folder))
    return folder


def policy_of(run, **options):
    return DiffusionForcingPolicy.from_pretrained(
        Path(run, "run", "final"),
        controller="inverse_dynamics",
        planner="fixed_horizon",
        fixed_horizon={"horizon": 4},
        **options,
    )


def test_the_agent_takes_the_action_that_leads_to_the_next_place_of_its_plan(run):
    policy, rng = policy_of(run, open_loop_horizon=9), np.random.default_rng(1)
    place, way = rng.uniform(-1, 1, (20, 2)), rng.uniform(-0.08, 0.08, (20, 4, 2))
    path = np.concatenate([place[:, None], place[:, None] + np.cumsum(way, axis=1)], axis=1)
    frames = np.concatenate([path, np.zeros((20, 5, 1))], axis=-1)
    policy.planner.plan = lambda request: Plan(frames, np.full(20, 5), 1)
    state = None
    for step in range(4):
        observation = {"observation": np.c_[place, rng.normal(size=20)], "desired_goal": path[:, -1]}
        actions, state = policy.predict(observation, state, deterministic=True)
        assert 0.1 * actions == pytest.approx(way[:, step], abs=0.02)
        place = path[:, step + 1]
    observation = {"observation": np.c_[place - 9.0, np.zeros(20)], "desired_goal": path[:, -1]}
    actions, _ = policy.predict(observation, state, deterministic=True)
    assert (np.abs(actions) <= 1).all()  # further off than any action leads


def test_it_is_part_of_the_checkpoint_and_can_be_added_to_a_model_that_has_none(run, tmp_path):
    checkpoint = load_checkpoint(Path(run, "run", "final"))
    model = AgentModel.from_config(checkpoint.config)
    checkpoint.load_into(model)
    given = torch.randn(5, 3), torch.randn(5, 2)
    with torch.no_grad():
        assert torch.equal(model.inverse_dynamics(*given), policy_of(run).model.inverse_dynamics(*given))
    without = config_in(tmp_path, inverse_dynamics={"steps": 0}, run_dir=str(tmp_path / "without"))
    train(without)
    bare = load_checkpoint(tmp_path / "without" / "final")
    with pytest.raises(ValueError, match=r"needs an inverse model: train one with inverse_dynamics\.steps"):
        DiffusionForcingPolicy.from_pretrained(bare.folder, controller="inverse_dynamics")
    later = config_in(tmp_path, load=str(bare.folder), inverse_dynamics={"steps": 5})
    train({**later, "train": {**later["train"], "steps": 0, "warmup_steps": 0}})
    added = load_checkpoint(tmp_path / "run" / "final")
    assert any(key.startswith("inverse_dynamics.") for key in added.weights)
    for key, value in bare.weights.items():
        assert torch.equal(added.weights[key], value)


def test_a_channel_that_does_not_move_has_a_unit_all_the_same():
    torch.testing.assert_close(displacement_scale([0.3, 0.0, math.inf]), torch.tensor([0.1, 1.0, 1.0]))
