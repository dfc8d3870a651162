import numpy as np
import pytest
from df_planners import PLANNERS
from df_planners.mppi import MPPI

from df_agent.policies.shooting import ShootingPolicy

DT = 0.1
SIZES = {"samples": 64, "horizon": 20, "sigma": 0.5}
OPTIONS = {"mppi": {**SIZES, "temperature": 0.02}, "cem": {**SIZES, "elites": 8}}


def policy_of(planner="mppi", **more):
    return ShootingPolicy(planner, dynamics, cost, options=OPTIONS[planner], **more)


def dynamics(states, actions):
    """A puck on a plane with friction, (N, 4) positions and velocities, pushed."""
    out, state = np.empty((*actions.shape[:2], 4)), states
    for step in range(actions.shape[1]):
        velocity = 0.8 * state[:, 2:] + 0.3 * actions[:, step]
        state = np.concatenate([state[:, :2] + DT * velocity, velocity], axis=1)
        out[:, step] = state
    return out


def cost(states, goals):
    left = np.linalg.norm(states[..., :2] - goals[:, None, None], axis=-1)
    return left.mean(-1) + left[..., -1] + 0.2 * np.linalg.norm(states[..., -1, 2:], axis=-1)


def observation(rows, seed=0):
    random = np.random.default_rng(seed)
    states = np.concatenate([random.uniform(-1, 1, (rows, 2)), np.zeros((rows, 2))], axis=1)
    return {"observation": states, "desired_goal": random.uniform(-1, 1, (rows, 2))}


def step(seen, actions):
    return dict(seen, observation=dynamics(seen["observation"], actions[:, None])[:, 0])


def drive(policy, seen, steps):
    """The actions (steps, B, 2) of a whole episode."""
    state, out = None, []
    for now in range(steps):
        actions, state = policy.predict(seen, state, np.full(len(seen["observation"]), now == 0), deterministic=True)
        out.append(actions)
        seen = step(seen, actions)
    return np.array(out), seen


@pytest.mark.parametrize("planner", OPTIONS)
def test_it_drives_to_its_goals_and_stays(planner):
    _, seen = drive(policy_of(planner), observation(6), 70)
    assert np.linalg.norm(seen["observation"][:, :2] - seen["desired_goal"], axis=1).max() < 0.4  # from up to 1.9


@pytest.mark.parametrize("planner", OPTIONS)
def test_a_row_follows_from_seed_and_start_alone(planner):
    seen, policy = observation(4), policy_of(planner)
    together, _ = drive(policy, seen, 12)
    again, _ = drive(policy, seen, 12)  # whatever was planned before
    alone, _ = drive(policy, {key: value[2:3] for key, value in seen.items()}, 12)
    assert (together == again).all()
    assert together[:, 2:3] == pytest.approx(alone, abs=1e-9)
    policy.set_random_seed(1)
    assert (drive(policy, seen, 12)[0] != together).any()


def test_plans_are_due_every_few_steps_and_at_new_goals():
    events, seen = [], observation(3)
    policy = policy_of(open_loop_horizon=4)
    policy.on_plan = events.append
    state = None
    for now in range(12):
        actions, state = policy.predict(seen, state, np.full(3, now == 0), deterministic=True)
        seen = step(seen, actions)
        if now == 5:
            seen["desired_goal"][2] += 0.5
    assert [event.rows.tolist() for event in events] == [[0, 1, 2], [0, 1, 2], [2], [0, 1], [2]]
    plan = events[0].plan
    assert plan.observations.shape == (3, 20, 4)
    assert (plan.observations[:, 0] == observation(3)["observation"]).all()
    assert events[0].seconds > 0


def test_the_next_plan_begins_with_what_is_left_of_the_last_one(monkeypatch):
    means = []

    class Recorder(MPPI):
        def improve(self, states, goals, mean, seeds):
            means.append(mean.copy())
            return super().improve(states, goals, mean, seeds)

    monkeypatch.setitem(PLANNERS, "recorder", Recorder)
    monkeypatch.setitem(OPTIONS, "recorder", OPTIONS["mppi"])
    policy, seen, state = policy_of("recorder", open_loop_horizon=3), observation(2), None
    for _ in range(4):
        actions, after = policy.predict(seen, state, deterministic=True)
        before, state = state, after
        seen = step(seen, actions)
    assert (means[0] == 0).all()
    assert (means[1][:, :17] == before.actions[:, 3:]).all()
    # The new plan has not changed the old state, and a new episode begins without it.
    assert (after.actions != before.actions).any()
    policy.predict(seen, state, np.array([True, False]), deterministic=True)
    assert (means[2][0] == 0).all()


def test_the_actions_taken_are_the_planned_ones():
    events, seen, state = [], observation(1), None
    policy = policy_of(open_loop_horizon=5)
    policy.on_plan = events.append
    for now in range(5):
        action, state = policy.predict({key: value[0] for key, value in seen.items()}, state, deterministic=True)
        assert action.shape == (2,)
        assert (action == events[0].plan.actions[0, now]).all()
        assert seen["observation"][0] == pytest.approx(events[0].plan.observations[0, now])
        seen = step(seen, action[None])
    assert len(events) == 1


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"open_loop_horizon must be in 1 ... 20"):
        policy_of(open_loop_horizon=21)
    with pytest.raises(ValueError, match="expected a dict observation"):
        policy_of().predict(np.zeros((1, 4)))
