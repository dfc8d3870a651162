import importlib.util
from pathlib import Path

import numpy as np
import pytest

from planners.mppi import MPPI
from planners.shooting import predicted, shifted, smooth

SPEC = importlib.util.spec_from_file_location("double_integrator", Path(__file__).with_name("double_integrator.py"))
mass = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(mass)
HORIZON, cost, dynamics, noise_of, total = mass.HORIZON, mass.cost, mass.dynamics, mass.noise_of, mass.total

START = np.array([[1.0, 0.0, 0.0], [-0.7, 0.5, 0.0]])
GOAL = np.array([[0.0], [0.4]])
ZEROS = np.zeros((2, HORIZON, 1))


def test_it_finds_the_least_squares_plan_of_a_double_integrator():
    planner = MPPI(256, HORIZON, iterations=120, temperature=0.02, sigma=0.3, smoothing=0.5, action_limit=50.0)
    plan, actions = planner.plan(START, GOAL, ZEROS, noise_of(2), dynamics, cost)
    best = mass.best_actions(START, GOAL)
    found, best, begin = (total(START, each, GOAL) for each in (actions, best, ZEROS))
    assert (found <= best + 0.03 * (begin - best)).all()
    assert (found >= best - 1e-9).all()
    assert (plan.actions == actions).all()


def test_weights_are_the_papers_on_one_step():
    # One step, cost c(u) = u: the mean moves to sum(w u) with w ~ exp(-u / temperature).
    planner = MPPI(3, 1, temperature=0.5, sigma=0.2, smoothing=0.0)
    fixed = np.array([9.0, 1.0, -2.0]).reshape(1, 3, 1, 1)

    def last_action(states, goals):
        return states[:, :, -1, 2]

    _, actions = planner.plan(START[:1], GOAL[:1], np.zeros((1, 1, 1)), lambda i, shape: fixed, dynamics, last_action)
    sampled = np.array([0.0, 0.2, -0.4])  # the first is the mean itself, whatever its noise
    weights = np.exp(-sampled / 0.5)
    assert actions[0, 0, 0] == pytest.approx((weights * sampled).sum() / weights.sum())


def test_control_cost_holds_actions_back():
    free = MPPI(64, HORIZON, iterations=20, temperature=0.05, sigma=0.5, action_limit=5.0)
    costly = MPPI(64, HORIZON, iterations=20, temperature=0.05, sigma=0.5, action_limit=5.0, control_cost=0.2)
    size = [np.abs(p.plan(START, GOAL, ZEROS, noise_of(2), dynamics, cost)[1]).mean() for p in (free, costly)]
    assert size[1] < 0.8 * size[0]


def test_actions_keep_their_limit_and_futures_that_are_not_numbers_are_avoided():
    def hostile(states, goals):
        pushed = states[:, :, :, 2].mean(2)
        return np.where(pushed > 0.05, np.nan, -pushed)

    planner = MPPI(128, HORIZON, iterations=5, temperature=0.01, sigma=2.0, smoothing=0.8, action_limit=0.7)
    _, actions = planner.plan(START, GOAL, ZEROS, noise_of(2), dynamics, hostile)
    assert np.abs(actions).max() <= 0.7
    assert (actions.mean(1) > -0.01).all()
    assert (actions.mean(1) <= 0.05).all()


def test_rows_do_not_depend_on_each_other():
    planner = MPPI(16, HORIZON, iterations=3)
    _, both = planner.plan(START, GOAL, ZEROS, noise_of(2), dynamics, cost)
    _, one = planner.plan(START[:1], GOAL[:1], ZEROS[:1], noise_of(1), dynamics, cost)
    assert both[:1] == pytest.approx(one, abs=1e-12)


def test_smooth_noise_is_unit_and_correlated():
    out = smooth(np.random.default_rng(0).standard_normal((4000, 30, 2)), 0.8)
    assert out.std(0) == pytest.approx(1.0, abs=0.06)
    assert (out[:, 10] * out[:, 11]).mean() == pytest.approx(0.8, abs=0.04)
    assert (out[:, 10] * out[:, 13]).mean() == pytest.approx(0.8**3, abs=0.05)
    assert (out[..., 0] * out[..., 1]).mean() == pytest.approx(0, abs=0.02)


def test_a_plan_begins_at_the_present_and_a_shifted_mean_goes_on_from_later():
    actions = np.arange(2.0 * HORIZON).reshape(2, HORIZON, 1)
    plan = predicted(START, actions, dynamics)
    assert (plan.observations[:, 0] == START).all()
    assert (plan.observations[:, 1:] == dynamics(START, actions)[:, :-1]).all()
    assert plan.lengths.tolist() == [HORIZON, HORIZON]
    later = shifted(actions, np.array([5, 0]))
    assert (later[0, : HORIZON - 5] == actions[0, 5:]).all()
    assert (later[0, HORIZON - 5 :] == actions[0, -1:]).all()
    assert (later[1] == actions[1]).all()


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        MPPI(samples=0)
    with pytest.raises(ValueError, match=r"temperature.* must be positive"):
        MPPI(temperature=0.0)
    with pytest.raises(ValueError, match=r"must return shape \(2, 128\)"):
        MPPI(horizon=HORIZON).plan(START, GOAL, ZEROS, noise_of(2), dynamics, lambda states, goals: states[:, 0, 0, 0])
