"""A tiny untrained agent and a toy environment for it, which the tests of the policy share."""

import gymnasium as gym
import numpy as np
import torch

from df_agent.agent_model import AgentModel
from df_agent.policies import DiffusionForcingPolicy

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


ANY_PLAN = {"feasibility": {"roughness_limit": 1e9, "shortcut_limit": 1e9}, "shortest_feasible": {"reject_above": 1e9}}
"""Options of a planner that is content with what an untrained model proposes."""

ESTIMATOR = {"channels": 2, "unit": 1, "width": 8, "depth": 1}


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


def any_plan(**shortest_feasible):
    """`ANY_PLAN`, and more options of the planner."""
    return {**ANY_PLAN, "shortest_feasible": {**ANY_PLAN["shortest_feasible"], **shortest_feasible}}


def make_policy(**options):
    torch.manual_seed(0)
    model = AgentModel.from_config(CHECKPOINT).requires_grad_(False).eval()
    torch.nn.init.normal_(model.diffusion.network.head.weight, std=0.2)
    return DiffusionForcingPolicy.from_model(model, CHECKPOINT, **options)


def make_policy_with_estimator(steps=30.0, **options):
    """One whose estimator says about `steps` steps for any way, a little more for a long one."""
    torch.manual_seed(0)
    checkpoint = {**CHECKPOINT, "time_to_goal": ESTIMATOR}
    checkpoint["tokenizer"] = {**CHECKPOINT["tokenizer"], "mean": [0.5, 0.0], "std": [1.0, 2.0]}
    model = AgentModel.from_config(checkpoint).requires_grad_(False).eval()
    torch.nn.init.normal_(model.diffusion.network.head.weight, std=0.2)
    torch.nn.init.normal_(model.time_to_goal.mlp[-1].weight, std=0.01)
    between = model.time_to_goal.between
    model.time_to_goal.between = lambda here, there: between(here, there) + steps
    return DiffusionForcingPolicy.from_model(model, checkpoint, **options)


def observations(n, seed=0):
    rng = np.random.default_rng(seed)
    x, goal = rng.uniform(-1, 1, (n, 4)), rng.uniform(-1, 1, (n, 2))
    return {"observation": x, "achieved_goal": x[:, :2], "desired_goal": goal}


def path(policy, state):
    """The planned positions (B, H, G)."""
    return policy.controller.path(state)


def row(observation, i):
    return {k: v[i : i + 1] for k, v in observation.items()}


def stand(policy, seen, steps, state=None):
    """Observe the same for some steps; return the state."""
    for _ in range(steps):
        _, state = policy.predict(seen, state, deterministic=True)
    return state


def asked(policy):
    """Horizons the sampler is asked for, call by call, of plans to the goal."""
    calls, sample_plans = [], policy.sampler.sample_plans

    def spy(request, rows, horizons, *, to_goal=True, **more):
        if to_goal:
            calls.append(horizons.copy())
        return sample_plans(request, rows, horizons, to_goal=to_goal, **more)

    policy.sampler.sample_plans = spy
    return calls
