"""Policies that plan in the background, and their states: copied, pickled, shared by threads, forked."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_policy import any_plan, make_policy, observations, stand

from df_agent import DiffusionForcingPolicy
from df_agent.policies.learned_actors import GCBCPolicy
from df_agent.policies.path_following import PathFollowingPolicy


def through_pickle(value):
    return pickle.loads(pickle.dumps(value))


COPIES = [copy.deepcopy, through_pickle]


def straight(places, goals):
    return np.stack([places, goals], 1)


POLICIES = {
    "background": lambda: make_policy(background=True, open_loop_horizon=2, **any_plan()),
    "foreground": lambda: make_policy(open_loop_horizon=2, **any_plan()),
    "guided": lambda: make_policy(planner="goal_guidance", max_steps=40),
    "shipped": lambda: DiffusionForcingPolicy.from_pretrained("maze2d-umaze", device="cpu", background=True),
    "cloned": lambda: GCBCPolicy.from_pretrained("maze2d-umaze-gcbc", device="cpu"),
    "known ways": lambda: PathFollowingPolicy(straight),
}


def settled(state):
    """The state once what is being planned is there."""
    for pending in getattr(state, "pending", []):
        if pending is not None and not pending.failed:
            pending.future.exception(timeout=60)
    return state


def walk(policy, state, steps=6):
    """Actions of some steps; each plan is waited for, and handed over as soon as it is there."""
    if hasattr(policy, "_async"):
        policy._async.lead = lambda period: 1
    actions = []
    for step in range(steps):
        action, state = policy.predict(observations(2, seed=step % 2), settled(state), deterministic=True)
        actions.append(action)
    settled(state)
    return actions


def begun(name):
    """A policy and its state after some steps, with plans on their way if it makes them in the background."""
    policy = POLICIES[name]()
    state = stand(policy, observations(2), 3)
    if name == "background":
        assert all(pending is not None for pending in state.pending)
    return policy, state


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("name", POLICIES)
def test_copies_of_policy_and_state_act_as_the_original(name, copied):
    policy, state = begun(name)
    others = copied(policy), copied(state)
    expected = walk(policy, state)
    np.testing.assert_array_equal(walk(*others), expected)
    np.testing.assert_array_equal(walk(policy, copied(state)), expected)


@pytest.mark.parametrize("copied", COPIES)
def test_the_copy_of_a_state_waits_for_its_plan_and_one_that_failed_is_asked_for_again(copied):
    policy, _ = begun("background")
    policy._async.lead = lambda period: 1
    go, plan = threading.Event(), policy.planner.plan
    policy.planner.plan = lambda request: plan(request) if go.wait(timeout=60) else None
    go.set()
    state = stand(policy, observations(2), 1)
    go.clear()
    state = stand(policy, observations(2), 3, state)
    threading.Timer(0.1, go.set).start()
    other = copied(state)
    assert all(pending.future.done() and not pending.failed for pending in other.pending)

    def broken(request):
        raise RuntimeError("out of paper")

    policy.planner.plan = broken
    state = settled(stand(policy, observations(2, seed=1), 1, settled(state)))
    other = copied(state)
    assert all(pending.failed for pending in other.pending)
    policy.planner.plan = plan
    with pytest.raises(RuntimeError, match="out of paper"):
        policy.predict(observations(2, seed=1), other)
    walk(policy, other)


@pytest.mark.parametrize("name", ["background", "foreground"])
def test_threads_may_share_a_policy_each_with_its_state(name):
    policy, found = POLICIES[name](), {}
    expected = {seed: POLICIES[name]().predict(observations(2, seed), deterministic=True)[0] for seed in range(4)}

    def work(seed):
        action, state = policy.predict(observations(2, seed), deterministic=True)
        for _ in range(5):
            _, state = policy.predict(observations(2, seed), state, deterministic=True)
        found[seed] = action

    threads = [threading.Thread(target=work, args=(seed,)) for seed in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found.keys() == expected.keys()
    for seed, action in expected.items():
        np.testing.assert_array_equal(found[seed], action)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("name", ["background", "shipped", "foreground"])
def test_a_forked_process_goes_on_with_a_thread_of_its_own(name):
    """Also while a plan is being made, whose thread and locks stay behind."""
    policy, state = begun(name)
    plan, slow = policy.planner.plan, threading.Event()

    def held(request):
        slow.set()
        time.sleep(0.3)
        return plan(request)

    if name == "background":
        policy.planner.plan = held
        state = settled(state)
        for _ in range(40):
            _, state = policy.predict(observations(2), state, deterministic=True)
            if slow.wait(timeout=0.05):
                break
        policy.planner.plan = plan
    child = os.fork()
    if child == 0:
        done = 1
        try:
            torch.set_num_threads(1)
            walk(policy, state)
            walk(policy, None)
            done = 0
        finally:
            os._exit(done)
    for _ in range(600):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("it hangs")
    assert os.waitstatus_to_exitcode(status) == 0
    walk(policy, state)


def test_policy_and_state_travel_into_a_new_process(tmp_path):
    policy, state = begun("shipped")
    (tmp_path / "both").write_bytes(pickle.dumps((policy, state, observations(2))))
    code = """
import pathlib, pickle, sys
policy, state, seen = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
print(policy.predict(seen, state, deterministic=True)[0].tolist())
"""
    path = os.pathsep.join([*sys.path, str(Path(__file__).parents[2] / "support")])
    told = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "both")],
        check=True, timeout=120, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    expected, _ = policy.predict(observations(2), settled(state), deterministic=True)
    assert told.stdout.strip() == str(expected.tolist())
