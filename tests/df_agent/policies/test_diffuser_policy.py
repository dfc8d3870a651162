"""Acting with a Diffuser: its controllers, when it plans again, and the protocol of policies."""

import copy
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from df_agent.baselines.diffuser import Diffuser
from df_agent.options.baselines import DiffuserConfig
from df_agent.policies.diffuser import DiffuserPolicy


def make_policy(**options):
    limits = (3.0, 3.0, 5.0, 5.0, 1.0, 1.0)
    config = DiffuserConfig(48, 8, low=tuple(-x for x in limits), high=limits, observation_dim=4, network={"width": 8})
    torch.manual_seed(0)
    return DiffuserPolicy(Diffuser(config), device="cpu", **options)


def look(positions, goals, velocities=None):
    positions = np.asarray(positions, dtype=float)
    velocities = np.zeros_like(positions) if velocities is None else np.asarray(velocities, dtype=float)
    return {
        "observation": np.concatenate([positions, velocities], 1),
        "achieved_goal": positions,
        "desired_goal": np.asarray(goals, dtype=float),
    }


def events(policy):
    seen = []
    policy.on_plan = seen.append
    return seen


def test_as_published_it_plans_once_and_follows_waypoints_with_unit_gains():
    policy = make_policy()
    seen = events(policy)
    position, velocity = np.array([[0.5, -0.5]]), np.array([[0.1, 0.2]])
    observation, state = look(position, [[2.0, 1.0]], velocity), None
    for step in range(60):
        action, state = policy.predict(observation, state, np.array([step == 0]), deterministic=True)
        plan = seen[0].plan.observations[0]
        aim = plan[min(step + 1, 47)]
        speed = aim[2:] if step + 1 < 48 else 0.0
        expected = np.clip((aim[:2] - position[0]) + (speed - velocity[0]), -1, 1)
        np.testing.assert_allclose(action[0], expected, atol=1e-9)
    assert len(seen) == 1
    np.testing.assert_allclose(plan[0], [0.5, -0.5, 0.1, 0.2], atol=1e-5)
    np.testing.assert_allclose(plan[-1], [2.0, 1.0, 0.0, 0.0], atol=1e-5)


def test_a_batch_acts_as_its_rows_do_alone_and_the_same_again():
    policy = make_policy(controller="path", open_loop_horizon=3, steps=4)
    positions, goals = [[0.0, 0.0], [1.0, -1.0], [2.0, 2.0]], [[1.0, 1.0], [-2.0, 0.0], [0.0, 2.5]]

    def run(rows):
        state, actions = None, []
        observation = look(np.array(positions)[rows], np.array(goals)[rows])
        for step in range(7):
            action, state = policy.predict(observation, state, np.full(len(rows), step == 0), deterministic=True)
            actions.append(action)
        return np.stack(actions)

    together = run([0, 1, 2])
    np.testing.assert_array_equal(together, run([0, 1, 2]))
    for row in range(3):
        np.testing.assert_allclose(together[:, row], run([row])[:, 0], atol=1e-4)


def test_another_seed_gives_another_plan():
    policy = make_policy(steps=4)
    seen = events(policy)
    for seed in (0, 1, 0):
        policy.set_random_seed(seed)
        policy.predict(look([[0.0, 0.0]], [[1.0, 1.0]]), None, np.array([True]), deterministic=True)
    paths = [event.plan.observations for event in seen]
    assert not np.array_equal(paths[0], paths[1])
    assert np.array_equal(paths[0], paths[2])


@pytest.mark.parametrize("controller", ["path", "planned_states"])
def test_a_shrinking_horizon_is_what_was_left_of_the_last_plan(controller):
    policy = make_policy(controller=controller, open_loop_horizon=8, horizon="shrinking", shortest=8, steps=4)
    seen, state = events(policy), None
    path = [np.array([[-2.0, -2.0]])]
    for step in range(40):
        _, state = policy.predict(look(path[-1], [[2.0, 2.0]]), state, np.array([step == 0]), deterministic=True)
        plan, made = seen[-1].plan, state.age[0]  # the ball keeps to the plan's own pace
        path.append(plan.observations[:, min(made + 1, plan.lengths[0] - 1), :2])
    lengths = [int(event.plan.lengths[0]) for event in seen]
    assert lengths[0] == 48
    assert len(lengths) > 3
    assert all(later <= sooner for sooner, later in pairwise(lengths))
    assert all(length % 4 == 0 and length >= 8 for length in lengths)
    if controller == "planned_states":
        assert lengths[:4] == [48, 40, 32, 24]


