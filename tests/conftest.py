"""A point in the plane that goes where it is pushed, and policies that push it: nothing of a maze."""

from __future__ import annotations

from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from df_planners.plan import Plan, PlanEvent
from gymnasium import spaces

from df_agent.evaluation.records import EpisodeRecord, PlanRecord

SPEED, RADIUS = 0.1, 0.15


class ToyPoint(gym.Env):
    """Position in [-1, 1]^2, moved by 0.1 * action; reward 1 and success within 0.15 of the goal."""

    metadata: ClassVar = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, stop_at_goal=False, render_mode=None):
        self.stop_at_goal, self.render_mode = stop_at_goal, render_mode
        box = spaces.Box(-2.0, 2.0, (2,), np.float64)
        self.observation_space = spaces.Dict({"observation": box, "achieved_goal": box, "desired_goal": box})
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        return self._observe(), {"success": self._there()}

    def step(self, action):
        assert np.isfinite(action).all()
        self.place = np.clip(self.place + SPEED * np.asarray(action, dtype=np.float64), -1, 1)
        there = self._there()
        return self._observe(), float(there), self.stop_at_goal and there, False, {"success": there}

    def compute_reward(self, achieved, desired, info):
        return (np.linalg.norm(achieved - desired, axis=-1) <= RADIUS).astype(float)

    def render(self):
        """A grey picture, the brighter the further to the right."""
        return np.full((60, 80, 3), 100 + 50 * self.place[0], np.uint8) if self.render_mode else None

    def _there(self):
        return bool(np.linalg.norm(self.place - self.goal) <= RADIUS)

    def _observe(self):
        place = self.place.copy()
        return {"observation": place, "achieved_goal": place.copy(), "desired_goal": self.goal.copy()}


for toy_id, stop in (("toy-point", False), ("toy-point-stop", True)):
    if toy_id not in gym.registry:
        gym.register(toy_id, ToyPoint, max_episode_steps=30, kwargs={"stop_at_goal": stop})


class Straight:
    """Goes straight to the goal; plans anew every 10 steps and says so."""

    def __init__(self, plan_every=10):
        self.on_plan, self.seeds, self.plan_every = None, [], plan_every
        self.batches = []

    def set_random_seed(self, seed):
        self.seeds.append(seed)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        place, goal = observation["observation"], observation["desired_goal"]
        single = place.ndim == 1
        place, goal = np.atleast_2d(place), np.atleast_2d(goal)
        self.batches.append(len(place))
        steps = np.zeros(len(place), int) if state is None else state + 1
        if episode_start is not None:
            steps = np.where(episode_start, 0, steps)
        rows = np.flatnonzero(steps % self.plan_every == 0)
        if len(rows) and self.on_plan is not None:
            share = np.linspace(0, 1, 5)[None, :, None]
            path = place[rows, None] + share * (goal - place)[rows, None]
            self.on_plan(PlanEvent(rows, Plan(path, np.full(len(rows), 5), 1), 0.002 * len(rows)))
        action = np.clip((goal - place) / SPEED, -1, 1)
        return (action[0] if single else action), steps


@pytest.fixture
def straight():
    return Straight()


@pytest.fixture
def make_straight():
    return Straight


@pytest.fixture
def make_record():
    """Make a record by hand: `make_record(time_to_goal=..., success=..., ...)`."""

    def make(**changes):
        values = {
            "env": "toy-point",
            "policy": "hand",
            "episode": 0,
            "seed": 0,
            "max_episode_steps": 100,
            "length": 100,
            "start": [0.0, 0.0],
            "goal": [1.0, 1.0],
            "success": True,
            "time_to_goal": 10,
            "at_goal_at_end": True,
            "episode_reward": 91.0,
            "first_reach": 9,
            "episode_reward_if_stay": 91.0,
            "path": [[0.01 * i, 0.01 * i] for i in range(101)],
            "plans": [PlanRecord(0, 0, 0.01, 2, True, [[0.0, 0.0], [1.0, 1.0]])],
            "policy_seconds": 0.5,
            "policy_seconds_to_goal": 0.2,
            "env_seconds": 0.1,
            "wall_seconds": 1.0,
        }
        return EpisodeRecord(**{**values, **changes})

    return make
