import numpy as np
import pytest
from df_envs.geometry import crosses_wall, geodesic_to_disc
from df_envs.maps import MAZES, maze_of, wall_boxes
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

# umaze, free cells in a C open to the left: centres (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1).
KNOWN = [
    ([(-1, 1), (1, 1)], False),
    ([(-1, 1), (-1, -1)], True),  # both ends free, the wall between
    ([(-1, 1), (1, 1), (1, -1), (-1, -1)], False),
    ([(-1, 1.39), (1, 1.39)], False),  # clearance 0.11
    ([(-1, 1.41), (1, 1.41)], True),  # clearance 0.09
    ([(0.58, 1.0), (0.58, -1.0)], True),  # the corridor's left wall ends at x = 0.5
    ([(0.61, 1.0), (0.61, -1.0)], False),
    ([(0.42, 0.72), (0.72, 0.42)], True),  # passes the corner (0.5, 0.5) at 0.099
    ([(0.42, 0.74), (0.74, 0.42)], False),  # at 0.113
    ([(-1, 0)], True),
    ([(1, 0)], False),
    ([(1, 1), (9, 9)], True),  # out of the map
    ([(30, 30), (31, 31)], True),
    ([(1, 1), (np.nan, 1)], True),
]


@pytest.mark.parametrize(("path", "crosses"), KNOWN)
def test_known_segments(path, crosses):
    assert crosses_wall("maze2d-umaze", np.array(path, dtype=float)) == crosses


def test_batches_keep_their_shape():
    paths = np.array([KNOWN[0][0], KNOWN[1][0]], dtype=float).repeat(3, axis=0).reshape(2, 3, 2, 2)
    assert crosses_wall("umaze", paths).tolist() == [[False] * 3, [True] * 3]
    with pytest.raises(ValueError, match="shape"):
        crosses_wall("umaze", np.zeros((5, 3)))


def test_random_segments_against_dense_sampling():
    random = np.random.default_rng(0)
    maze, boxes = MAZES["large"], wall_boxes("large")
    starts = np.array([maze.centre(maze.free_cells[i]) for i in random.integers(46, size=300)])
    starts = starts + random.uniform(-0.39, 0.39, starts.shape)
    ends = starts + random.uniform(-1.2, 1.2, starts.shape)
    crosses = crosses_wall("large", np.stack([starts, ends], axis=1))
    along = np.linspace(0, 1, 401)[:, None, None]
    points = starts + along * (ends - starts)
    outside = np.maximum(np.maximum(boxes[:, :2] - points[..., None, :], points[..., None, :] - boxes[:, 2:]), 0)
    clearance = np.linalg.norm(outside, axis=-1).min(axis=(0, 2))
    clear_cut = np.abs(clearance - 0.1) > 2e-3
    assert clear_cut.sum() > 280
    assert 50 < crosses.sum() < 250
    assert (crosses == (clearance < 0.1))[clear_cut].all()


def test_a_walked_path_is_clear_but_for_soft_contacts():
    # The centre of a real ball is never as near to a wall as 0.03, however it was driven.
    from df_envs.physics import Physics

    physics, random, path = Physics(MAZES["medium"]), np.random.default_rng(1), []
    physics.set_state(*MAZES["medium"].centre((1, 1)), 0.0, 0.0)
    for step in range(3000):
        if step % 30 == 0:
            push = random.choice([-1.0, 0.0, 1.0], 2)
        path.append(physics.step(*push)[:2])
    assert crosses_wall("medium", np.array(path))
    assert not crosses_wall("medium", np.array(path), radius=0.03)


def test_geodesic_by_hand():
    # Around the wall's two corners, grown by 0.02: 1.52 + 1.04 + 1.52 in the max norm, less the radius.
    length = geodesic_to_disc("umaze", np.array([[-1.0, 1.0]]), np.array([[-1.0, -1.0]]), 0.5)
    assert length == pytest.approx([4.08 - 0.5])
    straight = geodesic_to_disc("umaze", np.array([[-1.0, 1.0], [0.6, 1.0]]), np.array([[1.0, 0.9], [1, 1]]), 0.5)
    assert straight == pytest.approx([1.5, 0.0])
    # Pressed against a wall, a goal's disc may reach around a corner; more is allowed for.
    near_wall = geodesic_to_disc("umaze", np.array([[-1.0, 1.0]]), np.array([[1.0, 0.7]]), 0.5)
    assert near_wall == pytest.approx([2 - 0.5 * np.sqrt(2)])


def grid_geodesic(env_id, start, goals, spacing=0.05):
    """Max-norm geodesics on a grid with 8 neighbours, on which every move costs one spacing."""
    maze, boxes = maze_of(env_id), wall_boxes(env_id)
    xs = np.arange(-maze.width / 2, maze.width / 2 + spacing / 2, spacing)
    ys = np.arange(-maze.height / 2, maze.height / 2 + spacing / 2, spacing)
    points = np.stack(np.meshgrid(xs, ys, indexing="ij"), axis=-1)
    grown = boxes + np.array([-0.02, -0.02, 0.02, 0.02])
    free = ~((points[..., None, :] > grown[:, :2]) & (points[..., None, :] < grown[:, 2:])).all(-1).any(-1)
    index = np.arange(free.size).reshape(free.shape)
    rows, columns = [], []
    for dx, dy in ((1, 0), (0, 1), (1, 1), (1, -1)):
        one = (slice(0, len(xs) - dx), slice(max(0, -dy), len(ys) - max(0, dy)))
        two = (slice(dx, len(xs)), slice(max(0, dy), len(ys) - max(0, -dy)))
        both = free[one] & free[two]
        rows.append(index[one][both])
        columns.append(index[two][both])
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.full(len(row), spacing), (row, column)), shape=(free.size, free.size))

    def at(point):
        return index[round((point[0] - xs[0]) / spacing), round((point[1] - ys[0]) / spacing)]

    return dijkstra(graph.tocsr(), directed=False, indices=at(start))[[at(goal) for goal in goals]]


@pytest.mark.parametrize("name", MAZES)
def test_geodesic_against_a_grid(name):
    maze = MAZES[name]
    centres = np.array([maze.centre(cell) for cell in maze.free_cells])
    for start in centres[:: max(1, len(centres) // 5)]:
        exact = geodesic_to_disc(name, np.tile(start, (len(centres), 1)), centres, 0.0)
        grid = grid_geodesic(name, start, centres)
        # The grid rounds every corner up to a grid line, so it is longer, but not by much.
        assert (exact <= grid + 1e-9).all()
        assert (grid <= exact + 0.5).all()
        assert (grid - exact).mean() < 0.15
