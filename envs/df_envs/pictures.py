"""Where the agent is in pictures of a whole maze, as `camera.maze_view` shows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

from df_envs.maps import Maze

GREEN = 15.0  # how much greener than red and blue a pixel of the agent is, of 255


def pixel_of(maze: Maze, positions: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return where positions (..., 2) [m] lie in a picture of a whole maze, (..., 2) row and column [pixels]."""
    scale = size / max(maze.width, maze.height)
    row = size / 2 - positions[..., 1] * scale - 0.5
    column = size / 2 + positions[..., 0] * scale - 0.5
    return np.stack([row, column], -1)


def agent_in(frames: NDArray[np.uint8], maze: Maze) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Read the agent's position from pictures of a whole maze.

    Args:
        frames: (..., size, size, 3) uint8.
        maze: which one.

    Returns:
        Positions (..., 2) x, y [m], the centre of what is green, NaN where nothing is; and the number of separate
        green spots (...), 1 where all is well.
    """
    size = frames.shape[-2]
    red, green, blue = (frames[..., i].astype(np.float64) for i in range(3))
    greenness = np.clip(green - np.maximum(red, blue), 0, None)  # walls are orange, floors blue
    weight = np.where(greenness > GREEN, greenness, 0.0)
    total = weight.sum((-2, -1))
    row, column = np.mgrid[:size, :size]
    with np.errstate(invalid="ignore", divide="ignore"):
        rows, columns = ((weight * axis).sum((-2, -1)) / total for axis in (row, column))
    scale = max(maze.width, maze.height) / size
    positions = np.stack([(columns + 0.5) * scale, -(rows + 0.5) * scale], -1)
    positions += np.array([-1.0, 1.0]) * max(maze.width, maze.height) / 2
    flat = weight.reshape(-1, size, size) > 0
    spots = np.array([label(spot, np.ones((3, 3)))[1] for spot in flat], dtype=np.int64).reshape(frames.shape[:-3])
    return positions, spots
