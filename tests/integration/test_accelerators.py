"""The shipped agent plans, and a model trains, on an NVIDIA and on Apple's GPU; skipped where there is none."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from df_agent import DiffusionForcingPolicy
from df_agent.cli.app import main
from df_agent.data.episodes import Episodes

KINDS = [
    pytest.param(
        "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")]
    ),
    pytest.param(
        "mps", marks=[pytest.mark.mps, pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no Apple GPU")]
    ),
]


@pytest.mark.parametrize("device", KINDS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_shipped_agent_acts(device, precision):
    env = gym.make("df_envs:maze2d-umaze")
    policy = DiffusionForcingPolicy.from_pretrained("maze2d-umaze", device=device, precision=precision)
    action, _ = policy.predict(env.reset(seed=0)[0], deterministic=True)
    assert env.action_space.contains(action.astype(np.float32))
    assert next(policy.model.parameters()).device.type == device


@pytest.mark.parametrize("device", KINDS)
def test_a_model_trains_and_is_evaluated(device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    walk = np.cumsum(draw.normal(size=(900, 4)) * 0.02, 0).astype(np.float32)
    actions = draw.normal(size=(900, 2)).astype(np.float32)
    Episodes(walk, actions, np.zeros(900, np.float32), None, None, np.array([0, 900])).save(tmp_path / "walk.npz")
    few = ["steps=3", "train.batch_size=4", "train.validate_every=0", "time_to_goal.steps=3", "tracker=none"]
    main("train", arguments=["env=maze2d-umaze", "dataset=walk.npz", "run_dir=run", *few])
    words = ["checkpoint=run/final", f"policy.device={device}", "episodes=1", "pictures=false", "max_steps=20"]
    main("evaluate", arguments=["env=maze2d-umaze", "output_dir=out", "timing_episodes=0", *words])
    assert (tmp_path / "out" / "summary.json").is_file()
