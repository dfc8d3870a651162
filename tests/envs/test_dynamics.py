import df_envs  # noqa: F401
import gymnasium as gym
import numpy as np
import pytest
from df_envs.dynamics import MazeDynamics
from df_envs.maps import MAZES
from df_envs.physics import Physics


def throws(name, number, steps, seed=0):
    """States anywhere in the free cells, at up to and beyond the speed limit, and long pushes into the walls."""
    random = np.random.default_rng(seed)
    cells = np.array([MAZES[name].centre(cell) for cell in MAZES[name].free_cells])
    places = cells[random.integers(len(cells), size=number)] + random.uniform(-0.45, 0.45, (number, 2))
    states = np.concatenate([places, random.normal(0, 4, (number, 2))], axis=1)
    return states, np.repeat(random.uniform(-1.8, 1.8, (number, steps // 10, 2)), 10, axis=1)


@pytest.mark.parametrize("name", MAZES)
def test_every_step_is_mujocos_through_walls_and_corners(name):
    states, actions = throws(name, 120, 60)
    ours, physics, contacts = MazeDynamics(name)(states, actions), Physics(MAZES[name]), []
    for state, forces, row in zip(states, actions, ours, strict=True):
        physics.set_state(*state)
        for force, got in zip(forces, row, strict=True):
            expected = physics.step(*np.clip(force, -1, 1))
            assert got == pytest.approx(expected, abs=1e-9)
            contacts.append(physics.data.ncon - 1)  # one is with the floor
    assert np.mean(np.array(contacts) > 0) > 0.15
    assert max(contacts) >= 2  # an inner corner, or two blocks of one wall


def test_every_step_is_the_environments():
    env = gym.make("multi2d-large")
    random, dynamics, limited = np.random.default_rng(1), MazeDynamics("multi2d-large"), 0
    for seed in range(6):
        start = env.reset(seed=seed)[0]["observation"]
        actions = np.repeat(random.uniform(-1.5, 1.5, (10, 2)), 20, axis=0)
        seen = np.array([env.step(np.clip(action, -1, 1))[0]["observation"] for action in actions])
        assert dynamics(start[None], actions[None])[0] == pytest.approx(seen, abs=1e-9)
        limited += (np.abs(seen[:, 2:]) > 5).sum()
    assert limited > 10  # the clip before the integration took part


def test_a_row_does_not_depend_on_the_others_and_inputs_stay():
    dynamics, (states, actions) = MazeDynamics("large"), throws("large", 50, 40)
    before = states.copy(), actions.copy()
    together = dynamics(states, actions)
    alone = np.concatenate([dynamics(states[i : i + 1], actions[i : i + 1]) for i in range(50)])
    assert (together == alone).all()
    assert (states == before[0]).all()
    assert (actions == before[1]).all()
    assert dynamics(states[:0], actions[:0]).shape == (0, 40, 4)


def test_mistakes_are_named():
    dynamics = MazeDynamics("umaze")
    with pytest.raises(ValueError, match=r"states \(N, 4\)"):
        dynamics(np.zeros((3, 2)), np.zeros((3, 5, 2)))
    with pytest.raises(ValueError, match=r"state 1, .* lies in a wall of umaze"):
        dynamics(np.array([[1.0, 0, 0, 0], [0, 0, 0, 0]]), np.zeros((2, 5, 2)))
    with pytest.raises(ValueError, match=r"state 0, .* wall"):
        dynamics(np.full((1, 4), np.nan), np.zeros((1, 5, 2)))
