import gymnasium as gym
import minari
import numpy as np
import pytest
import torch
from toy_film import toy_clips

from df_agent.data.clips import Clips, ClipSampler, FrameSampler, conditions, load_clips
from df_agent.data.collect import RecordedEpisode, collect


class Screen(gym.Env):
    """Shows noise; an action is two numbers."""

    observation_space = gym.spaces.Dict(
        {
            "observation": gym.spaces.Box(-np.inf, np.inf, (3,), np.float64),
            "pixels": gym.spaces.Box(0, 255, (8, 8, 3), np.uint8),
        }
    )
    action_space = gym.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observe(), {}

    def step(self, action):
        self.t += 1
        return self.observe(), 1.0, False, self.t == 7, {}

    def observe(self):
        pixels = self.np_random.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        return {"observation": np.full(3, float(self.t)), "pixels": pixels}


class Counting:
    """Its action is how often it was asked."""

    asked = 0

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.asked += 1
        return np.full(2, self.asked / 100), None


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))


def test_every_third_step_is_kept_with_the_actions_in_between():
    episode = RecordedEpisode({"x": 0})
    for t in range(1, 8):
        episode.add(np.array([t, -t]), {"x": t}, 1.0, False, t == 7, {"success": t == 5})
    coarse = episode.every(3)
    assert coarse.observations["x"].tolist() == [0, 3, 6]
    assert [a.tolist() for a in coarse.actions] == [[1, -1, 2, -2, 3, -3], [4, -4, 5, -5, 6, -6]]
    assert coarse.rewards == [3.0, 3.0]
    assert coarse.truncations == [False, True]
    assert coarse.time_to_goal == 5


def test_pictures_come_back_from_the_store_as_they_were(store):
    env, seen = Screen(), []
    collect(env, Counting(), 14, "df-agent/screen-v0", every=3, on_episode=seen.append)
    clips = load_clips("df-agent/screen-v0")
    assert len(clips) == 2
    first = seen[0].observations["pixels"][::3]
    assert np.array_equal(clips.frames[: len(first)], first)  # to the bit: pictures are not compressed with loss
    assert clips.starts.tolist() == [0, 3, 6]
    assert clips.states[:3, 0].tolist() == [0, 3, 6]
    assert np.allclose(clips.actions[0], 0)
    assert np.allclose(clips.actions[1], [0.01, 0.01, 0.02, 0.02, 0.03, 0.03])
    assert minari.load_dataset("df-agent/screen-v0").spec.action_space.shape == (6,)


def test_a_dataset_without_pictures_is_named(store):
    env = gym.wrappers.FilterObservation(Screen(), ["observation"])
    collect(env, Counting(), 7, "df-agent/blind-v0")
    with pytest.raises(ValueError, match="holds no pictures"):
        load_clips("df-agent/blind-v0")


def test_a_dataset_that_is_not_there_says_how_to_make_it(store):
    with pytest.raises(FileNotFoundError, match=r"df-agent collect env=.*pixels=64"):
        load_clips("df-agent/none-v0")


def test_windows_stay_within_their_episode():
    clips = toy_clips(episodes=3, length=5)
    assert clips.windows(3).tolist() == [0, 1, 2, 5, 6, 7, 10, 11, 12]
    for asked in (clips.windows, lambda length: FrameSampler(clips, length)):
        with pytest.raises(ValueError, match="no episode has 6 pictures; the longest has 5"):
            asked(6)


def test_the_background_is_what_is_usually_there():
    assert (toy_clips(episodes=20).background() == 40).all()


def test_clips_are_drawn_with_their_actions():
    clips = toy_clips()
    latents = torch.arange(len(clips.frames)).float()[:, None]
    scale = torch.tensor([0.5, 1.0, 2.0, 4.0])
    sampler = ClipSampler(latents, clips, 4, scale)
    batch = sampler(64, torch.Generator().manual_seed(0))
    assert batch.tokens.shape == (64, 4, 1)
    rows = batch.tokens[..., 0].long()
    assert torch.equal(rows, rows[:, :1] + torch.arange(4))
    expected = torch.from_numpy(clips.actions)[rows] / scale
    begins = torch.from_numpy(np.isin(rows.numpy(), clips.starts[:-1]))
    assert begins.any()
    assert torch.equal(batch.cond[..., -1], (~begins).float())
    torch.testing.assert_close(batch.cond[..., :-1][~begins], expected[~begins])
    again = sampler(64, torch.Generator().manual_seed(0))
    assert torch.equal(batch.tokens, again.tokens)


def test_conditions_say_that_they_are_known():
    cond = conditions(torch.tensor([[2.0, 4.0]]), torch.tensor([2.0, 8.0]))
    assert cond.tolist() == [[1.0, 0.5, 1.0]]


def test_frames_are_drawn_single_or_in_a_row():
    clips = toy_clips()
    assert FrameSampler(clips)(5, torch.Generator().manual_seed(0)).frames.shape == (5, 16, 16, 3)
    rows = FrameSampler(clips, 3)(5, torch.Generator().manual_seed(0)).frames
    assert rows.shape == (5, 3, 16, 16, 3)
    known = {frame.tobytes() for frame in clips.frames}
    assert all(frame.numpy().tobytes() in known for frame in rows.flatten(0, 1))


def test_what_does_not_fit_is_an_error():
    clips = toy_clips()
    with pytest.raises(ValueError, match="uint8 pictures"):
        Clips(clips.frames.astype(float), clips.actions, None, clips.starts)
    with pytest.raises(ValueError, match="actions must be finite"):
        Clips(clips.frames, clips.actions * np.nan, None, clips.starts)
    with pytest.raises(ValueError, match="starts must ascend"):
        Clips(clips.frames, clips.actions, None, clips.starts[:-1])
    with pytest.raises(ValueError, match="the longest has 12"):
        ClipSampler(torch.zeros(len(clips.frames), 1), clips, 13, torch.ones(4))
