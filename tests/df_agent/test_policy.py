"""The agent's contract, on a tiny untrained model and a toy environment: no behaviour here depends on training."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

from df_agent.build import build_model
from df_agent.policy import DiffusionForcingPolicy

CHECKPOINT = {
    "env": "toy",
    "network": {"token_dim": 4, "max_tokens": 8, "width": 16, "depth": 1, "heads": 2},
    "diffusion": {"levels": 50, "frame_stack": 2, "goal_channels": [0, 1]},
    "tokenizer": {
        "config": {"observation_indices": [0, 1], "goal_channels": [0, 1], "frame_skip": 4, "frame_stack": 2},
        "mean": [0.0, 0.0],
        "std": [1.0, 1.0],
    },
    "windows": {"max_tokens": 8, "short_tokens": [4]},
    "statistics": {"step": [0.3, 0.3], "turn": [0.2, 0.2], "speed": [0.05, 0.05]},
    "policy": {"velocity_indices": [2, 3]},
}


class Point(gym.Env):
    """A damped point in a box; goal-conditioned, continuing."""

    def __init__(self, render_mode=None):
        box = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = gym.spaces.Dict(
            observation=gym.spaces.Box(-np.inf, np.inf, (4,), np.float64), achieved_goal=box, desired_goal=box
        )
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float64)

    def observe(self):
        return {
            "observation": np.concatenate([self.x, self.v]),
            "achieved_goal": self.x.copy(),
            "desired_goal": self.goal.copy(),
        }

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x, self.v = self.np_random.uniform(-1, 1, 2), np.zeros(2)
        self.goal = self.np_random.uniform(-1, 1, 2)
        return self.observe(), {}

    def step(self, action):
        self.v = np.clip(self.v + 0.2 * action, -5, 5)
        self.x = self.x + 0.01 * self.v
        near = bool(np.linalg.norm(self.x - self.goal) < 0.2)
        return self.observe(), float(near), False, False, {"success": near}


if "df-agent-test-point" not in gym.registry:
    gym.register("df-agent-test-point", Point, max_episode_steps=40)


def make_policy(**options):
    torch.manual_seed(0)
    model = build_model(CHECKPOINT).requires_grad_(False).eval()
    torch.nn.init.normal_(model.network.head.weight, std=0.2)
    return DiffusionForcingPolicy.from_model(model, CHECKPOINT, **options)


def observations(n, seed=0):
    rng = np.random.default_rng(seed)
    x, goal = rng.uniform(-1, 1, (n, 4)), rng.uniform(-1, 1, (n, 2))
    return {"observation": x, "achieved_goal": x[:, :2], "desired_goal": goal}


def row(observation, i):
    return {k: v[i : i + 1] for k, v in observation.items()}


def test_one_observation_without_a_batch_axis_gives_one_action():
    policy = make_policy()
    single = {k: v[0] for k, v in observations(1).items()}
    action, state = policy.predict(single, deterministic=True)
    batched, _ = policy.predict(observations(1), deterministic=True)
    assert action.shape == (2,)
    assert np.array_equal(action, batched[0])
    again, _ = policy.predict(single, state)
    assert again.shape == (2,)


def test_a_row_does_not_depend_on_what_runs_beside_it():
    """Batched equals looped; each row has its own noise, horizon and replans."""
    policy = make_policy(open_loop_horizon=3)
    steps = [observations(3, seed=k) for k in range(8)]
    for step in steps:
        step["desired_goal"] = steps[0]["desired_goal"]
    batched, state = [], None
    for step in steps:
        actions, state = policy.predict(step, state, deterministic=True)
        batched.append(actions)
    for i in range(3):
        state = None
        for k, step in enumerate(steps):
            actions, state = policy.predict(row(step, i), state, deterministic=True)
            np.testing.assert_allclose(actions[0], batched[k][i], atol=1e-4)


def test_deterministic_repeats_and_the_seed_matters():
    policy = make_policy()
    seen = observations(4)
    first, state = policy.predict(seen, deterministic=True)
    second, again = policy.predict(seen, deterministic=True)
    assert np.array_equal(first, second)
    assert np.array_equal(state.path, again.path)
    policy.reset_seed(1)
    _, other = policy.predict(seen, deterministic=True)
    assert not np.array_equal(state.path, other.path)
    _, random_a = policy.predict(seen)
    _, random_b = policy.predict(seen)
    assert not np.array_equal(random_a.path, random_b.path)


def test_the_state_handed_in_is_not_written_to():
    policy = make_policy(open_loop_horizon=1)
    _, state = policy.predict(observations(2), deterministic=True)
    before = {k: v.copy() for k, v in vars(state).items()}
    policy.predict(observations(2, seed=1), state, deterministic=True)
    for name, value in before.items():
        assert np.array_equal(getattr(state, name), value), name


def count_plans(policy):
    seen = []
    policy.on_plan = lambda event: seen.append(event.rows.tolist())
    return seen


def test_rows_replan_on_their_own_occasions():
    """At an episode's start, when the goal moves, and by the clock; at no other time."""
    policy = make_policy(open_loop_horizon=5, deviation=1e9, hold_distance=0.0)
    seen, still = count_plans(policy), observations(3)
    _, state = policy.predict(still, deterministic=True)
    assert seen == [[0, 1, 2]]
    _, state = policy.predict(still, state, episode_start=np.array([False, True, False]), deterministic=True)
    assert seen[1:] == [[1]]
    moved = {**still, "desired_goal": still["desired_goal"] + [[0, 0], [0, 0], [0.1, 0]]}
    _, state = policy.predict(moved, state, deterministic=True)
    assert seen[2:] == [[2]]
    assert np.array_equal(state.goal, moved["desired_goal"])
    for _ in range(3):
        _, state = policy.predict(moved, state, deterministic=True)
    assert seen[3:] == [[0]]


