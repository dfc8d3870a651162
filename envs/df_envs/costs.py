"""What planners that know the simulator minimise: the way that is left to the goal, as the crow flies or as one walks.

The shortest path reads the map, which learned agents never do; rows of tables that use it say so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from df_envs.maps import maze_of, metre_maze_of
from df_envs.oracle import SUCCESS_RADIUS
from df_envs.physics import AGENT_RADIUS

Array = NDArray[np.float64]
SPACING = 0.05  # of the nodes between which ways are searched [m]
# Moves to 16 neighbours, so that lengths are at most 2.8 % too long.
_MOVES = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2))


def straight_distance(positions: Array, goals: Array) -> Array:
    """Euclidean distances (B, K, H) from positions (B, K, H, 2) to goals (B, 2), through walls."""
    offset = positions - goals[:, None, None]
    return np.hypot(offset[..., 0], offset[..., 1])


class PathDistance:
    """Lengths of the shortest ways of the agent's centre to the goal, around the walls; reads the map.

    Dijkstra's algorithm on nodes 0.05 m apart, interpolated bilinearly, remembered for each goal.

    Args:
        env_id: an environment id or maze name.
    """

    def __init__(self, env_id: str) -> None:
        self.maze = metre_maze_of(env_id)

    def __call__(self, positions: Array, goals: Array, /) -> Array:
        """Return distances (B, K, H) [m] from positions (B, K, H, 2) to goals (B, 2)."""
        out = np.empty(positions.shape[:-1])
        unique, of = np.unique(goals, axis=0, return_inverse=True)
        for i, (x, y) in enumerate(unique.tolist()):
            rows = np.flatnonzero(of.ravel() == i)
            out[rows] = self._interpolate(_field(self.maze.name, x, y), positions[rows])
        return out

    def _interpolate(self, field: Array, positions: Array) -> Array:
        place_x = (positions[..., 0] + self.maze.width / 2) / SPACING - 0.5
        place_y = (positions[..., 1] + self.maze.height / 2) / SPACING - 0.5
        column = np.clip(place_x.astype(int), 0, field.shape[0] - 2)
        row = np.clip(place_y.astype(int), 0, field.shape[1] - 2)
        right, up = place_x - column, place_y - row
        left_side = field[column, row] * (1 - up) + field[column, row + 1] * up
        right_side = field[column + 1, row] * (1 - up) + field[column + 1, row + 1] * up
        return np.asarray(left_side * (1 - right) + right_side * right)


@lru_cache(maxsize=4)
def _graph(maze_name: str) -> tuple[NDArray[np.bool_], csr_matrix]:
    """Which nodes the agent's centre can be at without touching a wall, and the lengths of the moves between them."""
    maze = maze_of(maze_name)
    cells = np.array([[symbol != "#" for symbol in row] for row in maze.rows[::-1]]).T
    per_cell = round(1 / SPACING)
    free = np.kron(cells, np.ones((per_cell, per_cell))).astype(bool)
    # The transform measures to the nearest node in a wall, which lies half a spacing behind the wall's face.
    free = distance_transform_edt(free) * SPACING >= AGENT_RADIUS + SPACING / 2
    index = np.arange(free.size).reshape(free.shape)
    here, there, length = [], [], []
    for right, up in _MOVES:
        a = index[: free.shape[0] - right, max(0, -up) : free.shape[1] - max(0, up)]
        b = index[right:, max(0, up) : free.shape[1] + min(0, up)]
        open_ = free.ravel()[a] & free.ravel()[b]
        here.append(a[open_])
        there.append(b[open_])
        length.append(np.full(int(open_.sum()), np.hypot(right, up) * SPACING))
    edges = np.concatenate(length), (np.concatenate(here), np.concatenate(there))
    return free, csr_matrix(edges, shape=(free.size, free.size))


@lru_cache(maxsize=512)
def _field(maze_name: str, goal_x: float, goal_y: float) -> Array:
    """Lengths of the ways from all nodes (columns, rows) to a goal."""
    maze, (free, moves) = maze_of(maze_name), _graph(maze_name)
    x = (np.arange(free.shape[0]) + 0.5) * SPACING - maze.width / 2
    y = (np.arange(free.shape[1]) + 0.5) * SPACING - maze.height / 2
    from_goal = np.hypot(x[:, None] - goal_x, y[None] - goal_y)
    # The goal lies between nodes: begin at all of those around it, each as far off as it is.
    seeds = np.flatnonzero(free & (from_goal <= max(2 * SPACING, from_goal[free].min() + SPACING)))
    lengths = dijkstra(moves, directed=False, indices=seeds) + from_goal.ravel()[seeds][:, None]
    field = lengths.min(0).reshape(free.shape)
    # In walls: the nearest free node's, and the way back to it.
    back, nearest = distance_transform_edt(~free, return_indices=True)
    return np.asarray(field[tuple(nearest)] + back * SPACING)


@dataclass(frozen=True)
class GoalCost:
    """What a future costs: the mean of the way left, with weight on its end, and on speed once it has arrived.

    The mean makes arriving sooner better, the weight on the end looks beyond the horizon, and the weight on speed
    within the goal's disc makes staying there best.

    Attributes:
        distance: (positions (B, K, H, 2), goals (B, 2)) -> (B, K, H) [m]: `straight_distance` or a `PathDistance`.
        end: weight of the last state's distance.
        speed: weight of the mean squared speed inside the goal's disc [1 / (m/s)^2 m].
    """

    distance: Callable[[Array, Array], Array]
    end: float = 1.0
    speed: float = 0.02

    def __call__(self, states: Array, goals: Array, /) -> Array:
        """Return costs (B, K) [m] of states (B, K, H, 4) with goals (B, 2)."""
        left = self.distance(states[..., :2], goals)
        there = straight_distance(states[..., :2], goals) <= SUCCESS_RADIUS
        squared_speed = (states[..., 2:] ** 2).sum(-1)
        return np.asarray(left.mean(-1) + self.end * left[..., -1] + self.speed * (there * squared_speed).mean(-1))
