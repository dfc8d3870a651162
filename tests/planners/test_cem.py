import importlib.util
from pathlib import Path

import numpy as np
import pytest

from planners.cem import CEM

SPEC = importlib.util.spec_from_file_location("double_integrator", Path(__file__).with_name("double_integrator.py"))
mass = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mass)
HORIZON, cost, dynamics, noise_of, total = mass.HORIZON, mass.cost, mass.dynamics, mass.noise_of, mass.total

START = np.array([[1.0, 0.0, 0.0], [-0.7, 0.5, 0.0]])
GOAL = np.array([[0.0], [0.4]])
ZEROS = np.zeros((2, HORIZON, 1))


def test_it_finds_the_least_squares_plan_of_a_double_integrator():
    planner = CEM(200, HORIZON, iterations=40, elites=20, sigma=1.0, least_sigma=0.0, smoothing=0.3, action_limit=50.0)
    plan, actions = planner.plan(START, GOAL, ZEROS, noise_of(2), dynamics, cost)
    best = mass.best_actions(START, GOAL)
    found, best, begin = (total(START, each, GOAL) for each in (actions, best, ZEROS))
    assert (found <= best + 0.03 * (begin - best)).all()
    assert (found >= best - 1e-9).all()
    assert (plan.actions == actions).all()
    assert (plan.observations[:, 1] == dynamics(START, actions)[:, 0]).all()


def test_one_iteration_is_the_mean_of_the_elites():
    noise = np.random.default_rng(0).standard_normal((1, 10, 1, 1))

    def off_two(states, goals):
        return (states[:, :, -1, 2] - 0.5) ** 2

    planner = CEM(10, 1, iterations=1, elites=3, sigma=0.5, smoothing=0.0, keep=0.25, action_limit=9.0)
    mean = np.full((1, 1, 1), 0.2)
    _, actions = planner.plan(START[:1], GOAL[:1], mean, lambda i, shape: noise, dynamics, off_two)
    sampled = 0.2 + 0.5 * noise.ravel()
    sampled[0] = 0.2
    elites = sampled[np.argsort((sampled - 0.5) ** 2)[:3]]
    assert actions[0, 0, 0] == pytest.approx(0.25 * 0.2 + 0.75 * elites.mean())


def test_the_spread_narrows_but_never_below_its_floor():
    spreads = []

    def watched(states, goals):
        spreads.append(states[0, 1:, :, 2].std())
        return cost(states, goals)

    for floor in (0.0, 0.2):
        spreads.clear()
        planner = CEM(100, HORIZON, 12, elites=10, least_sigma=floor, smoothing=0.0, action_limit=50.0)
        planner.plan(START[:1], GOAL[:1], ZEROS[:1], noise_of(1), dynamics, watched)
        assert spreads[11] < 0.9 * spreads[0]
        # What differs between the steps of the mean is in this deviation too, so it is compared with the floor only.
        assert spreads[11] > floor


def test_actions_keep_their_limit_and_rows_are_independent():
    planner = CEM(32, HORIZON, action_limit=0.6)
    _, both = planner.plan(START, GOAL, ZEROS, noise_of(2), dynamics, cost)
    _, one = planner.plan(START[:1], GOAL[:1], ZEROS[:1], noise_of(1), dynamics, cost)
    assert np.abs(both).max() <= 0.6
    assert both[:1] == pytest.approx(one, abs=1e-12)


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="elites among the samples, got 8, 40, 3 and 12"):
        CEM(samples=8)
    with pytest.raises(ValueError, match="sigma and action_limit must be positive"):
        CEM(sigma=0.0)
    with pytest.raises(ValueError, match=r"keep must be in \[0, 1\)"):
        CEM(keep=1.0)
