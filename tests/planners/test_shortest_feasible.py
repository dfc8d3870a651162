import numpy as np
import pytest
from df_planners.feasibility import FeasibilityConfig, MotionLimits, roughness, shortcut, travel_time
from df_planners.plan import Plan
from df_planners.shortest_feasible import ShortestFeasible, ShortestFeasibleConfig
from toy_plans import ToySampler, plan_request

LIMITS = MotionLimits(step=np.array([1.0, 1.0]), turn=np.array([0.5, 0.5]), speed=np.array([0.1, 0.1]))
FRAMES = 12


def straight(distances, horizons, detour=0.0):
    """Straight lines of `distances` along x, in as many frames as `horizons`, with a channel before x and y."""
    share = np.minimum(np.arange(FRAMES)[None] / horizons[:, None], 1)
    x = distances[:, None] * share
    y = detour * np.sin(np.pi * share)
    return np.stack([np.full_like(x, 7.0), x, y], -1)


class Fake(ToySampler):
    """Samples straight lines to a goal as far as each row's distance, and remembers what it was asked."""

    def __init__(self, distances, detours=None):
        super().__init__(limits=LIMITS, goal_channels=(1, 2), frame_skip=8, span=8)
        self.distances, self.detours = np.asarray(distances, float), detours

    def sample_plans(self, request, rows, horizons, **more):
        self.rows, self.asked = rows, horizons
        detour = 0.0 if self.detours is None else np.array([self.detours[h] for h in horizons])[:, None]
        return Plan(straight(self.distances[rows], horizons, detour), horizons + 1, frame_skip=8)


def choose(fake, horizons, own_pace=False, penalty=None, **options):
    """The best of candidates at `horizons` (B, K), without another round for those that are infeasible."""
    horizons = np.asarray(horizons)
    fake.feasibility = FeasibilityConfig(**options)
    planner, b = ShortestFeasible(ShortestFeasibleConfig(), fake), len(horizons)
    planner.horizons = lambda request, samples: horizons
    penalty = np.ones(b) if penalty is None else penalty
    request = plan_request(np.zeros((b, 3)), np.zeros((b, 2)), shortcut_penalty=penalty, own_pace=own_pace)
    return planner._round(request, 1, 0).plan


def plan(fake, batch, horizons, limits=LIMITS, time_along=None, penalty=None, **options):
    fake.limits, fake.time_along = limits, time_along
    chosen = choose(fake, np.tile(np.array(horizons), (batch, 1)), penalty=penalty, **options)
    return chosen, chosen.violation


def taken(plan):
    """Control steps of each plan."""
    return travel_time(plan.observations[..., 1:], LIMITS.speed)


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


def as_plan(path, lengths, frame_skip=8):
    return Plan(path, np.asarray(lengths), frame_skip)


def test_roughness_by_hand():
    """Steps 1.5 and 1 along x: 0.5 over; their turn is allowed. Along y a jump of 2: 1 over, its turn 3 over."""
    path = np.array([[[0, 0], [1.5, 0], [2.5, 0]], [[0, 0], [0, 0], [0, 2]]], dtype=float)
    assert roughness(as_plan(path, [3, 3]), path, LIMITS) == pytest.approx([0.5 / 3, (1 + 3) / 3])


def test_stopping_at_the_goal_is_no_turn():
    """The repeated last frame ends the plan; it does not mean to stop dead there."""
    path = straight(np.array([4.0]), np.array([4]))[..., 1:]
    assert roughness(as_plan(path, [5]), path, LIMITS) == [0]
    assert roughness(as_plan(path, [6]), path, LIMITS) == pytest.approx([1.0 / 6])


def around_the_wall(paths, gaps):
    """Control steps at 0.1 a step, where a wall along x = 0 can be passed only at y = 5."""
    opening = np.array([0.0, 5.0])

    def steps(start, goal):
        through = start[..., 0] * goal[..., 0] < 0
        direct = np.linalg.norm(goal - start, axis=-1)
        around = np.linalg.norm(start - opening, axis=-1) + np.linalg.norm(goal - opening, axis=-1)
        return 10 * np.where(through, around, direct)

    return [steps(paths[:, :-gap], paths[:, gap:]) for gap in gaps]


