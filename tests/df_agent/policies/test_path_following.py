"""Following known ways: asked for once, and again for a new goal or episode; a row acts as it does alone."""

import numpy as np
import pytest

from df_agent.policies.path_following import PathFollowingPolicy


class Around:
    """Ways by a corner: the first axis first. Counts how many were asked for."""

    def __init__(self):
        self.asked = 0

    def __call__(self, places, goals):
        self.asked += len(places)
        corner = np.stack([goals[:, 0], places[:, 1]], axis=1)
        return np.stack([places, corner, goals], axis=1)


def look(positions, goals):
    positions = np.asarray(positions, dtype=float)
    still = np.zeros_like(positions)
    return {"observation": np.concatenate([positions, still], 1), "desired_goal": np.asarray(goals, dtype=float)}


def walk(policy, positions, goals, steps=60):
    positions, state, found = np.asarray(positions, dtype=float), None, []
    for _ in range(steps):
        actions, state = policy.predict(look(positions, goals), state)
        positions = positions + 0.05 * actions
        found.append(positions)
    return np.stack(found, axis=1)


def test_it_follows_the_way_to_its_end():
    policy = PathFollowingPolicy(Around(), {"lookahead": 0.3, "velocity_gain": 0.0})
    seen = []
    policy.on_plan = seen.append
    (path,) = walk(policy, [[0, 0]], [[1, 1]])
    assert np.abs(path[-1] - [1, 1]).max() < 0.01
    assert path[:15, 1].max() < 0.1, "along the first axis first"
    assert policy.planner.paths.asked == len(seen) == 1
    np.testing.assert_array_equal(seen[0].plan.observations[0], [[0, 0], [1, 0], [1, 1]])


def test_rows_act_as_they_do_alone():
    starts, goals = [[0, 0], [1, 0], [0, 2]], [[1, 1], [0, 1], [2, 0]]
    together = walk(PathFollowingPolicy(Around()), starts, goals)
    for row, (start, goal) in enumerate(zip(starts, goals, strict=True)):
        (alone,) = walk(PathFollowingPolicy(Around()), [start], [goal])
        np.testing.assert_allclose(together[row], alone, atol=1e-12)


def test_a_new_goal_or_episode_is_asked_for_and_nothing_else():
    policy = PathFollowingPolicy(Around())
    observation = look([[0, 0], [1, 1]], [[1, 1], [0, 0]])
    _, state = policy.predict(observation)
    kept = state.frames.copy()
    _, later = policy.predict(observation, state)
    assert policy.planner.paths.asked == 2
    policy.predict({**observation, "desired_goal": np.array([[1.0, 1.0], [2.0, 2.0]])}, later)
    assert policy.planner.paths.asked == 3
    policy.predict(observation, later, episode_start=np.array([True, False]))
    assert policy.planner.paths.asked == 4
    np.testing.assert_array_equal(state.frames, kept)


def test_one_observation_gives_one_action_and_too_few_channels_are_named():
    observation = {"observation": np.zeros(4), "desired_goal": np.ones(2)}
    action, _ = PathFollowingPolicy(Around()).predict(observation)
    assert action.shape == (2,)
    with pytest.raises(ValueError, match="4 values, got 3"):
        PathFollowingPolicy(Around()).predict({**observation, "observation": np.zeros(3)})
    with pytest.raises(ValueError, match="lookahed"):
        PathFollowingPolicy(Around(), {"lookahed": 1.0})
