"""Pairs of moments, of episodes that say where they come from."""

import math

import numpy as np
import pytest
import torch

from df_agent.data.config import TokenizerConfig
from df_agent.data.episodes import Episodes
from df_agent.data.samplers.side_models import PairSampler
from df_agent.data.samplers.windows import WindowSampler
from df_agent.data.tokens import Tokenizer
from df_agent.types import Pairs

EPISODES = (60, 5, 200, 31)


def make(lengths=EPISODES, shortest=4, longest=32, mean=0.0, std=1.0, **options):
    """A sampler of pairs from episodes whose row i of episode e observes (i, 100 e, -i)."""
    rows = np.concatenate(
        [np.stack([np.arange(n), np.full(n, 100 * e), -np.arange(n)], 1) for e, n in enumerate(lengths)]
    )
    rows, count = rows.astype(np.float32), sum(lengths)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    episodes = Episodes(rows, np.ones((count, 1), np.float32), np.zeros(count, np.float32), None, None, starts)
    config = TokenizerConfig(**{"frame_skip": 2, **options})
    width = torch.ones(config.frame_dim)
    windows = WindowSampler(episodes, Tokenizer(config, mean * width, std * width), 3)
    return PairSampler(windows, shortest, longest)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_both_moments_are_of_one_episode_and_the_steps_lie_between_them():
    pairs = make()(5000, seeded())
    assert pairs.start.shape == pairs.goal.shape == (5000, 2)
    assert pairs.steps.dtype == torch.float32
    assert torch.equal(pairs.start[:, 1], pairs.goal[:, 1])
    assert torch.equal(pairs.goal[:, 0] - pairs.start[:, 0], pairs.steps)
    assert sorted((pairs.start[:, 1] / 100).unique().tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize(("shortest", "longest"), [(1, 2), (4, 32), (7, 8), (1, 10_000)])
def test_the_steps_lie_between_the_shortest_and_the_longest(shortest, longest):
    steps = make(shortest=shortest, longest=longest)(5000, seeded()).steps
    assert steps.min() == shortest
    assert steps.max() <= longest
    assert steps.max() == longest or longest > max(EPISODES)


def test_every_moment_with_the_shortest_way_ahead_is_a_start_as_often_as_any():
    """Those behind it lie too near to the end of their episode."""
    count = 40_000
    start = make()(count, seeded()).start
    expected = {(i, 100.0 * e) for e, length in enumerate(EPISODES) for i in range(length - 4)}
    found, times = start.unique(dim=0, return_counts=True)
    assert {tuple(place) for place in found.tolist()} == expected
    share = count / len(expected)
    chi_square = ((times - share) ** 2 / share).sum().item()
    freedom = len(expected) - 1
    assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5


def test_the_steps_are_log_uniform():
    """An episode so long that its end hardly matters; the exact numbers are rounded."""
    steps = make(lengths=(100_000,), shortest=4, longest=64)(50_000, seeded()).steps
    edge = torch.arange(3.5, 65).clamp(4, 64).log()
    share = edge.diff() / (edge[-1] - edge[0])
    found = torch.bincount(steps.long(), minlength=65)[4:].double()
    chi_square = ((found - 50_000 * share) ** 2 / (50_000 * share)).sum().item()
    assert chi_square < 99.6  # 60 degrees of freedom: exceeded once in a thousand
    octaves = [((steps >= low) & (steps < 2 * low)).double().mean().item() for low in (8, 16, 32)]
    assert octaves == pytest.approx([0.25] * 3, abs=0.015)


def test_near_its_end_an_episode_is_seen_to_the_end():
    """12 steps from it the steps are log-uniform up to 12; 4 from it, the shortest is what is left."""
    pairs = make(lengths=(40,), shortest=4, longest=32)(60_000, seeded())
    left = 39 - pairs.start[:, 0]
    for ahead in (12, 20):
        own = pairs.steps[left == ahead]
        assert own.max() == ahead
        median = math.sqrt(4 * ahead)
        assert abs((own > median).double().mean().item() - 0.5) < 0.08
    assert (pairs.steps[left == 4] == 4).all()
    assert pairs.steps[left == 39].max() == 32


def test_the_goal_is_told_in_its_normalised_channels():
    """Of the observation the last and the first are modelled; the goal is the second of these."""
    options = {"observation_indices": (2, 0), "goal_channels": (1,), "include_actions": True, "action_dim": 1}
    plain = make(**options)(500, seeded())
    assert plain.start.shape == plain.goal.shape == (500, 1)
    assert torch.equal(plain.goal - plain.start, plain.steps[:, None])
    scales = make(mean=torch.tensor([9.0, 20.0, 9, 9]), std=torch.tensor([3.0, 5.0, 3, 3]), **options)(500, seeded())
    torch.testing.assert_close(scales.start, (plain.start - 20) / 5)
    torch.testing.assert_close(scales.goal, (plain.goal - 20) / 5)
    assert torch.equal(scales.steps, plain.steps)  # these stay steps


def test_the_order_of_the_goal_channels_is_the_goals_own():
    places = make(goal_channels=(1, 0))(200, seeded()).start
    assert set(places[:, 0].tolist()) <= {0.0, 100.0, 200.0, 300.0}


def test_draws_repeat_under_their_generator():
    sample = make()
    first, again, other = (sample(50, seeded(s)) for s in (1, 1, 2))
    assert torch.equal(first.start, again.start)
    assert torch.equal(first.goal, again.goal)
    assert torch.equal(first.steps, again.steps)
    assert not torch.equal(first.start, other.start)
    assert not torch.equal(first.steps, other.steps)


def test_short_episodes_give_no_pairs_and_none_at_all_is_an_error():
    start = make(shortest=40, longest=50)(500, seeded()).start
    assert sorted(start[:, 1].unique().tolist()) == [0, 200]
    assert make(lengths=(30, 20), shortest=29, longest=50)(10, seeded()).steps.tolist() == [29] * 10
    with pytest.raises(ValueError, match="every episode is shorter than 30 steps"):
        make(lengths=(30, 20), shortest=30, longest=50)


@pytest.mark.parametrize(("shortest", "longest"), [(0, 8), (-1, 8), (8, 8), (9, 8)])
def test_the_shortest_is_a_step_and_below_the_longest(shortest, longest):
    with pytest.raises(ValueError, match=f"need 1 <= shortest < longest, got {shortest} and {longest}"):
        make(shortest=shortest, longest=longest)


def test_pairs_move_to_a_device_as_one():
    moved = Pairs(torch.zeros(3, 2), torch.ones(3, 2), torch.ones(3)).to("meta")
    assert {moved.start.device.type, moved.goal.device.type, moved.steps.device.type} == {"meta"}
    assert (moved.start.shape, moved.goal.shape, moved.steps.shape) == ((3, 2), (3, 2), (3,))