def line(*corners, frames):
    """A path (1, frames, 2) at even speed along `corners`."""
    corners = np.array(corners, dtype=float)
    arc = np.concatenate([[0], np.linalg.norm(np.diff(corners, axis=0), axis=1).cumsum()])
    at = np.linspace(0, arc[-1], frames)
    return np.stack([np.interp(at, arc, corners[:, k]) for k in range(2)], -1)[None]


def test_a_path_through_a_wall_is_a_shortcut():
    """The wall takes 10 steps a unit and 10 units to walk around; a path at 0.8 a frame of 8 steps is at full speed."""
    through = line([-2.05, 0], [2.05, 0], frames=6)
    beside = line([-4.05, 0], [-0.05, 0], frames=6)
    around = line([-2.05, 0], [0, 5], [2.05, 0], frames=15)
    bold = [shortcut(as_plan(p, [p.shape[1]]), p, around_the_wall, (3, 4))[0] for p in (through, beside, around)]
    # Boldest: three frames, 24 steps, from x = -2.05 to 0.41.
    assert bold[0] == pytest.approx(10 * (np.hypot(2.05, 5) + np.hypot(0.41, 5)) / 24)
    assert bold[1] == pytest.approx(1.0)
    assert bold[2] < 1.1


def test_what_comes_behind_the_goal_is_no_shortcut():
    path = line([-4.05, 0], [-0.05, 0], frames=6)
    jump = np.concatenate([path, path + np.array([3.0, 0])], 1)
    assert shortcut(as_plan(jump, [6]), jump, around_the_wall, (3,)) == pytest.approx([1.0])
    assert shortcut(as_plan(jump, [12]), jump, around_the_wall, (3,))[0] > 4


def test_a_plan_shorter_than_the_gap_is_looked_at_as_a_whole():
    """Two frames, 8 steps, from one side of the wall to the other; then the plan is over."""
    path = np.array([[[-0.4, 0.0]] + [[0.4, 0.0]] * 7])
    expected = 20 * np.hypot(0.4, 5) / 8
    assert shortcut(as_plan(path, [2]), path, around_the_wall, (3, 6)) == pytest.approx([expected])
    assert shortcut(as_plan(path, [2]), path, around_the_wall, (8, 20)) == [0]  # longer than the plan's frames


# --- the choice ---


def test_proposes_every_horizon_of_every_row_in_one_batch():
    fake = Fake([1.0, 1.0])
    choose(fake, [[2, 2, 5], [3, 4, 6]])
    assert fake.rows.tolist() == [0, 0, 0, 1, 1, 1]
    assert fake.asked.tolist() == [2, 2, 5, 3, 4, 6]


def test_takes_the_fastest_feasible_candidate():
    """4 units at most 1 a frame need 4 frames; among the longer ones the straightest is the fastest."""
    detours = {2: 0.0, 3: 0.0, 6: 1.8, 8: 0.0, 11: 1.5}
    chosen, over = plan(Fake([4.0], detours), 1, tuple(detours), roughness_limit=0.02)
    assert over.tolist() == [0]
    assert chosen.lengths.tolist() == [9]
    assert taken(chosen) == pytest.approx([40])
    assert chosen.observations.shape == (1, FRAMES, 3)
    assert (chosen.observations[..., 0] == 7).all()  # the plan keeps all its channels
    assert chosen.frame_skip == 8


def test_a_shorter_horizon_wins_where_paths_are_equal():
    chosen, _ = plan(Fake([4.0]), 1, (3, 4, 8), roughness_limit=0.1)
    assert chosen.lengths.tolist() == [5]


