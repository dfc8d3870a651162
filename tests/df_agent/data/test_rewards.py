import numpy as np
import pytest
import torch

from df_agent.agent_model import AgentModel
from df_agent.data.episodes import Episodes
from df_agent.data.rewards import dense_rewards
from df_agent.data.tokens import Tokenizer, TokenizerConfig
from df_agent.diffusion.objectives import reward_objective
from df_agent.policies import DiffusionForcingPolicy


def walks():
    places = np.array([[0, 0], [3, 4], [3, 0], [0, 1], [0, 0]], np.float32)
    still = np.zeros((5, 1), np.float32)
    return Episodes(places, still, np.full(5, 7, np.float32), None, None, np.array([0, 3, 5]))


def test_each_step_is_rewarded_for_where_it_leads():
    rewards = dense_rewards(walks(), (0, 0)).rewards
    np.testing.assert_allclose(rewards, [np.exp(-5), np.exp(-3), 0, 1, 0], rtol=1e-6)
    np.testing.assert_allclose(dense_rewards(walks(), (3,), (0,)).rewards, [1, 1, 0, np.exp(-3), 0], rtol=1e-6)
    assert walks().rewards[0] == 7
    with pytest.raises(ValueError, match=r"takes 2 numbers, got \[1\]"):
        dense_rewards(walks(), [1])


def test_the_reward_of_a_row_is_that_of_its_planned_frames_in_the_datas_units():
    tokens = torch.zeros(2, 5, 6, requires_grad=True)  # two frames of three channels, the reward last
    objective = reward_objective(torch.tensor([2, 3]), 2, mean=0.5, std=4.0)
    assert objective(tokens).tolist() == pytest.approx([2 * 2 * 0.5, 3 * 2 * 0.5])
    (gradient,) = torch.autograd.grad(objective(tokens).sum(), tokens)
    expected = torch.zeros(2, 5, 6)
    expected[0, 1:3, [[2], [5]]] = 4.0
    expected[1, 1:4, [[2], [5]]] = 4.0
    assert torch.equal(gradient, expected)


def test_guided_by_reward_plans_go_where_it_is_expected(monkeypatch):
    """A model whose expected reward is the first channel: plans drift there, the more the stronger the guidance."""
    tokens = TokenizerConfig((0, 1), (0, 1), include_rewards=True)
    checkpoint = {
        "network": {"token_dim": 3, "max_tokens": 6, "width": 16, "depth": 1, "heads": 2},
        "diffusion": {"levels": 50},
        "tokenizer": Tokenizer(tokens, torch.zeros(3), torch.ones(3)).to_dict(),
        "windows": {"max_tokens": 6},
        "statistics": {"step": [9.0, 9.0], "turn": [9.0, 9.0], "speed": [9.0, 9.0]},
    }
    torch.manual_seed(0)
    model = AgentModel.from_config(checkpoint)
    shrink = model.alpha_bar

    def denoise(x, level, cond=None):
        known = shrink[level][..., None]
        x0 = known.sqrt() * x  # the best guess about unit Gaussians
        x0 = torch.cat([x0[..., :2], x0[..., :1]], -1)  # whose reward is the first channel
        return x0, (x - known.sqrt() * x0) / (1 - known).clamp_min(1e-6).sqrt()

    monkeypatch.setattr(model, "denoise", denoise)
    seen = {"observation": np.zeros((4, 2)), "achieved_goal": np.zeros((4, 2)), "desired_goal": np.ones((4, 2))}
    ends = []
    for scale in (0.0, 1.0, 3.0):
        policy = DiffusionForcingPolicy.from_model(
            model, checkpoint, max_steps=5, planner="reward_guidance", guidance_scale=scale
        )
        events = []
        policy.on_plan = events.append
        policy.predict(seen, deterministic=True)
        ends.append(events[0].plan.observations[:, 1:, 0].mean())
    assert ends[0] < ends[1] - 0.2 < ends[2] - 0.4
