"""Mazes of the user's own: rows of text, or a file of them, become environments like ours.

`name = register_maze("my_maze.txt")` registers `maze2d-NAME`, `multi2d-NAME` and `walk2d-NAME`, the first two with
`-pixels` behind them too, in this process; `gym.make("maze2d", maze=["#####", "#G..#", "#####"])` makes one at once.

"#" is a wall, "." or a blank a free cell, "G" the cell of maze2d's goal, a free one; "R" and "S", which other packages
mark starts with, are free cells. Around it all is wall, and every free cell can be reached from every other.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.envs.registration import register
from numpy.typing import NDArray

from df_envs.maps import FAMILIES, MAZES, OWN_MAZES, PIXELS, Cell, Maze
from df_envs.routes import cells_towards

WALL, GOAL, FREE = "#", "G", ". RS"
MazeLike = str | Path | Sequence[str]


def register_families(maze: Maze, given: Any) -> None:
    """Register the environments of a maze; `given` is what their constructors are told, so it ends up in datasets."""
    for family, random_goal in (("maze2d", False), ("multi2d", True)):
        if maze.goal_cell is None and not random_goal:
            continue
        options: dict[str, Any] = {
            "max_episode_steps": maze.max_episode_steps,
            "kwargs": {"maze": given, "random_goal": random_goal},
        }
        register(f"{family}-{maze.name}", "df_envs.point_maze:PointMazeEnv", **options)
        register(f"{family}-{maze.name}{PIXELS}", "df_envs.camera:make_pixel_maze", **options)
    register(f"walk2d-{maze.name}", "df_envs.point_maze:WalkEnv", kwargs={"maze": given})


def register_maze(maze: MazeLike, name: str | None = None, max_episode_steps: int | None = None) -> str:
    """Register the environments of a maze of the user's own in this process; return the maze's name.

    Without a "G" there is no maze2d, whose goal is fixed. Registered again, the same maze changes nothing.

    Args:
        maze: its rows, a text of several lines, or a file with one row a line.
        name: behind "maze2d-"; by default the file's name without its ending, or "custom-" and a hash of the rows.
        max_episode_steps: length of an episode [control steps]; by default 200 and 30 for each cell of the longest of
            all shortest ways through the maze, rounded up to hundreds. (Ours have ways of 6, 11 and 19 cells, and
            300, 600 and 800 steps.)

    Raises:
        ValueError: the rows are no maze; names row and column. Or another maze has this name.
        FileNotFoundError: there is no such file.
    """
    rows, stem = _read(maze)
    name = name or stem or f"custom-{hashlib.sha256(chr(10).join(rows).encode()).hexdigest()[:8]}"
    if not re.fullmatch(r"\w+(-\w+)*", name) or re.search(r"-v\d+$", name) or name.split("-")[0] in FAMILIES:
        raise ValueError(
            f"{name!r} cannot be a maze's name: letters, digits, _ and single - between them, not beginning with "
            f"{', '.join(f'{family}-' for family in FAMILIES)} and not ending like a version, -v0"
        )
    new = parse_maze(rows, name, max_episode_steps)
    known = OWN_MAZES.get(name)
    if known is not None and max_episode_steps not in (None, known.max_episode_steps) and _same(known, new):
        raise ValueError(f"the maze {name!r} is registered already, with episodes of {known.max_episode_steps} steps")
    know(new, list(rows))
    return name


def know(maze: Maze, given: Any = None) -> None:
    """Register a maze that this process does not know yet, as of an environment that comes from another one.

    Args:
        maze: one of ours, or of the user's own.
        given: see `register_families`; by default the maze's rows, its goal among them.

    Raises:
        ValueError: another maze has this name.
    """
    known = {**MAZES, **OWN_MAZES}.get(maze.name)
    if known is not None and not _same(known, maze):
        raise ValueError(f"there is another maze {maze.name!r} already: give this one another name, or rename its file")
    if known is None:
        OWN_MAZES[maze.name] = maze
        register_families(maze, with_goal(maze) if given is None else given)


def with_goal(maze: Maze) -> list[str]:
    """Return a maze's rows with its goal marked, as `parse_maze` reads them."""
    rows = [list(row) for row in maze.rows]
    if maze.goal_cell is not None:
        i, j = maze.goal_cell
        rows[i][j] = GOAL
    return ["".join(row) for row in rows]