def test_falls_back_to_the_least_infeasible():
    """40 units in 8 frames: each of 8 steps is 4 over, 32 / 9 a frame; in fewer frames it is more."""
    chosen, over = plan(Fake([40.0]), 1, (2, 8, 5), roughness_limit=0.5)
    assert chosen.lengths.tolist() == [9]
    assert over == pytest.approx([32 / 9 / 0.5])


def test_rows_choose_for_themselves():
    distances = np.array([1.0, 4.0, 40.0, 8.5])
    horizons = (1, 1, 2, 2, 4, 4, 8, 8, 10, 10)
    together, over = plan(Fake(distances), 4, horizons, roughness_limit=0.05)
    assert together.lengths.tolist() == [2, 5, 11, 11]
    assert (over <= 1).tolist() == [True, True, False, True]
    for row in range(4):
        alone, own = plan(Fake(distances[row : row + 1]), 1, horizons, roughness_limit=0.05)
        assert np.array_equal(alone.observations[0], together.observations[row])
        assert own[0] == over[row]


def test_the_limit_on_roughness_is_a_mean_over_frames():
    """4.1 units in 4 frames exceed each of 4 steps by 0.025: 0.1 / 5 a frame."""
    for limit, expected in [(0.019, False), (0.021, True)]:
        _, over = plan(Fake([4.1]), 1, (4,), roughness_limit=limit)
        assert (over <= 1).tolist() == [expected]
        assert over == pytest.approx([0.02 / limit])


class Both(Fake):
    """The straight line through the wall for horizon 5, the way around it for longer ones."""

    def __init__(self):
        super().__init__([0.0])

    def sample_plans(self, request, rows, horizons, **more):
        frames = 16
        out = np.zeros((len(rows), frames, 3))
        for k, horizon in enumerate(horizons):
            corners = [[-2.05, 0], [2.05, 0]] if horizon == 5 else [[-2.05, 0], [0, 5], [2.05, 0]]
            path = line(*corners, frames=horizon + 1)[0]
            out[k, :, 1:] = path[np.minimum(np.arange(frames), horizon)]
        return Plan(out, horizons + 1, frame_skip=8)


SMOOTH = MotionLimits(step=np.array([1.0, 1.0]), turn=np.array([2.0, 2.0]), speed=np.array([0.1, 0.1]))


def test_the_way_around_is_taken_where_the_estimate_tells_the_wall():
    asked = {"batch": 1, "horizons": (5, 14), "limits": SMOOTH}
    chosen, over = plan(Both(), **asked)
    assert (chosen.lengths.tolist(), over.tolist()) == ([6], [0])  # without an estimate the straight line is as good
    chosen, over = plan(Both(), **asked, time_along=around_the_wall)
    assert chosen.lengths.tolist() == [15]
    assert over[0] <= 1
    chosen, _ = plan(Both(), **asked, time_along=around_the_wall, shortcut_limit=10.0)
    assert chosen.lengths.tolist() == [6]


def test_the_penalty_tightens_the_limit_on_shortcuts_of_its_row():
    """Through the wall it is 4.3 times too fast."""
    options = {"limits": SMOOTH, "time_along": around_the_wall, "shortcut_limit": 6.0}
    sure, easy = plan(Both(), 3, (5, 14), **options)
    chosen, over = plan(Both(), 3, (5, 14), **options, penalty=np.array([1.0, 1.25, 2.0]))
    assert sure.lengths.tolist() == [6, 6, 6]
    assert chosen.lengths.tolist() == [6, 6, 15]
    assert over[:2] == pytest.approx(easy[:2] * [1, 1.25])


def test_the_penalty_leaves_roughness_alone():
    """Nothing is too fast here, so what counts is how rough it is."""
    options = {"roughness_limit": 0.02, "time_along": lambda paths, gaps: [np.full((1, 1), 0.1)] * len(gaps)}
    _, over = plan(Fake([4.4]), 1, (4,), **options, penalty=np.array([3.0]))
    assert over == pytest.approx([0.4 / 5 / 0.02])


