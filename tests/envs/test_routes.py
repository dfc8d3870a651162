import numpy as np
import pytest
from df_envs.maps import MAZES
from df_envs.routes import depth_first_route, shortest_route
from scipy.sparse.csgraph import shortest_path


def pairs(maze):
    return [(start, goal) for start in maze.free_cells for goal in maze.free_cells]


@pytest.mark.parametrize("name", MAZES)
def test_routes_are_connected_free_and_simple(name):
    maze = MAZES[name]
    for search in (shortest_route, depth_first_route):
        for start, goal in pairs(maze):
            route = search(name, start, goal)
            assert (route[0], route[-1]) == (start, goal)
            assert len(set(route)) == len(route)
            assert all(maze.is_free(cell) for cell in route)
            steps = np.abs(np.diff(np.array(route), axis=0)).sum(1) if len(route) > 1 else np.ones(1)
            assert (steps == 1).all()


@pytest.mark.parametrize("name", MAZES)
def test_breadth_first_is_shortest(name):
    cells = np.array(MAZES[name].free_cells)
    adjacent = np.abs(cells[:, None] - cells[None]).sum(-1) == 1
    lengths = shortest_path(adjacent.astype(float))
    ours = [len(shortest_route(name, *pair)) - 1 for pair in pairs(MAZES[name])]
    assert ours == lengths.ravel().tolist()


def test_depth_first_is_roundabout():
    # Mean route over all pairs of cells, against 2.29 / 4.89 / 7.76 for the shortest. To renew: print `mean`.
    for name, expected in {"umaze": 2.2857, "medium": 7.0503, "large": 10.7287}.items():
        mean = np.mean([len(depth_first_route(name, *pair)) - 1 for pair in pairs(MAZES[name])])
        assert mean == pytest.approx(expected, abs=1e-4)
    # Down is looked at last and therefore taken first, all the way.
    assert len(depth_first_route("medium", (1, 1), (2, 4))) - 1 == 14
    assert len(shortest_route("medium", (1, 1), (2, 4))) - 1 == 6


def test_a_wall_cell_is_an_error():
    with pytest.raises(ValueError, match=r"goal cell \(2, 1\) is not a free cell of umaze"):
        shortest_route("umaze", (1, 1), (2, 1))
