import numpy as np
import pytest
from df_envs.costs import GoalCost, PathDistance, straight_distance
from df_envs.geometry import geodesic_to_disc
from df_envs.maps import MAZES
from df_envs.routes import shortest_route


def distance_to(env_id, goal, places):
    return PathDistance(env_id)(np.array(places, float)[None, None], np.array([goal], float))[0, 0]


def test_in_the_open_the_path_is_straight():
    random = np.random.default_rng(0)
    x, y = MAZES["large"].centre((3, 3))  # a corridor from column 1 to 6
    goal, places = (x, y), np.stack([x + random.uniform(-1.9, 2.9, 50), y + random.uniform(-0.3, 0.3, 50)], 1)
    true = np.hypot(*(places - goal).T)
    assert distance_to("large", goal, places) == pytest.approx(true, rel=0.03, abs=0.02)


@pytest.mark.parametrize("name", MAZES)
def test_ways_lead_around_walls(name):
    maze = MAZES[name]
    goal = maze.centre(maze.goal_cell)
    cells = [cell for cell in maze.free_cells if cell != maze.goal_cell]
    routes = np.array([len(shortest_route(maze.name, cell, maze.goal_cell)) - 1 for cell in cells])
    centres = np.array([maze.centre(cell) for cell in cells])
    bound = geodesic_to_disc(name, centres, np.tile(goal, (len(cells), 1)), 0.0)  # the max norm's, without margins
    lengths = distance_to(name, goal, centres)
    assert (lengths <= routes * 1.03).all()  # corners are cut, never lengthened
    assert (lengths >= bound * 0.999).all()
    assert (lengths >= np.hypot(*(centres - goal).T) * 0.999).all()


def test_the_u_around_a_wall_has_a_known_length():
    # From (1, 1) to (3, 1) of umaze: through the right column, around the two corners of the wall, 0.1 off them.
    maze = MAZES["umaze"]
    start, goal = np.array(maze.centre((1, 1))), np.array(maze.centre((3, 1)))
    corner = np.array([0.5, 0.5]) + 0.1 / np.sqrt(2)
    known = 2 * np.linalg.norm(corner - start) + 2 * corner[1]
    assert distance_to("umaze", goal, [start])[0] == pytest.approx(known, rel=0.03)


def test_into_a_wall_it_only_gets_farther_and_nothing_jumps():
    x, y = MAZES["umaze"].centre((1, 1))
    across = distance_to("umaze", (x, y), [(x + 0.5, y - d) for d in np.linspace(0, 0.6, 61)])
    assert (np.diff(across) > -1e-9).all()
    assert np.diff(across).max() < 0.03


def test_goals_of_a_batch_are_their_own():
    random = np.random.default_rng(2)
    goals = np.array([MAZES["large"].centre(cell) for cell in MAZES["large"].free_cells[:3]]) + 0.07
    positions = np.array(MAZES["large"].centre((3, 4))) + random.uniform(-0.4, 0.4, (3, 2, 5, 2))
    distance = PathDistance("multi2d-large")
    together = distance(positions, goals)
    assert together.shape == (3, 2, 5)
    assert len(np.unique(together[:, 0, 0])) == 3
    for i in range(3):
        assert (distance(positions[i : i + 1], goals[i : i + 1]) == together[i : i + 1]).all()


def test_sooner_is_better_and_staying_is_best():
    goal, steps = np.array([[0.0, 0.0]]), np.arange(60)
    cost = GoalCost(straight_distance)

    def future(positions, speed):
        states = np.zeros((60, 4))
        states[:, 0], states[:, 2] = positions, speed
        return states

    arrives = future(np.maximum(3 - 0.05 * steps, 0), np.where(steps < 60, 5.0, 0.0))
    late = future(np.maximum(3 - 0.04 * steps, 0), 4.0)
    stays, races_through = future(np.zeros(60), 0.0), future(0.05 * (steps - 30), 5.0)
    costs = cost(np.stack([stays, races_through, arrives, late])[None], goal)[0]
    assert (np.diff(costs) > 0)[[0, 2]].all()
    assert costs[0] == 0
    # Within the disc speed costs, outside it does not: one arrives at full speed.
    fast, slow = future(np.full(60, 0.2), 5.0), future(np.full(60, 0.2), 1.0)
    away = future(np.full(60, 2.0), 5.0), future(np.full(60, 2.0), 1.0)
    inside, outside = cost(np.stack([fast, slow])[None], goal)[0], cost(np.stack(away)[None], goal)[0]
    assert inside[0] > inside[1]
    assert outside[0] == outside[1]
