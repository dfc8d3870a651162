"""Value iteration for the time to the goal of a maze."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from df_envs.dynamics import MazeDynamics
from df_envs.maps import Maze
from df_envs.oracle import SUCCESS_RADIUS
from df_envs.time_optimal.table import ValueTable

Array = NDArray[np.float64]
# Full force or none along each axis: time-optimal control of a force-limited mass is bang-bang (Pontryagin).
FORCES = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=2)))
HOLD = 4  # control steps that a force is held: 0.9 m/s of speed, about the velocity grid's step
_CHUNK = 8192  # states whose transitions are simulated at once


def arrival(states: Array, goal: Array) -> NDArray[np.int64]:
    """First control step, from 1, at which rollouts (N, H, 4) are at the goal (2,) or (N, 2); 0 where never."""
    offset = states[..., :2] - np.reshape(goal, (-1, 1, 2))
    there = (offset**2).sum(-1) <= SUCCESS_RADIUS**2
    return np.where(there.any(1), there.argmax(1) + 1, 0)


def solve(
    maze: Maze,
    spacing: float = 0.1,
    speed_step: float = 1.0,
    tolerance: float = 0.01,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> ValueTable:
    """Control steps to the maze's goal from everywhere, by value iteration on a grid.

    T(s) = min over forces of (steps until arrival, if within the hold; else the hold + T(next state)), with the next
    state from the simulator and T interpolated multilinearly (a semi-Lagrangian scheme: Falcone & Ferretti 1998).
    Iterated from T = 0 upwards, so each sweep is a better lower bound of the grid's solution. The solution carries
    the interpolation's error, so it is near the optimum, not a bound of it.

    Args:
        maze: the maze; the goal is its fixed one.
        spacing: of positions [m].
        speed_step: of velocities [m/s].
        tolerance: largest change in a sweep at which to stop [control steps].
        on_progress: called with (what, done, total); of sweeps the total is unknown and given as 0.

    Returns:
        The table. On the large maze, 0.1 m and 1 m/s take about 10 s and 2 GB; both grow as 1 / (spacing speed_step)^2.
    """
    report = on_progress or (lambda what, done, total: None)
    table = ValueTable.empty(maze, spacing, speed_step)
    states, goal = table.states(), np.array(maze.goal)
    cost, next_steps = _transitions(table, states, goal, report)
    there = ((states[:, :2] - goal) ** 2).sum(1) <= SUCCESS_RADIUS**2
    steps = np.zeros(len(states), np.float32)
    for sweep in itertools.count(1):
        new = (cost + next_steps @ steps).reshape(len(states), len(FORCES)).min(1)
        new[there] = 0.0
        change, steps = float(np.abs(new - steps).max()), new
        report("sweeps", sweep, 0)
        if change < tolerance:
            break
    table.steps = steps.reshape(table.steps.shape)
    return table


def _transitions(
    table: ValueTable, states: Array, goal: Array, report: Callable[[str, int, int], None]
) -> tuple[NDArray[np.float32], csr_matrix]:
    """Cost (S * 9,) of each state's nine holds and the matrix (S * 9, S) that interpolates what follows them."""
    dynamics, number = MazeDynamics(table.maze.name), len(FORCES)
    cost = np.empty(len(states) * number, np.float32)
    index = np.empty((len(cost), 16), np.int32)
    weight = np.empty((len(cost), 16), np.float32)
    for low in range(0, len(states), _CHUNK):
        chunk = states[low : low + _CHUNK]
        forces = np.repeat(np.tile(FORCES, (len(chunk), 1))[:, None], HOLD, axis=1)
        reached = dynamics(np.repeat(chunk, number, axis=0), forces)  # (n * 9, HOLD, 4)
        steps = arrival(reached, goal)
        rows = slice(low * number, (low + len(chunk)) * number)
        cost[rows] = np.where(steps > 0, steps, HOLD)
        index[rows], weight[rows] = table.weights(reached[:, -1])
        weight[rows][steps > 0] = 0.0
        report("transitions", low + len(chunk), len(states))
    ends = np.arange(0, index.size + 1, 16)
    return cost, csr_matrix((weight.ravel(), index.ravel(), ends), shape=(len(cost), len(states)))
