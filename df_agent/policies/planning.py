"""How the agent's plans are made: which candidates the model is asked for, and which of them is taken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from df_planners.best_of_n import best_of_n
from df_planners.deadline import Deadline
from df_planners.plan import Plan
from df_planners.shortest_feasible import BestPlans, MotionLimits, shortest_feasible
from numpy.typing import NDArray

from df_agent.data.tokens import Tokenizer
from df_agent.agent_model import AgentModel
from df_agent.diffusion.objectives import goal_objective, reward_objective
from df_agent.diffusion.sampler import GuidanceObjective
from df_agent.policies.config import SETTLING, PolicyConfig
from df_agent.policies.costs import Cost
from df_agent.policies.plan_sampler import LEAST_PASSES, Noise, PlanSampler
from df_agent.policies.state import Array
from df_agent.policies.tree_expansion import search_tree

FORGETTING = 0.7  # of the slowest pass, from plan to plan


@dataclass(frozen=True)
class PlanRequest:
    """Where n environments stand that need a plan.

    Attributes:
        history: (n, F, Do) the last observations, one per frame of the observed tokens, the present last.
        level: (n, F) noise level at which each is fed to the model; 0 is the truth.
        goal: (n, G).
        step: (n,) control steps since the episode began.
        doubt: (n,) by how much plans have proved too bold; 1 at first.
        seeds: n seeds of the plans' noise, a few integers each.
    """

    history: Array
    level: NDArray[np.int64]
    goal: Array
    step: NDArray[np.int64]
    doubt: Array
    seeds: list[list[int]]

    def take(self, rows: NDArray[np.int64]) -> PlanRequest:
        """Return some rows of it."""
        seeds = [self.seeds[row] for row in rows]
        return PlanRequest(
            self.history[rows], self.level[rows], self.goal[rows], self.step[rows], self.doubt[rows], seeds
        )


class ModelPlanner:
    """Plans by a Diffusion Forcing model, as `config.planner` says.

    Args:
        model: the trained model.
        tokenizer: its tokenizer and normaliser.
        limits: motion statistics of the training data.
        lengths: sequence lengths the model has been trained on.
        longest: tokens of the longest plans, what was observed not among them.
        config: how to plan.
        max_steps: length of an episode [control steps], for plans that fill what is left of it.
        costs: what plans should be besides, see `df_agent.policies.costs`.
    """

    def __init__(
        self,
        model: AgentModel,
        tokenizer: Tokenizer,
        limits: MotionLimits,
        lengths: list[int],
        longest: int,
        config: PolicyConfig,
        max_steps: int | None,
        costs: Sequence[Cost] = (),
    ) -> None:
        self.model, self.tokenizer, self.limits, self.config = model, tokenizer, limits, config
        self.max_steps, self.costs = max_steps, tuple(costs)
        self.longest = longest
        self.channels = list(tokenizer.config.goal_channels)
        self._pass_seconds: dict[int, float] = {}  # rows -> what a pass took of late, with its share of the judgement
        self.proposer = PlanSampler(
            model.diffusion,
            tokenizer,
            lengths,
            config.sampling,
            one_length=not config.search.whole_windows,
            longest=longest + tokenizer.config.context if config.sampling.overlap else None,
        )

    def __call__(self, situation: PlanRequest) -> tuple[Plan, Array]:
        """Return a plan per row, and how infeasible each is, (n,): at most 1 is feasible, inf no way to the goal."""
        c, rows = self.config, len(situation.goal)
        self.proposer.stop = None if c.max_plan_ms is None else Deadline(c.max_plan_ms).over
        if c.planner == "best_of_n" and c.goal_conditioned:
            plans = self.guided(situation, scale=0.0, candidates=c.candidates)
            return best_of_n(plans, situation.goal, tuple(self.channels), c.candidates), np.zeros(rows)
        if c.planner == "fixed_horizon" and c.goal_conditioned:
            return self.ahead(situation), np.zeros(rows)
        if c.planner not in SETTLING or not c.goal_conditioned:
            scale = c.guidance_scale if c.goal_conditioned else 0.0
            return self.guided(situation, scale), np.full(rows, 0.0 if c.goal_conditioned else np.inf)
        if c.planner == "tree_search":
            found = search_tree(self, situation)
            return found.plan, found.over
        return self.shortest(situation)

    def shortest(self, situation: PlanRequest) -> tuple[Plan, Array]:
        """Return the shortest feasible plans; rows without a way in sight wander as the data does.

        Rows for which nothing feasible was found get another round of candidates. Under a deadline the candidates come
        one per horizon at a time, and what was found by then is taken.
        """
        s, c = situation, self.config
        rows, first, samples = np.arange(len(s.goal)), 1, c.search.samples
        deadline = None if c.max_plan_ms is None else Deadline(c.max_plan_ms)
        if deadline is not None:
            first, samples = samples, 1
            self.proposer.config = replace(c.sampling, steps=self._affordable_passes(len(s.goal)))
        best = self._round(s, samples, 0)
        if deadline is not None:
            spent = deadline.spent() / self.proposer.passes
            self._pass_seconds[len(s.goal)] = max(spent, FORGETTING * self._pass_seconds.get(len(s.goal), 0.0))
        for k in range(1, first + c.search.retries):
            if k >= first:
                rows = np.flatnonzero(best.over > 1)
            if not len(rows) or (deadline is not None and deadline.over()):
                break
            best.improve(rows, self._round(s.take(rows), samples, k))
        plan, over = best.plan, best.over
        lost = np.flatnonzero(over > c.search.hopeless * s.doubt)
        if len(lost):  # wander, and look again from there
            wander = self.guided(s.take(lost), scale=0.0)
            plan.replace(lost, wander)
            over[lost] = np.inf
        return plan, over

    def _affordable_passes(self, rows: int) -> int:
        """Return in how many passes plans of `rows` are to be sampled, for their first round to meet the deadline.

        Fewer passes from the start make better plans than more of them that are cut off.
        """
        c, known = self.config, self._pass_seconds.get(rows)
        if known is None or c.max_plan_ms is None:
            return c.sampling.steps
        return int(np.clip(c.max_plan_ms / 1000 / known, min(LEAST_PASSES, c.sampling.steps), c.sampling.steps))

    def _round(self, s: PlanRequest, samples: int, number: int) -> BestPlans:
        """Return the best of `samples` candidates per horizon; every round has noise of its own."""
        noise = self._noise(s, number)

        def propose(candidates: NDArray[np.int64], horizons: NDArray[np.int64], /) -> Plan:
            objective, scale = self.against_costs(horizons)
            return self.proposer.to_goal(s.history, s.goal, candidates, horizons, noise, objective, scale, s.level)

        return shortest_feasible(
            propose,
            self.horizons(s.history[:, -1, self.channels], s.goal, s.doubt, samples),
            tuple(self.channels),
            self.limits,
            None if self.model.time_to_goal is None else self.reach_along,
            self.config.search,
            s.doubt,
            self.cost if self.costs else None,
            own_pace=self.config.controller != "path",
        )

    def ahead(self, situation: PlanRequest) -> Plan:
        """Return plans that are at the goal `config.horizon` tokens ahead."""
        s, rows = situation, np.arange(len(situation.goal))
        horizon = min(self.config.horizon or self.longest, self.longest)
        horizons = np.full(len(rows), horizon)
        objective, scale = self.against_costs(horizons)
        return self.proposer.to_goal(s.history, s.goal, rows, horizons, self._noise(s), objective, scale, s.level)

    def cost(self, plan: Plan) -> Array:
        """Return by how many control steps, (N,), plans are worse than the time they take."""
        frames = torch.as_tensor(plan.observations)
        valid = torch.arange(frames.shape[1])[None] < torch.as_tensor(plan.lengths)[:, None]
        costs = np.zeros(len(plan))
        for cost in self.costs:
            value = cost(frames, valid).detach().numpy()
            if value.shape != costs.shape or not np.isfinite(value).all():
                name = getattr(cost, "__name__", type(cost).__name__)
                raise ValueError(
                    f"the cost {name} must return {len(plan)} finite numbers, one per plan, for frames "
                    f"{tuple(frames.shape)}, got {value.shape}: {value.ravel()[:3]}"
                )
            costs += value
        return costs

    def against_costs(
        self, horizons: NDArray[np.int64]
    ) -> tuple[Callable[[NDArray[np.int64]], GuidanceObjective] | None, float]:
        """Return what makes the objective of plans of `horizons` (N,) tokens, and its scale; none without costs."""
        if not self.costs:
            return None, 0.0
        c = self.tokenizer.config
        back = c.context_frames - 1

        def objective(plans: NDArray[np.int64], /) -> GuidanceObjective:
            lengths = torch.as_tensor(horizons[plans] * c.frame_stack + 1, device=self.proposer.device)

            def value(tokens: torch.Tensor) -> torch.Tensor:
                frames = self.tokenizer.observations(tokens)[:, back:]
                valid = torch.arange(frames.shape[1], device=frames.device)[None] < lengths[:, None]
                return -torch.stack([cost(frames, valid) for cost in self.costs]).sum(0)

            return value

        return objective, self.config.cost_scale

    def horizons(self, position: Array, goal: Array, doubt: Array, samples: int) -> NDArray[np.int64]:
        """Return the horizons to try, (n, K) tokens, each `samples` times."""
        c = self.config.search
        if self.model.time_to_goal is None:
            grid = np.broadcast_to(np.array(c.horizons), (len(goal), len(c.horizons)))
        else:
            steps = doubt * self.reach(position, goal)
            tokens = steps[:, None] * np.array(c.stretch) / self.tokenizer.config.span
            grid = np.clip(np.ceil(tokens), 2, self.longest)
        if c.whole_windows:
            whole = np.array(self.proposer.lengths) - self.tokenizer.config.context
            if grid.max() > whole[-1]:
                raise ValueError(f"search.horizons must be at most {whole[-1]} tokens, got {int(grid.max())}")
            grid = whole[np.searchsorted(whole, grid)]
        return np.repeat(grid.astype(np.int64), samples, axis=1)

    @torch.no_grad()
    def reach(self, start: Array, goal: Array) -> Array:
        """Estimate the control steps, (n,), of the data's direct ways between places (n, G)."""
        assert self.model.time_to_goal is not None
        steps = self.model.time_to_goal(self._places(start), self._places(goal))
        return np.asarray(steps.cpu().double().numpy())

    @torch.no_grad()
    def reach_along(self, paths: Array, gaps: tuple[int, ...], /) -> list[Array]:
        """Estimate for every gap the steps, (N, H - gap), from each place of paths (N, H, G) to `gap` frames later."""
        assert self.model.time_to_goal is not None
        embedded = self.model.time_to_goal.embed(self._places(paths))  # once, for it is most of the work
        steps = [self.model.time_to_goal.between(embedded[:, :-gap], embedded[:, gap:]) for gap in gaps]
        return [np.asarray(each.cpu().double().numpy()) for each in steps]

    def _places(self, places: Array) -> torch.Tensor:
        mean, std = self.tokenizer.mean[self.channels].numpy(), self.tokenizer.std[self.channels].numpy()
        return torch.as_tensor((places - mean) / std, dtype=torch.float32, device=self.proposer.device)

    def guided(self, situation: PlanRequest, scale: float, candidates: int = 1) -> Plan:
        """Plan for what is left of the episode, a window at most, under guidance; without any, at scale 0."""
        s, tokens = situation, self.tokenizer.config
        left = np.full(len(s.goal), self.longest * tokens.span)
        if self.max_steps is not None:
            left = self.max_steps - s.step
        owner = np.repeat(np.arange(len(s.goal)), candidates)
        longest = min(self.longest, self.proposer.lengths[-1] - tokens.context)  # a tree's plans may be longer
        horizons = np.clip(-(-left // tokens.span), 1, longest).astype(np.int64)[owner]
        device = self.proposer.device
        goal = self.tokenizer.goal_token(torch.as_tensor(s.goal, dtype=torch.float32, device=device))
        channels = tokens.goal_channels

        def objective(plans: NDArray[np.int64], /) -> GuidanceObjective:
            planned = torch.as_tensor(horizons[plans], device=device)
            if self.config.planner == "reward_guidance":
                mean, std = float(self.tokenizer.mean[-1]), float(self.tokenizer.std[-1])
                return reward_objective(planned, tokens.frame_stack, mean, std, tokens.context)
            places = goal[owner[plans]][:, list(channels)]
            return goal_objective(places, planned, tokens.frame_stack, channels, tokens.context)

        return self.proposer.guided(s.history, objective, scale, owner, horizons, self._noise(s), s.level)

    def _noise(self, situation: PlanRequest, number: int = 0) -> Noise:
        """Return where the noise of the candidates of a round comes from: each row's own seeds."""

        def noise(candidates: NDArray[np.int64], tokens: int, k: int, /) -> torch.Tensor:
            out = np.empty((len(candidates), tokens, self.tokenizer.config.token_dim), np.float32)
            for row in np.unique(candidates):
                seeds, own = situation.seeds[row], candidates == row
                rng = np.random.default_rng([*seeds, k, number] if number else [*seeds, k] if k else seeds)
                out[own] = rng.standard_normal((int(own.sum()), *out.shape[1:]), dtype=np.float32)
            return torch.from_numpy(out)

        return noise
