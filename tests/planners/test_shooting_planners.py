"""MPPI and CEM on a mass on a line, whose least-squares plan is known in closed form."""

import numpy as np
import pytest
from df_planners.cem import CEM, CEMConfig
from df_planners.mppi import MPPI, MPPIConfig
from df_planners.shooting import predicted, shifted, smooth
from toy_plans import plan_request

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


def mppi(cost, *args, **options):
    return MPPI(MPPIConfig(*args, **options), dynamics, cost, 1)


def cem(cost, *args, **options):
    return CEM(CEMConfig(*args, **options), dynamics, cost, 1)


START = np.array([[1.0, 0.0, 0.0], [-0.7, 0.5, 0.0]])
GOAL = np.array([[0.0], [0.4]])
ZEROS = np.zeros((2, HORIZON, 1))
BOTH = plan_request(START, GOAL)
ONE = plan_request(START[:1], GOAL[:1])
THOROUGH = [
    mppi(cost, 256, HORIZON, 120, sigma=0.3, smoothing=0.5, action_limit=50.0, temperature=0.02),
    cem(cost, 200, HORIZON, 40, sigma=1.0, smoothing=0.3, action_limit=50.0, elites=20, least_sigma=0.0),
]


@pytest.mark.parametrize("planner", THOROUGH)
def test_it_finds_the_least_squares_plan(planner):
    plan = planner.plan(BOTH)
    actions = plan.actions
    best = best_actions(START, GOAL)
    found, best, begin = (total(START, each, GOAL) for each in (actions, best, ZEROS))
    assert (found <= best + 0.03 * (begin - best)).all()
    assert (found >= best - 1e-9).all()
    assert (plan.observations[:, 1] == dynamics(START, actions)[:, 0]).all()


@pytest.mark.parametrize(
    "planner", [mppi(cost, 16, HORIZON, 3, action_limit=0.6), cem(cost, 32, HORIZON, action_limit=0.6)]
)
def test_actions_keep_their_limit_and_rows_are_independent(planner):
    both, one = (planner.plan(request).actions for request in (BOTH, ONE))
    assert np.abs(both).max() <= 0.6
    assert both[:1] == pytest.approx(one, abs=1e-12)


def first_noise(samples):
    """The noise (K,) on one step in the first iteration for `ONE`."""
    return np.random.default_rng([*ONE.seeds[0], 0]).standard_normal(samples)


def test_weights_are_the_papers_on_one_step():
    # One step, cost c(u) = u: the mean moves to sum(w u) with w ~ exp(-u / temperature).
    def last_action(states, goals):
        return states[:, :, -1, 2]

    actions = mppi(last_action, 3, 1, temperature=0.5, sigma=0.2, smoothing=0.0).plan(ONE).actions
    sampled = 0.2 * first_noise(3)
    sampled[0] = 0.0  # the mean itself, whatever its noise
    weights = np.exp(-sampled / 0.5)
    assert actions[0, 0, 0] == pytest.approx((weights * sampled).sum() / weights.sum())


def test_control_cost_holds_actions_back():
    free = mppi(cost, 64, HORIZON, iterations=20, temperature=0.05, sigma=0.5, action_limit=5.0)
    costly = mppi(cost, 64, HORIZON, iterations=20, temperature=0.05, sigma=0.5, action_limit=5.0, control_cost=0.2)
    size = [np.abs(p.plan(BOTH).actions).mean() for p in (free, costly)]
    assert size[1] < 0.8 * size[0]


def test_futures_that_are_not_numbers_are_avoided():
    def hostile(states, goals):
        pushed = states[:, :, :, 2].mean(2)
        return np.where(pushed > 0.05, np.nan, -pushed)

    planner = mppi(hostile, 128, HORIZON, iterations=5, temperature=0.01, sigma=2.0, smoothing=0.8, action_limit=0.7)
    actions = planner.plan(BOTH).actions
    assert np.abs(actions).max() <= 0.7
    assert (actions.mean(1) > -0.01).all()
    assert (actions.mean(1) <= 0.05).all()


def test_one_iteration_is_the_mean_of_the_elites():
    def off_two(states, goals):
        return (states[:, :, -1, 2] - 0.5) ** 2

    planner = cem(off_two, 10, 1, iterations=1, elites=3, sigma=0.5, smoothing=0.0, keep=0.25, action_limit=9.0)
    last = {"fresh": np.array([False]), "actions": np.full((1, 1, 1), 0.2)}
    actions = planner.plan(plan_request(START[:1], GOAL[:1], **last)).actions
    sampled = 0.2 + 0.5 * first_noise(10)
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
        planner = cem(watched, 100, HORIZON, 12, elites=10, least_sigma=floor, smoothing=0.0, action_limit=50.0)
        planner.plan(ONE)
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
        MPPIConfig(samples=0)
    with pytest.raises(ValueError, match=r"temperature must be positive"):
        MPPIConfig(temperature=0.0)
    with pytest.raises(ValueError, match=r"must return shape \(2, 128\)"):
        mppi(lambda states, goals: states[:, 0, 0, 0], horizon=HORIZON).plan(BOTH)
    with pytest.raises(ValueError, match="elites must be among the 8 samples, got 12"):
        CEMConfig(samples=8)
    with pytest.raises(ValueError, match="sigma and action_limit must be positive"):
        CEMConfig(sigma=0.0)
    with pytest.raises(ValueError, match=r"keep in \[0, 1\)"):
        CEMConfig(keep=1.0)
