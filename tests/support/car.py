"""A car among obstacles that stop it dead: what feasibility by support, and detours, were developed on.

Unlike the environments in `untuned`, this one has been looked at while the recipe was made, so its figures flatter it.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from untuned import Pilot, box


class Car(gym.Env):
    """A car that cannot reverse, and steers only under way; it stands where it touches an obstacle.

    Observation (5,): x, y [m], cos and sin of the heading, speed [m/s]. Action (2,): throttle and steering. Goals are
    places; success is within 0.3 m.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    obstacles = np.array([[2.0, 2.0, 0.7], [4.2, 3.2, 0.8], [3.0, 5.0, 0.6], [5.5, 1.2, 0.6], [1.2, 4.2, 0.5]])
    size, dt = 6.5, 0.1

    def __init__(self, render_mode=None):
        place = box(2)
        self.observation_space = gym.spaces.Dict(observation=box(5), achieved_goal=place, desired_goal=place)
        self.action_space = box(2, -1.0, 1.0)

    def clearance(self, place):
        """Return the distance to the nearest obstacle, negative inside."""
        return (np.linalg.norm(place - self.obstacles[:, :2], axis=1) - self.obstacles[:, 2]).min()

    def free_place(self):
        """Draw a place with 0.4 m around it."""
        while True:
            place = self.np_random.uniform(0.4, self.size - 0.4, 2)
            if self.clearance(place) > 0.4:
                return place

    def reset(self, *, seed=None, options=None):
        """Start at rest, anywhere, heading anywhere, and draw a goal at least 2 m away."""
        super().reset(seed=seed)
        self.place, self.heading, self.speed = self.free_place(), self.np_random.uniform(-np.pi, np.pi), 0.0
        self.goal = self.free_place()
        while np.linalg.norm(self.goal - self.place) < 2:
            self.goal = self.free_place()
        return self.seen(), {}

    def seen(self):
        """Return the observation."""
        values = [*self.place, np.cos(self.heading), np.sin(self.heading), self.speed]
        return {"observation": np.array(values), "achieved_goal": self.place.copy(), "desired_goal": self.goal.copy()}

    def step(self, action):
        """Move on by 0.1 s."""
        throttle, steering = np.clip(action, -1, 1)
        self.speed = float(np.clip(self.speed + self.dt * 2 * throttle, 0, 2))
        self.heading += self.dt * 2 * steering * min(1, 2 * self.speed)
        ahead = self.place + self.dt * self.speed * np.array([np.cos(self.heading), np.sin(self.heading)])
        if self.clearance(ahead) < 0 or (ahead < 0).any() or (ahead > self.size).any():
            self.speed = 0.0
        else:
            self.place = ahead
        there = bool(self.compute_reward(self.place, self.goal, {}))
        return self.seen(), float(there), False, False, {"is_success": there}

    def compute_reward(self, achieved, desired, info):
        """Return 1 within 0.3 m of the goal, else 0."""
        return (np.linalg.norm(np.asarray(achieved) - desired, axis=-1) < 0.3).astype(np.float64)


class CarPilot(Pilot):
    """Heads for the goal, past an obstacle in the way along its tangent, 0.4 m off."""

    def __init__(self, haste=0.6, noise=0.25, seed=0):
        super().__init__(haste, noise, seed)

    def act(self, seen):
        """Return throttle and steering."""
        values, goal = seen["observation"], seen["desired_goal"]
        place, heading, speed = values[:2], np.arctan2(values[3], values[2]), values[4]
        distance = max(np.linalg.norm(goal - place), 1e-6)
        course = (goal - place) / distance
        for obstacle in Car.obstacles:
            off = obstacle[:2] - place
            needed, along = obstacle[2] + 0.4, off @ course
            if 0 < along < min(distance + 0.2, 2) and abs(off[0] * course[1] - off[1] * course[0]) < needed:
                towards, now = np.arctan2(off[1], off[0]), np.arctan2(course[1], course[0])
                side = 1 if (now - towards + np.pi) % (2 * np.pi) >= np.pi else -1
                tangent = towards + side * np.arcsin(needed / max(np.linalg.norm(off), needed + 1e-3))
                course = np.array([np.cos(tangent), np.sin(tangent)])
        error = (np.arctan2(course[1], course[0]) - heading + np.pi) % (2 * np.pi) - np.pi
        near = (np.linalg.norm(Car.obstacles[:, :2] - place, axis=1) - Car.obstacles[:, 2]).min()
        cruise = (
            (0.6 + 1.2 * self.haste) * (1 - np.clip((abs(error) - 0.3) / 0.8, 0, 0.75)) * np.clip(0.4 + near, 0.5, 1)
        )
        return np.array([np.clip(2 * (cruise - speed), -1, 1), np.clip(2 * error, -1, 1)])


class CarReference(CarPilot):
    """The car's pilot in haste, and sure of hand."""

    def __init__(self):
        super().__init__(haste=1.0, noise=0.0)


if "Car-v0" not in gym.registry:
    gym.register("Car-v0", entry_point=f"{__name__}:Car", max_episode_steps=200)
