"""Three small environments that nothing is fitted to: what the recipe for one's own environment is tested on.

A boat in a current (flat observations, goals named by channels, ended at the goal), a drone with two rotors among
obstacles, and a cart whose payload swings. Each comes with a clumsy demonstrator and a faster reference without noise;
both know the dynamics and, with the drone, the obstacles.
"""

from __future__ import annotations

import gymnasium as gym
import numpy as np

PERIOD = {"Boat-v0": 0.1, "Drone-v0": 0.05, "Payload-v0": 0.05}


def box(size, low=-np.inf, high=np.inf):
    """Return a space of `size` numbers."""
    return gym.spaces.Box(low, high, (size,), np.float64)


class Boat(gym.Env):
    """A boat that steers by its rudder, which works only under way, and drifts with a river.

    Observation (8,): x, y [m], cos and sin of the heading, speed through the water [m/s], yaw rate [rad/s], and the
    goal's x, y. Action (2,): thrust, of which astern a third is had, and rudder. Ends within 0.3 m of the goal.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.observation_space, self.action_space = box(8), box(2, -1.0, 1.0)
        self.dt, self.size = PERIOD["Boat-v0"], 4.0

    def reset(self, *, seed=None, options=None):
        """Start at rest, anywhere, and draw a goal at least 2 m away."""
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-self.size, self.size, 2)
        self.heading, self.speed, self.rate = self.np_random.uniform(-np.pi, np.pi), 0.0, 0.0
        self.goal = self.np_random.uniform(-self.size, self.size, 2)
        while np.linalg.norm(self.goal - self.place) < 2:
            self.goal = self.np_random.uniform(-self.size, self.size, 2)
        return self.seen(), {}

    def seen(self):
        """Return the observation."""
        return np.array([*self.place, np.cos(self.heading), np.sin(self.heading), self.speed, self.rate, *self.goal])

    def step(self, action):
        """Move on by 0.1 s."""
        thrust, rudder = np.clip(action, -1, 1)
        thrust = thrust if thrust > 0 else thrust / 3
        self.speed += self.dt * 1.5 * (thrust - self.speed)
        self.rate += self.dt * 4 * (1.5 * rudder * np.clip(2 * self.speed, -1, 1) - self.rate)
        self.heading += self.dt * self.rate
        course = np.array([np.cos(self.heading), np.sin(self.heading)])
        self.place = self.place + self.dt * (self.speed * course + current(self.place))
        self.place = np.clip(self.place, -self.size - 0.5, self.size + 0.5)
        there = bool(np.linalg.norm(self.place - self.goal) < 0.3)
        return self.seen(), float(there), there, False, {"is_success": there}


def current(place):
    """Return the river's velocity [m/s]: along x, fastest in the middle."""
    return np.array([0.5 * np.exp(-((place[1] / 1.5) ** 2)), 0.0])


