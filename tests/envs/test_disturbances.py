import gymnasium as gym
import numpy as np
import pytest
from df_envs.disturbances import DisturbedActions


class Told(gym.Env):
    """Remembers the actions that reach it."""

    action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.actions = []
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.actions.append(action)
        return np.zeros(1, np.float32), 0.0, False, False, {}


def executed(actions, seed=0, **disturbance):
    env = Told()
    disturbed = DisturbedActions(env, **disturbance)
    disturbed.reset(seed=seed)
    for action in actions:
        disturbed.step(np.asarray(action, dtype=np.float32))
    assert all(env.action_space.contains(action) for action in env.actions)
    return np.array(env.actions)


def test_actions_come_late_and_nothing_is_done_before_the_first():
    told = np.linspace(-0.5, 0.5, 10).reshape(5, 2)
    np.testing.assert_allclose(executed(told, delay=2), [[0, 0], [0, 0], *told[:3]])


def test_a_new_episode_begins_with_nothing_on_its_way():
    env = Told()
    disturbed = DisturbedActions(env, delay=1)
    for _ in range(2):
        disturbed.reset(seed=0)
        disturbed.step(np.ones(2))
        np.testing.assert_array_equal(env.actions, [[0, 0]])


def test_a_push_is_added_per_channel_and_actions_stay_in_their_box():
    np.testing.assert_allclose(executed([[0.5, 0.5], [0.9, -0.9]], push=(0.2, -0.2)), [[0.7, 0.3], [1.0, -1.0]])


def test_noise_is_as_wide_as_asked_for_and_follows_from_the_seed():
    still = np.zeros((2000, 2))
    noisy = executed(still, noise=0.2)
    assert np.std(noisy) == pytest.approx(0.2, rel=0.05)
    assert abs(np.mean(noisy)) < 0.02
    np.testing.assert_array_equal(noisy, executed(still, noise=0.2))
    assert not np.array_equal(noisy, executed(still, noise=0.2, seed=1))


def test_what_cannot_be_disturbed_so_is_refused():
    with pytest.raises(ValueError, match="must not be negative"):
        DisturbedActions(Told(), delay=-1)
    env = Told()
    env.action_space = gym.spaces.Discrete(3)
    with pytest.raises(ValueError, match="must lie in a box"):
        DisturbedActions(env)
