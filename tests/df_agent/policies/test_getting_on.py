"""Agents that come no nearer: it is noticed, they back off to where they got on, and they wander."""

import numpy as np
import pytest

from df_agent.policies.getting_on import TRAIL, DetourConfig, Progress

LIMITS = (np.array([-1.0, -1.0]), np.array([1.0, 0.5]))
SPEED = np.array([0.2, 0.2])
USUAL = DetourConfig()
GOAL = np.array([[9.0, 0.0], [9.0, 0.0]])


def driven(steps, held, config=USUAL, patience=5, sway=0.9):
    """Drive two agents along x for some steps; the second one sways to both sides from `held` on, or stands still."""
    progress, x, history = Progress.blank(GOAL), np.zeros(2), []
    for step in range(steps):
        x = x + np.array([0.2, 0.2 if step < held else 0.0])
        y = np.array([0.0, sway * (-1) ** (step // 3) if step >= held else 0.0])
        progress = progress.noted(10 * (9 - x), np.stack([x, y], 1), SPEED)
        stuck = np.flatnonzero(progress.stalled >= patience)
        if len(stuck):
            seeds = np.stack([stuck, np.full(len(stuck), step)], 1)
            progress = progress.off_the_way(stuck, config, LIMITS, seeds)
        history.append(progress)
    return history


def test_who_gets_on_is_never_stuck_and_remembers_where_it_was():
    last = driven(20, held=10)[-1]
    assert last.stalled[0] == 0
    assert last.stuck[0] == 0
    assert np.diff(last.trail[0, -8:, 0]) == pytest.approx(0.2)


def test_who_does_not_is_given_time_then_backs_off_then_wanders():
    history = driven(60, held=10)
    numbers = [each.stuck[1] for each in history]
    assert numbers[12] == 0
    assert numbers[15] == 1
    assert history[15].detour_left[1] == 0  # the first time only its plan is made anew
    begins = [k for k in range(1, 60) if history[k].detour_left[1] > history[k - 1].detour_left[1]]
    back, wander = begins[:2]
    assert history[back].stuck[1] == 2
    assert 0 < history[back].detour_place[1, 0] < 2.0  # where it was before it was held, not where it is
    assert np.isnan(history[wander].detour_place[1]).all()
    assert np.isin(history[wander].detour_action[1], LIMITS).all()
    assert history[wander].detour_left[1] > history[back].detour_left[1]
    assert history[-1].detour_left[0] == 0


def test_who_stands_still_does_not_back_off_but_wanders_until_it_is_free():
    history = driven(60, held=10, patience=12, sway=0.0)
    begin = next(k for k in range(60) if history[k].detour_left[1] > 0)
    assert history[begin].stuck[1] == USUAL.after
    assert np.isnan(history[begin].detour_place[1]).all()
    assert np.isin(history[begin].detour_action[1], LIMITS).all()
    here, away = np.array([[0.0, 0.0], [2.0, 0.5]]), np.array([[0.0, 0.0], [2.0, 0.9]])
    assert history[begin].noted(np.full(2, 90.0), here, SPEED).detour_left[1] == USUAL.steps
    assert history[begin].noted(np.full(2, 90.0), away, SPEED).detour_left[1] == 0


def test_detours_end_and_time_does_not_run_against_them():
    history = driven(60, held=10)
    begin = next(k for k in range(60) if history[k].detour_left[1] > 0)
    left = int(history[begin].detour_left[1])
    assert left == USUAL.steps + 1  # counted down before the first of them, too
    during = history[begin + 1 : begin + left]
    assert all(each.stalled[1] == 0 for each in during)
    assert all(each.detour_left[1] > 0 for each in during)
    assert history[begin + left].detour_left[1] == 0


def test_what_wanders_is_drawn_anew_but_repeats():
    first, again = driven(60, held=10)[-1], driven(60, held=10)[-1]
    assert np.array_equal(first.detour_action, again.detour_action)


def test_none_is_made_where_none_is_wanted():
    assert all(each.detour_left[1] == 0 for each in driven(60, held=10, config=DetourConfig(steps=0)))


def test_without_known_limits_of_actions_it_only_backs_off():
    progress = driven(12, held=10)[-1]
    for _ in range(4):
        progress = progress.off_the_way(np.array([1]), DetourConfig(), (np.array(-np.inf), np.array(np.inf)), GOAL[1:])
        assert np.isfinite(progress.detour_place[1]).all()


def test_a_new_goal_begins_anew():
    progress = driven(60, held=10)[-1].begun(np.array([1]))
    assert np.isinf(progress.least_steps[1])
    assert progress.stuck[1] == 0
    assert progress.detour_left[1] == 0
    noted = progress.noted(np.array([10.0, 10.0]), np.array([[0.0, 0.0], [5.0, 5.0]]), SPEED)
    assert (noted.trail[1] == 5.0).all()
    assert noted.trail.shape == (2, TRAIL, 2)


@pytest.mark.parametrize("options", [{"after": 0}, {"steps": -1}])
def test_impossible_options_are_named(options):
    with pytest.raises(ValueError, match=r"need detour\.after >= 1"):
        DetourConfig(**options)
