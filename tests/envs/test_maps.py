import numpy as np
import pytest
from df_envs.costs import PathDistance
from df_envs.dynamics import MazeDynamics
from df_envs.maps import MAZES, maze_bounds, maze_of, wall_boxes
from df_envs.oracle import OraclePolicy
from gymnasium_robotics.envs.maze import maps as published
from gymnasium_robotics.envs.maze.maze_v4 import Maze as PublishedMaze

PUBLISHED = {"umaze": published.U_MAZE, "medium": published.MEDIUM_MAZE, "large": published.LARGE_MAZE}


@pytest.mark.parametrize("name", MAZES)
def test_map_and_coordinates_are_the_published_ones(name):
    maze, theirs = MAZES[name], PublishedMaze(PUBLISHED[name], 1.0, 0.4)
    assert [[int(c == "#") for c in row] for row in maze.rows] == PUBLISHED[name]
    for cell in maze.free_cells:
        x, y = theirs.cell_rowcol_to_xy(np.array(cell))
        assert maze.centre(cell) == (x, y)
        assert maze.cell_at(x + 0.3, y - 0.49) == cell


def test_free_cells_goals_and_lengths():
    facts = {name: (len(m.free_cells), m.goal_cell, m.max_episode_steps) for name, m in MAZES.items()}
    assert facts == {"umaze": (7, (1, 1), 300), "medium": (26, (6, 6), 600), "large": (46, (7, 9), 800)}
    assert all(maze.is_free(maze.goal_cell) for maze in MAZES.values())


@pytest.mark.parametrize("name", MAZES)
def test_boxes_and_free_cells_tile_the_bounds(name):
    maze, boxes = MAZES[name], wall_boxes(f"maze2d-{name}")
    xmin, ymin, xmax, ymax = maze_bounds(f"multi2d-{name}")
    assert boxes.shape == (maze.width * maze.height - len(maze.free_cells), 4)
    assert len(boxes) + len(maze.free_cells) == (xmax - xmin) * (ymax - ymin)
    assert (boxes[:, :2].min(0) == (xmin, ymin)).all()
    assert (boxes[:, 2:].max(0) == (xmax, ymax)).all()
    centres = np.array([maze.centre(cell) for cell in maze.free_cells])
    inside = (centres[:, None] > boxes[None, :, :2]) & (centres[:, None] < boxes[None, :, 2:])
    assert not inside.all(-1).any()


def test_nearest_free_cell_of_a_point_in_a_wall():
    maze = MAZES["umaze"]
    x, y = maze.centre((2, 1))
    assert maze.nearest_free(x, y + 0.4) == (1, 1)
    assert maze.nearest_free(x, y - 0.4) == (3, 1)
    assert maze.nearest_free(*maze.centre((1, 2))) == (1, 2)


@pytest.mark.parametrize("env_id", ["maze2d-large", "multi2d-large", "walk2d-large", "df_envs:maze2d-large", "large"])
def test_maze_of_an_id(env_id):
    assert maze_of(env_id) is MAZES["large"]


def test_an_unknown_id_says_what_there_is_and_what_was_meant():
    with pytest.raises(ValueError, match=r"maze2d-umaze, .*Did you mean 'maze2d-medium'"):
        maze_of("maze2d-medum")
    with pytest.raises(ValueError, match="no maze environment 'antmaze-large'"):
        maze_of("antmaze-large")


@pytest.mark.parametrize("make", [MazeDynamics, PathDistance, OraclePolicy])
def test_what_knows_cells_of_a_metre_refuses_ogbenchs(make):
    with pytest.raises(ValueError, match=r"'pointmaze-medium-navigate' is one of OGBench's .* knows maze2d-umaze"):
        make("pointmaze-medium-navigate")
