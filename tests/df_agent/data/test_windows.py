import numpy as np
import pytest
import torch

from df_agent.data.config import TokenizerConfig
from df_agent.data.episodes import Episodes
from df_agent.data.samplers.windows import WindowSampler, step_statistics
from df_agent.data.tokens import Tokenizer


def counting(lengths):
    """Episodes whose numbers say where they come from.

    Row i of episode e observes (i, 100 e), its action is (i + 0.5, 100 e), its reward i.
    """
    parts = []
    for e, length in enumerate(lengths):
        i = np.arange(length)
        parts.append(np.stack([i, np.full(length, 100 * e), i + 0.5, np.full(length, 100 * e), i], -1))
    rows = np.concatenate(parts).astype(np.float32)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Episodes(rows[:, :2], rows[:, 2:4], rows[:, 4], None, None, starts)


def make(lengths=(40, 9, 25), max_tokens=5, short_tokens=(), short_share=0.5, **options):
    config = TokenizerConfig(**{"frame_skip": 3, "frame_stack": 2, **options})
    tokenizer = Tokenizer(config, torch.zeros(config.frame_dim), torch.ones(config.frame_dim))
    return WindowSampler(counting(lengths), tokenizer, max_tokens, short_tokens, short_share)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_window_written_out():
    """Frames every 3 steps, two a token; token 0 ends at the present, step 7 of the first episode."""
    sampler = make()
    batch = sampler.windows(torch.tensor([7]), 4)
    assert sampler.tokenizer.observations(batch.tokens)[0, :, 0].tolist() == [4, 7, 10, 13, 16, 19, 22, 25]
    assert batch.tokens.shape == (1, 4, 4)
    assert batch.mask.all()


def test_more_tokens_of_the_past_lie_before_the_present():
    """Two observed tokens: the second ends at the present, step 7; before the start the first frame is repeated."""
    sampler = make(context=2, include_actions=True, action_dim=2)
    batch = sampler.windows(torch.tensor([7]), 4)
    frames = sampler.tokenizer.unpack(batch.tokens)[0]
    assert frames[:, 0].tolist() == [0, 1, 4, 7, 10, 13, 16, 19]
    assert not frames[:4, 2:].any()  # what was done in the past is not told
    assert frames[4:, 2].tolist() == [7.5, 10.5, 13.5, 16.5]
    assert batch.mask.all()
    with pytest.raises(ValueError, match="max_tokens >= 3, got 2"):
        make(context=2, max_tokens=2)


def test_every_window_stays_within_its_episode():
    sampler = make()
    batch = sampler.windows(sampler.anchors, 5)
    frames = sampler.tokenizer.observations(batch.tokens)
    assert (frames[..., 1] == frames[:, :1, 1]).all()
    for e, length in enumerate((40, 9, 25)):
        own = frames[frames[:, 0, 1] == 100 * e]
        assert len(own) == length - 6  # each step with a full token ahead is the present once
        assert sorted(own[:, 1, 0].tolist()) == list(range(length - 6))
        assert own[..., 0].max() <= length - 1


def test_masked_is_what_lies_behind_the_end():
    sampler = make()
    batch = sampler.windows(sampler.anchors, 5)
    frames = sampler.tokenizer.observations(batch.tokens)
    last = torch.tensor([39, 8, 24])[(frames[:, 0, 1] / 100).long()]
    end_of_token = frames[:, 1:2, 0] + 6 * torch.arange(5)
    assert torch.equal(batch.mask, end_of_token <= last[:, None])
    assert batch.mask[:, :2].all()
    assert not batch.mask.all()
    real = frames.reshape(len(frames), 5, 2, 2)[:, :, 1, 0]
    assert torch.equal(real[batch.mask], end_of_token[batch.mask])


def test_before_the_start_the_first_frame_is_repeated():
    sampler = make()
    frames = sampler.tokenizer.observations(sampler.windows(torch.tensor([0, 2, 40]), 2).tokens)
    assert frames[..., 0].tolist() == [[0, 0, 3, 6], [0, 2, 5, 8], [0, 0, 3, 6]]
    assert frames[:, 0, 1].tolist() == [0, 0, 100]


def test_a_frame_holds_the_actions_and_rewards_that_led_to_it():
    sampler = make(include_actions=True, action_dim=2, include_rewards=True)
    tokens = sampler.windows(torch.tensor([7]), 3).tokens
    frames = sampler.tokenizer.unpack(tokens)[0]
    assert frames[:, 0].tolist() == [4, 7, 10, 13, 16, 19]
    # Of token 0, the past, only observations are known in use.
    assert (frames[:2, 2:] == 0).all()
    for frame in frames[2:]:
        arrived = frame[0].item()
        assert frame[2:8:2].tolist() == [arrived - 2.5, arrived - 1.5, arrived - 0.5]
        assert frame[8].item() == 3 * arrived - 6  # rewards of steps arrived - 3 .. arrived - 1
    # Played back from the present, the actions are those of the data, step by step.
    assert sampler.tokenizer.actions(tokens[:, 1:])[0, :, 0].tolist() == [7.5 + i for i in range(12)]


def test_channels_can_be_chosen():
    sampler = make(observation_indices=(1,), goal_channels=(0,))
    assert (sampler.windows(torch.tensor([41]), 3).tokens == 100).all()


