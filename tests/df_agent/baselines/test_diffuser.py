"""Diffuser: its loss and its sampler, on cases whose answer is known."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from df_agent.baselines import load_learner
from df_agent.baselines.diffuser import Diffuser
from df_agent.checkpoint import CheckpointError, save_checkpoint
from df_agent.data.datasets import load_episodes
from df_agent.data.episodes import from_segments
from df_agent.options.baselines import DiffuserConfig
from df_agent.policies.diffuser import DiffuserPolicy
from df_agent.training.baseline import train_baseline
from df_agent.types import Batch


def make_model(levels=64, horizon=16, **options):
    config = DiffuserConfig(
        horizon, levels, low=(-2.0, 0.0, -1.0), high=(2.0, 1.0, 1.0), observation_dim=2, network={"width": 8, **options}
    )
    torch.manual_seed(0)
    return Diffuser(config)


class Known(nn.Module):
    """A network whose estimate is given by a function of the noisy segment and its level."""

    def __init__(self, model, function):
        super().__init__()
        self.config, self.function, self.seen = model.network.config, function, []

    def forward(self, x, level):
        self.seen.append((x.clone(), level.clone()))
        return self.function(x, level)


def seeded(seed, shape):
    return lambda k: torch.randn(shape, generator=torch.Generator().manual_seed(1000 * seed + k))


def test_scaling_goes_to_one_and_back():
    model = make_model()
    ends = torch.tensor([[-2.0, 0.0, -1.0], [2.0, 1.0, 1.0]])
    torch.testing.assert_close(model.normalize(ends), torch.tensor([[-1.0] * 3, [1.0] * 3]))
    torch.testing.assert_close(model.denormalize(model.normalize(ends)), ends)
    assert model.denormalize(torch.tensor([9.0, -9.0])).tolist() == [2.0, 0.0]


def test_a_channel_that_never_changes_is_no_trouble(walks):
    episodes = load_episodes(walks)
    still = replace(episodes, observations=np.pad(episodes.observations, ((0, 0), (0, 1)), constant_values=3.0))
    model, sampler = Diffuser.from_data(still, horizon=16, levels=8)
    loss, _ = model.loss(sampler(4, torch.Generator().manual_seed(0)), torch.Generator().manual_seed(0))
    assert torch.isfinite(loss)
    values = torch.tensor([0.5, 0.5, 3.0])
    torch.testing.assert_close(model.denormalize(model.normalize(values)), values)


def test_the_loss_counts_all_but_the_given_observations():
    model = make_model()
    model.network = Known(model, lambda x, level: torch.full_like(x, 0.5))
    tokens = torch.zeros(4, 16, 3)  # positions -2..2 -> 0, speeds 0..1 -> -1, actions -> 0
    loss, _ = model.loss(Batch(tokens, torch.ones(4, 16, dtype=torch.bool)), torch.Generator().manual_seed(0))
    errors = 14 * (0.25 + 2.25 + 0.25) + 2 * 0.25  # both ends are known but for their actions
    assert loss.item() == pytest.approx(errors / (16 * 3), rel=1e-5)
    shown, level = model.network.seen[0]
    assert (shown[:, [0, -1], :2] == torch.tensor([0.0, -1.0])).all(), "the network is shown noisy ends"
    assert level.min() >= 1
    assert level.max() <= 64


@pytest.mark.parametrize("steps", [None, 8])
def test_plans_begin_at_the_start_and_end_at_the_goal(steps):
    model = make_model(levels=16)
    start, goal = torch.tensor([[0.5, 0.2], [-1.0, 0.0]]), torch.tensor([[1.5, 0.0], [2.0, 1.0]])
    plan = model.sample(start, goal, 16, seeded(0, (2, 16, 3)), steps)
    torch.testing.assert_close(plan[:, 0], start)
    torch.testing.assert_close(plan[:, -1], goal)
    assert plan.shape == (2, 16, 2)


@pytest.mark.parametrize("steps", [None, 128])
def test_with_a_gaussian_s_exact_denoiser_samples_have_its_mean_and_spread(steps):
    model, mean, std = make_model(levels=256), 0.2, 0.15

    def denoise(x, level):
        a = model.alpha_bar[level][:, None, None]
        return (a.sqrt() * std**2 * x + (1 - a) * mean) / (a * std**2 + 1 - a)

    model.network = Known(model, denoise)
    ends = torch.zeros(500, 2)
    free = model.normalize(model.sample(ends, ends, 16, seeded(1, (500, 16, 3)), steps))[:, 1:-1]
    assert free.mean().item() == pytest.approx(mean, abs=0.01)
    assert free.std().item() == pytest.approx(std, abs=0.01)


def test_ancestral_sampling_passes_every_level_once_and_ddim_as_few_as_asked():
    model = make_model(levels=64)
    model.network = Known(model, lambda x, level: x * 0)
    ends = torch.zeros(1, 2)
    model.sample(ends, ends, 16, seeded(0, (1, 16, 3)))
    assert [int(level) for _, level in model.network.seen] == list(range(64, 0, -1))
    model.network.seen.clear()
    model.sample(ends, ends, 16, seeded(0, (1, 16, 3)), steps=4)
    assert [int(level) for _, level in model.network.seen] == [64, 48, 32, 16]


def test_ddim_is_deterministic_after_the_first_noise():
    model, ends = make_model(levels=16), torch.zeros(1, 2)
    first = seeded(0, (1, 16, 3))(0)
    plans = [
        model.sample(ends, ends, 16, lambda k, s=s: first if k == 0 else seeded(s, (1, 16, 3))(k), steps=4)
        for s in (1, 2)
    ]
    assert torch.equal(*plans)


def test_horizons_it_cannot_take_are_refused():
    with pytest.raises(ValueError, match="multiple of 4, got 18"):
        make_model(horizon=18)
    with pytest.raises(ValueError, match="multiple of 4, got 10"):
        make_model().sample(torch.zeros(1, 2), torch.zeros(1, 2), 10, seeded(0, (1, 10, 3)))


@pytest.fixture
def walks(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 400).cumsum().astype(np.float32)
    path = tmp_path / "walks.npz"
    from_segments(
        [{"observations": np.stack([x, x**2], 1), "actions": np.diff(x)[:, None], "rewards": np.zeros(399)}]
    ).save(path)
    return path


def job(walks, run_dir, **train):
    return {
        "algorithm": "diffuser",
        "env": "toy",
        "dataset": str(walks),
        "run_dir": str(run_dir),
        "tracker": "none",
        "learner": {"horizon": 16, "levels": 8},
        "train": {"steps": 2, "batch_size": 4, "warmup_steps": 1, "precision": "fp32", **train},
    }


def test_training_leaves_a_checkpoint_that_loads_the_same_model(walks, tmp_path):
    trained = train_baseline(job(walks, tmp_path / "run"))
    loaded = load_learner(tmp_path / "run" / "final", "diffuser", Diffuser)
    assert loaded.config == trained.config
    for name, value in trained.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])


def test_the_loss_falls_on_a_few_segments(walks):
    torch.manual_seed(0)
    model, sampler = Diffuser.from_data(load_episodes(walks), horizon=16, levels=8)
    batch = sampler(8, torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for step in range(40):
        loss, _ = model.loss(batch, torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_what_no_policy_can_be_made_of_is_not_trained(walks, tmp_path):
    with pytest.raises(ValueError, match="there are 8 levels"):
        train_baseline(job(walks, tmp_path / "run"), make_policy=partial(DiffuserPolicy, controller="path", steps=9))
    assert not (tmp_path / "run").exists()
    episodes = load_episodes(walks)
    cube = replace(episodes, achieved_goals=episodes.observations[:, :1] + 1)
    with pytest.raises(ValueError, match="the leading 1 in this data are not what its goals are about"):
        Diffuser.from_data(cube, horizon=16, levels=8)


def test_other_algorithms_and_their_checkpoints_are_named(walks, tmp_path):
    save_checkpoint(tmp_path / "other", {"w": torch.zeros(1)}, {"algorithm": "gcbc"})
    with pytest.raises(CheckpointError, match="holds the baseline gcbc, not the baseline diffuser"):
        load_learner(tmp_path / "other", "diffuser", Diffuser)
    with pytest.raises(ValueError, match="did you mean 'diffuser'"):
        train_baseline({**job(walks, tmp_path / "run"), "algorithm": "difuser"})
