import numpy as np
import pytest

from planners.diffusion_forcing import (
    MotionLimits,
    Proposals,
    ShortestFeasibleConfig,
    excess,
    shortest_feasible,
    travel_time,
)
from planners.plan import Plan

LIMITS = MotionLimits(step=np.array([1.0, 1.0]), turn=np.array([0.5, 0.5]), speed=np.array([0.1, 0.1]))
FRAMES = 12


def straight(distances, horizons, detour=0.0):
    """Straight lines of `distances` along x, in as many frames as `horizons`, with a channel before x and y."""
    share = np.minimum(np.arange(FRAMES)[None] / horizons[:, None], 1)
    x = distances[:, None] * share
    y = detour * np.sin(np.pi * share)
    return np.stack([np.full_like(x, 7.0), x, y], -1)


class Fake:
    """Proposes straight lines to a goal as far as each row's distance, and remembers what it was asked."""

    def __init__(self, distances, detours=None, surprise=0.0):
        self.distances, self.detours, self.surprise = np.asarray(distances, float), detours, surprise

    def __call__(self, rows, horizons, /):
        self.rows, self.horizons = rows, horizons
        detour = 0.0 if self.detours is None else np.array([self.detours[h] for h in horizons])[:, None]
        plan = Plan(straight(self.distances[rows], horizons, detour), horizons + 1, frame_skip=8)
        surprise = np.full(len(rows), self.surprise) if np.isscalar(self.surprise) else self.surprise(rows, horizons)
        return Proposals(plan, surprise)


def plan(fake, batch, limits=LIMITS, **options):
    return shortest_feasible(fake, batch, (1, 2), limits, ShortestFeasibleConfig(**options))


# --- the measures ---


def test_travel_time_by_hand():
    """A 0.6 x 0.8 diagonal at 0.1 and 0.2 a step: x needs 6 steps, y 4. Then 0.5 along y: 2.5. Then rest."""
    path = np.array([[[0, 0], [0.6, 0.8], [0.6, 1.3], [0.6, 1.3]]])
    assert travel_time(path, np.array([0.1, 0.2])) == pytest.approx([8.5])


def test_travel_time_counts_detours_and_not_frames():
    direct = straight(np.array([3.0]), np.array([3]))[..., 1:]
    slower = straight(np.array([3.0]), np.array([11]))[..., 1:]
    around = straight(np.array([3.0]), np.array([11]), detour=3.0)[..., 1:]
    speed = LIMITS.speed
    assert travel_time(direct, speed) == pytest.approx([30])
    assert travel_time(slower, speed) == pytest.approx([30])
    assert travel_time(around, speed)[0] > 40


def test_excess_by_hand():
    """Steps 1.5 and 1 along x: 0.5 over. The turns: 0.5 (allowed). Along y a jump of 2: 1 over, its turn 2: 3 over."""
    path = np.array([[[0, 0], [1.5, 0], [2.5, 0]], [[0, 0], [0, 0], [0, 2]]], dtype=float)
    assert excess(path, np.array([3, 3]), LIMITS) == pytest.approx([0.5, 1 + 3])


def test_stopping_at_the_goal_is_no_turn():
    """The repeated last frame ends the plan; it does not mean to stop dead there."""
    path = straight(np.array([4.0]), np.array([4]))[..., 1:]
    assert excess(path, np.array([5]), LIMITS) == [0]
    assert excess(path, np.array([6]), LIMITS) == pytest.approx([1.0])


# --- the choice ---


def test_asks_for_every_horizon_and_sample_of_every_row():
    fake = Fake([1.0, 1.0])
    plan(fake, 2, horizons=(2, 5), samples=3)
    assert fake.rows.tolist() == [0] * 6 + [1] * 6
    assert fake.horizons.tolist() == [2, 2, 2, 5, 5, 5] * 2


def test_takes_the_fastest_feasible_candidate():
    """4 units at most 1 a frame need 4 frames; among the longer ones the straightest is the fastest."""
    detours = {2: 0.0, 3: 0.0, 6: 1.8, 8: 0.0, 11: 1.5}
    chosen, time, feasible = plan(Fake([4.0], detours), 1, horizons=tuple(detours))
    assert feasible.tolist() == [True]
    assert chosen.lengths.tolist() == [9]
    assert time == pytest.approx([40])
    assert chosen.observations.shape == (1, FRAMES, 3)
    assert (chosen.observations[..., 0] == 7).all()  # the plan keeps all its channels
    assert chosen.frame_skip == 8


def test_a_shorter_horizon_wins_where_paths_are_equal():
    chosen, _, _ = plan(Fake([4.0]), 1, horizons=(2, 4, 8))
    assert chosen.lengths.tolist() == [5]


def test_falls_back_to_the_least_infeasible():
    chosen, time, feasible = plan(Fake([40.0]), 1, horizons=(2, 8, 5))
    assert feasible.tolist() == [False]
    assert chosen.lengths.tolist() == [9]
    assert time == pytest.approx([400])


def test_rows_choose_for_themselves():
    distances = np.array([1.0, 4.0, 40.0, 8.5])
    options = {"horizons": (1, 2, 4, 8, 10), "samples": 2}
    together, times, feasible = plan(Fake(distances), 4, **options)
    assert together.lengths.tolist() == [2, 5, 11, 11]
    assert feasible.tolist() == [True, True, False, True]
    for row in range(4):
        alone, time, ok = plan(Fake(distances[row : row + 1]), 1, **options)
        assert np.array_equal(alone.observations[0], together.observations[row])
        assert (time[0], ok[0]) == (times[row], feasible[row])


def test_tolerance_is_a_share_of_the_limits_in_sum():
    """4.1 units in 4 frames exceed each of 4 steps by 0.025."""
    for tolerance, expected in [(0.09, False), (0.11, True)]:
        _, _, feasible = plan(Fake([4.1]), 1, horizons=(4,), tolerance=tolerance)
        assert feasible.tolist() == [expected]


def test_a_candidate_that_surprises_the_model_is_infeasible():
    def surprise(rows, horizons):
        return np.where(horizons == 5, 2.0, 0.5)

    chosen, _, feasible = plan(Fake([4.0], surprise=surprise), 1, horizons=(5, 8))
    assert (chosen.lengths.tolist(), feasible.tolist()) == ([9], [True])
    chosen, _, feasible = plan(Fake([4.0], surprise=surprise), 1, horizons=(5, 8), surprise_limit=3.0)
    assert (chosen.lengths.tolist(), feasible.tolist()) == ([6], [True])
    _, _, feasible = plan(Fake([4.0], surprise=2.0), 1, horizons=(5, 8))
    assert feasible.tolist() == [False]


def test_a_candidate_that_is_not_finite_is_never_taken_before_one_that_is():
    class Broken(Fake):
        def __call__(self, rows, horizons, /):
            proposals = super().__call__(rows, horizons)
            proposals.plan.observations[horizons == 5] = np.nan
            return proposals

    for distance in (4.0, 400.0):
        chosen, _, _ = plan(Broken([distance]), 1, horizons=(5, 8))
        assert chosen.lengths.tolist() == [9]


def test_config_names_mistakes():
    with pytest.raises(ValueError, match=r"samples=0, tolerance=0.2, surprise_limit=1.0"):
        ShortestFeasibleConfig(samples=0)