class Drone(gym.Env):
    """A drone in a vertical plane, flown by the thrust of its two rotors, among round obstacles that stop it.

    Observation (7,): x, z [m], sin and cos of the tilt, their velocities [m/s], tilt rate [rad/s]. Goals are places;
    success is within 0.25 m.
    """

    metadata = {"render_modes": []}  # noqa: RUF012
    obstacles = np.array([[2.0, 1.5, 0.8], [4.0, 3.6, 0.9], [4.4, 1.0, 0.6], [6.2, 2.2, 0.8]])  # x, z, radius
    high = np.array([8.0, 5.0])

    def __init__(self, render_mode=None):
        place = box(2)
        self.observation_space = gym.spaces.Dict(observation=box(7), achieved_goal=place, desired_goal=place)
        self.action_space = box(2, -1.0, 1.0)
        self.dt = PERIOD["Drone-v0"]

    def free_place(self):
        """Draw a place with 0.45 m around it."""
        while True:
            place = self.np_random.uniform(0.45, self.high - 0.45)
            if (np.linalg.norm(place - self.obstacles[:, :2], axis=1) > self.obstacles[:, 2] + 0.45).all():
                return place

    def reset(self, *, seed=None, options=None):
        """Start upright and at rest, and draw a goal at least 2 m away."""
        super().reset(seed=seed)
        self.place, self.velocity, self.tilt, self.rate = self.free_place(), np.zeros(2), 0.0, 0.0
        self.goal = self.free_place()
        while np.linalg.norm(self.goal - self.place) < 2:
            self.goal = self.free_place()
        return self.seen(), {}

    def seen(self):
        """Return the observation."""
        values = [*self.place, np.sin(self.tilt), np.cos(self.tilt), *self.velocity, self.rate]
        return {"observation": np.array(values), "achieved_goal": self.place.copy(), "desired_goal": self.goal.copy()}

    def step(self, action):
        """Move on by 0.05 s."""
        left, right = np.clip(action, -1, 1)
        self.rate += self.dt * (20 * (right - left) - 3 * self.rate)
        self.tilt = float(np.clip(self.tilt + self.dt * self.rate, -1.2, 1.2))
        thrust = 9.81 * (1 + 0.5 * (left + right))
        push = thrust * np.array([-np.sin(self.tilt), np.cos(self.tilt)]) - [0, 9.81]
        self.velocity = self.velocity + self.dt * (push - 0.3 * self.velocity)
        self.place = self.place + self.dt * self.velocity
        self.stop_at_walls()
        there = bool(self.compute_reward(self.place, self.goal, {}))
        return self.seen(), float(there), False, False, {"is_success": there}

    def stop_at_walls(self):
        """Keep the drone out of obstacles and within its box; what of its velocity points inwards is lost."""
        for x, z, radius in self.obstacles:
            away = self.place - [x, z]
            distance = np.linalg.norm(away)
            if distance < radius:
                normal = away / max(distance, 1e-6)
                self.place = np.array([x, z]) + radius * normal
                self.velocity = self.velocity - min(self.velocity @ normal, 0) * normal
        inside = np.clip(self.place, 0, self.high)
        self.velocity = np.where(inside == self.place, self.velocity, 0)
        self.place = inside

    def compute_reward(self, achieved, desired, info):
        """Return 1 within 0.25 m of the goal, else 0."""
        return (np.linalg.norm(np.asarray(achieved) - desired, axis=-1) < 0.25).astype(np.float64)


