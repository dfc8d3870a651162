"""Routes over the cells of a maze: breadth-first (shortest) and depth-first (what made Minari's sets)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_envs.maps import Cell, maze_of

Route = tuple[Cell, ...]
# Right, left, up, down on the page: the order in which the published demonstrator looked at neighbours. The
# order matters to depth-first search, which commits to the neighbour it saw last.
_NEIGHBOURS = ((0, 1), (0, -1), (-1, 0), (1, 0))


def _search(name: str, start: Cell, goal: Cell, take: Callable[[deque[Cell]], Cell]) -> Route:
    maze = maze_of(name)
    for label, cell in (("start", start), ("goal", goal)):
        if not maze.is_free(cell):
            raise ValueError(f"The {label} cell {cell} is not a free cell of {name}")
    came_from: dict[Cell, Cell] = {start: start}
    frontier = deque([start])
    while frontier:
        cell = take(frontier)
        if cell == goal:
            break
        for row, column in _NEIGHBOURS:
            neighbour = cell[0] + row, cell[1] + column
            if maze.is_free(neighbour) and neighbour not in came_from:
                came_from[neighbour] = cell
                frontier.append(neighbour)
    route = [goal]
    while route[-1] != start:
        route.append(came_from[route[-1]])
    return tuple(reversed(route))


@cache
def shortest_route(maze_name: str, start: Cell, goal: Cell) -> Route:
    """Breadth-first route from start to goal, both ends included."""
    return _search(maze_name, start, goal, deque.popleft)


@cache
def depth_first_route(maze_name: str, start: Cell, goal: Cell) -> Route:
    """Depth-first route from start to goal, both ends included; often not the shortest.

    Cells count as seen when they are put on the stack, as in the search that made Minari's PointMaze sets
    (textbook depth-first search marks them when they are taken off, and finds other routes).
    """
    return _search(maze_name, start, goal, deque.pop)


def cells_towards(maze_map: NDArray[Any], goal: Cell) -> NDArray[np.int64]:
    """Return how many cells each cell of a map (rows, columns), 1 for walls, is from the goal; -1 without a way."""
    away = np.full(maze_map.shape, -1, dtype=np.int64)
    away[goal] = 0
    frontier = deque([goal])
    while frontier:
        i, j = frontier.popleft()
        for down, right in _NEIGHBOURS:
            cell = (i + down, j + right)
            if maze_map[cell] == 0 and away[cell] < 0:
                away[cell] = away[i, j] + 1
                frontier.append(cell)
    return away


ROUTES: dict[str, Callable[[str, Cell, Cell], Route]] = {"shortest": shortest_route, "dfs": depth_first_route}
