"""A function of the agent's state, tabulated on a grid over the free cells and interpolated in between."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from df_envs.maps import Maze, maze_of
from df_envs.physics import MAX_SPEED

Array = NDArray[np.float64]
FOLDER = Path(__file__).parent


@dataclass
class ValueTable:
    """Control steps to the goal of a maze, over position and velocity.

    Attributes:
        maze: the maze; the goal is its fixed one.
        spacing: distance of neighbouring positions [m], a whole fraction of a cell.
        speed_step: distance of neighbouring velocities per axis [m/s], a whole fraction of 5.
        steps: (P, V, V) steps from the P free positions with velocities (vx, vy) in -5 ... 5.
    """

    maze: Maze
    spacing: float
    speed_step: float
    steps: NDArray[np.floating]

    @classmethod
    def empty(cls, maze: Maze, spacing: float, speed_step: float) -> ValueTable:
        """Return a table of zeros; spacing [m] and speed_step [m/s] are rounded to whole fractions."""
        if not 0 < spacing <= 0.5 or not 0 < speed_step <= MAX_SPEED:
            raise ValueError(f"Need 0 < spacing <= 0.5 and 0 < speed_step <= 5, got {spacing} and {speed_step}")
        speeds = 2 * round(MAX_SPEED / speed_step) + 1
        table = cls(maze, 1 / round(1 / spacing), 2 * MAX_SPEED / (speeds - 1), np.zeros((0, speeds, speeds)))
        table.steps = np.zeros((len(table.positions), speeds, speeds), np.float32)
        return table

    @property
    def speeds(self) -> Array:
        """(V,) velocities along one axis [m/s]."""
        return np.linspace(-MAX_SPEED, MAX_SPEED, self.steps.shape[1])

    @cached_property
    def positions(self) -> Array:
        """(P, 2) free positions x, y [m]."""
        column, row = np.nonzero(self._free)
        return np.stack([column, row], axis=1) * self.spacing + self._corner

    def states(self) -> Array:
        """All states (P * V * V, 4) in the order of `steps`."""
        vx, vy = np.meshgrid(self.speeds, self.speeds, indexing="ij")
        velocities = np.stack([vx.ravel(), vy.ravel()], axis=1)
        positions = np.repeat(self.positions, len(velocities), axis=0)
        return np.concatenate([positions, np.tile(velocities, (len(self.positions), 1))], axis=1)

    def weights(self, states: Array) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Multilinear interpolation of states (N, 4): indices into `steps.ravel()` and weights, (N, 16) each."""
        place = (states[:, :2] - self._corner) / self.spacing
        speed = (np.clip(states[:, 2:], -MAX_SPEED, MAX_SPEED) + MAX_SPEED) / self.speed_step
        coordinates = np.concatenate([place, speed], axis=1).T  # (4, N)
        number = len(self.speeds)
        most = np.array([*self._free.shape, number, number])[:, None] - 2
        low = np.clip(np.floor(coordinates).astype(np.int32), 0, most)
        high_share = coordinates - low
        index = np.empty((len(states), 16), np.int32)
        weight = np.empty((len(states), 16), np.float32)
        for k, corner in enumerate(np.ndindex(2, 2, 2, 2)):
            column, row, vx, vy = (low[axis] + up for axis, up in enumerate(corner))
            index[:, k] = (self._node[column, row] * number + vx) * number + vy
            weight[:, k] = np.prod([s if up else 1 - s for s, up in zip(high_share, corner, strict=True)], axis=0)
        return index, weight

    def __call__(self, states: Array) -> Array:
        """Steps to the goal, (N,), from states (N, 4)."""
        index, weight = self.weights(states)
        return np.asarray((self.steps.ravel()[index] * weight).sum(1), dtype=np.float64)

    def save(self, path: Path) -> None:
        """Write atomically, in half precision."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".npz", delete=False) as file:
            np.savez_compressed(
                file,
                maze=np.array(self.maze.rows),
                goal_cell=np.array(self.maze.goal_cell),
                grid=np.array([self.spacing, self.speed_step]),
                steps=self.steps.astype(np.float16),
            )
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)

    @cached_property
    def _corner(self) -> Array:
        """Position of the map's lower left node; nodes lie in the middle of squares that tile the cells."""
        return np.array([-self.maze.width, -self.maze.height]) / 2 + self.spacing / 2

    @cached_property
    def _free(self) -> NDArray[np.bool_]:
        """Which nodes lie in free cells, by column and by row from below."""
        cells = np.array([[symbol != "#" for symbol in row] for row in self.maze.rows[::-1]]).T
        per_cell = round(1 / self.spacing)
        return np.kron(cells, np.ones((per_cell, per_cell))).astype(bool)

    @cached_property
    def _node(self) -> NDArray[np.int32]:
        """The index of each node's position; for nodes in walls, which border on free ones, of the nearest free one."""
        index = np.cumsum(self._free.ravel()).reshape(self._free.shape) - 1
        nearest = distance_transform_edt(~self._free, return_distances=False, return_indices=True)
        return np.asarray(index[tuple(nearest)], dtype=np.int32)


def table_path(maze: Maze, folder: Path = FOLDER) -> Path:
    """Where a maze's table is kept."""
    return folder / f"maze2d-{maze.name}.npz"


@lru_cache(maxsize=8)
def load_table(env_id: str, folder: Path = FOLDER) -> ValueTable:
    """Load the table of an environment id or maze name.

    Raises:
        FileNotFoundError, ValueError: there is none, or it was made for another map; both say how to make it.
    """
    maze = maze_of(env_id)
    path, how = table_path(maze, folder), f"make it with `python studies/solve_time_optimal.py maze2d-{maze.name}`"
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}: {how}")
    with np.load(path, allow_pickle=False) as stored:
        if tuple(stored["maze"]) != maze.rows or tuple(stored["goal_cell"]) != maze.goal_cell:
            raise ValueError(f"{path} was made for another map or goal: {how}")
        spacing, speed_step = stored["grid"].tolist()
        return ValueTable(maze, spacing, speed_step, stored["steps"].astype(np.float32))
