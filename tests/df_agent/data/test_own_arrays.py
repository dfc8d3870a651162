"""Arrays as people have them: without rewards, with starts of any number, of stacked frames, far from the origin."""

import warnings

import gymnasium as gym
import minari
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation
from toy_policy import make_policy  # noqa: F401 - which registers its environment

from df_agent.data.collect import collect
from df_agent.data.datasets import load_episodes
from df_agent.data.episodes import Episodes, from_segments, to_float32, whole_numbers
from df_agent.evaluation.rollout import rollout
from df_agent.policies.observations import read_observation


def walk(steps=5, seed=0):
    return {
        "observations": np.random.default_rng(seed).normal(size=(steps + 1, 2)),
        "actions": np.ones((steps, 1)),
    }


@pytest.mark.parametrize("rewards", [{}, {"rewards": None}, {"rewards": np.zeros(5)}])
def test_rewards_may_be_left_out(rewards, tmp_path):
    mixed = from_segments([{**walk(), **rewards}, {**walk(4, 1), "rewards": np.ones(4)}])
    assert mixed.rewards.tolist() == [0] * 6 + [1] * 4 + [0]
    mixed.save(tmp_path / "mine.npz")
    np.testing.assert_array_equal(load_episodes(tmp_path / "mine.npz").rewards, mixed.rewards)


@pytest.mark.parametrize("dtype", [np.uint64, np.uint8, np.int32, np.float64, np.float32])
def test_starts_may_be_numbers_of_any_kind(dtype, tmp_path):
    rows = {"observations": np.zeros((6, 2)), "actions": np.zeros((6, 1)), "rewards": np.zeros(6)}
    np.savez(tmp_path / "mine.npz", **rows, starts=np.array([0, 3, 6], dtype))
    episodes = load_episodes(tmp_path / "mine.npz")
    assert (episodes.starts.dtype, len(episodes)) == (np.int64, 2)
    assert episodes.observations.dtype == np.float32
    np.savez(tmp_path / "bad.npz", **rows, starts=np.array([0, 5, 3, 6], dtype))
    with pytest.raises(ValueError, match="starts must ascend"):
        load_episodes(tmp_path / "bad.npz")


@pytest.mark.parametrize("bad", [[0, 2.5, 6], [0, np.nan, 6], ["0", "6"], [-1, 6], [0, np.inf]])
def test_starts_that_are_no_rows_are_refused(bad):
    with pytest.raises(ValueError, match="starts must be whole numbers of rows"):
        whole_numbers(np.array(bad), "starts")


@pytest.mark.parametrize(("place", "step"), [(4.5e6, 0.005), (1e9, 1.0), (-3e5, 1e-3)])
def test_motion_that_float32_rounds_away_is_said(place, step):
    line = place + step * np.arange(401.0)
    observations = np.stack([np.arange(401.0), line], 1)
    with pytest.warns(UserWarning, match=r"channel 1 of observations varies by .* float32 rounds away; subtract"):
        from_segments([{"observations": observations, "actions": np.ones((400, 1))}])
    with pytest.warns(UserWarning, match="channel 1 of observations"):
        Episodes(observations, np.ones((401, 1)), np.zeros(401), None, None, np.array([0, 401]))


@pytest.mark.parametrize("values", [np.linspace(-1, 1, 9), np.full(9, 4.5e6), 1e4 + np.arange(9.0), np.full(9, np.nan)])
def test_motion_that_stays_is_not_warned_of(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(to_float32(values[:, None], "it"), values[:, None].astype(np.float32))


class Right:
    """Goes to the goal by the newest frame; notes the widths that it is shown."""

    widths = ()

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        values, goal, single = read_observation(observation)
        self.widths = (values.shape[1], goal.shape[1])
        action = np.clip(10 * (goal - values[:, :2]), -1, 1)
        return (action[0] if single else action), None


def test_stacked_frames_are_one_observation_with_the_newest_first(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    plain, stacked, policy = "df-agent-test-point", [lambda env: FrameStackObservation(env, 3)], Right()
    expected = [record.path for record in rollout(Right(), plain, episodes=2)]
    assert [record.path for record in rollout(policy, plain, episodes=2, wrappers=stacked)] == expected
    assert policy.widths == (12, 2)
    env = gym.make(plain)
    collect(stacked[0](env), _Unbatched(), 30, "df-agent/stacked-v0")
    found = load_episodes("df-agent/stacked-v0")
    assert (found.observations.shape[1], found.desired_goals.shape[1]) == (12, 2)
    np.testing.assert_array_equal(found.observations[5, :4], found.observations[6, 4:8])
    np.testing.assert_array_equal(found.observations[:, :2], found.achieved_goals)
    assert "df-agent/stacked-v0" in minari.list_local_datasets()


class _Unbatched:
    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return np.array([1.0, -0.5]), None
