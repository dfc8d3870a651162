"""The mazes: which cells are free, and where they lie in the plane.

Cells are (row, column) from the top left; positions are metres with the origin at the maze's centre, x to the
right and y up, as in Gymnasium-Robotics: x = column + 0.5 - width / 2 and y = height / 2 - (row + 0.5).
Every cell is one metre wide, so a free cell's disc of radius 0.5 touches its four sides.

OGBench's cells are four wide, the middle of cell (1, 1) is the origin, and y grows with the row.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Cell = tuple[int, int]

FAMILIES = ("maze2d", "multi2d", "walk2d")
PIXELS = "-pixels"  # behind an id: only pictures are seen
OGBENCH = "pointmaze"  # the family of OGBench's mazes
OGBENCH_KINDS = ("navigate", "stitch")  # of its datasets


@dataclass(frozen=True)
class Maze:
    """One maze.

    Attributes:
        name: "umaze", "medium" or "large", or the name of a maze of the user's own.
        rows: the map, one string per row, "#" for a wall and "." for a free cell.
        goal_cell: the cell of the fixed goal of `maze2d-*`; of OGBench's mazes, the one where the first task ends.
            None: the maze has no fixed goal.
        max_episode_steps: the length of an episode in control steps.
    """

    name: str
    rows: tuple[str, ...]
    goal_cell: Cell | None
    max_episode_steps: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.rows)

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.rows[0])

    @cached_property
    def free_cells(self) -> tuple[Cell, ...]:
        """All free cells, row by row."""
        return tuple((i, j) for i in range(self.height) for j in range(self.width) if self.rows[i][j] == ".")

    def is_free(self, cell: Cell) -> bool:
        """Whether the cell lies in the map and is no wall."""
        row, column = cell
        return 0 <= row < self.height and 0 <= column < self.width and self.rows[row][column] == "."

    @property
    def goal(self) -> tuple[float, float]:
        """Position (x, y) of the fixed goal, in metres; raises ValueError where there is none."""
        if self.goal_cell is None:
            raise ValueError(f"the maze {self.name!r} has no fixed goal, which maze2d needs: mark its cell with G")
        return self.centre(self.goal_cell)

    @property
    def unit(self) -> float:
        """Width of a cell."""
        return 1.0

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """The whole map with its outer walls: xmin, ymin, xmax, ymax."""
        corners = np.array([self.centre((0, 0)), self.centre((self.height - 1, self.width - 1))])
        low, high = corners.min(0) - self.unit / 2, corners.max(0) + self.unit / 2
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])

    def centre(self, cell: Cell) -> tuple[float, float]:
        """Position (x, y) of a cell's centre, in metres."""
        row, column = cell
        return column + 0.5 - self.width / 2, self.height / 2 - (row + 0.5)

    def cell_at(self, x: float, y: float) -> Cell:
        """The cell that holds a position given in metres."""
        return math.floor(self.height / 2 - y), math.floor(x + self.width / 2)

    def nearest_free(self, x: float, y: float) -> Cell:
        """The free cell that holds a position given in metres, or else the one whose centre is nearest."""
        cell = self.cell_at(x, y)
        if self.is_free(cell):
            return cell
        return min(self.free_cells, key=lambda free: math.dist(self.centre(free), (x, y)))


class OgbenchMaze(Maze):
    """A maze of OGBench's."""

    @property
    def unit(self) -> float:
        """Width of a cell."""
        return 4.0

    def centre(self, cell: Cell) -> tuple[float, float]:
        """Position (x, y) of a cell's centre."""
        row, column = cell
        return (column - 1) * self.unit, (row - 1) * self.unit

    def cell_at(self, x: float, y: float) -> Cell:
        """The cell that holds a position."""
        return math.floor(y / self.unit + 1.5), math.floor(x / self.unit + 1.5)


