"""The agent against the clock: deadlines, rounds of candidates, and planning beside the loop."""

import copy
import dataclasses
import threading
import time

import gymnasium as gym
import numpy as np
import pytest
import torch
from df_planners.feasibility import travel_time
from df_planners.plan import Planner
from toy_plans import plan_request
from toy_policy import any_plan, asked, make_policy, observations, path, row, stand

from df_agent.evaluation.active_rows import take_rows
from df_agent.policies.async_planner import AsyncPlanner


def count_passes(policy):
    """Rows of every pass of the network."""
    passes = []
    policy.model.diffusion.network.register_forward_hook(lambda module, inputs, out: passes.append(len(inputs[0])))
    return passes


def test_a_deadline_that_has_passed_leaves_two_passes_of_one_candidate_per_horizon():
    policy = make_policy(max_plan_ms=1e-6, **any_plan(horizons=(3, 6), samples=4, retries=3))
    passes, seen = count_passes(policy), observations(3)
    action, _ = policy.predict(seen, deterministic=True)
    assert passes == [2 * 3] * 2
    assert np.isfinite(action).all()


def test_with_time_to_spare_the_candidates_come_in_rounds_and_the_best_is_kept():
    policy = make_policy(max_plan_ms=1e6, **any_plan(horizons=(3, 6), samples=4))
    once = make_policy(**any_plan(horizons=(3, 6), samples=1))
    passes, seen, plans = count_passes(policy), observations(3), []
    policy.on_plan = once.on_plan = plans.append
    policy.predict(seen, deterministic=True)
    assert passes == [6] * (4 * policy.config.sampling.steps)
    once.predict(seen, deterministic=True)
    speed = policy.sampler.limits.speed
    best, first = (travel_time(event.plan.observations, speed) for event in plans)
    assert (best <= first).all()
    assert (best < first).any(), "some later round was better for some"


def test_under_a_deadline_plans_are_made_in_as_many_passes_as_fit():
    policy = make_policy(max_plan_ms=1e6, **any_plan(horizons=(3, 6), samples=1))
    passes, seen = count_passes(policy), observations(3)
    policy.planner._pass_seconds = {3: 400.0}  # of the 1000 there are
    policy.predict(seen, deterministic=True)
    assert passes == [6] * 2
    assert policy.planner._pass_seconds[3] == pytest.approx(280), "what it was is not forgotten at once"
    policy.predict(row(seen, 0), deterministic=True)
    assert passes[2:] == [2] * policy.config.sampling.steps, "of another batch nothing is known yet"


def test_rows_without_a_feasible_plan_get_further_rounds():
    """Row 1 has its goal so far away that no plan is feasible."""
    policy = make_policy(
        shortest_feasible={"horizons": (6,), "samples": 1, "retries": 2, "reject_above": 1e9},
        feasibility={"roughness_limit": 50.0},
    )
    seen = observations(2)
    seen["desired_goal"][1] = 1e3
    calls = asked(policy)
    policy.predict(seen, deterministic=True)
    assert [len(call) for call in calls] == [2, 1, 1]


def test_each_round_has_noise_of_its_own_that_follows_from_the_seed():
    options = any_plan(retries=1)
    options["feasibility"] = {**options["feasibility"], "roughness_limit": 1e-9}
    policy, drawn = make_policy(**options), []
    sample_plans = policy.sampler.sample_plans

    def spy(request, rows, horizons, *, number=0, to_goal=True, **more):
        if to_goal:
            drawn.append(policy.sampler._noise(request, number)(rows, 8, 0))
        return sample_plans(request, rows, horizons, number=number, to_goal=to_goal, **more)

    policy.sampler.sample_plans = spy
    for _ in range(2):
        policy.predict(observations(2), deterministic=True)
    first, second, again, after = drawn
    assert not torch.equal(first[: len(second)], second)
    assert torch.equal(first, again)
    assert torch.equal(second, after)


@pytest.fixture
def in_background():
    """A policy that plans in the background, each time not before it is released, and what it was asked."""
    policy = make_policy(
        background=True, open_loop_horizon=4, **any_plan(), patience=1000, deviation=1e9, max_steps=1000
    )
    go, requests, plan = threading.Event(), [], policy.planner.plan

    def slow(request):
        requests.append(request)
        assert go.wait(timeout=60)
        return plan(request)

    policy.planner.plan = slow
    policy._async.lead = lambda period: policy.steps_of_a_plan  # whatever this machine is busy with
    policy.steps_of_a_plan = 1
    go.set()
    yield policy, go, requests
    go.set()


