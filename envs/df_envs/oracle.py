"""The references of every time-to-goal: an oracle that reads the map, and a bound that nothing can beat."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from df_envs.geometry import geodesic_to_disc
from df_envs.maps import maze_of, metre_maze_of
from df_envs.physics import Physics
from df_envs.waypoints import WaypointPolicy

SUCCESS_RADIUS = 0.5
ORACLE_THRESHOLD = 0.5
# Full speed is +-5 m/s per axis, clipped before a step of full force is added: 0.01 * (5 + 0.01 * 95 / 4.19).
# 0.0523 is the most that was measured away from walls.
MAX_AXIS_STEP = 0.0524


class OraclePolicy(WaypointPolicy):
    """Breadth-first path over the map, PD control with gains 10 and -1, next waypoint within 0.5."""

    def __init__(self, env_id: str) -> None:
        super().__init__(env_id, route="shortest", threshold=ORACLE_THRESHOLD)


def oracle_steps(env_id: str, starts: ArrayLike, goals: ArrayLike) -> NDArray[np.float64]:
    """Control steps until the oracle first arrives, run in MuJoCo from exactly these states.

    Args:
        env_id: an environment id or maze name.
        starts: (N, 4) x, y [m], vx, vy [m/s].
        goals: (N, 2) x, y.

    Returns:
        (N,) steps, 0 where the start is inside the disc; `max_episode_steps` where it did not arrive by then.
    """
    states, targets = _checked(starts, goals, 4)
    name = metre_maze_of(env_id).name
    return np.array(
        [
            _oracle_run(name, tuple(state), tuple(goal))
            for state, goal in zip(states.tolist(), targets.tolist(), strict=True)
        ],
        dtype=np.float64,
    )


def lower_bound_steps(env_id: str, starts: ArrayLike, goals: ArrayLike) -> NDArray[np.float64]:
    """Control steps that no policy can undercut: the max-norm way to the goal's disc at the speed limit.

    The speed limit holds per axis, so the length is the max norm's. It is a bound of free motion: an agent that
    grazes a corner at full speed may for one step be deflected to 0.067 along one axis, which never made up
    for the 21 steps (half a metre) of gathering speed that the bound leaves out.

    Args:
        env_id: an environment id or maze name.
        starts: (N, 4) states or (N, 2) positions; the velocity is not used.
        goals: (N, 2) x, y.

    Returns:
        (N,) steps, not rounded, 0 where the start is inside the disc.
    """
    positions, targets = _checked(np.asarray(starts, dtype=np.float64)[..., :2], goals, 2)
    return geodesic_to_disc(env_id, positions, targets, SUCCESS_RADIUS) / MAX_AXIS_STEP


def _checked(starts: ArrayLike, goals: ArrayLike, width: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    states, targets = np.asarray(starts, dtype=np.float64), np.asarray(goals, dtype=np.float64)
    if states.ndim != 2 or states.shape[1] != width or targets.shape != (len(states), 2):
        raise ValueError(f"Need starts (N, {width}) and goals (N, 2), got {states.shape} and {targets.shape}")
    if not (np.isfinite(states).all() and np.isfinite(targets).all()):
        raise ValueError("starts and goals must be finite")
    return states, targets


@lru_cache(maxsize=4)
def _oracle(maze_name: str) -> tuple[OraclePolicy, Physics]:
    return OraclePolicy(maze_name), Physics(maze_of(maze_name))


@lru_cache(maxsize=100_000)
def _oracle_run(maze_name: str, state: tuple[float, ...], goal: tuple[float, ...]) -> int:
    policy, physics = _oracle(maze_name)
    x, y, vx, vy = state
    goal_x, goal_y = goal
    follower = policy.follower(x, y, goal_x, goal_y)
    physics.set_state(x, y, vx, vy)
    limit = policy.maze.max_episode_steps
    for step in range(limit):
        if math.hypot(x - goal_x, y - goal_y) <= SUCCESS_RADIUS:
            return step
        force_x, force_y = follower.force(x, y, vx, vy)
        x, y, vx, vy = physics.step(min(max(force_x, -1.0), 1.0), min(max(force_y, -1.0), 1.0))
    return limit
