"""Flexible-horizon planning over a generative model: sample many plans that end at the goal, take the fastest feasible.

The planner knows nothing of diffusion or mazes. A sampler gives it plans that end at the goal after a given number of
tokens, statistics of how the data moves, and an estimate of how long the data takes from one place to another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from df_planners.feasibility import travel_time
from df_planners.model_planner import ModelPlanner, PlanSampler
from df_planners.plan import Array, IntArray, Plan, PlanRequest

PASS_DECAY = 0.7  # of the slowest pass so far, from plan to plan


@dataclass(frozen=True)
class ShortestFeasibleConfig:
    """How candidates are spread and which are rejected.

    Attributes:
        horizon_multipliers: horizons as multiples of the estimated time to the goal.
        horizons: horizons in tokens where there is no estimate; empty spreads them over what the model sees.
        use_estimate: take multiples of the estimated time, where there is an estimate; false takes `horizons`.
        whole_windows: round horizons up to whole windows, for a model that has not learned what padding is.
        samples: candidates per horizon.
        retries: further rounds of candidates, as long as none is feasible.
        reject_above: a candidate that exceeds a limit this many times, times the shortcut penalty, is no plan at all.
    """

    horizon_multipliers: tuple[float, ...] = (0.8, 0.95, 1.1, 1.25, 1.4, 1.55)
    horizons: tuple[int, ...] = ()
    use_estimate: bool = True
    whole_windows: bool = False
    samples: int = 4
    retries: int = 0
    reject_above: float = 2.0

    def __post_init__(self) -> None:
        for name in ("horizon_multipliers", "horizons"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.horizon_multipliers or min(*self.horizon_multipliers, 1) <= 0:
            raise ValueError(
                f"need at least one horizon multiplier > 0, got horizon_multipliers={self.horizon_multipliers}"
            )
        if min((*self.horizons, 1)) < 1:
            raise ValueError(f"horizons are in tokens, of at least 1, got {self.horizons}")
        if min(self.samples, self.reject_above) <= 0:
            raise ValueError(f"samples and reject_above must be positive, got {self.samples} and {self.reject_above}")
        if self.retries < 0:
            raise ValueError(f"retries must not be negative, got {self.retries}")


@dataclass
class BestPlans:
    """The best plan found so far for each of B rows.

    Attributes:
        plan: B plans, with their `violation`.
        rank: (B,) by which plans are compared, lower is better: the time of a feasible one; all others lie behind.
    """

    plan: Plan
    rank: Array

    def improve(self, rows: IntArray, found: BestPlans) -> None:
        """Take over what was found for `rows`, where it is better."""
        better = found.rank < self.rank[rows]
        taken = rows[better]
        self.plan.replace(taken, found.plan.rows(np.flatnonzero(better)))
        self.rank[taken] = found.rank[better]


class ShortestFeasible(ModelPlanner):
    """Samples plans at many horizons, all in one batch, and takes the fastest feasible one of each row.

    Where none is feasible, the least infeasible one is taken, and where that is no plan at all, the agent goes on as
    the data does and looks again from there.
    """

    Config = ShortestFeasibleConfig
    ends_at_goal = settles = True

    def __init__(self, config: ShortestFeasibleConfig, sampler: PlanSampler) -> None:
        if not config.horizons:
            config = replace(config, horizons=default_horizons(sampler.longest))
        super().__init__(config, sampler)
        self._pass_seconds: dict[int, float] = {}  # rows -> what a pass took of late, with its share of the judgement

    def plan(self, request: PlanRequest) -> Plan:
        """Return the shortest feasible plans; rows for which nothing feasible was found get another round.

        Under a deadline the candidates come one per horizon at a time, and what was found by then is taken.
        """
        c, n = self.config, len(request)
        rows, first, samples, steps = np.arange(n), 1, c.samples, None
        deadline = request.new_deadline()
        if deadline is not None:
            first, samples, steps = samples, 1, self._affordable_passes(request)
        best = self._round(request, samples, 0, steps)
        if deadline is not None:
            spent = deadline.spent() / best.plan.passes
            self._pass_seconds[n] = max(spent, PASS_DECAY * self._pass_seconds.get(n, 0.0))
        for number in range(1, first + c.retries):
            if number >= first:
                rows = np.flatnonzero(_violation(best.plan) > 1)
            if not len(rows) or (deadline is not None and deadline.over()):
                break
            best.improve(rows, self._round(request.take(rows), samples, number, steps))
        lost = np.flatnonzero(_violation(best.plan) > c.reject_above * request.shortcut_penalty)
        if len(lost):  # go on as the data does, and look again from there
            some = request.take(lost)
            onwards = self.sampler.sample_plans(
                some, np.arange(len(lost)), self.horizons_left(some), to_goal=False, steps=steps
            )
            onwards.violation = np.full(len(lost), np.inf)
            best.plan.replace(lost, onwards)
        return best.plan

    def horizons(self, request: PlanRequest, samples: int) -> IntArray:
        """Return the horizons to try, (n, K) tokens, each `samples` times."""
        c, s = self.config, self.sampler
        if s.time_along is None or not c.use_estimate:
            grid = np.broadcast_to(np.array(c.horizons), (len(request), len(c.horizons)))
        else:
            position = request.history[:, -1, list(s.goal_channels)]
            steps = request.shortcut_penalty * s.time_to_goal(position, request.goal)
            grid = np.clip(np.ceil(steps[:, None] * np.array(c.horizon_multipliers) / s.span), 2, s.longest)
        if c.whole_windows:
            whole = np.array(s.horizons)
            if grid.max() > whole[-1]:
                raise ValueError(
                    f"shortest_feasible.horizons must be at most {whole[-1]} tokens, got {int(grid.max())}"
                )
            grid = whole[np.searchsorted(whole, grid)]
        return np.repeat(grid.astype(np.int64), samples, axis=1)

    def _affordable_passes(self, request: PlanRequest) -> int:
        """Return in how many passes plans are to be sampled, for their first round to meet the deadline.

        Fewer passes from the start make better plans than more of them that are cut off.
        """
        s, known = self.sampler, self._pass_seconds.get(len(request))
        if known is None or request.max_plan_ms is None:
            return s.steps
        return int(np.clip(request.max_plan_ms / 1000 / known, min(s.least_steps, s.steps), s.steps))

    def _round(
        self,
        request: PlanRequest,
        samples: int,
        number: int,
        steps: int | None = None,
    ) -> BestPlans:
        """Return the best of `samples` candidates per horizon; every round has noise of its own."""
        horizons, s = self.horizons(request, samples), self.sampler
        batch, k = horizons.shape
        rows = np.repeat(np.arange(batch), k)
        plan = s.sample_plans(request, rows, horizons.ravel(), number=number, steps=steps)
        over = self.violation(plan, np.repeat(request.shortcut_penalty, k))
        paths = plan.observations[..., list(s.goal_channels)]
        own = (plan.lengths - 1.0) * plan.frame_skip
        time = own if request.own_pace else travel_time(paths, s.limits.speed)
        time = (time + s.cost(plan)).reshape(batch, k)
        over = np.where(np.isfinite(over.reshape(batch, k) + time), over.reshape(batch, k), 1e9)
        rank = np.where(over <= 1, time, 1e9 * (1 + over))  # infeasible ones behind all feasible ones
        row, best = np.arange(batch), rank.argmin(1)
        chosen = plan.rows(row * k + best)
        chosen.violation = over[row, best]
        return BestPlans(chosen, rank[row, best])


def _violation(plan: Plan) -> Array:
    assert plan.violation is not None
    return plan.violation


def default_horizons(longest: int) -> tuple[int, ...]:
    """Horizons from 2 to `longest` tokens: every one up to 8, then ever sparser.

    One token would be the goal itself, a straight line without any planning.
    """
    grid = [*range(2, 9), *range(10, 17, 2), *range(19, longest, 3)]
    return (*(h for h in grid if h < longest), longest)