def test_a_fixed_horizon_stays_and_planning_ends_near_the_end_of_the_path():
    policy = make_policy(controller="path", open_loop_horizon=5, steps=4)
    seen, state = events(policy), None
    for step in range(12):
        _, state = policy.predict(look([[0.0, 0.0]], [[2.0, 2.0]]), state, np.array([step == 0]), deterministic=True)
    assert [int(event.plan.lengths[0]) for event in seen] == [48, 48, 48]
    state.progress[:] = 1e9  # all of the path is done
    for _ in range(12):
        _, state = policy.predict(look([[2.0, 2.0]], [[2.0, 2.0]]), state, np.array([False]), deterministic=True)
    assert len(seen) == 3


@pytest.mark.parametrize(("longest", "planned"), [(None, 48), (30, 32), (64, 64)])
def test_plans_may_be_of_another_length_than_the_one_trained_with(longest, planned):
    policy = make_policy(longest=longest, steps=2)
    seen = events(policy)
    policy.predict(look([[0.0, 0.0]], [[1.0, 1.0]]), deterministic=True)
    assert seen[0].plan.lengths.tolist() == [planned]
    np.testing.assert_allclose(seen[0].plan.observations[0, planned - 1, :2], [1.0, 1.0], atol=1e-5)


def test_places_may_be_all_that_is_observed_and_lie_apart():
    config = DiffuserConfig(8, 8, (-3.0,) * 4, (3.0,) * 4, observation_dim=2, network={"width": 8}, frame_skip=16)
    torch.manual_seed(0)
    policy = DiffuserPolicy(
        Diffuser(config), controller="path", open_loop_horizon=10, horizon="shrinking", longest=190, shortest=64
    )
    seen = events(policy)
    position = np.zeros((1, 2))
    observation = {"observation": position, "achieved_goal": position, "desired_goal": position + 2}
    state = None
    for step in range(31):
        action, state = policy.predict(observation, state, np.array([step == 0]), deterministic=True)
    assert action.shape == (1, 2)
    assert all(event.plan.frame_skip == 16 for event in seen)
    lengths = [int(event.plan.lengths[0]) for event in seen]
    assert lengths[0] == 12  # 192 control steps, what the network can take
    assert all(length in (4, 8, 12) for length in lengths)
    with pytest.raises(ValueError, match="controller='path'"):
        DiffuserPolicy(Diffuser(config))
    with pytest.raises(ValueError, match="frame_skip"):
        replace(config, frame_skip=0)


def test_what_it_cannot_plan_for_is_refused():
    policy = make_policy()
    wide = {**look([[0, 0]], [[1, 1]]), "observation": np.zeros((1, 6))}
    with pytest.raises(ValueError, match="plans observations of 4 values, got 6"):
        policy.predict(wide)
    with pytest.raises(ValueError, match="there are 8 levels, which steps=9 exceeds"):
        make_policy(steps=9)


def test_a_new_goal_or_episode_is_planned_for_at_once_and_only_there():
    policy = make_policy(steps=4)
    seen = events(policy)
    start, goals = [[0.0, 0.0], [1.0, 1.0]], np.array([[2.0, 2.0], [-1.0, 0.0]])
    _, state = policy.predict(look(start, goals), None, np.array([True, True]), deterministic=True)
    _, state = policy.predict(look(start, goals), state, np.array([False, False]), deterministic=True)
    assert len(seen) == 1
    _, state = policy.predict(look(start, goals + np.array([[0, 0], [1, 0]])), state, np.array([False, False]))
    _, state = policy.predict(look(start, goals + np.array([[0, 0], [1, 0]])), state, np.array([True, False]))
    assert [event.rows.tolist() for event in seen] == [[0, 1], [1], [0]]


def test_the_callers_state_is_left_alone():
    policy = make_policy(controller="path", open_loop_horizon=1, steps=2)
    _, state = policy.predict(look([[0.0, 0.0]], [[2.0, 2.0]]), None, np.array([True]), deterministic=True)
    before = copy.deepcopy(state)
    policy.predict(look([[0.1, 0.0]], [[2.0, 1.0]]), state, np.array([False]), deterministic=True)
    for held, was in ((state, before), (state.progress_to_goal, before.progress_to_goal)):
        for name, value in vars(was).items():
            if name != "progress_to_goal":
                np.testing.assert_array_equal(getattr(held, name), value)


def test_one_observation_gives_one_action():
    observation = {key: value[0] for key, value in look([[0.0, 0.0]], [[1.0, 1.0]]).items()}
    action, _ = make_policy(steps=2).predict(observation, deterministic=True)
    assert action.shape == (2,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"controller": "pid"}, "unknown controller 'pid', available"),
        ({"horizon": "free"}, "unknown horizon 'free', available"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"open_loop_horizon": 0}, "at least 1"),
        ({"guidance": 1}, "unknown options"),
    ],
)
def test_unknown_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_policy(**options)
