"""The search in a plane with a wall, where what is best is known."""

import numpy as np
import pytest
from df_planners.plan import Plan
from df_planners.tree_search import Node, Tree, TreeSearch, TreeSearchConfig
from toy_plans import ToySampler, motion_limits, plan_request

GAP = np.array([0.0, 4.0])  # the wall x = 0 is open above it
SPEED = np.array([0.1, 0.1])


def straight(starts, ends, frames):
    share = np.linspace(0, 1, frames)[None, :, None]
    observations = starts[:, None] * (1 - share) + ends[:, None] * share
    return Plan(observations, np.full(len(starts), frames), 1)


def through_the_wall(paths):
    before, after = paths[:, :-1], paths[:, 1:]
    crossing = (before[..., 0] <= 0) != (after[..., 0] <= 0)
    return (crossing & (np.minimum(before[..., 1], after[..., 1]) < GAP[1])).any(1)


class Watched(TreeSearch):
    """Keeps its trees, whose time is what a plan is taken to take."""

    def _best(self, trees, observed):
        self.trees = trees
        return super()._best(trees, observed)


class World(ToySampler):
    """Goes on by a unit in any direction, or straight to the goal. What a plan exceeds is `violations` of its path."""

    def __init__(self, goals, misleading=False):
        super().__init__(limits=motion_limits(0, 0, SPEED), span=10, gaps=(1,), shortcut_limit=1.0)
        self.goals, self.misleading = np.asarray(goals, dtype=float), misleading
        self.random, self.asked = np.random.default_rng(0), {"extend": [], "arrive": []}

    def sample_plans(self, request, rows, horizons, *, to_goal=True, guide=None, strength=0.0, frames, number):
        if to_goal:
            self.asked["arrive"].append((rows, horizons))
            return straight(frames[:, -1], self.goals[rows], 41)
        assert guide == "time_to_goal"
        self.asked["extend"].append((rows, strength))
        angle = self.random.uniform(0, 2 * np.pi, len(rows))
        return straight(frames[:, -1], frames[:, -1] + np.stack([np.cos(angle), np.sin(angle)], 1), 11)

    def violations(self, paths):
        return np.where(through_the_wall(paths), 2.0, 0.5)

    def time_along(self, paths, gaps):
        """So much that every step, which takes one, is `violations` times too fast."""
        return [np.repeat(self.violations(paths)[:, None], paths.shape[1] - 1, axis=1)]

    def time_to_goal(self, places, goals):
        direct = np.abs(goals - places).max(1)
        around = np.abs(GAP - places).max(1) + np.abs(goals - GAP).max(1)
        apart = (places[:, 0] <= 0) != (goals[:, 0] <= 0)
        return np.where(apart & (not self.misleading), around, direct) / SPEED[0]

    def search(self, starts, longest=20, max_plan_ms=None, **options):
        """Return the plans, and the control steps that they are taken to take."""
        usual = {"segment": 1, "strengths": (0.0,) * 8, "jump": 0, "rounds": 30, "min_separation": 2.0}
        self.longest = longest
        planner = Watched(TreeSearchConfig(**{**usual, **options}), self)
        plan = planner.plan(plan_request(starts, self.goals, max_plan_ms=max_plan_ms))
        return plan, np.array([tree.time for tree in planner.trees])


def test_a_plan_goes_around_the_wall_and_is_nearly_the_shortest():
    world = World([[2.0, 0.0], [-2.0, 1.0]])
    starts = [[-2.0, 0.0], [-3.0, -2.0]]
    plan, time = world.search(starts)
    assert (plan.violation <= 1).all()
    paths = plan.observations
    assert not through_the_wall(paths).any()
    assert paths[:, 0] == pytest.approx(np.array(starts))
    for path, length, goal in zip(paths, plan.lengths, world.goals, strict=True):
        assert path[length - 1] == pytest.approx(goal)
        assert (path[length:] == path[length - 1]).all()
    assert time[0] <= 1.4 * 80  # up to the gap and down again
    assert time[1] == pytest.approx(30)  # in sight: one jump, and the best there is
    assert sum(len(rows) for rows, _ in world.asked["arrive"]) > 2


def test_environments_search_on_their_own_and_stop_when_nothing_promises_more():
    world = World([[2.0, 0.0], [-2.0, 1.0]])
    world.search([[-2.0, 0.0], [-3.0, -2.0]])
    first, later = world.asked["extend"][0][0], np.concatenate([rows for rows, _ in world.asked["extend"][1:]])
    assert set(first) == {0, 1}
    assert set(later) == {0}  # the second one's first jump was as fast as the estimate


