import df_envs  # noqa: F401 - registers the tasks
import gymnasium as gym
import numpy as np
import pytest
from df_envs.fetch import RECALL_TASKS, fetch_demonstrator
from df_envs.recall import MIDDLE, GoalCue

from df_agent.evaluation.rollout import rollout


def observations(env_id, steps):
    env = gym.make(env_id)
    observation, _ = env.reset(seed=1)
    seen, goal = [observation], env.unwrapped.goal.copy()
    for _ in range(steps):
        seen.append(env.step(np.zeros(4))[0])
    return seen, goal


def test_the_goal_is_shown_in_the_first_steps_only():
    seen, goal = observations("FetchPushRecall-v0", 6)
    for step, observation in enumerate(seen):
        cue = observation["observation"][25:]
        expected = [*goal, 1.0] if step < 4 else [*MIDDLE, 0.0]
        assert cue.tolist() == expected
        assert observation["desired_goal"].tolist() == expected[:3]
    seen, goal = observations("FetchPushCued-v0", 6)
    assert all(observation["observation"][25:].tolist() == [*goal, 1.0] for observation in seen)


@pytest.mark.parametrize("env_id", RECALL_TASKS)
def test_the_demonstrator_remembers_the_goal(env_id):
    records = rollout(fetch_demonstrator(env_id), env_id, episodes=8, num_envs=4, seed=1000, keep_paths=False)
    plain = rollout(fetch_demonstrator("FetchPush-v4"), "FetchPush-v4", episodes=8, seed=1000, keep_paths=False)
    assert [record.time_to_goal for record in records] == [record.time_to_goal for record in plain]
    assert np.mean([record.success for record in records]) > 0.8


def test_a_goal_that_is_never_shown_is_a_mistake():
    with pytest.raises(ValueError, match="at least 1"):
        GoalCue(gym.make("FetchPush-v4"), shown=0, blank=MIDDLE)
    with pytest.raises(ValueError, match="the goal's shape"):
        GoalCue(gym.make("FetchPush-v4"), shown=4, blank=[0.0])
