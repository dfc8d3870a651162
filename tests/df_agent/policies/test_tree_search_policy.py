"""The agent with a tree search, or with composed plans, on a tiny untrained model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_policy import ANY_PLAN, any_plan, make_policy, make_policy_with_estimator, observations, path, row

from df_agent.diffusion.objectives import approach_objective

TREE = {"segment": 2, "strengths": [0.0, 0.5], "jump": 5, "width": 2, "rounds": 3}
TREE |= {"reject_above": 1e9, "min_separation": 0.0}
SEARCH = {"planner": "tree_search", "window": 30, **ANY_PLAN, "tree_search": TREE}


def test_a_search_does_not_depend_on_what_runs_beside_it():
    policy = make_policy_with_estimator(steps=70.0, **SEARCH)
    seen = observations(4)
    seen["desired_goal"] *= 8
    _, state = policy.predict(seen, deterministic=True)
    for i in range(4):
        _, alone = policy.predict(row(seen, i), deterministic=True)
        np.testing.assert_allclose(path(policy, alone)[0], path(policy, state)[i], atol=1e-4)
        assert alone.settled[0] == state.settled[i]


def test_a_plan_that_arrives_ends_at_the_goal_and_is_kept():
    policy = make_policy_with_estimator(steps=30.0, **SEARCH)
    events = []
    policy.on_plan = events.append
    seen = observations(3)
    _, state = policy.predict(seen, deterministic=True)
    assert state.settled.all()
    (event,) = events
    ends = event.plan.observations[np.arange(3), event.plan.lengths - 1]
    np.testing.assert_allclose(ends, seen["desired_goal"], atol=1e-6)
    np.testing.assert_allclose(event.plan.observations[:, 0], seen["observation"][:, :2], atol=1e-6)


def test_a_beginning_is_followed_where_no_jump_reaches_the_goal():
    policy = make_policy_with_estimator(steps=500.0, **SEARCH)
    events = []
    policy.on_plan = events.append
    _, state = policy.predict(observations(2), deterministic=True)
    assert not state.settled.any()
    lengths = events[0].plan.lengths
    assert ((lengths - 1) % (2 * 2) == 0).all()  # whole segments of two tokens, two frames each
    assert lengths.max() <= 3 * 4 + 1


class Straight:
    """Says that a unit of distance takes 40 steps."""

    config = SimpleNamespace(unit=20)

    def embed(self, places):
        return places

    def between(self, here, there):
        return 40 * torch.linalg.vector_norm(there - here, dim=-1)


def test_guidance_climbs_by_the_time_that_is_left_at_planned_frames():
    goal = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    climb = approach_objective(Straight(), goal, horizon=2, frame_stack=2, channels=(0, 1), context=1)
    tokens = torch.zeros(2, 5, 6)  # two frames of three channels each
    tokens[1, 1:3] = torch.tensor([0.0, 1.0, 9.0, 0.0, 2.0, 9.0])
    tokens.requires_grad_(True)
    value = climb(tokens)
    assert value.tolist() == pytest.approx([-5 * 40 / 20, -(1 + 0) / 2 * 40 / 20])
    (slope,) = torch.autograd.grad(value.sum(), tokens)
    assert not slope[:, [0, 3, 4]].any()  # what was observed, and padding
    assert not slope[..., [2, 5]].any()  # what goals are not about
    assert slope[0, 1, 0] > 0  # towards the goal
    assert slope[0, 1, 1] > 0


def test_a_deadline_ends_a_search():
    policy = make_policy_with_estimator(steps=70.0, max_plan_ms=1e-3, **SEARCH)
    events = []
    policy.on_plan = events.append
    policy.predict(observations(2), deterministic=True)
    assert events[0].plan.lengths.max() <= 2 * 2 + 1 + 5 * 2  # one round


def test_a_search_needs_an_estimator():
    with pytest.raises(ValueError, match=r"time_to_goal\.steps"):
        make_policy(planner="tree_search")


def test_windows_beyond_training_need_a_way_to_be_pieced_together():
    with pytest.raises(ValueError, match=r"sampling\.overlap"):
        make_policy(window=20)
    assert make_policy(window=20, sampling={"overlap": 3}).sampler.longest == 19
    assert make_policy_with_estimator(**SEARCH).sampler.longest == 29


def test_composed_plans_reach_further_than_a_window():
    policy = make_policy(planner="fixed_horizon", window=20, sampling={"overlap": 3, "steps": 3})
    events = []
    policy.on_plan = events.append
    seen = observations(2)
    policy.predict(seen, deterministic=True)
    plan = events[0].plan
    assert plan.lengths.tolist() == [19 * 2 + 1] * 2
    np.testing.assert_allclose(plan.observations[:, -1], seen["desired_goal"], atol=1e-6)
    for i in range(2):
        policy.predict(row(seen, i), deterministic=True)
        np.testing.assert_allclose(events[-1].plan.observations[0], plan.observations[i], atol=1e-4)


def test_near_goals_are_planned_as_without_composition():
    options = {"planner": "shortest_feasible", **any_plan(horizons=[3, 6])}
    plain, composed = (
        make_policy(**options, **more) for more in ({}, {"window": 20, "sampling": {"overlap": 3, "steps": 5}})
    )
    seen = observations(3)
    paths = [path(policy, policy.predict(seen, deterministic=True)[1])[:, :13] for policy in (plain, composed)]
    assert paths[0].shape == paths[1].shape
    assert np.isfinite(paths[1]).all()


def test_overlap_is_no_negative_number():
    with pytest.raises(ValueError, match="overlap"):
        make_policy(sampling={"overlap": -1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({**SEARCH, "tree_search": {**TREE, "segment": 8}}, "plans 7 tokens at once"),
        ({**SEARCH, "tree_search": {**TREE, "jump": 9}}, "plans 7 tokens at once"),
        ({**SEARCH, "observation_noise": 0.1}, "bad sensors"),
        ({"sampling": {"overlap": 8}}, "at most, got overlap=8"),
    ],
)
def test_pieces_that_cannot_be_made_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make_policy_with_estimator(**options)
    if "tree_search" in options:
        make_policy_with_estimator(**{**options, "tree_search": {**TREE, "jump": 0}, "observation_noise": 0.0})


def test_without_a_goal_a_searcher_wanders():
    policy = make_policy_with_estimator(**{**SEARCH, "planner": "unconditional"}, max_steps=1000)
    _, state = policy.predict(observations(2), deterministic=True)
    assert not state.settled.any()