def _same(one: Maze, other: Maze) -> bool:
    return (one.rows, one.goal_cell) == (other.rows, other.goal_cell)


def as_maze(maze: MazeLike) -> Maze:
    """Return a maze by its name or an environment's id, or from rows or a file, which registers it.

    Raises:
        ValueError, FileNotFoundError: as `register_maze` and `maze_of`.
    """
    if isinstance(maze, str) and (maze in MAZES or maze in OWN_MAZES):
        return {**MAZES, **OWN_MAZES}[maze]
    rows, stem = _read(maze)
    # A dataset keeps the rows alone: whoever has registered them under a name of their own finds them by it.
    same = parse_maze(rows, "", 1)
    for known in OWN_MAZES.values():
        if stem in (None, known.name) and _same(known, same):
            return known
    return OWN_MAZES[register_maze(maze)]


def parse_maze(rows: Sequence[str], name: str, max_episode_steps: int | None = None) -> Maze:
    """Return the maze that rows of text describe, see `register_maze`; raises ValueError naming row and column."""
    if not rows:
        raise ValueError("a maze needs rows, got none")
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(f"row {i + 1} of the maze has {len(row)} columns, row 1 has {len(rows[0])}: {row!r}")
        for j, letter in enumerate(row):
            if letter not in WALL + GOAL + FREE:
                raise ValueError(f"{_at((i, j))} is {letter!r}; known are '#' wall, '.' or blank free, 'G' goal, R, S")
            if letter != WALL and (i in (0, len(rows) - 1) or j in (0, len(row) - 1)):
                raise ValueError(f"{_at((i, j))} is {letter!r}, but a maze has walls, '#', all around it")
    goals = [(i, j) for i, row in enumerate(rows) for j, letter in enumerate(row) if letter == GOAL]
    if len(goals) > 1:
        raise ValueError(f"a maze has one goal, 'G', at most; this one has them at {', '.join(map(_at, goals))}")
    plain = tuple(re.sub(f"[{GOAL}{FREE}]", ".", row) for row in rows)
    maze = Maze(name, plain, goals[0] if goals else None, max_episode_steps or 0)
    if not maze.free_cells:
        raise ValueError("the maze has no free cell, '.'")
    first = maze.goal_cell or maze.free_cells[0]
    away = cells_towards(_walls(maze), first)
    cut_off = next((cell for cell in maze.free_cells if away[cell] < 0), None)
    if cut_off is not None:
        raise ValueError(f"there is no way between {_at(cut_off)} and {_at(first)}, but starts and goals may be there")
    if max_episode_steps is None:
        return Maze(name, plain, maze.goal_cell, 100 * math.ceil(2 + 0.3 * longest_way(maze)))
    if max_episode_steps < 1:
        raise ValueError(f"max_episode_steps must be at least 1, got {max_episode_steps}")
    return maze


def longest_way(maze: Maze) -> int:
    """Return the length of the longest of all shortest ways between two free cells [cells]."""
    return max(int(cells_towards(_walls(maze), cell).max()) for cell in maze.free_cells)


def _read(maze: MazeLike) -> tuple[tuple[str, ...], str | None]:
    """Return the rows, and the name that a file gives them."""
    if not isinstance(maze, str | Path):
        return tuple(str(row) for row in maze), None
    if isinstance(maze, str) and "\n" in maze:
        return _rows(maze), None
    path = Path(maze)
    if not path.is_file():
        known = ", ".join([*MAZES, *OWN_MAZES])
        raise FileNotFoundError(f"there is no file {str(maze)!r}, and no maze of that name; there are {known}")
    return _rows(path.read_text(encoding="utf-8")), re.sub(r"\W+", "_", path.stem).strip("_")


def _rows(text: str) -> tuple[str, ...]:
    return tuple(line.rstrip() for line in text.strip("\r\n").splitlines())


def _walls(maze: Maze) -> NDArray[np.int64]:
    return np.array([[letter == WALL for letter in row] for row in maze.rows], dtype=np.int64)


def _at(cell: Cell) -> str:
    return f"row {cell[0] + 1}, column {cell[1] + 1}"
