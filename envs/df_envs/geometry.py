"""Exact plane geometry of the mazes: does a path cross a wall, and how far is it at least to a goal.

The map's walls are boxes, the agent is a disc. All lengths are metres.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import shortest_path

from df_envs.maps import Cell, maze_bounds, maze_of, wall_boxes
from df_envs.physics import AGENT_RADIUS

Points = NDArray[np.float64]

# MuJoCo's contacts are soft: driven into a wall at full speed the agent's centre comes as near as 0.03 to it
# (0.0306 at the least in 9000 throws into walls and corners, in all three mazes).
NEAREST_CENTRE = 0.03
# Obstacles of the lower bound: walls grown by a square margin whose corners lie within NEAREST_CENTRE of the
# wall's. So each is part of what the centre cannot enter, and walls that touch at a corner close the gap.
_MARGIN = 0.02  # of a cell's width


def crosses_wall(env_id: str, paths: NDArray[Any], radius: float = AGENT_RADIUS) -> NDArray[np.bool_]:
    """Which paths bring the agent into a wall on the straight way between consecutive points.

    Args:
        env_id: an environment id or maze name.
        paths: (..., H, 2) positions, H >= 1.
        radius: how near to a wall the path may come; the agent's by default.

    Returns:
        (...) booleans. A path that leaves the map or holds NaN counts as crossing.
    """
    points = np.asarray(paths, dtype=np.float64)
    if points.ndim < 2 or points.shape[-1] != 2 or points.shape[-2] < 1:
        raise ValueError(f"paths must have shape (..., H, 2) with H >= 1, got {points.shape}")
    horizon = points.shape[-2]
    flat = points.reshape(-1, horizon, 2)
    if horizon == 1:
        flat = np.repeat(flat, 2, axis=1)
    xmin, ymin, xmax, ymax = maze_bounds(env_id)
    inside = (flat > (xmin, ymin)) & (flat < (xmax, ymax))  # False for NaN
    crosses: NDArray[np.bool_] = np.logical_not(inside.all(axis=(1, 2)))
    boxes = wall_boxes(env_id)
    for index in np.flatnonzero(~crosses):
        starts, ends = flat[index, :-1], flat[index, 1:]
        # Only boxes that a segment's own bounding box comes near to.
        low, high = np.minimum(starts, ends) - radius, np.maximum(starts, ends) + radius
        near = (low[:, None] < boxes[None, :, 2:]).all(-1) & (high[:, None] > boxes[None, :, :2]).all(-1)
        segment, box = np.nonzero(near)
        distance = _segment_box_distance(starts[segment], ends[segment], boxes[box])
        crosses[index] = bool((distance < radius).any())
    return crosses.reshape(points.shape[:-2])


def wall_distance(env_id: str, points: Points) -> Points:
    """Return the distances (N,) of points (N, 2) to the nearest wall, 0 inside it."""
    return np.asarray(_point_box_distance(points[:, None], wall_boxes(env_id)[None]).min(-1))


def geodesic_to_disc(env_id: str, starts: Points, goals: Points, radius: float) -> Points:
    """A lower bound of the max-norm length of every collision-free path from a start to a goal's disc.

    The max norm (the larger of the two axes' distances) is the right one because the agent's speed is limited
    per axis. Among polygonal obstacles the shortest path in any norm runs straight from obstacle corner to
    obstacle corner: pulling a path taut replaces pieces by straight segments, and the triangle inequality
    holds in every norm. So the shortest path in the graph of mutually visible corners is exact for obstacles
    that are contained in the true ones, and therefore no longer than the true shortest path to the goal. A
    point of the disc is at most `radius` from the goal along free ways if the goal is within 0.18 of a cell's width of
    its cell's centre per axis (the protocols' noise is 0.1, OGBench's 0.25); nearer to a wall the disc may reach
    around a corner, where the way to the goal is at most sqrt(2) * radius long. That is subtracted.

    Args:
        env_id: an environment id or maze name.
        starts: (N, 2) positions.
        goals: (N, 2) positions.
        radius: the disc's, at most half a cell.

    Returns:
        (N,) lengths, 0 where the start is inside the disc.
    """
    maze = maze_of(env_id)
    starts, goals = np.asarray(starts, dtype=np.float64), np.asarray(goals, dtype=np.float64)
    corners, between = _corner_graph(maze.name)
    boxes = _obstacles(maze.name)
    length = np.empty(len(starts))
    for row, (start, goal) in enumerate(zip(starts, goals, strict=True)):
        from_start = _visible_lengths(start, corners, boxes)
        to_goal = _visible_lengths(goal, corners, boxes)
        around = (from_start[:, None] + between + to_goal[None, :]).min(initial=np.inf)
        length[row] = min(_visible_lengths(start, goal[None], boxes)[0], around)
    centres = np.array([maze.centre(maze.cell_at(x, y)) for x, y in goals.tolist()]).reshape(-1, 2)
    central = np.abs(goals - centres).max(axis=-1) <= (0.5 - _MARGIN - 0.3) * maze.unit
    shortest = np.maximum(length - radius * np.where(central, 1.0, np.sqrt(2.0)), 0.0)
    there = np.hypot(*(starts - goals).T) <= radius
    return np.asarray(np.where(there, 0.0, shortest))


def _segment_box_distance(starts: Points, ends: Points, boxes: Points) -> Points:
    """Distances (K,) between segments (K, 2)-(K, 2) and boxes (K, 4), 0 where they meet."""
    direction = ends - starts
    # For disjoint convex sets one of the two nearest points is a vertex of its set.
    from_ends = np.minimum(_point_box_distance(starts, boxes), _point_box_distance(ends, boxes))
    corners = boxes[:, [[0, 1], [0, 3], [2, 1], [2, 3]]]  # (K, 4, 2)
    to_corner = corners - starts[:, None]
    squared = np.maximum((direction**2).sum(-1), 1e-300)
    along = np.clip((to_corner * direction[:, None]).sum(-1) / squared[:, None], 0.0, 1.0)
    from_corners = np.linalg.norm(to_corner - along[..., None] * direction[:, None], axis=-1).min(-1)
    meets = _meets(starts, direction, boxes)
    return np.asarray(np.where(meets, 0.0, np.minimum(from_ends, from_corners)))


def _point_box_distance(points: Points, boxes: Points) -> Points:
    outside = np.maximum(np.maximum(boxes[..., :2] - points, points - boxes[..., 2:]), 0.0)
    return np.asarray(np.linalg.norm(outside, axis=-1))


def _meets(starts: Points, direction: Points, boxes: Points) -> NDArray[np.bool_]:
    """Whether segments meet boxes' interiors (slab method); leading axes broadcast."""
    flat = np.abs(direction) < 1e-15
    safe = np.where(flat, 1.0, direction)
    one, two = (boxes[..., :2] - starts) / safe, (boxes[..., 2:] - starts) / safe
    within = (starts > boxes[..., :2]) & (starts < boxes[..., 2:])
    # An axis along which the segment does not move limits nothing if it lies within, everything if not.
    enter = np.where(flat, np.where(within, -np.inf, np.inf), np.minimum(one, two)).max(-1)
    leave = np.where(flat, np.where(within, np.inf, -np.inf), np.maximum(one, two)).min(-1)
    return np.asarray(np.maximum(enter, 0.0) < np.minimum(leave, 1.0))


@cache
def _obstacles(maze_name: str) -> Points:
    # Smaller by a hair than grown, so that a segment along a side or through a corner counts as free.
    margin = (_MARGIN - 1e-9) * maze_of(maze_name).unit
    return np.asarray(wall_boxes(maze_name) + np.array([-margin, -margin, margin, margin]))


@cache
def _corner_graph(maze_name: str) -> tuple[Points, Points]:
    """The obstacles' convex corners (V, 2) and the max-norm lengths of the ways between them (V, V)."""
    corners = convex_corners(maze_name)
    points = corners[:, :2] + _MARGIN * maze_of(maze_name).unit * corners[:, 2:]  # of the grown walls
    boxes = _obstacles(maze_name)
    edges = np.array([_visible_lengths(point, points, boxes) for point in points]).reshape(len(points), len(points))
    return points, np.asarray(shortest_path(np.where(np.isfinite(edges), edges, 0.0), directed=False))


@cache
def convex_corners(maze_name: str) -> Points:
    """Return the walls' corners that ways lead around: (V, 4), x, y, and on which side is free space, +-1, +-1."""
    maze = maze_of(maze_name)
    corners = []
    for row in range(maze.height):
        for column in range(maze.width):
            if maze.is_free((row, column)):
                continue
            x, y = maze.centre((row, column))
            for left, below in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
                diagonal = maze.cell_at(x + left * maze.unit, y + below * maze.unit)
                beside: tuple[Cell, ...] = (diagonal, (row, diagonal[1]), (diagonal[0], column))
                if all(maze.is_free(cell) for cell in beside):
                    corners.append((x + left * maze.unit / 2, y + below * maze.unit / 2, left, below))
    return np.array(corners, dtype=np.float64).reshape(-1, 4)  # none where there is no bend


def _visible_lengths(point: Points, others: Points, boxes: Points) -> Points:
    """Max-norm distances (V,) from a point to others, infinite where an obstacle is between."""
    # A centre pressed deeper into a wall than was ever seen would be blind; its own obstacle is let off.
    around = ((point > boxes[:, :2]) & (point < boxes[:, 2:])).all(-1)
    walls = boxes[~around]
    direction = others - point
    blocked = _meets(point, direction[:, None], walls[None]).any(-1)
    return np.asarray(np.where(blocked, np.inf, np.abs(direction).max(-1)))