class Payload(gym.Env):
    """A cart on a track from which a payload hangs that swings.

    Observation (6,): the cart's place [m] and velocity, the payload's, the swing [rad] and its rate. Goals are a place
    of the payload and its velocity, which is 0; success is within 0.1 m and 0.15 m/s of them.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.observation_space = gym.spaces.Dict(observation=box(6), achieved_goal=box(2), desired_goal=box(2))
        self.action_space = box(1, -1.0, 1.0)
        self.dt = PERIOD["Payload-v0"]

    def reset(self, *, seed=None, options=None):
        """Start at rest, anywhere, and draw a goal at least 1 m away."""
        super().reset(seed=seed)
        self.place, self.velocity, self.swing, self.rate = self.np_random.uniform(-3, 3), 0.0, 0.0, 0.0
        place = self.np_random.uniform(-3, 3)
        while abs(place - self.place) < 1:
            place = self.np_random.uniform(-3, 3)
        self.goal = np.array([place, 0.0])
        return self.seen(), {}

    def seen(self):
        """Return the observation."""
        payload = np.array([self.place + np.sin(self.swing), self.velocity + self.rate * np.cos(self.swing)])
        values = [self.place, self.velocity, *payload, self.swing, self.rate]
        return {"observation": np.array(values), "achieved_goal": payload, "desired_goal": self.goal.copy()}

    def step(self, action):
        """Move on by 0.05 s, in which the cart stops at the ends of its track."""
        push = 4 * float(np.clip(action, -1, 1)[0])
        for _ in range(5):
            dt = self.dt / 5
            pushed = push - 0.5 * self.velocity
            self.velocity += dt * pushed
            self.place += dt * self.velocity
            if abs(self.place) > 3.5:
                pushed, self.place, self.velocity = 0.0, float(np.clip(self.place, -3.5, 3.5)), 0.0
            self.rate += dt * (-9.81 * np.sin(self.swing) - pushed * np.cos(self.swing) - 0.1 * self.rate)
            self.swing += dt * self.rate
        seen = self.seen()
        there = bool(self.compute_reward(seen["achieved_goal"], self.goal, {}))
        return seen, float(there), False, False, {"is_success": there}

    def compute_reward(self, achieved, desired, info):
        """Return 1 where the payload is at its place and slow, else 0."""
        off = np.abs(np.asarray(achieved) - desired)
        return ((off[..., 0] < 0.1) & (off[..., 1] < 0.15)).astype(np.float64)


class Pilot:
    """What the three demonstrators have in common: one observation at a time, and noise on their actions.

    Args:
        haste: from 0 to 1, how much of what the machine can do is used.
        noise: standard deviation of the noise on actions, which fades with a memory of about 3 steps.
        seed: of the noise.
    """

    def __init__(self, haste=0.5, noise=0.3, seed=0):
        self.haste, self.noise, self.rng = haste, noise, np.random.default_rng(seed)

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        """Return an action (Da,) or actions (B, Da), as the observation has a leading axis or not."""
        if np.asarray(observation["observation"] if isinstance(observation, dict) else observation).ndim == 1:
            clean = self.act(observation)
        elif isinstance(observation, dict):
            n = len(observation["observation"])
            clean = np.stack([self.act({k: v[i] for k, v in observation.items()}) for i in range(n)])
        else:
            clean = np.stack([self.act(each) for each in observation])
        old = state if state is not None and state.shape == clean.shape else np.zeros_like(clean)
        if episode_start is not None and clean.ndim == 2:
            old = np.where(np.asarray(episode_start)[:, None], 0, old)
        state = 0.7 * old + np.sqrt(1 - 0.7**2) * self.rng.normal(size=clean.shape)
        return np.clip(clean + self.noise * state, -1, 1), state


class BoatPilot(Pilot):
    """Steers at the goal, with the current allowed for, and slows down to turn."""

    def act(self, seen):
        """Return thrust and rudder, of a flat observation or one that was made a GoalEnv's."""
        seen = seen["observation"] if isinstance(seen, dict) else seen
        place, goal, heading = seen[:2], seen[6:8], np.arctan2(seen[3], seen[2])
        away = goal - place
        along = away / max(np.linalg.norm(away), 1e-6)
        cruise = 0.55 + 0.45 * self.haste
        drift = current(place)
        across = drift - (drift @ along) * along  # which the boat's own speed must make up for
        own = np.sqrt(max(cruise**2 - across @ across, 0.05)) * along - across
        error = (np.arctan2(own[1], own[0]) - heading + np.pi) % (2 * np.pi) - np.pi
        turning = np.clip((abs(error) - 0.4) / 0.8, 0, 1)
        return np.array([cruise - turning * (cruise - 0.35), np.clip(2.5 * error - 0.8 * seen[5], -1, 1)])


