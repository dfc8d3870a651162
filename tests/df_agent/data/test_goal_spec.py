import importlib
import sys
from types import ModuleType

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest

import df_agent.data.goal_spec as goal_spec_module
from df_agent.data.episodes import from_segments
from df_agent.data.goal_spec import GoalSpec, register_goal_functions, validated
from df_agent.data.infer import infer, matching_channels
from df_agent.evaluation.goal_env import GoalEnv
from df_agent.evaluation.rollout import rollout


@pytest.fixture(autouse=True)
def functions(monkeypatch):
    module = ModuleType("goal_functions")
    module.total = lambda observations: observations.sum(-1, keepdims=True)
    module.wrong = lambda observations: np.zeros(3)
    module.far = lambda observation, info: observation["achieved_goal"][0] > 2
    module.number = 3
    monkeypatch.setitem(sys.modules, "goal_functions", module)


class Line(gym.Env):
    """A number that the action moves, in a flat observation (x, goal, x again scaled); ends beyond 3."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float64)

    def __init__(self, render_mode=None):
        self.x = 0.0

    def observe(self):
        return np.array([self.x, 2.5, 10 * self.x])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = 0.0
        return self.observe(), {}

    def step(self, action):
        self.x += float(action[0])
        return self.observe(), 0.0, self.x > 3, False, {"close": abs(self.x - 2.5) < 0.6}


if "df-agent-test-line" not in gym.registry:
    gym.register("df-agent-test-line", Line, max_episode_steps=8)


class Right:
    """Moves right by one; sees the observation as a GoalEnv's."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        assert set(observation) == {"observation", "achieved_goal", "desired_goal"}
        return np.ones((len(observation["observation"]), 1)), state


def test_channels_and_functions_make_a_flat_observation_goal_conditioned():
    goal_spec = GoalSpec(achieved="goal_functions:total", desired=(2, 0))
    batch = np.arange(6.0).reshape(2, 3)
    seen = goal_spec.goal_dict(batch)
    assert seen["achieved_goal"].tolist() == [[3], [12]]
    assert seen["desired_goal"].tolist() == [[2, 0], [5, 3]]
    assert seen["observation"] is batch
    single = goal_spec.goal_dict(batch[1])
    assert (single["achieved_goal"].tolist(), single["desired_goal"].tolist()) == ([12], [5, 3])


def test_a_goal_env_is_taken_at_its_word_and_what_is_achieved_may_be_appended():
    given = {"observation": np.zeros((2, 3)), "achieved_goal": np.ones((2, 1)), "desired_goal": np.ones((2, 1))}
    assert GoalSpec().goal_dict(given) == given
    assert GoalSpec().model_values(given).tolist() == [[0, 0, 0]] * 2
    assert GoalSpec(appended=True).model_values(given).tolist() == [[0, 0, 0, 1]] * 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"achieved": (-1,)}, "must be channels"),
        ({"achieved": ()}, "must be channels"),
        ({"desired": "nothing"}, "must be channels or 'module:function', got 'nothing'"),
        ({"desired": "no_such_module:f"}, "on PYTHONPATH"),
        ({"achieved": "goal_functions:no"}, "the module goal_functions has no no"),
        ({"success": "goal_functions:number"}, "is no function"),
    ],
)
def test_what_is_no_source_of_goals_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        GoalSpec(**options)


def test_what_does_not_fit_the_observation_is_named():
    with pytest.raises(ValueError, match=r"goal.achieved=\[7\] reaches beyond the 3 observation channels"):
        GoalSpec(achieved=(7,)).goal_dict(np.zeros(3))
    with pytest.raises(ValueError, match=r"goal_functions:wrong must return \(..., G\)"):
        GoalSpec(achieved="goal_functions:wrong").goal_dict(np.zeros((2, 3)))
    with pytest.raises(
        ValueError, match=r"no desired_goal: name channels of it, or a 'module:function', with goal.desi"
    ):
        GoalSpec(achieved=(0,)).goal_dict(np.zeros(3))


