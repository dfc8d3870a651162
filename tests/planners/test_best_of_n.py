"""Choosing among plans that know no goal."""

import numpy as np
from df_planners.best_of_n import best_of_n
from df_planners.plan import Plan


def line(*points):
    return [[p, 0.0] for p in points]


def test_it_takes_the_soonest_to_arrive_and_cuts_it_there():
    candidates = [
        line(0, 1, 2, 3, 4),  # arrives at 3 last
        line(0, 2, 3, 5, 9),  # soonest, and runs on
        line(0, 0, 0, 0, 0),
    ]
    plan = Plan(np.array(candidates), np.full(3, 5), 8)
    chosen = best_of_n(plan, np.array([[3.0, 0.0]]), (0, 1), 3)
    assert chosen.lengths.tolist() == [3]
    assert chosen.observations[0, :, 0].tolist() == [0, 2, 3, 3, 3]


def test_actions_end_where_the_plan_does():
    actions = np.arange(2 * 8.0).reshape(2, 8, 1)
    plan = Plan(np.array([line(0, 3, 6, 9, 12), line(0, 1, 2, 3, 4)]), np.full(2, 5), 2, actions, np.full(2, 8))
    chosen = best_of_n(plan, np.array([[3.0, 0.0]]), (0, 1), 2)
    assert (chosen.lengths.tolist(), chosen.action_lengths.tolist()) == ([2], [2])


def test_every_row_chooses_among_its_own():
    plan = Plan(np.array([line(0, 1), line(0, 2), line(0, 3), line(0, 4)]), np.full(4, 2), 8)
    chosen = best_of_n(plan, np.array([[4.0, 0.0], [3.0, 0.0]]), (0, 1), 2)
    assert chosen.observations[:, 1, 0].tolist() == [2, 3]


def test_a_plan_that_is_not_finite_is_never_taken():
    plan = Plan(np.array([line(0, np.nan), line(0, -50)]), np.full(2, 2), 8)
    assert best_of_n(plan, np.array([[1.0, 0.0]]), (0, 1), 2).observations[0, 1, 0] == -50