MAZES = {
    "umaze": Maze("umaze", ("#####", "#...#", "###.#", "#...#", "#####"), (1, 1), 300),
    "medium": Maze(
        "medium",
        (
            "########",
            "#..##..#",
            "#..#...#",
            "##...###",
            "#..#...#",
            "#.#..#.#",
            "#...#..#",
            "########",
        ),
        (6, 6),
        600,
    ),
    "large": Maze(
        "large",
        (
            "############",
            "#....#.....#",
            "#.##.#.#.#.#",
            "#......#...#",
            "#.####.###.#",
            "#..#.#.....#",
            "##.#.#.#.###",
            "#..#...#...#",
            "############",
        ),
        (7, 9),
        800,
    ),
}


OGBENCH_MAZES = {
    "medium": OgbenchMaze(f"{OGBENCH}-medium", MAZES["medium"].rows, (6, 6), 1000),
    "large": OgbenchMaze(f"{OGBENCH}-large", MAZES["large"].rows, (7, 10), 1000),
    "giant": OgbenchMaze(
        f"{OGBENCH}-giant",
        (
            "################",
            "#.#......##....#",
            "#.#.##.#.#..##.#",
            "#...#..#...#...#",
            "#.###.######.#.#",
            "#...#...#....#.#",
            "###.#.#..#.#.###",
            "#...#..#...#...#",
            "#.#.#.######.#.#",
            "#.###...#...##.#",
            "#.....#...#....#",
            "################",
        ),
        (10, 14),
        1000,
    ),
    "teleport": OgbenchMaze(
        f"{OGBENCH}-teleport",
        (
            "############",
            "#.....#.#..#",
            "##.#...#..##",
            "##.###.....#",
            "#....#.#.#.#",
            "#.##.#.#.#.#",
            "#.##.#.#.#.#",
            "#....#...#.#",
            "############",
        ),
        (7, 1),
        1000,
    ),
}


OWN_MAZES: dict[str, Maze] = {}  # of the user's own, see `own_mazes.register_maze`


def maze_of(env_id: str) -> Maze:
    """The maze of an environment id such as "maze2d-large" or "pointmaze-giant-navigate", or of a bare maze name."""
    name = env_id.removeprefix("df_envs:").removesuffix(PIXELS)
    family, _, maze = name.partition("-")
    metre_mazes = {**MAZES, **OWN_MAZES}
    if name in metre_mazes:
        return metre_mazes[name]
    if maze in metre_mazes and family in FAMILIES:
        return metre_mazes[maze]
    if family == OGBENCH and (found := OGBENCH_MAZES.get(maze.partition("-")[0])) is not None:
        return found
    known = [f"{family}-{maze}" for family in FAMILIES for maze in metre_mazes]
    known += [found.name for found in OGBENCH_MAZES.values()]
    close = difflib.get_close_matches(name, [*known, *metre_mazes], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"There is no maze environment {env_id!r}; there are {', '.join(known)}.{hint}")


def metre_maze_of(env_id: str) -> Maze:
    """The same for what knows cells of a metre and the agent in them only; raises ValueError for OGBench's mazes."""
    maze = maze_of(env_id)
    if isinstance(maze, OgbenchMaze):
        known = ", ".join(f"{family}-{name}" for family in FAMILIES[:2] for name in (*MAZES, *OWN_MAZES))
        raise ValueError(f"{env_id!r} is one of OGBench's mazes, whose cells and agent are others; this knows {known}")
    return maze


def wall_boxes(env_id: str) -> NDArray[np.float64]:
    """The walls as axis-aligned boxes, (M, 4) rows of xmin, ymin, xmax, ymax, one per wall cell."""
    maze = maze_of(env_id)
    centres = [maze.centre((i, j)) for i in range(maze.height) for j in range(maze.width) if not maze.is_free((i, j))]
    half = maze.unit / 2
    return np.array([(x - half, y - half, x + half, y + half) for x, y in centres])


def maze_bounds(env_id: str) -> tuple[float, float, float, float]:
    """The whole map with its outer walls: xmin, ymin, xmax, ymax."""
    return maze_of(env_id).bounds