@pytest.fixture
def unknown_module(tmp_path, monkeypatch):
    (tmp_path / "strangers_code.py").write_text("there = print\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "strangers_code"
    sys.modules.pop("strangers_code", None)


def test_a_checkpoint_runs_no_code_that_was_not_imported(unknown_module):
    said = GoalSpec(achieved=(0,), success="terminated").to_dict()
    assert GoalSpec(**validated(said)) == GoalSpec(achieved=(0,), success="terminated")
    assert validated(None) == {}
    with pytest.raises(ValueError, match=r"import strangers_code and call df_agent.register_goal_functions"):
        validated({**said, "success": f"{unknown_module}:there"})
    assert unknown_module not in sys.modules


@pytest.mark.parametrize(
    "value", ["sys:exit", "cloudpickle:loads", "numpy:asarray", "scipy.io:loadmat", "goal_functions:total"]
)
def test_a_checkpoint_calls_no_function_that_the_user_did_not_name_or_register(value, trusting_nobody):
    importlib.import_module(value.partition(":")[0])
    for name in ("achieved", "desired", "success"):
        with pytest.raises(ValueError, match="loading it calls no code of its choice"):
            validated({name: value})


def test_a_checkpoint_calls_what_the_user_named_or_registered(trusting_nobody):
    GoalSpec(achieved="goal_functions:total")
    assert validated({"desired": "goal_functions:total"}) == {"desired": "goal_functions:total"}
    with pytest.raises(ValueError, match="of its choice"):
        validated({"desired": "goal_functions:wrong"})
    own = sys.modules["goal_functions"]
    own.borrowed, own.far.__module__ = cloudpickle.loads, "goal_functions"
    register_goal_functions("goal_functions")
    assert validated({"success": "goal_functions:far"}) == {"success": "goal_functions:far"}
    for foreign in ("goal_functions:borrowed", "goal_functions2:far", "goal_functions:nothing"):
        with pytest.raises(ValueError, match="of its choice"):
            validated({"achieved": foreign})


@pytest.fixture
def trusting_nobody(monkeypatch):
    monkeypatch.setattr(goal_spec_module, "_NAMED", set())
    monkeypatch.setattr(goal_spec_module, "_MODULES", set())


@pytest.mark.parametrize(("success", "steps"), [("close", 2), ("terminated", 4), ("goal_functions:far", 3)])
def test_success_is_what_the_user_says_it_is(success, steps):
    goal_spec = GoalSpec(achieved=(0,), desired=(1,), success=success)
    (record,) = rollout(Right(), "df-agent-test-line", episodes=1, goal_spec=goal_spec)
    assert (record.success, record.time_to_goal) == (True, steps)
    assert record.path[:3] == [[0], [1], [2]]
    assert record.goal == [2.5]


def test_an_environment_without_goals_or_success_says_what_to_give():
    with pytest.raises(ValueError, match=r"say where they are found with goal.achieved and goal.desired"):
        rollout(Right(), "df-agent-test-line", episodes=1)
    with pytest.raises(ValueError, match=r"say what success is with goal.success"):
        rollout(Right(), "df-agent-test-line", episodes=1, goal_spec=GoalSpec((0,), (1,)))
    env = GoalEnv(Line(), GoalSpec((0,), (1,), "done"))
    env.reset()
    with pytest.raises(ValueError, match=r"goal.success='done' is no key of the environment's info, \['close'\]"):
        env.step(np.ones(1))


def episodes(observations, **columns):
    steps = len(observations) - 1
    segment = {"observations": observations, "actions": np.ones((steps, 2)), "rewards": np.zeros(steps), **columns}
    return from_segments([segment])


def test_what_follows_from_the_data_is_inferred():
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(61, 5))
    observations[:, 1] = 7.0  # never changes, so it is not modelled
    observations[:, 4] = np.arange(61)
    goals = {"achieved_goals": observations[:, [4, 2]], "desired_goals": np.zeros((61, 2))}
    found = infer(episodes(observations, **goals), GoalSpec(), limit=50, control_period=0.04)
    assert found.tokenizer["observation_indices"] == [0, 2, 3, 4]
    assert found.tokenizer["goal_channels"] == [3, 1]  # among the modelled ones
    assert (found.tokenizer["action_dim"], found.tokenizer["include_actions"]) == (2, True)
    assert (found.tokenizer["frame_skip"], found.windows["max_tokens"]) == (2, 18)  # 34 steps are two thirds of 50
    assert found.policy["control_period"] == 0.04
    assert found.policy["controller"] == "actions"
    assert not found.goal.appended