def test_draws_repeat_and_cover_all_steps():
    sampler = make()
    first, again, other = (sampler(500, seeded(s)) for s in (0, 0, 1))
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.mask, again.mask)
    assert not torch.equal(first.tokens, other.tokens)
    present = sampler.tokenizer.observations(first.tokens)[:, 1]
    assert len({tuple(p) for p in present.tolist()}) == len(sampler.anchors)


def test_half_of_the_batches_are_short():
    sampler = make(max_tokens=5, short_tokens=[2, 3])
    generator = seeded()
    lengths = [sampler(1, generator).tokens.shape[1] for _ in range(400)]
    assert set(lengths) == {2, 3, 5}
    assert abs(lengths.count(5) - 200) < 4 * 10
    assert abs(lengths.count(2) - 100) < 4 * 9


@pytest.mark.parametrize("share", [0.0, 0.75, 1.0])
def test_the_share_of_short_batches_can_be_chosen(share):
    sampler = make(max_tokens=5, short_tokens=[2, 3], short_share=share)
    generator = seeded()
    lengths = [sampler(1, generator).tokens.shape[1] for _ in range(400)]
    short = lengths.count(2) + lengths.count(3)
    assert lengths.count(5) == 400 - short
    assert abs(short - 400 * share) <= 4 * (400 * share * (1 - share)) ** 0.5
    assert share == 0 or abs(lengths.count(2) - lengths.count(3)) < 4 * 20


def test_without_short_lengths_no_batch_is_short():
    sampler, generator = make(max_tokens=5, short_share=1.0), seeded()
    assert {sampler(1, generator).tokens.shape[1] for _ in range(20)} == {5}


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_of_short_batches_lies_between_0_and_1(share):
    with pytest.raises(ValueError, match=rf"short_share must lie in \[0, 1\], got {share}"):
        make(short_tokens=(2,), short_share=share)


def test_data_and_lengths_must_fit():
    with pytest.raises(ValueError, match="shorter than two tokens of 6 steps; the longest has 6"):
        make(lengths=(6, 5))
    assert len(make(lengths=(7, 5)).anchors) == 1
    with pytest.raises(ValueError, match=r"short_tokens must lie in 2..5, got \(6,\)"):
        make(short_tokens=(6,))
    with pytest.raises(ValueError, match="max_tokens >= 2, got 1"):
        make(max_tokens=1)
    with pytest.raises(ValueError, match="beyond the data's 2 observation channels"):
        make(observation_indices=(0, 2))


def motion(*positions):
    """Episodes of one-channel positions."""
    observations = np.concatenate(positions).astype(np.float32)[:, None]
    starts = np.concatenate([[0], np.cumsum([len(p) for p in positions])]).astype(np.int64)
    count = len(observations)
    return Episodes(observations, np.zeros((count, 1), np.float32), np.zeros(count, np.float32), None, None, starts)


def statistics(episodes, **options):
    config = TokenizerConfig((0,), (0,), frame_skip=4)
    tokenizer = Tokenizer(config, torch.tensor([5.0]), torch.tensor([3.0]))  # a normaliser must not matter
    return step_statistics(WindowSampler(episodes, tokenizer, 2), **options)


def test_step_statistics_of_steady_motion():
    found = statistics(motion(0.25 * np.arange(200)))
    assert found["step"] == pytest.approx([1.0])
    assert found["turn"] == pytest.approx([0.0], abs=1e-5)
    assert found["speed"] == pytest.approx([0.25])


def test_step_statistics_of_constant_acceleration():
    """x = t^2 / 2 for 41 steps: the fastest frame goes from 36 to 40, every turn is 4^2."""
    found = statistics(motion(np.arange(41.0) ** 2 / 2), quantile=1.0)
    assert found["turn"] == pytest.approx([16.0], rel=1e-5)
    assert found["step"] == pytest.approx([(36**2 - 32**2) / 2])  # two frames must lie ahead
    assert found["speed"] == pytest.approx([(33**2 - 32**2) / 2])


def test_step_statistics_do_not_leap_from_episode_to_episode():
    found = statistics(motion(0.25 * np.arange(100), 1000 - 0.25 * np.arange(100)), quantile=1.0)
    assert found["step"] == pytest.approx([1.0], rel=1e-4)
    assert found["speed"] == pytest.approx([0.25], rel=1e-3)


def test_step_statistics_repeat_and_take_the_quantile():
    rng = np.random.default_rng(0)
    episodes = motion(np.cumsum(rng.normal(size=20_000)))
    assert statistics(episodes) == statistics(episodes)
    assert statistics(episodes, quantile=0.6827)["speed"] == pytest.approx([1.0], rel=0.05)  # one sigma


def test_step_statistics_need_two_frames():
    with pytest.raises(ValueError, match="every episode is shorter than two frames of 4 steps"):
        statistics(motion(np.arange(8.0)))
    assert statistics(motion(np.arange(9.0)))["step"] == pytest.approx([4.0])


def test_the_range_of_actions_is_of_those_that_were_taken():
    """In the last row of a trajectory stands a zero."""
    episodes = motion(np.arange(20.0), np.arange(20.0))
    episodes.actions[:] = 3 + np.arange(40)[:, None] % 20
    episodes.actions[[19, 39]] = 0
    found = statistics(episodes)
    assert (found["least"], found["most"]) == ([3.0], [21.0])
