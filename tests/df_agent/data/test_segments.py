"""Segments for Diffuser."""

import numpy as np
import pytest
import torch

from df_agent.data.episodes import from_segments
from df_agent.data.samplers.segments import SegmentSampler


def walk(first, steps):
    """Observation t is `first` + t, and the action taken there twice that: all of it tells where it is from."""
    t = first + np.arange(steps + 1, dtype=np.float32)
    return {"observations": t[:, None], "actions": 2 * t[:-1, None], "rewards": np.zeros(steps)}


@pytest.fixture
def episodes():
    return from_segments([walk(10, 6), walk(100, 9), walk(1000, 3)])


def test_segments_are_consecutive_with_the_actions_taken_there(episodes):
    sampler = SegmentSampler(episodes, 5)
    tokens = sampler(200, torch.Generator().manual_seed(0)).tokens
    assert tokens.shape == (200, 5, 2)
    assert (tokens[:, 1:, 0] - tokens[:, :-1, 0] == 1).all()
    assert (tokens[..., 1] == 2 * tokens[..., 0]).all()


def test_every_segment_within_a_trajectory_comes_up_and_no_other(episodes):
    sampler = SegmentSampler(episodes, 5)
    seen = set(sampler(2000, torch.Generator().manual_seed(0)).tokens[:, 0, 0].int().tolist())
    assert seen == {10, 11, *range(100, 105)}


def test_limits_leave_out_the_row_where_no_action_was_taken(episodes):
    low, high = SegmentSampler(episodes, 2).limits()
    assert low == [10, 20]  # the action of 0 there would be the smallest
    assert high == [1002, 2004]


def test_the_same_generator_gives_the_same_segments(episodes):
    sampler = SegmentSampler(episodes, 3)
    draw = [sampler(8, torch.Generator().manual_seed(s)).tokens for s in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])


def test_a_horizon_that_fits_nowhere_is_refused(episodes):
    with pytest.raises(ValueError, match="no trajectory has 10 steps, the longest has 9"):
        SegmentSampler(episodes, 10)
    with pytest.raises(ValueError, match="horizon >= 2"):
        SegmentSampler(episodes, 1)


def test_transitions_may_lie_apart_and_have_the_mean_action_in_between(episodes):
    sampler = SegmentSampler(episodes, 2, frame_skip=3)
    tokens = sampler(2000, torch.Generator().manual_seed(0)).tokens
    assert (tokens[:, 1, 0] - tokens[:, 0, 0] == 3).all()
    assert (tokens[..., 1] == 2 * (tokens[..., 0] + 1)).all()  # the mean of 2 t, 2 (t + 1) and 2 (t + 2)
    assert set(tokens[:, 0, 0].int().tolist()) == {10, *range(100, 104)}
    assert sampler.limits() == ([10, 22], [1000, 2002])
    with pytest.raises(ValueError, match="no trajectory has 12 steps"):
        SegmentSampler(episodes, 4, frame_skip=3)
    with pytest.raises(ValueError, match="frame_skip"):
        SegmentSampler(episodes, 4, frame_skip=0)