def test_circling_about_the_end_is_not_part_of_the_way():
    way = np.stack([np.minimum(np.arange(101) / 20, 1.0), np.zeros(101)], 1)
    way[20:] += 0.05 * np.stack([np.cos(np.arange(81)) - 1, np.sin(np.arange(81))], 1)
    observations = np.concatenate([way, np.random.default_rng(0).normal(size=(101, 1))], 1)
    data = episodes(observations, achieved_goals=observations[:, :2], desired_goals=np.zeros((101, 2)))
    found = infer(data, GoalSpec(), limit=200)
    assert 16 <= found.tokenizer["frame_skip"] * (found.windows["max_tokens"] - 1) <= 30  # of 100


def test_what_is_given_is_kept_and_the_rest_follows_from_it():
    observations = np.random.default_rng(0).normal(size=(61, 5))
    observations[:, 4] = np.arange(61)
    data = episodes(observations, achieved_goals=observations[:, [4, 2]], desired_goals=np.zeros((61, 2)))
    given = {"observation_indices": [4, 2, 0], "frame_skip": 4, "frame_stack": 2, "action_dim": None}
    found = infer(data, GoalSpec(), limit=50, given=given)
    assert found.tokenizer["observation_indices"] == [4, 2, 0]
    assert found.tokenizer["goal_channels"] == [0, 1]
    assert found.windows["max_tokens"] == 1 + 5  # of eight steps, two thirds of 50
    assert (found.tokenizer["frame_skip"], found.tokenizer["frame_stack"], found.tokenizer["action_dim"]) == (4, 2, 2)
    with pytest.raises(ValueError, match=r"goals are about the observation channels \[4, 2\]; .* lack some"):
        infer(data, GoalSpec(), limit=50, given={"observation_indices": [0, 4]})


def test_what_was_achieved_is_appended_where_the_observation_does_not_show_it():
    observations = np.random.default_rng(0).normal(size=(31, 2))
    goals = {"achieved_goals": observations.sum(1, keepdims=True), "desired_goals": np.zeros((31, 1))}
    data = episodes(observations, **goals)
    found = infer(data, GoalSpec(), limit=None)
    assert found.goal.appended
    assert (found.tokenizer["observation_indices"], found.tokenizer["goal_channels"]) == ([0, 1, 2], [2])
    assert np.array_equal(found.goal.apply(data).observations[:, 2:], data.achieved_goals)


def test_the_desired_goal_in_a_flat_observation_is_not_modelled():
    observations = np.random.default_rng(0).normal(size=(31, 4))
    found = infer(episodes(observations), GoalSpec(achieved=(0,), desired=(3,)), limit=30)
    assert found.tokenizer["observation_indices"] == [0, 1, 2]
    with pytest.raises(ValueError, match=r"which of its 4 observation channels goals are about, e.g. goal.achieved"):
        infer(episodes(observations), GoalSpec(), limit=30)


def test_two_goal_channels_are_never_the_same_channel():
    observations = np.arange(6.0).reshape(3, 2)
    twice = observations[:, [0, 0]]
    assert matching_channels(observations, twice) is None
    assert matching_channels(np.c_[observations, observations[:, 0]], twice) == [0, 2]
