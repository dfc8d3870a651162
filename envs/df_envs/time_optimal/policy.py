"""Acting time-optimally: look ahead in the simulator, and judge where that leads by the table."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from df_envs.dynamics import MazeDynamics
from df_envs.maps import MAZES, maze_of
from df_envs.oracle import SUCCESS_RADIUS
from df_envs.time_optimal.solver import FORCES, HOLD, arrival
from df_envs.time_optimal.table import load_table
from df_envs.waypoints import D_GAIN, P_GAIN

Array = NDArray[np.float64]
# Two holds: all pairs of the nine forces, (81, 2 * HOLD, 2).
_SEQUENCES = np.array([np.repeat(pair, HOLD, axis=0) for pair in itertools.product(FORCES, repeat=2)])
_ARRIVED: dict[tuple[str, bytes], int] = {}  # a few hundred bytes a start


class TimeOptimalPolicy:
    """Crosses a fixed-goal maze about as fast as it can be crossed, then holds the goal.

    In every control step all pairs of nine forces, each held for 4 steps, are simulated, and the first force of the
    pair after which the goal is nearest in time, as tabulated by `solve`, is applied. Grids twice as fine, in position
    or in velocity, and other look-aheads changed mean times by less than 1 %. It is a numerical solution nonetheless
    and may be undercut, which `lower_bound_steps` cannot.

    Args:
        env_id: "maze2d-umaze", "maze2d-medium" or "maze2d-large"; other mazes have no single goal to solve for.
    """

    def __init__(self, env_id: str) -> None:
        name = env_id.removeprefix("df_envs:")
        known = [f"maze2d-{maze}" for maze in MAZES]
        if name not in known:
            raise ValueError(
                f"The time-optimal policy is solved for a fixed goal, so it knows {', '.join(known)}, got {env_id!r}"
            )
        self.maze = maze_of(name)
        self.goal = np.array(self.maze.goal)
        self._table, self._dynamics = load_table(self.maze.name), MazeDynamics(self.maze.name)

    def predict(
        self,
        observation: dict[str, Array] | Array,
        state: NDArray[np.bool_] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Forces (B, 2) or (2,) for dict observations, and the state: (B,) whether each has arrived."""
        if not isinstance(observation, dict):
            raise TypeError("The time-optimal policy needs the environments' dict observations")
        states, goals = np.atleast_2d(observation["observation"]), np.atleast_2d(observation["desired_goal"])
        self.check_goals(goals)
        arrived = np.zeros(len(states), dtype=bool)
        if state is not None and len(state) == len(states):
            arrived = state if episode_start is None else state & ~np.ravel(episode_start)
        arrived = arrived | self._there(states)
        actions = np.clip(P_GAIN * (self.goal - states[:, :2]) + D_GAIN * states[:, 2:], -1.0, 1.0)
        if (~arrived).any():  # the others are done, so they only hold the goal
            actions[~arrived] = self.force(states[~arrived])
        return (actions if observation["observation"].ndim > 1 else actions[0]), arrived

    def force(self, states: Array) -> Array:
        """Return the best force (N, 2) in states (N, 4)."""
        number, length = _SEQUENCES.shape[:2]
        reached = self._dynamics(np.repeat(states, number, axis=0), np.tile(_SEQUENCES, (len(states), 1, 1)))
        steps = arrival(reached, self.goal)
        needed = np.where(steps > 0, steps, length + self._table(reached[:, -1]))
        return np.asarray(_SEQUENCES[needed.reshape(len(states), number).argmin(1), 0])

    def steps(self, starts: Array) -> NDArray[np.int64]:
        """Control steps (N,) to first arrival from states (N, 4); the episode's limit where later than that."""
        taken = np.full(len(starts), self.maze.max_episode_steps)
        taken[self._there(starts)] = 0
        rows = np.flatnonzero(taken)
        states = starts[rows]
        for step in range(1, self.maze.max_episode_steps):
            if not len(rows):
                break
            states = self._dynamics(states, self.force(states)[:, None])[:, 0]
            there = self._there(states)
            taken[rows[there]] = step
            rows, states = rows[~there], states[~there]
        return taken

    def _there(self, states: Array) -> NDArray[np.bool_]:
        return np.asarray(((states[:, :2] - self.goal) ** 2).sum(1) <= SUCCESS_RADIUS**2)

    def check_goals(self, goals: Array) -> None:
        """Raise ValueError unless all goals (N, 2) are the one it is solved for."""
        wrong = np.abs(goals - self.goal).max(1) > 1e-9
        if wrong.any():
            raise ValueError(
                f"The time-optimal policy is solved for the goal {self.goal} of maze2d-{self.maze.name}, "
                f"got {goals[wrong][0]}"
            )


def time_optimal_steps(env_id: str, starts: ArrayLike, goals: ArrayLike) -> NDArray[np.float64]:
    """Control steps until `TimeOptimalPolicy` first arrives from exactly these states; remembered for each start.

    Args:
        env_id: "maze2d-umaze", "maze2d-medium" or "maze2d-large".
        starts: (N, 4) x, y [m], vx, vy [m/s].
        goals: (N, 2) x, y, each the maze's fixed goal.

    Returns:
        (N,) steps, 0 where the start is inside the disc; `max_episode_steps` where it did not arrive by then.
    """
    states, targets = np.asarray(starts, dtype=np.float64), np.asarray(goals, dtype=np.float64)
    if states.ndim != 2 or states.shape[1] != 4 or targets.shape != (len(states), 2):
        raise ValueError(f"Need starts (N, 4) and goals (N, 2), got {states.shape} and {targets.shape}")
    policy = _policy(env_id)
    if not len(states):
        return np.zeros(0)
    policy.check_goals(targets)
    keys = [(policy.maze.name, state.tobytes()) for state in states]
    new = [row for row, key in enumerate(keys) if key not in _ARRIVED]
    if new:
        _ARRIVED.update(zip([keys[row] for row in new], policy.steps(states[new]).tolist(), strict=True))
    return np.array([_ARRIVED[key] for key in keys], dtype=np.float64)


@lru_cache(maxsize=4)
def _policy(env_id: str) -> TimeOptimalPolicy:
    return TimeOptimalPolicy(env_id)
