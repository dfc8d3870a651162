"""What planners over a generative model have in common: the model's plan sampler, and what it must know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from df_planners.feasibility import FeasibilityConfig, MotionLimits, Support, TimeAlong, violation
from df_planners.plan import Array, IntArray, Plan, Planner, PlanRequest


class PlanSampler(Protocol):
    """Samples candidate plans from a model. It is all that a planner sees of the model.

    Attributes:
        goal_channels: where the goal lies in a planned frame.
        frame_skip: control steps between two frames.
        span: control steps per token.
        horizons: what can be sampled at once [tokens behind the observed ones], ascending; a plan runs at the shortest
            that holds it.
        window: what the model itself can plan at once; more only by composing windows [tokens].
        longest: the longest plan, pieced together or not [tokens].
        limits: what the data's motion allows.
        feasibility: when a plan is taken to be feasible.
        time_along: the estimate of the time between places of a path; None where the model has none.
        support: how well the data supports the moves of a path; None where the model does not know.
        steps: denoising passes unless told otherwise.
        least_steps: passes that are made in any case, also under a deadline.
    """

    goal_channels: tuple[int, ...]
    frame_skip: int
    span: int
    window: int
    longest: int
    limits: MotionLimits
    feasibility: FeasibilityConfig
    steps: int
    least_steps: int

    @property
    def horizons(self) -> Sequence[int]:
        """What can be sampled at once, see above."""
        ...

    @property
    def time_along(self) -> TimeAlong | None:
        """The estimate of the time between places of a path, see above."""
        ...

    @property
    def support(self) -> Support | None:
        """How well the data supports the moves of a path, see above."""
        ...

    def sample_plans(
        self,
        request: PlanRequest,
        rows: IntArray,
        horizons: IntArray,
        *,
        to_goal: bool = True,
        guide: str | None = None,
        strength: Array | float = 0.0,
        frames: Array | None = None,
        number: int = 0,
        steps: int | None = None,
    ) -> Plan:
        """Sample N candidates; under the request's deadline in fewer passes, if time runs out.

        Args:
            request: where the environments stand.
            rows: (N,) which row of the request each candidate is for.
            horizons: (N,) tokens until its end, at least 1.
            to_goal: it ends at the goal, which is a clean token; the policy's costs guide it besides.
            guide: what else guides it: "goal" (be near the goal at every time), "reward" (collect expected reward) or
                "time_to_goal" (come nearer to the goal); None for nothing.
            strength: of that guidance, one for all or (N,).
            frames: (N, F, Do) frames to go on from in place of what was observed.
            number: tells calls for one request apart, so that each has noise of its own.
            steps: denoising passes in place of `self.steps`.
        """
        ...

    def time_to_goal(self, places: Array, goals: Array, /) -> Array:
        """Estimate the control steps, (N,), of the data's direct ways between places and goals, both (N, G)."""
        ...

    def cost(self, plan: Plan, /) -> Array:
        """Return by how many control steps, (N,), plans are worse than the time they take."""
        ...


class ModelPlanner(Planner):
    """A planner that chooses among what a model samples.

    Args:
        config: its options, a `Config`.
        sampler: of the model's plans.

    Attributes:
        needs_time_to_goal: it needs the model's estimate of the time to the goal.
        needs_rewards: it needs a model of rewards.
        takes_costs: it heeds costs, and observations that are noisy or missing.
        joins_pieces: its plans may be longer than what the model samples at once.
    """

    needs_time_to_goal: ClassVar[bool] = False
    needs_rewards: ClassVar[bool] = False
    takes_costs: ClassVar[bool] = True
    joins_pieces: ClassVar[bool] = False

    def __init__(self, config: Any, sampler: PlanSampler) -> None:
        self.config, self.sampler = config, sampler
        self.max_frames = sampler.longest * sampler.span // sampler.frame_skip + 1

    def cost(self, plan: Plan) -> Array:
        """Return by how many control steps, (B,), plans are worse than the time they take."""
        return self.sampler.cost(plan)

    def violation(self, plan: Plan, shortcut_penalty: Array | None = None) -> Array:
        """Return how many times plans exceed what they may, (B,); at most 1 is feasible."""
        s = self.sampler
        paths = plan.observations[..., list(s.goal_channels)]
        return violation(plan, paths, s.limits, s.time_along, s.feasibility, shortcut_penalty, s.support)

    def horizons_left(self, request: PlanRequest) -> IntArray:
        """Return the horizons, (n,) tokens, that fill what is left of the episode, as far as the model sees."""
        s = self.sampler
        left = np.full(len(request), s.longest * s.span) if request.steps_left is None else request.steps_left
        return np.asarray(np.clip(-(-left // s.span), 1, min(s.longest, s.horizons[-1])), np.int64)