class DronePilot(Pilot):
    """Flies from corner to corner of a shortest way around the obstacles."""

    margin = 0.3

    def __init__(self, haste=0.3, noise=0.22, seed=0):
        super().__init__(haste, noise, seed)
        angles = np.arange(8) * np.pi / 4
        ring = np.stack([np.cos(angles), np.sin(angles)], 1)
        corners = np.concatenate([o[:2] + 1.09 * (o[2] + self.margin) * ring for o in Drone.obstacles])
        inside = ((corners > 0.2) & (corners < Drone.high - 0.2)).all(1)
        self.corners = corners[inside & self.is_free(corners, corners)]
        n = len(self.corners)
        pairs = np.repeat(self.corners, n, 0), np.tile(self.corners, (n, 1))
        length = np.where(self.is_free(*pairs), np.linalg.norm(pairs[0] - pairs[1], axis=1), np.inf)
        self.length = length.reshape(n, n)
        for k in range(n):
            self.length = np.minimum(self.length, self.length[:, k : k + 1] + self.length[k])

    def is_free(self, start, end):
        """Return which straight ways (N, 2) -> (N, 2) keep clear of the obstacles."""
        centre, radius = Drone.obstacles[:, :2], Drone.obstacles[:, 2] + self.margin - 0.02
        along = (end - start)[:, None]
        share = ((centre - start[:, None]) * along).sum(-1) / np.maximum((along**2).sum(-1), 1e-9)
        nearest = start[:, None] + np.clip(share, 0, 1)[..., None] * along
        return (np.linalg.norm(nearest - centre, axis=-1) > radius).all(1)

    def next_place(self, place, goal):
        """Return where to fly next, and whether that is the goal."""
        if self.is_free(place[None], goal[None])[0]:
            return goal, True
        n = len(self.corners)
        first = np.linalg.norm(self.corners - place, axis=1)
        clear = self.is_free(np.tile(place, (n, 1)), self.corners)
        last = np.where(self.is_free(np.tile(goal, (n, 1)), self.corners), 0, np.inf)
        last = last + np.linalg.norm(self.corners - goal, axis=1)
        if not np.isfinite(last).any():
            last = np.linalg.norm(self.corners - goal, axis=1)
        onwards = (self.length + last).min(1) + 0.0
        total = np.where(clear, first, 20 + 5 * first) + onwards
        return self.corners[total.argmin()], False

    def act(self, seen):
        """Return the thrust of both rotors."""
        values, goal = seen["observation"], seen["desired_goal"]
        place, velocity, tilt, rate = values[:2], values[4:6], np.arctan2(values[2], values[3]), values[6]
        target, last = self.next_place(place, goal)
        away = target - place
        distance = max(np.linalg.norm(away), 1e-6)
        fastest = 1.0 + 2.5 * self.haste
        speed = min(fastest, 0.6 + 1.6 * distance) if last else min(fastest, 0.8 + 1.2 * distance)
        push = (2.0 + 2 * self.haste) * (speed * away / distance - velocity) + 0.3 * velocity + [0, 9.81]
        wanted = np.clip(np.arctan2(-push[0], max(push[1], 2.0)), -0.7, 0.7)
        turn = np.clip(0.5 * (6.0 * (wanted - tilt) - 1.5 * rate), -0.6, 0.6)
        lift = np.clip(push[1] / max(np.cos(tilt), 0.3) / 9.81 - 1, -0.9, 0.9)
        return np.clip(np.array([lift - 0.5 * turn, lift + 0.5 * turn]), -1, 1)


class PayloadPilot(Pilot):
    """Brings the cart to the goal and leans against the swing."""

    def __init__(self, haste=0.3, noise=0.17, seed=0):
        super().__init__(haste, noise, seed)

    def act(self, seen):
        """Return the push."""
        place, velocity, _, _, swing, rate = seen["observation"]
        off = seen["desired_goal"][0] - place
        push = (0.2 + 0.8 * self.haste) * (5.5 * np.clip(off, -3, 3) - 5.8 * velocity + 7.1 * swing + 1.5 * rate)
        return np.array([np.clip(push / 4, -1, 1)])


class BoatReference(BoatPilot):
    """The boat's pilot in haste, and sure of hand."""

    def __init__(self):
        super().__init__(haste=1.0, noise=0.0)


class DroneReference(DronePilot):
    """The drone's pilot in haste, and sure of hand."""

    def __init__(self):
        super().__init__(haste=1.0, noise=0.0)


class PayloadReference(PayloadPilot):
    """The cart's pilot in haste, and sure of hand."""

    def __init__(self):
        super().__init__(haste=1.0, noise=0.0)


for name, limit in (("Boat-v0", 200), ("Drone-v0", 200), ("Payload-v0", 150)):
    entry = f"{__name__}:{name.partition('-')[0]}"
    if name not in gym.registry:
        gym.register(name, entry_point=entry, max_episode_steps=limit)
