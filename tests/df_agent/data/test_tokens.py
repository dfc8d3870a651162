import json

import numpy as np
import pytest
import torch

from df_agent.data.config import TokenizerConfig
from df_agent.data.episodes import Episodes
from df_agent.data.tokens import Tokenizer

# The three kinds of frames: positions; and velocities; and actions.
X = {"observation_indices": (0, 1)}
XV = {"observation_indices": (0, 1, 2, 3)}
XVA = {**XV, "include_actions": True, "action_dim": 2}
KINDS = {"x": (X, 2), "xv": (XV, 4), "xva": (XVA, 4 + 2 * 3)}  # frame_skip 3: three actions a frame


def make(options, **more):
    config = TokenizerConfig(**{**options, "frame_skip": 3, "frame_stack": 2, **more})
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(config.frame_dim, generator=generator)
    return Tokenizer(config, mean, torch.rand(config.frame_dim, generator=generator) + 0.5)


def episodes(observations, actions=None, rewards=None, starts=None):
    count = len(observations)
    actions = np.zeros((count, 1)) if actions is None else actions
    rewards = np.zeros(count) if rewards is None else rewards
    arrays = [np.asarray(a, dtype=np.float32) for a in (observations, actions, rewards)]
    return Episodes(*arrays, None, None, np.asarray([0, count] if starts is None else starts, dtype=np.int64))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_go_into_tokens_and_back(kind):
    options, width = KINDS[kind]
    tokenizer = make(options)
    c = tokenizer.config
    assert (c.frame_dim, c.token_dim, c.span) == (width, 2 * width, 6)
    frames = torch.randn(5, 8, width, generator=torch.Generator().manual_seed(1))
    tokens = tokenizer.pack(frames)
    assert tokens.shape == (5, 4, 2 * width)
    torch.testing.assert_close(tokenizer.unpack(tokens), frames)
    torch.testing.assert_close(tokens[:, 1, width:], tokenizer.normalize(frames[:, 3]))  # time runs inside a token
    torch.testing.assert_close(tokenizer.observations(tokens), frames[..., : c.observation_dim])


def test_actions_come_back_one_per_control_step():
    tokenizer = make(XVA)
    frames = torch.randn(4, 10, generator=torch.Generator().manual_seed(1))  # two tokens of two frames
    actions = tokenizer.actions(tokenizer.pack(frames))
    assert actions.shape == (12, 2)
    torch.testing.assert_close(actions.reshape(4, 3, 2), frames[:, 4:].reshape(4, 3, 2))
    assert make(XV).actions(torch.zeros(1, 8)) is None


def test_rewards_take_the_last_channel():
    tokenizer = make(XVA, include_rewards=True)
    assert tokenizer.config.frame_dim == 11
    frames = torch.randn(4, 11, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(tokenizer.actions(tokenizer.pack(frames)).reshape(4, 6), frames[:, 4:10])


def test_observed_token_knows_nothing_but_observations():
    tokenizer = make(XVA)
    history = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1))
    before = history.clone()
    token = tokenizer.observed_tokens(history)[:, 0]
    assert torch.equal(history, before)
    torch.testing.assert_close(tokenizer.observations(token[:, None]), history)
    assert (token.reshape(3, 2, 10)[..., 4:] == 0).all()


def test_goal_token_holds_the_goal_in_every_frame_and_nothing_else():
    tokenizer = make(XVA, goal_channels=(1, 0))  # the goal is given y first
    goal = torch.tensor([[3.0, -1.0], [0.5, 2.0]], dtype=torch.float64)
    token = tokenizer.goal_token(goal)
    assert token.dtype == torch.float32
    assert token.shape == (2, 20)
    observed = tokenizer.observations(token[:, None])
    for frame in range(2):
        torch.testing.assert_close(observed[:, frame, [1, 0]], goal.float())
    frames = token.reshape(2, 2, 10)
    assert (frames[..., 2:] == 0).all()
    assert torch.equal(tokenizer.goal_token(goal[0]), token[0])


def test_fit_normalises_the_data():
    rng = np.random.default_rng(0)
    data = episodes(
        rng.normal([1, 2, 30, 0], [0.5, 2, 10, 0], (5000, 4)),
        rng.normal([0.5, -0.5], 0.1, (5000, 2)),
        rng.normal(2, 1, 5000),
    )
    config = TokenizerConfig((2, 0, 3), include_actions=True, action_dim=2, include_rewards=True, frame_skip=4)
    tokenizer = Tokenizer.fit(config, data)
    assert tokenizer.mean.shape == (3 + 8 + 1,)
    torch.testing.assert_close(tokenizer.mean[:3], torch.tensor([30.0, 1, 0]), rtol=0, atol=1)
    torch.testing.assert_close(tokenizer.std[:3], torch.tensor([10.0, 0.5, 1]), rtol=0.05, atol=0)  # still: unit scale
    torch.testing.assert_close(tokenizer.mean[3:11], torch.tensor([0.5, -0.5] * 4), rtol=0, atol=0.01)
    assert tokenizer.mean[11].item() == pytest.approx(8, abs=0.2)  # summed over the frame


def test_fit_passes_over_the_rows_without_a_step():
    """The last row of a trajectory holds no action; its zeros must not shift the mean."""
    actions = np.array([[2.0], [4], [0], [2], [4], [0]])
    data = episodes(np.arange(6.0)[:, None], actions, actions[:, 0], starts=[0, 3, 6])
    config = TokenizerConfig((0,), (0,), include_actions=True, action_dim=1, include_rewards=True, frame_skip=2)
    tokenizer = Tokenizer.fit(config, data)
    torch.testing.assert_close(tokenizer.mean, torch.tensor([2.5, 3, 3, 6]))


def test_goes_through_json_bit_for_bit():
    tokenizer = make(XVA, include_rewards=True)
    again = Tokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict())))
    assert again.config == tokenizer.config
    assert torch.equal(again.mean, tokenizer.mean)
    assert torch.equal(again.std, tokenizer.std)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame_skip": 0}, "must be at least 1, got 0, 1"),
        ({"include_actions": True}, "needs action_dim"),
        ({"goal_channels": (0, 2)}, r"\(0, 2\) must index the 2 modelled"),
    ],
)
def test_config_names_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        TokenizerConfig(**options)


@pytest.mark.parametrize("std", [[1.0, 0.0], [1.0, float("nan")], [1.0, -1.0]])
def test_a_normaliser_must_divide(std):
    with pytest.raises(ValueError, match="finite, with positive"):
        Tokenizer(TokenizerConfig(), torch.zeros(2), torch.tensor(std))


def test_a_normaliser_must_fit():
    with pytest.raises(ValueError, match=r"\(3,\) and \(3,\) does not fit frames of 2 channels"):
        Tokenizer(TokenizerConfig(), torch.zeros(3), torch.ones(3))


def test_channels_that_the_data_does_not_have_are_refused():
    with pytest.raises(
        ValueError, match=r"observation_indices \(0, 5\) reach beyond the data's 2 observation channels"
    ):
        Tokenizer.fit(TokenizerConfig(observation_indices=(0, 5)), episodes(np.zeros((9, 2))))
