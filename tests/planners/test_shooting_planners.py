"""MPPI and CEM on a mass on a line, whose least-squares plan is known in closed form."""

import numpy as np
import pytest
from df_planners.cem import CEM
from df_planners.mppi import MPPI
from df_planners.shooting import predicted, shifted, smooth

HORIZON = 15
DT = 0.2
EFFORT = 0.1


def dynamics(states, actions):
    """States (N, 3) of position, velocity and the last action."""
    x, v = states[:, 0], states[:, 1]
    out = np.empty((len(states), actions.shape[1], 3))
    for step in range(actions.shape[1]):
        u = actions[:, step, 0]
        x, v = x + DT * v, v + DT * u
        out[:, step] = np.stack([x, v, u], axis=-1)
    return out


def residuals(states, goals):
    """What is squared and summed, (..., H, 3): off the goal, speed, effort."""
    off = states[..., 0] - goals.reshape(-1, *[1] * (states.ndim - 2))
    return np.stack([off, 0.3 * states[..., 1], np.sqrt(EFFORT) * states[..., 2]], axis=-1)


def cost(states, goals):
    return (residuals(states, goals) ** 2).sum((-1, -2))


def total(starts, actions, goals):
    return cost(dynamics(starts, actions)[:, None], goals)[:, 0]


def best_actions(starts, goals):
    """The plans (B, H, 1) of least cost: the residuals are affine in the actions, so linear least squares."""
    best = []
    for start, goal in zip(starts, goals, strict=True):
        trials = np.concatenate([np.zeros((1, HORIZON)), np.eye(HORIZON)])[..., None]
        states = dynamics(np.tile(start, (HORIZON + 1, 1)), trials)
        flat = residuals(states, np.tile(goal, (HORIZON + 1, 1))).reshape(HORIZON + 1, -1)
        best.append(np.linalg.lstsq((flat[1:] - flat[0]).T, -flat[0], rcond=None)[0])
    return np.array(best)[..., None]


def noise_of(batch):
    """Noise whose rows do not depend on how many there are."""

    def noise(iteration, shape):
        return np.stack([np.random.default_rng([row, iteration]).standard_normal(shape) for row in range(batch)])

    return noise


START = np.array([[1.0, 0.0, 0.0], [-0.7, 0.5, 0.0]])
GOAL = np.array([[0.0], [0.4]])
ZEROS = np.zeros((2, HORIZON, 1))
THOROUGH = [
    MPPI(256, HORIZON, 120, sigma=0.3, smoothing=0.5, action_limit=50.0, temperature=0.02),
    CEM(200, HORIZON, 40, sigma=1.0, smoothing=0.3, action_limit=50.0, elites=20, least_sigma=0.0),
]


@pytest.mark.parametrize("planner", THOROUGH)
def test_it_finds_the_least_squares_plan(planner):
    plan, actions = planner.plan(START, GOAL, ZEROS, noise_of(2), dynamics, cost)
    best = best_actions(START, GOAL)
    found, best, begin = (total(START, each, GOAL) for each in (actions, best, ZEROS))
    assert (found <= best + 0.03 * (begin - best)).all()
    assert (found >= best - 1e-9).all()
    assert (plan.actions == actions).all()
    assert (plan.observations[:, 1] == dynamics(START, actions)[:, 0]).all()


@pytest.mark.parametrize("planner", [MPPI(16, HORIZON, 3, action_limit=0.6), CEM(32, HORIZON, action_limit=0.6)])
def test_actions_keep_their_limit_and_rows_are_independent(planner):
    _, both = planner.plan(START, GOAL, ZEROS, noise_of(2), dynamics, cost)
    _, one = planner.plan(START[:1], GOAL[:1], ZEROS[:1], noise_of(1), dynamics, cost)
    assert np.abs(both).max() <= 0.6
    assert both[:1] == pytest.approx(one, abs=1e-12)


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


def test_futures_that_are_not_numbers_are_avoided():
    def hostile(states, goals):
        pushed = states[:, :, :, 2].mean(2)
        return np.where(pushed > 0.05, np.nan, -pushed)

    planner = MPPI(128, HORIZON, iterations=5, temperature=0.01, sigma=2.0, smoothing=0.8, action_limit=0.7)
    _, actions = planner.plan(START, GOAL, ZEROS, noise_of(2), dynamics, hostile)
    assert np.abs(actions).max() <= 0.7
    assert (actions.mean(1) > -0.01).all()
    assert (actions.mean(1) <= 0.05).all()


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
    with pytest.raises(ValueError, match=r"temperature must be positive"):
        MPPI(temperature=0.0)
    with pytest.raises(ValueError, match=r"must return shape \(2, 128\)"):
        MPPI(horizon=HORIZON).plan(START, GOAL, ZEROS, noise_of(2), dynamics, lambda states, goals: states[:, 0, 0, 0])
    with pytest.raises(ValueError, match="elites must be among the 8 samples, got 12"):
        CEM(samples=8)
    with pytest.raises(ValueError, match="sigma and action_limit must be positive"):
        CEM(sigma=0.0)
    with pytest.raises(ValueError, match=r"keep in \[0, 1\)"):
        CEM(keep=1.0)
