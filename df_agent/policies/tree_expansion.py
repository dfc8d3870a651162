"""Tree search with a Diffusion Forcing model: how beginnings of plans are gone on with, and what they are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from df_planners.deadline import Deadline
from df_planners.plan import Plan
from df_planners.shortest_feasible import BestPlans, infeasibility
from df_planners.tree_search import TreeSearch
from numpy.typing import NDArray

from df_agent.diffusion.objectives import approach_objective
from df_agent.diffusion.sampler import GuidanceObjective
from df_agent.policies.plan_sampler import Noise
from df_agent.policies.state import Array

if TYPE_CHECKING:
    from df_agent.policies.planning import ModelPlanner, PlanRequest


class TreeExpansion:
    """What makes the continuations of one search.

    Args:
        planner: holds the model.
        situation: where the environments stand.
    """

    def __init__(self, planner: ModelPlanner, situation: PlanRequest) -> None:
        self.planner, self.situation = planner, situation

    def extend(self, rows: NDArray[np.int64], frames: Array, strengths: Array, number: int, /) -> Plan:
        """Go on by a segment, guided towards the goal; see `df_planners.tree_search.Extend`."""
        p, each = self.planner, np.arange(len(rows))
        horizons = np.full(len(rows), p.config.tree.segment)
        places = p._places(self.situation.goal[rows])
        strength = torch.as_tensor(strengths, dtype=torch.float32, device=p.proposer.device)
        assert p.model.time_to_goal is not None
        estimator = p.model.time_to_goal

        def objective(plans: NDArray[np.int64], /) -> GuidanceObjective:
            climb = approach_objective(
                estimator,
                places[plans],
                horizons[0],
                p.tokenizer.config.frame_stack,
                p.tokenizer.config.goal_channels,
                p.tokenizer.config.context,
            )
            return lambda tokens: strength[plans] * climb(tokens)

        return p.proposer.guided(
            frames, objective, float(strengths.any()), each, horizons, self._noise(rows, 2 * number)
        )

    def arrive(self, rows: NDArray[np.int64], frames: Array, horizons: NDArray[np.int64], number: int, /) -> Plan:
        """Go on to the goal; see `df_planners.tree_search.Arrive`."""
        each = np.arange(len(rows))
        noise = self._noise(rows, 2 * number + 1)
        return self.planner.proposer.to_goal(frames, self.situation.goal[rows], each, horizons, noise)

    def time_left(self, rows: NDArray[np.int64], places: Array, /) -> Array:
        """Estimate the control steps to the goals; see `df_planners.tree_search.TimeLeft`."""
        return self.planner.reach(places, self.situation.goal[rows])

    def infeasibility(self, rows: NDArray[np.int64], plan: Plan, /) -> Array:
        """Judge continuations; see `df_planners.tree_search.Infeasibility`.

        Without doubt: the limit is close to the data's own pace, and below that nothing would be left to follow.
        """
        p = self.planner
        paths = plan.observations[..., p.channels]
        return infeasibility(plan, paths, p.limits, p.reach_along, p.config.search)

    def _noise(self, rows: NDArray[np.int64], number: int) -> Noise:
        """Return the noise of a batch whose candidates are for the environments `rows`."""
        own = self.planner._noise(self.situation, number)
        return lambda candidates, tokens, k: own(rows[candidates], tokens, k)


def search_tree(planner: ModelPlanner, situation: PlanRequest) -> BestPlans:
    """Return the fastest feasible plans that a tree search finds, or the most promising beginnings."""
    tokens, made = planner.tokenizer.config, TreeExpansion(planner, situation)
    search = TreeSearch(
        made.extend,
        made.arrive,
        made.time_left,
        made.infeasibility,
        tuple(planner.channels),
        planner.limits.speed,
        tokens.frame_skip,
        tokens.span,
        planner.longest,
        planner.proposer.lengths[-1] - tokens.context,
        planner.config.tree,
    )
    deadline = planner.config.max_plan_ms
    return search(situation.history, None if deadline is None else Deadline(deadline).over)
