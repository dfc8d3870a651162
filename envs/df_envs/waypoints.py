"""Controllers that read the map: PD control from waypoint to waypoint along a route of cells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_envs.maps import metre_maze_of
from df_envs.routes import ROUTES

P_GAIN = 10.0
D_GAIN = -1.0


class RouteFollower:
    """PD control along one route: the part that the demonstrator and the oracle share.

    The first waypoint is the centre of the route's second cell, the last is the goal itself; each is left for
    the next once the agent is within `threshold` of it.
    """

    __slots__ = ("goal", "targets", "threshold")

    def __init__(self, targets: list[tuple[float, float]], threshold: float) -> None:
        # Reversed, so that the current target is the last and advancing is a pop.
        self.targets = targets[::-1]
        self.threshold = threshold
        self.goal = targets[-1]

    def force(self, x: float, y: float, vx: float, vy: float) -> tuple[float, float]:
        """Unclipped force (2,) for a state [m, m/s]."""
        targets = self.targets
        target_x, target_y = targets[-1]
        if len(targets) > 1 and math.hypot(target_x - x, target_y - y) <= self.threshold:
            targets.pop()
            target_x, target_y = targets[-1]
        return P_GAIN * (target_x - x) + D_GAIN * vx, P_GAIN * (target_y - y) + D_GAIN * vy


class WaypointPolicy:
    """Follows routes of cells to the goal; SB3's `predict`, batched.

    Args:
        env_id: an environment id or maze name; the map comes from it.
        route: "shortest" (breadth-first) or "dfs" (depth-first).
        threshold: distance at which the next waypoint is taken [m].
        jitter: every waypoint but the first and the goal is moved by -U(0, jitter) per axis [m].
        action_noise: standard deviation of Gaussian noise on the force, before it is clipped to [-1, 1].
        seed: seeds jitter and noise.
    """

    def __init__(
        self,
        env_id: str,
        *,
        route: str,
        threshold: float,
        jitter: float = 0.0,
        action_noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        if route not in ROUTES:
            raise ValueError(f"route must be one of {', '.join(ROUTES)}, got {route!r}")
        self.maze = metre_maze_of(env_id)
        self._route = ROUTES[route]
        self.threshold, self.jitter, self.action_noise = threshold, jitter, action_noise
        self._random = np.random.default_rng(seed)
        self._noise: list[tuple[float, float]] = []

    def follower(self, x: float, y: float, goal_x: float, goal_y: float) -> RouteFollower:
        """A controller from a position to a goal, in metres."""
        maze = self.maze
        cells = self._route(maze.name, maze.nearest_free(x, y), maze.nearest_free(goal_x, goal_y))
        targets = [maze.centre(cell) for cell in cells[1:-1]]
        if self.jitter and len(targets) > 1:
            moved = np.array(targets)
            moved[1:] -= self._random.uniform(0.0, self.jitter, moved[1:].shape)
            targets = [(target_x, target_y) for target_x, target_y in moved.tolist()]
        return RouteFollower([*targets, (goal_x, goal_y)], self.threshold)

    def predict(
        self,
        observation: dict[str, NDArray[np.float64]] | NDArray[np.float64],
        state: list[RouteFollower] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float64], list[RouteFollower]]:
        """Forces (B, 2) or (2,) for dict observations; `deterministic` leaves out the action noise."""
        if not isinstance(observation, dict):
            raise TypeError("The waypoint controllers need the environments' dict observations")
        states, goals = observation["observation"], observation["desired_goal"]
        single = states.ndim == 1
        rows: list[list[float]] = [states.tolist()] if single else states.tolist()
        targets: list[list[float]] = [goals.tolist()] if single else goals.tolist()
        followers: list[Any] = [None] * len(rows) if state is None or len(state) != len(rows) else list(state)
        starts = [False] * len(rows) if episode_start is None else np.ravel(episode_start).tolist()
        actions = []
        for i, ((x, y, vx, vy), (goal_x, goal_y)) in enumerate(zip(rows, targets, strict=True)):
            if followers[i] is None or starts[i] or followers[i].goal != (goal_x, goal_y):
                followers[i] = self.follower(x, y, goal_x, goal_y)
            force_x, force_y = followers[i].force(x, y, vx, vy)
            if self.action_noise and not deterministic:
                noise_x, noise_y = self._next_noise()
                force_x += noise_x
                force_y += noise_y
            actions.append((min(max(force_x, -1.0), 1.0), min(max(force_y, -1.0), 1.0)))
        return np.array(actions[0] if single else actions), followers

    def _next_noise(self) -> tuple[float, float]:
        # Drawn in blocks: one call per step would cost more than the physics.
        if not self._noise:
            self._noise = list(map(tuple, self._random.normal(0.0, self.action_noise, (4096, 2)).tolist()))
        return self._noise.pop()


def demonstrator(env_id: str, *, route: str = "dfs", action_noise: float = 0.5, seed: int = 0) -> WaypointPolicy:
    """The controller behind D4RL's and Minari's point-maze data: slow, noisy and, with "dfs", roundabout."""
    return WaypointPolicy(env_id, route=route, threshold=0.1, jitter=0.2, action_noise=action_noise, seed=seed)