def test_a_misleading_estimate_costs_rounds_but_not_the_plan():
    told, misled = World([[2.0, 3.0]]), World([[2.0, 3.0]], misleading=True)
    for world in (told, misled):
        plan, _ = world.search([[-2.0, 3.0]], rounds=60)
        assert plan.violation[0] <= 1
        assert not through_the_wall(plan.observations).any()
    assert len(misled.asked["extend"]) >= len(told.asked["extend"])


def test_without_arrival_the_nearest_beginning_is_returned_as_no_plan():
    world = World([[50.0, 4.5]])
    plan, _ = world.search([[-2.0, 4.5]], jump=3, rounds=6)
    assert np.isinf(plan.violation[0])
    end = plan.observations[0, plan.lengths[0] - 1]
    assert end[0] > 0.5
    assert world.asked["arrive"] == []


def test_jumps_reach_no_further_than_asked_and_plans_no_further_than_they_may():
    world = World([[4.0, 4.5]])
    world.search([[-2.0, 4.5]], jump=5, longest=7, rounds=10)
    horizons = np.concatenate([horizons for _, horizons in world.asked["arrive"]])
    assert horizons.min() >= 2
    assert horizons.max() <= 5
    plan, _ = world.search([[-2.0, 4.5]], longest=1, rounds=10)
    assert np.isinf(plan.violation[0])
    assert plan.lengths[0] == 11  # one segment


def test_children_are_guided_with_each_strength():
    world = World([[2.0, 0.0]])
    world.search([[-2.0, 0.0]], strengths=(0.0, 0.5), width=2, rounds=2)
    rows, strengths = world.asked["extend"][1]
    assert strengths.tolist() == [0.0, 0.5] * (len(rows) // 2)
    assert len(rows) <= 4


def test_a_deadline_ends_the_search_after_the_first_round():
    world = World([[2.0, 0.0]])
    plan, _ = world.search([[-2.0, 0.0]], max_plan_ms=1e-6)
    assert len(world.asked["extend"]) == 1
    assert plan.observations.shape[0] == 1


def test_where_nothing_is_feasible_the_least_infeasible_beginning_is_left():
    world = World([[2.0, 0.0]])
    asked = []

    def never(paths):
        asked.append(paths)
        return 9.0 + np.arange(len(paths))[::-1]

    world.violations = never
    plan, _ = world.search([[-2.0, 0.0]])
    assert np.isinf(plan.violation[0])
    children = asked[1]  # behind the first jumps
    assert plan.observations[0] == pytest.approx(children[-1])


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"segment": 0}, "segment"),
        ({"jump": -1}, "jump"),
        ({"strengths": ()}, "strengths"),
        ({"strengths": (-1.0,)}, "strengths"),
        ({"horizon_multipliers": (0.0,)}, "horizon_multipliers"),
        ({"heuristic_weight": 0.9}, "heuristic_weight"),
        ({"reject_above": 0.9}, "reject_above"),
        ({"min_separation": -1.0}, "min_separation"),
        ({"stop_ratio": 0.0}, "stop_ratio"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, what):
    with pytest.raises(ValueError, match=what):
        TreeSearchConfig(**options)


def test_nodes_that_end_together_are_one():
    world = World([[50.0, 4.5]])
    for separation in (0.0, 9.0):
        plan, _ = world.search([[-2.0, 4.5]], jump=3, rounds=5, min_separation=separation)
        assert np.isinf(plan.violation[0])
    root = Node(np.zeros((1, 2)), np.zeros(2), 0, 0.0, 100.0)
    tree = Tree(root)
    for x, spent in ((0.3, 5.0), (3.0, 30.0), (3.3, 60.0), (3.3, 31.0), (3.0, 10.0)):
        tree.add(Node(np.zeros((1, 2)), np.array([x, 0.0]), 1, spent, 50.0), SPEED, 8.0)
    # Near the root; a new one; later than it; hardly later, but no place of its own; much sooner.
    assert [node.spent for node in tree.nodes] == [0.0, 30.0, 10.0]


def test_what_exceeds_a_limit_by_little_is_charged_for_it_and_by_much_is_dropped():
    world = World([[2.0, 0.0]])
    world.violations = lambda paths: np.full(len(paths), 1.4)
    direct, time = world.search([[-2.0, 0.0]], rounds=1)
    assert time[0] == pytest.approx(1.4 * 40)
    assert direct.violation[0] <= 1
    dropped, _ = world.search([[-2.0, 0.0]], rounds=1, reject_above=1.3)
    assert np.isinf(dropped.violation[0])
