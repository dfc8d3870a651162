"""Goals that jitter, drift and jump, with plans made at once and in the background."""

from itertools import pairwise

import numpy as np
import pytest
from toy_policy import any_plan, make_policy, observations

from df_agent.policies.goals import SAME_GOAL, goal_precision

STEPS = 60
JITTERS = {
    "noise": lambda goal, rng, step: goal + rng.normal(0, 1e-3, goal.shape),
    "float32": lambda goal, rng, step: goal.astype(np.float32).astype(float) if step % 2 else goal,
    "to and fro": lambda goal, rng, step: goal + 0.02 * (-1) ** step,  # the toy moves by up to 0.05 in a step
}


def agent(**options):
    """An agent that plans anew for another goal only, and the rows of each plan."""
    policy = make_policy(open_loop_horizon=None, patience=None, deviation=1e9, **any_plan(), **options)
    events = []
    policy.on_plan = events.append
    policy._async.lead = lambda period: 1  # whatever this machine is busy with
    return policy, events


def follow(policy, goals):
    """Stand still while the goal moves; wait for each plan in the background for two steps."""
    seen, state, states = observations(1), None, []
    for step, goal in enumerate(goals):
        if state is not None and (pending := state.pending[0]) is not None and step % 3 == 0:
            pending.future.exception(timeout=60)
        _, state = policy.predict({**seen, "desired_goal": goal}, state, deterministic=True)
        states.append(state)
    return states


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("jitter", JITTERS)
def test_a_goal_that_jitters_is_planned_for_once(jitter, background):
    policy, events = agent(background=background)
    rng, goal = np.random.default_rng(0), observations(1)["desired_goal"]
    states = follow(policy, [JITTERS[jitter](goal, rng, step) for step in range(STEPS)])
    assert len(events) == 1
    assert states[-1].pending == [None]
    if jitter == "noise":
        assert not np.array_equal(states[-1].goal, states[-1].planned_goal), "but the agent knows where it is now"


def test_a_goal_that_drifts_is_planned_for_whenever_it_has_gone_far_enough():
    policy, events = agent()
    goal = observations(1)["desired_goal"]
    states = follow(policy, [goal + 0.01 * step for step in range(STEPS)])
    assert STEPS // 7 <= len(events) <= STEPS // 4
    assert all(np.abs(state.planned_goal - state.goal).max() <= 0.05 + 1e-9 for state in states)


@pytest.mark.parametrize("drift", [0.01, 0.04])
def test_in_the_background_plans_for_a_drifting_goal_are_followed_and_led_on_to_it(drift):
    policy, events = agent(background=True)
    goal = observations(1)["desired_goal"]
    states = follow(policy, [goal + drift * step for step in range(STEPS)])
    made = states[-1].plans.item()
    assert len(events) == made >= STEPS * drift / 0.5
    behind = [np.abs(state.planned_goal - state.goal).max() for state in states]
    assert max(behind) <= 0.05 + 6 * drift
    for before, after in pairwise(states):
        if after.plans[0] > before.plans[0] and np.abs(after.planned_goal - after.goal).max() > 0.05:
            np.testing.assert_allclose(policy.controller.path(after)[0, after.length[0] - 1], after.goal[0])


def test_in_the_background_a_goal_that_jumps_there_and_back_keeps_the_plan_for_it():
    """A plan for the place where it was meanwhile is no better."""
    policy, events = agent(background=True)
    goal = observations(1)["desired_goal"]
    states = follow(policy, [goal, goal + 1, goal, goal, goal, goal])
    assert len(events) == 1
    np.testing.assert_array_equal(states[-1].planned_goal, goal)


class Broken(RuntimeError):
    pass


@pytest.mark.parametrize("then", ["the same", "another goal", "another episode", "another state"])
def test_in_the_background_an_error_is_told_in_the_next_step_whatever_comes_then(then):
    policy, _ = agent(background=True)
    seen = observations(1)
    _, state = policy.predict(seen, deterministic=True)
    plan = policy.planner.plan

    def broken(request):
        raise Broken("out of paper")

    policy.planner.plan = broken
    moved = {**seen, "desired_goal": seen["desired_goal"] + 1}
    _, state = policy.predict(moved, state, deterministic=True)
    state.pending[0].future.exception(timeout=60)
    policy.planner.plan = plan
    again = {**moved, "desired_goal": moved["desired_goal"] + (then == "another goal")}
    starts = np.array([then == "another episode"])
    with pytest.raises(Broken, match="out of paper"):
        policy.predict(again, None if then == "another state" else state, starts, deterministic=True)
    _, state = policy.predict(again, state, deterministic=True)
    for _ in range(3):
        if state.pending[0] is not None:
            state.pending[0].future.exception(timeout=60)
        _, state = policy.predict(again, state, deterministic=True)
    np.testing.assert_array_equal(state.planned_goal, again["desired_goal"], "it goes on where the planner works again")


def test_the_precision_is_what_the_data_moves_in_a_step():
    np.testing.assert_allclose(goal_precision([2.0, 0.1, 3.0], [0.05, 0.05, 9.0]), [0.05, 0.01, 0.3])
    np.testing.assert_allclose(goal_precision([2.0, 1.0], [0.0, np.inf]), SAME_GOAL)
    np.testing.assert_allclose(goal_precision([2.0, 0.0]), [0.04, SAME_GOAL])