def settle(state):
    """Wait until what is being planned is there."""
    for pending in state.pending:
        if pending is not None:
            pending.future.exception(timeout=60)


def test_in_the_background_the_loop_goes_on_with_the_old_plan(in_background):
    policy, go, requests = in_background
    env = gym.make("df-agent-test-point")
    observation, _ = env.reset(seed=0)
    action, state = policy.predict(observation, deterministic=True)
    assert len(requests) == 1, "the first plan is waited for"
    go.clear()
    first = path(policy, state).copy()
    for _ in range(6):
        observation, *_ = env.step(action)
        action, state = policy.predict(observation, state, deterministic=True)
        np.testing.assert_array_equal(path(policy, state), first)
    go.set()
    settle(state)
    assert len(requests) == 2, "one is asked for at a time"
    _, state = policy.predict(observation, state, deterministic=True)
    assert state.pending == [None]
    assert state.age.tolist() == [7 - (1000 - requests[1].steps_left[0])], "it was meant for an earlier step"
    assert state.plans.tolist() == [2]


def test_in_the_background_plans_begin_where_the_agent_will_be(in_background):
    """It moves by 0.02 a step along a straight path, and a plan takes three steps of late."""
    policy, _, requests = in_background
    seen = {"observation": np.zeros((1, 4)), "desired_goal": np.array([[1.0, 0.0]])}
    _, state = policy.predict(seen, deterministic=True)
    line = np.linspace([0.0, 0.0], [1.0, 0.0], state.frames.shape[1])[None]
    state = dataclasses.replace(state, frames=line)
    policy.steps_of_a_plan = 3
    for step in range(1, 5):
        seen["observation"] = np.array([[0.02 * step, 0.1, 2.0, 0.0]])
        _, state = policy.predict(seen, state, deterministic=True)
    settle(state)
    np.testing.assert_allclose(requests[1].history[0, -1], [0.02 * 7, 0.1], atol=1e-9)
    np.testing.assert_allclose(requests[1].history[0, -2], [0.02 * 3, 0.1], atol=1e-9)
    assert requests[1].steps_left.tolist() == [1000 - (4 + 3)]
    for step in range(5, 8):
        assert state.pending[0] is not None, "it is handed over when the agent is there, not before"
        seen["observation"] = np.array([[0.02 * step, 0.1, 2.0, 0.0]])
        _, state = policy.predict(seen, state, deterministic=True)
    assert state.pending == [None]
    assert state.age.tolist() == [0]


def test_in_the_background_a_plan_for_another_goal_or_episode_is_dropped(in_background):
    policy, go, _ = in_background
    seen = observations(2)
    state = stand(policy, seen, 4)
    go.clear()
    state = stand(policy, seen, 1, state)
    assert [pending is not None for pending in state.pending] == [True, True]
    moved = copy.deepcopy(seen)
    moved["desired_goal"][0] += 1
    go.set()
    settle(state)
    _, state = policy.predict(moved, state, np.array([False, True]), deterministic=True)
    assert state.plans.tolist() == [1, 1], "row 1 began anew, row 0 waits for a plan to its new goal"
    settle(state)
    state = stand(policy, moved, 3, state)
    np.testing.assert_array_equal(state.goal, moved["desired_goal"])


def test_the_lead_is_what_plans_have_taken_of_late():
    class Slow(Planner):
        def plan(self, request):
            time.sleep(0.02)

    planner, request = AsyncPlanner(Slow()), plan_request(np.zeros((1, 2)), np.zeros((1, 2)))
    assert planner.lead(0.01) == 1
    planner.submit(request).result()
    assert planner.lead(0.001) >= 20
    assert planner.lead(1e3) == 1


def test_in_the_background_an_error_of_the_planner_is_told(in_background):
    policy, _, _ = in_background
    state = stand(policy, observations(1), 4)

    def broken(request):
        raise RuntimeError("out of paper")

    policy.planner.plan = broken
    state = stand(policy, observations(1), 1, state)
    settle(state)
    with pytest.raises(RuntimeError, match="out of paper"):
        stand(policy, observations(1), 3, state)


def test_in_the_background_rows_may_leave_the_batch(in_background):
    """As those do whose episodes have ended."""
    policy, _, _ = in_background
    seen = observations(3)
    state = stand(policy, seen, 5)
    settle(state)
    state = take_rows(state, np.array([2]), 3)
    last = {key: value[2:] for key, value in seen.items()}
    state = stand(policy, last, 3, state)
    assert state.plans.tolist() == [2]
    np.testing.assert_array_equal(state.goal, last["desired_goal"])