@pytest.mark.parametrize("time_along", [None, around_the_wall])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("distance", [4.0, 400.0])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_candidate_that_is_not_finite_is_never_taken_before_one_that_is(distance, value, time_along):
    class Broken(Fake):
        def sample_plans(self, request, rows, horizons, **more):
            plan = super().sample_plans(request, rows, horizons)
            plan.observations[horizons == 5, 2:] = value
            return plan

    chosen, over = plan(Broken([distance]), 1, (5, 8), time_along=time_along)
    assert chosen.lengths.tolist() == [9]
    assert np.isfinite(over).all()


def test_where_nothing_is_finite_it_says_so():
    chosen, over = plan(Fake([np.nan]), 1, (5, 8))
    assert len(chosen) == 1
    assert over[0] > 1e6


def test_config_names_mistakes():
    with pytest.raises(ValueError, match=r"samples and reject_above must be positive, got 0 and 2.0"):
        ShortestFeasibleConfig(samples=0)
    with pytest.raises(ValueError, match=r"must be positive, got 4 and -1"):
        ShortestFeasibleConfig(reject_above=-1)
    with pytest.raises(ValueError, match=r"limits must be positive, got roughness_limit=0"):
        FeasibilityConfig(roughness_limit=0)


def test_config_takes_the_lists_of_a_checkpoint():
    assert ShortestFeasibleConfig(horizons=[2, 3]) == ShortestFeasibleConfig(horizons=(2, 3))
    assert FeasibilityConfig(gaps=[4]) == FeasibilityConfig(gaps=(4,))


# --- costs ---


@pytest.mark.parametrize(("price", "horizon"), [(7.0, 4), (9.0, 5)])
def test_costs_count_as_time(price, horizon):
    """Of plans of 32, 40 and 48 steps the second is taken once the first costs more than eight steps."""

    fake = Fake([3.0])
    fake.cost = lambda plan: np.where(plan.lengths == 5, price, 0.0)
    best = choose(fake, [[4, 5, 6]], own_pace=True)
    assert best.lengths.tolist() == [horizon + 1]


def test_at_their_own_pace_plans_are_ranked_by_how_long_they_are():
    fake = Fake([3.0], {4: 2.0, 8: 0.0})
    fast = choose(fake, [[8, 4]], roughness_limit=1e9)
    soon = choose(fake, [[8, 4]], roughness_limit=1e9, own_pace=True)
    assert (fast.lengths.tolist(), soon.lengths.tolist()) == ([9], [5])


def test_a_channel_that_does_not_move_in_the_data_is_not_judged():
    limits = MotionLimits(step=np.array([1.0, 0.0]), turn=np.array([0.5, 0.0]), speed=np.array([0.1, 0.0]))
    fake = Fake([4.0], {8: 0.01})
    found, over = plan(fake, 1, [8], limits=limits)
    assert over[0] <= 1
    assert travel_time(found.observations[..., 1:], limits.speed) == pytest.approx(40)
    assert limits.fastest == 0.1
    with pytest.raises(ValueError, match="nothing moves in any goal channel"):
        MotionLimits(*3 * [np.zeros(2)])


@pytest.mark.parametrize(("use_estimate", "asked"), [(True, [[4, 6], [8, 12]]), (False, [[3, 9], [3, 9]])])
def test_horizons_are_multiples_of_the_estimated_time_or_those_that_were_given(use_estimate, asked):
    sampler = ToySampler(limits=LIMITS, goal_channels=(0,), span=8)
    sampler.time_along = sampler.time_to_goal = lambda places, goals: np.abs(goals - places)[:, 0]
    config = ShortestFeasibleConfig(horizon_multipliers=(1.0, 1.5), horizons=(3, 9), use_estimate=use_estimate)
    request = plan_request(np.zeros((2, 1)), [[32.0], [64.0]])
    assert ShortestFeasible(config, sampler).horizons(request, 1).tolist() == asked