def test_a_plan_starts_at_the_present_and_ends_at_the_goal():
    policy = make_policy()
    seen = observations(5)
    _, state = policy.predict(seen, deterministic=True)
    np.testing.assert_allclose(state.path[:, 0], seen["achieved_goal"], atol=1e-5)
    np.testing.assert_allclose(state.path[:, -1], seen["desired_goal"], atol=1e-5)


@pytest.mark.parametrize("planner", ["shortest_feasible", "goal_guidance"])
@pytest.mark.parametrize("interval", [1, 1000])
def test_actions_stay_inside_the_action_space(planner, interval):
    policy = make_policy(planner=planner, open_loop_horizon=interval, max_steps=40)
    env = gym.make_vec("df-agent-test-point", 3)
    seen, _ = env.reset(seed=0)
    state, starts = None, np.ones(3, bool)
    for _ in range(45):  # past the episode's end
        actions, state = policy.predict(seen, state, starts)
        assert np.isfinite(actions).all()
        assert (np.abs(actions) <= 1).all()
        seen, _, terminated, truncated, _ = env.step(actions)
        starts = terminated | truncated


@pytest.mark.parametrize("mode", list(gym.vector.AutoresetMode))
def test_every_autoreset_mode_runs(mode):
    policy = make_policy()
    env = gym.make_vec("df-agent-test-point", 2, vector_kwargs={"autoreset_mode": mode})
    seen, _ = env.reset(seed=0)
    state, starts, plans = None, np.ones(2, bool), count_plans(policy)
    for _ in range(100):
        actions, state = policy.predict(seen, state, starts, deterministic=True)
        seen, _, terminated, truncated, _ = env.step(actions)
        starts = terminated | truncated
        if mode == gym.vector.AutoresetMode.DISABLED and starts.any():
            seen, _ = env.reset(options={"reset_mask": starts})
    assert [0, 1] in plans[1:]  # planned anew when the episodes began anew


def test_stable_baselines_evaluates_it_and_it_reaches_an_open_goal():
    """Without walls even an untrained model's plan ends at the goal, and the tracker brings the point there."""
    policy = make_policy(search={"horizons": (2,), "tolerance": 1e9, "surprise_limit": 1e9})
    env = Monitor(gym.make("df-agent-test-point", max_episode_steps=250))
    rewards, lengths = evaluate_policy(policy, env, n_eval_episodes=3, return_episode_rewards=True)
    assert lengths == [250] * 3
    assert min(rewards) > 0


def test_bad_observations_are_named():
    policy, good = make_policy(), observations(2)
    with pytest.raises(ValueError, match=r"lacks \['desired_goal'\]"):
        policy.predict({"observation": good["observation"]})
    with pytest.raises(ValueError, match=r"expected 'observation' \(B, at least 2\)"):
        policy.predict({**good, "observation": good["observation"][:, :1]})
    with pytest.raises(ValueError, match=r"'desired_goal' is not finite in rows \[1\]"):
        policy.predict({**good, "desired_goal": np.array([[0, 0], [np.nan, 0]])})
    with pytest.raises(ValueError, match="expected a dict observation"):
        policy.predict(good["observation"])
    _, state = policy.predict(good)
    with pytest.raises(ValueError, match="state is for 2 environments, the observation for 3"):
        policy.predict(observations(3), state)


def test_bad_options_are_named():
    with pytest.raises(ValueError, match="unknown planner 'a_star', available"):
        make_policy(planner="a_star")
    with pytest.raises(ValueError, match=r"unknown options \['stepz'\] for SamplingConfig"):
        make_policy(sampling={"stepz": 3})
    with pytest.raises(ValueError, match="give max_steps"):
        make_policy(planner="goal_guidance")


@pytest.mark.parametrize("half", [False, True])
def test_saving_and_loading_gives_the_same_agent(tmp_path, half):
    policy = make_policy(open_loop_horizon=7)
    if half:
        policy.model.network.half().float()  # what fp16 can hold comes back exactly
    policy.save_pretrained(tmp_path / "saved", half=half, card="A toy.")
    loaded = DiffusionForcingPolicy.from_pretrained(tmp_path / "saved", precision="fp32", device="cpu")
    assert loaded.config == policy.config
    assert loaded.config.open_loop_horizon == 7
    seen = observations(3)
    assert np.array_equal(policy.predict(seen, deterministic=True)[0], loaded.predict(seen, deterministic=True)[0])


def test_random_weights_and_no_goal_change_the_plans():
    seen = observations(3)
    policy = make_policy()
    _, trained = policy.predict(seen, deterministic=True)
    policy.randomize_weights(0)
    _, random = policy.predict(seen, deterministic=True)
    assert not np.array_equal(trained.path, random.path)
    blind = make_policy(goal_conditioned=False)
    _, state = blind.predict(seen, deterministic=True)
    _, other = blind.predict({**seen, "desired_goal": seen["desired_goal"] * 0}, deterministic=True)
    assert state.path.shape == other.path.shape
    assert np.array_equal(state.path[:, 1:3], _rerun(blind, seen).path[:, 1:3])


def _rerun(policy, seen):
    return policy.predict(seen, deterministic=True)[1]
