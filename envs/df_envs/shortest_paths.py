"""Shortest ways of the agent's centre through a maze, as polylines that keep some room to the walls. Reads the map."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
from scipy.sparse.csgraph import shortest_path

from df_envs.geometry import Points, convex_corners, crosses_wall, wall_distance
from df_envs.maps import maze_of

# Three nodes around every corner stand for the arc around it, whose chords come nearer to the corner than its ends.
ANGLES = (0.0, np.pi / 4, np.pi / 2)
CHORD = float(np.cos(np.pi / 8))


class ShortestPaths:
    """The visibility graph of the corners (Lozano-Perez and Wesley 1979), for a disc instead of a point.

    Args:
        env_id: an environment id or maze name.
        clearance: how far from a wall's corner the agent's centre goes around it [m]; its radius is 0.1.
    """

    def __init__(self, env_id: str, clearance: float = 0.25) -> None:
        if not 0 < clearance < 0.5:
            raise ValueError(f"clearance must lie between 0 and half a cell, 0.5 m, got {clearance}")
        self.env_id, self.room = env_id, CHORD * clearance - 1e-6
        self.nodes, self.lengths, self.before = _graph(maze_of(env_id).name, clearance)

    def __call__(self, starts: Points, goals: Points, /) -> Points:
        """Return polylines (B, H, 2) from starts (B, 2) to goals (B, 2); shorter ones repeat their goal.

        Where the map has no way, from inside a wall, it is the straight line.
        """
        ways = [self._way(start, goal) for start, goal in zip(starts, goals, strict=True)]
        longest = max(map(len, ways), default=2)
        return np.stack([np.concatenate([way, np.repeat(way[-1:], longest - len(way), 0)]) for way in ways])

    def _way(self, start: Points, goal: Points) -> Points:
        from_start, to_goal = self._visible(start, self.nodes), self._visible(goal, self.nodes)
        around = from_start[:, None] + self.lengths + to_goal[None]
        if self._visible(start, goal[None])[0] <= around.min(initial=np.inf):
            return np.stack([start, goal])
        first, last = np.unravel_index(around.argmin(), around.shape)
        passed = [int(last)]
        while passed[-1] != first:
            passed.append(int(self.before[first, passed[-1]]))
        return np.stack([start, *self.nodes[passed[::-1]], goal])

    def _visible(self, place: Points, others: Points) -> Points:
        """Return distances (V,) from a place to others (V, 2), infinite where a wall is between or too near."""
        room = max(min(self.room, float(wall_distance(self.env_id, place[None])[0]) - 1e-6), 0.0)
        segments = np.stack([np.broadcast_to(place, others.shape), others], axis=1)
        return np.where(crosses_wall(self.env_id, segments, room), np.inf, np.linalg.norm(others - place, axis=-1))


@cache
def _graph(maze_name: str, clearance: float) -> tuple[Points, Points, Points]:
    """Return the nodes (V, 2), the lengths of the ways between them (V, V), and what node a way comes from (V, V)."""
    corners = convex_corners(maze_name)
    nodes = np.array(
        [
            (x + clearance * right * np.cos(angle), y + clearance * up * np.sin(angle))
            for (x, y, right, up), angle in product(corners.tolist(), ANGLES)
        ]
    ).reshape(-1, 2)
    one, two = np.triu_indices(len(nodes), 1)
    blocked = crosses_wall(maze_name, np.stack([nodes[one], nodes[two]], axis=1), CHORD * clearance - 1e-6)
    edges = np.zeros((len(nodes), len(nodes)))  # 0: none
    edges[one, two] = np.where(blocked, 0.0, np.linalg.norm(nodes[one] - nodes[two], axis=-1))
    lengths, before = shortest_path(edges, directed=False, return_predecessors=True)
    return nodes, lengths, before
