"""Goals chosen in hindsight: from the right trajectory, in the right shares, with the right rewards."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from df_agent.data.config import HindsightConfig
from df_agent.data.episodes import Episodes
from df_agent.data.samplers.hindsight import HindsightSampler, Normalizer


def walks(lengths=(60, 200, 5), desired=None, seed=0):
    """Trajectories on a line; the goal of row t is (trajectory, t), so that a goal tells where it is from."""
    rows = sum(lengths)
    starts = np.cumsum([0, *lengths])
    owner = np.repeat(np.arange(len(lengths)), lengths).astype(np.float32)
    places = np.stack([owner, np.arange(rows, dtype=np.float32)], axis=1)
    actions = np.arange(rows, dtype=np.float32)[:, None]
    return Episodes(
        observations=np.concatenate([places, places], axis=1),
        actions=actions,
        rewards=np.zeros(rows, dtype=np.float32),
        desired_goals=places if desired is None else np.asarray(desired, dtype=np.float32),
        achieved_goals=places,
        starts=starts,
    )


def in_data_units(sampler, normalised):
    n = sampler.normalizer
    return normalised * torch.tensor(n.goal_std) + torch.tensor(n.goal_mean)


def drawn(sampler, count=20_000, seed=0):
    """Rows of the transitions (via their first action) and of their goals, (B,) each."""
    batch = sampler(count, torch.Generator().manual_seed(seed))
    rows = [in_data_units(sampler, goal)[:, 1].round().long() for goal in (batch.value_goal, batch.actor_goal)]
    return batch, batch.actions[:, 0, 0].long(), *rows


def test_later_goals_never_cross_trajectories_and_are_never_earlier():
    config = HindsightConfig(value_current=0.0, value_future=1.0, discount=0.99, horizon=50)
    sampler = HindsightSampler(walks(), config)
    _, step, value_goal, actor_goal = drawn(sampler)
    last = sampler.last[step]
    for goal in (value_goal, actor_goal):
        assert (goal > step).all()
        assert (goal <= last).all()
        assert (goal == last).any()
        assert (goal < last).any()
    assert (actor_goal - step).max() == 50


def test_shares_of_the_three_kinds_of_goals():
    sampler = HindsightSampler(walks((50_000, 50_000)), HindsightConfig(discount=0.9))
    _, step, goal, _ = drawn(sampler)
    assert (goal == step).float().mean() == pytest.approx(0.2, abs=0.015)
    near = (goal > step) & (goal <= step + 200)  # a random state is as near in 0.2 % of all cases
    assert near.float().mean() == pytest.approx(0.5, abs=0.015)
    assert ((goal < step) | (goal > step + 200)).float().mean() == pytest.approx(0.3, abs=0.015)


def test_geometric_and_uniform_times_to_later_goals():
    geometric = HindsightConfig(value_current=0.0, value_future=1.0, discount=0.95, horizon=40)
    _, step, value_goal, actor_goal = drawn(HindsightSampler(walks((100_000,)), geometric))
    ahead = (value_goal - step).double()
    assert ahead.mean().item() == pytest.approx(20, rel=0.03)  # of a geometric distribution: 1 / (1 - discount)
    assert (ahead == 1).double().mean().item() == pytest.approx(0.05, rel=0.1)
    uniform = torch.bincount(actor_goal - step, minlength=41)[1:]
    assert len(uniform) == 40
    assert uniform.double().std().item() < 2 * (20_000 / 40) ** 0.5


def test_the_same_generator_gives_the_same_batch():
    sampler = HindsightSampler(walks(), HindsightConfig())
    first, second, other = (sampler(64, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    for name, value in vars(first).items():
        assert torch.equal(value, getattr(second, name))
    assert not torch.equal(first.observation, other.observation)


def test_chunks_hold_the_actions_from_the_observation_to_the_next():
    sampler = HindsightSampler(walks(), HindsightConfig(chunk=4))
    batch, step, _, _ = drawn(sampler, 500)
    assert torch.equal(batch.actions[..., 0].long(), step[:, None] + torch.arange(4))
    assert (step + 4 <= sampler.last[step]).all()
    assert torch.equal(batch.observation, sampler.observations[step])
    assert torch.equal(batch.next_observation, sampler.observations[step + 4])
    # Trajectory 2 has 4 steps, so there is one chunk in it.
    assert set(step[step >= 260].tolist()) <= {260}


def test_rewards_count_the_steps_until_the_very_state():
    config = HindsightConfig(chunk=3, discount=0.9)
    sampler = HindsightSampler(walks((30,)), config)
    ahead = torch.arange(6)
    step = torch.full((6,), 10)
    batch = sampler.transitions(step, step + ahead, step)
    cost = [0, 1, 1.9, 2.71, 2.71, 2.71]
    assert batch.reward.tolist() == pytest.approx([-c for c in cost])
    assert batch.bootstrap.tolist() == pytest.approx([0, 0, 0, 0, 0.729, 0.729])


def test_rewards_count_the_steps_until_the_first_state_within_the_radius():
    sampler = HindsightSampler(walks((30,)), HindsightConfig(chunk=3, discount=0.9, radius=2.0))
    step = torch.full((6,), 10)
    batch = sampler.transitions(step, step + torch.arange(6), step)  # the places are a unit apart
    assert batch.reward.tolist() == pytest.approx([0, 0, 0, -1, -1.9, -2.71])
    assert batch.bootstrap.tolist() == [0] * 6


def test_segments_end_where_the_pursued_goal_changes():
    desired = np.repeat([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]], [20, 30, 10], axis=0)
    sampler = HindsightSampler(walks((60,), desired), HindsightConfig(segments=True, horizon=100))
    assert sampler.last.unique().tolist() == [19, 49, 59]
    _, step, _, goal = drawn(sampler, 2000)
    assert (goal <= sampler.last[step]).all()


def test_normalised_values_have_unit_scale_and_the_normaliser_survives_json():
    episodes = walks()
    sampler = HindsightSampler(episodes, HindsightConfig())
    torch.testing.assert_close(sampler.observations.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(sampler.observations.std(0), torch.ones(4), atol=1e-5, rtol=0)
    again = Normalizer(**sampler.normalizer.to_dict())
    assert again == sampler.normalizer
    raw = torch.as_tensor(episodes.observations[7])
    torch.testing.assert_close(again.observation(raw), sampler.observations[7])
    constant = Normalizer.fit(torch.full((5, 1), 3.0), torch.zeros(5, 1))
    assert constant.observation(torch.tensor([4.0])).item() == 1.0


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"value_current and value_future"):
        HindsightConfig(value_current=0.6, value_future=0.6)
    with pytest.raises(ValueError, match="discount"):
        HindsightConfig(discount=1.0)
    with pytest.raises(ValueError, match="chunk of 300 steps"):
        HindsightSampler(walks(), HindsightConfig(chunk=300))
    episodes = walks()
    object.__setattr__(episodes, "achieved_goals", None)
    with pytest.raises(ValueError, match="achieved goals"):
        HindsightSampler(episodes, HindsightConfig())


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_data_of_other_kinds_of_numbers_give_the_same_transitions(kind):
    plain = walks()
    columns = ("observations", "actions", "achieved_goals")
    other = replace(plain, **{name: getattr(plain, name).astype(kind) for name in columns})
    one, two = (
        vars(HindsightSampler(data, HindsightConfig(radius=1.0))(50, torch.Generator().manual_seed(0)))
        for data in (plain, other)
    )
    for name, values in one.items():
        assert two[name].dtype == values.dtype
        assert torch.equal(two[name], values)
