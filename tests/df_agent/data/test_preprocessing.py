import numpy as np
import pytest
import torch

from df_agent.agent_model import AgentModel
from df_agent.data.config import TokenizerConfig
from df_agent.data.episodes import Episodes, from_segments
from df_agent.data.preprocessing import dense_rewards, without_jumps, without_stops
from df_agent.data.tokens import Tokenizer
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
    shrink = model.diffusion.alpha_bar

    def denoise(x, level, cond=None):
        known = shrink[level][..., None]
        x0 = known.sqrt() * x  # the best guess about unit Gaussians
        x0 = torch.cat([x0[..., :2], x0[..., :1]], -1)  # whose reward is the first channel
        return x0, (x - known.sqrt() * x0) / (1 - known).clamp_min(1e-6).sqrt()

    monkeypatch.setattr(model.diffusion, "denoise", denoise)
    seen = {"observation": np.zeros((4, 2)), "achieved_goal": np.zeros((4, 2)), "desired_goal": np.ones((4, 2))}
    ends = []
    for scale in (0.0, 1.0, 3.0):
        policy = DiffusionForcingPolicy.from_model(
            model, checkpoint, max_steps=5, planner="reward_guidance", reward_guidance={"guidance_scale": scale}
        )
        events = []
        policy.on_plan = events.append
        policy.predict(seen, deterministic=True)
        ends.append(events[0].plan.observations[:, 1:, 0].mean())
    assert ends[0] < ends[1] - 0.2 < ends[2] - 0.4


def test_stops_are_cut_out():
    there = np.linspace(0, 5, 51)[:, None] * [1.0, 0.0]
    jitter = there[-1] + 0.02 * np.random.default_rng(0).uniform(-1, 1, (40, 2))
    on = there[-1] + np.linspace(0, 5, 51)[:, None] * [0.0, 1.0]
    walks = [np.concatenate([there, jitter, on]), jitter, there[::-1]]
    segments = [
        {"observations": walk, "actions": np.ones((len(walk) - 1, 2)), "rewards": np.ones(len(walk) - 1)}
        for walk in walks
    ]
    episodes = from_segments(segments)
    cut = without_stops(episodes, episodes.observations, distance=0.3, steps=8)
    assert len(cut) == 3  # the first walk's two parts and the last walk; the second never moved
    parts = [cut.observations[cut.starts[k] : cut.starts[k + 1]] for k in range(3)]
    assert parts[0][:48] == pytest.approx(there[:48])
    assert parts[1][-48:] == pytest.approx(on[-48:])
    assert parts[2][5:-5] == pytest.approx(there[::-1][5:-5])
    for part in parts:  # hardly anything of a stop is left at either end
        assert np.linalg.norm(part[8:] - part[:-8], axis=1).min() > 0.3
        assert 46 <= len(part) <= 54
    for column in (cut.actions[:, 0], cut.rewards):
        assert (column[cut.starts[1:] - 1] == 0).all()
        assert (np.delete(column, cut.starts[1:] - 1) == 1).all()
    with pytest.raises(ValueError, match="nothing ever moves"):
        without_stops(episodes, episodes.observations, 100.0, 8)


def test_trajectories_end_where_the_agent_is_thrown_elsewhere():
    places = np.array([0.0, 0.1, 0.2, 5.0, 5.1, 9.0])[:, None]  # the last one is thrown for a single row
    walks = [
        {"observations": places, "actions": np.ones((5, 1)), "rewards": np.ones(5)},
        {"observations": np.array([[50.0], [50.1]]), "actions": np.ones((1, 1)), "rewards": np.ones(1)},
    ]
    episodes = from_segments(walks)
    cut = without_jumps(episodes, episodes.observations, distance=1.0)
    assert cut.starts.tolist() == [0, 3, 5, 7]
    np.testing.assert_allclose(cut.observations[:, 0], [0.0, 0.1, 0.2, 5.0, 5.1, 50.0, 50.1], rtol=1e-6)
    assert cut.actions[:, 0].tolist() == [1, 1, 0, 1, 0, 1, 0]
    assert len(without_jumps(episodes, episodes.observations, 1e9).starts) == 3
    with pytest.raises(ValueError, match="longer than"):
        without_jumps(episodes, episodes.observations, 0.01)
