"""What environments and policies may answer: all that the libraries' documentation allows, in every form."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from df_agent.baselines.sac_her_model import ArrivalReward
from df_agent.data.answers import number, read_step, success_of, success_rows, truth
from df_agent.data.collect import record
from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.goal_env import GoalEnv
from df_agent.evaluation.rollout import PolicyError, rollout

FORMS = {
    "python": lambda x: x,
    "numpy scalar": lambda x: np.float32(x) if isinstance(x, float) else np.bool_(x),
    "0-d": np.array,
    "one element": lambda x: np.array([x]),
    "one of one": lambda x: np.array([[x]]),
    "list": lambda x: [x],
    "tensor": lambda x: torch.tensor([x]),
    "0 and 1": lambda x: x if isinstance(x, float) else int(x),
    "float": lambda x: x if isinstance(x, float) else np.float64(x),
}


class Line(gym.Env):
    """A number that the action moves by up to 0.1; the goal is 1; answers in one of the `FORMS`."""

    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, form="python", key="success"):
        box = gym.spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.observation_space = gym.spaces.Dict({k: box for k in ("observation", "achieved_goal", "desired_goal")})
        self.form, self.key = FORMS[form], key

    def observe(self):
        return {"observation": self.x.copy(), "achieved_goal": self.x.copy(), "desired_goal": np.ones(1)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(0, 0.5, 1)
        return self.observe(), {self.key: self.form(False)}

    def step(self, action):
        self.x = self.x + 0.1 * np.asarray(action, np.float64).reshape(1)
        there = bool(abs(self.x[0] - 1) < 0.1)
        return self.observe(), self.form(float(there)), self.form(False), self.form(False), {self.key: self.form(there)}

    def compute_reward(self, achieved, desired, info):
        return (np.abs(np.asarray(achieved) - desired) < 0.1).astype(float)[..., 0]


class Right:
    """Goes to the goal; answers with a tensor or an array."""

    def __init__(self, tensor=False):
        self.tensor = tensor

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        action = np.clip(10 * (observation["desired_goal"] - observation["observation"]), -1, 1)
        return (torch.tensor(action, requires_grad=True) if self.tensor else action), None


if "df-agent-test-answers" not in gym.registry:
    gym.register("df-agent-test-answers", Line, max_episode_steps=20)


def results(records):
    return [(r.success, r.time_to_goal, r.episode_reward, r.at_goal_at_end, r.length) for r in records]


@pytest.mark.filterwarnings("ignore")  # gymnasium tells the author of such an environment what it expects
@pytest.mark.parametrize("key", ["success", "is_success"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_episodes(form, key):
    expected = rollout(Right(), "df-agent-test-answers", episodes=3)
    options = {"form": form, "key": key}
    assert all(r.success and r.episode_reward > 5 for r in expected)
    for spec in (GoalSpec(), GoalSpec(success=key)):
        found = rollout(Right(tensor=True), "df-agent-test-answers", episodes=3, env_options=options, goal_spec=spec)
        assert results(found) == results(expected)
    episodes = [next(record(gym.make("df-agent-test-answers", **each), Right(), 20, seed=1)) for each in (options, {})]
    assert episodes[0].rewards == episodes[1].rewards
    assert episodes[0].time_to_goal == episodes[1].time_to_goal is not None
    for wrap in (ArrivalReward, lambda env: GoalEnv(env, GoalSpec(success="terminated"))):
        env = wrap(Line(**options))
        env.reset(seed=0)
        _, reward, terminated, truncated, _ = env.step(np.ones(1))
        assert [type(each) for each in (reward, terminated, truncated)] == [float, bool, bool]


def test_a_policy_may_answer_with_tensors_while_data_is_collected():
    found = next(record(gym.make("df-agent-test-answers"), Right(tensor=True), 20, seed=1))
    expected = next(record(gym.make("df-agent-test-answers"), Right(), 20, seed=1))
    np.testing.assert_array_equal(found.actions, expected.actions)


@pytest.mark.parametrize("bad", [None, "1", np.zeros(2), [], {}, 1j])
def test_what_is_no_number_and_no_truth_value_is_refused_by_its_name(bad):
    with pytest.raises(ValueError, match="the reward must be one number, got"):
        number(bad, "the reward")
    with pytest.raises(ValueError, match="success must be one truth value, got"):
        truth(bad, "success")
    with pytest.raises(ValueError, match="the environment's reward must be one number"):
        read_step((0, bad, False, False, {}))


def test_steps_and_predictions_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="step must return"):
        read_step((0, 0.0, False, {}))
    policy = Right()
    policy.predict = lambda *args, **options: np.zeros((1, 1))
    with pytest.raises(PolicyError, match=r"predict must return \(actions, state\)"):
        rollout(policy, "df-agent-test-answers", episodes=1)
    with pytest.raises(ValueError, match=r"predict must return \(actions, state\)"):
        next(record(gym.make("df-agent-test-answers"), policy, 3))


def test_nothing_said_of_success_is_neither_success_nor_failure():
    assert success_of({}) is success_of({"success": None}) is None
    assert success_of({"success": None, "is_success": [1]}) is True
    assert success_rows({}, 2) is None
    mixed = np.array([True, None, np.array([0.0]), torch.tensor(1)], dtype=object)
    assert success_rows({"is_success": mixed}, 4).tolist() == [True, False, False, True]
