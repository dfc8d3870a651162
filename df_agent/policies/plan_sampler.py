"""Candidate plans from a Diffusion Forcing model: the bridge between planners and the sampler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from df_planners.feasibility import MotionLimits, Support, TimeAlong
from df_planners.plan import Plan, PlanRequest
from einops import reduce, repeat
from torch import Tensor

from df_agent.agent_model import AgentModel
from df_agent.data.tokens import Tokenizer
from df_agent.diffusion.conditioning import Composed, Continued, Weighted, remembers
from df_agent.diffusion.objectives import approach_objective, goal_objective, reward_objective
from df_agent.diffusion.sampler import Denoiser, GuidanceObjective, sample
from df_agent.diffusion.scheduling_matrix import scheduling_matrix, to_levels
from df_agent.policies.config import PolicyConfig, SamplingConfig
from df_agent.policies.costs import Cost, cost_objective, total_cost
from df_agent.policies.plan_frames import LEAST_PASSES, Denoising, PassWatch, denoising, plan_of
from df_agent.policies.state import Array, IntArray


class PlanSampler:
    """Samples plans with the goal as a clean token at a chosen horizon, or guided towards it.

    It is all that planners see of a model, see `df_planners.model_planner.PlanSampler`.

    Args:
        model: the trained model.
        tokenizer: its tokenizer and normaliser.
        limits: motion statistics of the training data.
        lengths: sequence lengths the model has been trained on; a plan runs at the shortest one that holds it, and what
            is left behind the goal is padding.
        config: how to plan.
        longest: tokens of the longest plans, what was observed not among them; more than the model sees at once only
            with config.sampling.overlap, or for planners that join pieces.
        costs: what plans should be besides short, see `df_agent.policies.costs`.

    Attributes:
        on_denoise: if set, told how the candidates of each call came about; plans are the same with or without.
    """

    least_steps = LEAST_PASSES

    def __init__(
        self,
        model: AgentModel,
        tokenizer: Tokenizer,
        limits: MotionLimits,
        lengths: Sequence[int],
        config: PolicyConfig,
        longest: int,
        costs: Sequence[Cost] = (),
    ) -> None:
        s, c, levels = config.sampling, tokenizer.config, model.diffusion.config.levels
        if max(s.steps, s.stabilization_level) > levels:
            raise ValueError(
                f"a model of {levels} levels cannot take {s.steps} sampling steps, or be stabilised at level "
                f"{s.stabilization_level}"
            )
        self.model, self.tokenizer, self.limits, self.config = model, tokenizer, limits, s
        self.feasibility, self.costs, self.cost_scale = config.feasibility, tuple(costs), config.cost_scale
        # All plans of a row run at the length that the longest needs: more padding, but for a few rows longer passes
        # cost less than more of them. A model that knows no padding cannot do it.
        self.one_length = not config.shortest_feasible.whole_windows
        self.lengths, self.longest = sorted(lengths), longest
        self.window = self.lengths[-1] - c.context
        if s.overlap and longest > self.window:
            self.lengths.append(longest + c.context)
        self.horizons = [length - c.context for length in self.lengths]
        self.goal_channels, self.frame_skip, self.span = c.goal_channels, c.frame_skip, c.span
        self.steps, self.device = s.steps, model.diffusion.alpha_bar.device
        self.on_denoise: Callable[[Denoising], None] | None = None

    @torch.no_grad()
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
        """Sample N candidates, each at the shortest length that will do; see `df_planners.model_planner`."""
        c, longest = self.tokenizer.config, self.lengths[-1]
        history = request.history[rows] if frames is None else frames
        level = request.level[rows] if frames is None else np.zeros(history.shape[:2], np.int64)
        objective, scale = self._objective(request, rows, horizons, to_goal, guide, strength)
        s = self.config if steps is None else replace(self.config, steps=steps)
        bucket = self._buckets(horizons, rows if frames is None else np.arange(len(rows)))
        noise = self._noise(request, number)
        drawn = noise(rows, longest, 0)
        out = np.zeros((len(rows), longest * c.frame_stack, c.frame_dim))
        watches: list[tuple[IntArray, PassWatch]] = []
        for k in np.unique(bucket):
            pick, length = np.flatnonzero(bucket == k), self.lengths[k]
            watch = PassWatch(request.deadline.over if request.deadline else None, self.on_denoise is not None)
            x = self._sample(
                self._start(history[pick], level[pick], drawn[pick, :length], s),
                horizons[pick] + c.context,
                request.goal[rows[pick]] if to_goal else None,
                drawn[pick, :length],
                partial(noise, rows[pick], length),
                watch,
                objective=None if objective is None else objective(pick),
                guidance_scale=scale,
            )
            watches.append((pick, watch))
            out[pick, : length * c.frame_stack] = self.tokenizer.unpack(x).cpu().double().numpy()
        lengths = horizons * c.frame_stack + 1
        if self.on_denoise is not None:
            traces = [(pick, watch.trace) for pick, watch in watches]
            self.on_denoise(denoising(self.tokenizer, rows, lengths, longest, traces))
        plan = plan_of(out, lengths, to_goal, c)
        plan.passes = min(watch.passes for _, watch in watches)
        # An observed token that is noisy stays so, and is noise where it is missing: what was seen last is nearer.
        unclear = level[:, -c.frame_stack :].any(1)
        plan.observations[unclear, 0] = history[unclear, -1]
        return plan

    @torch.no_grad()
    def time_to_goal(self, places: Array, goals: Array, /) -> Array:
        """Estimate the control steps, (N,), of the data's direct ways between places and goals, both (N, G)."""
        assert self.model.time_to_goal is not None
        steps = self.model.time_to_goal(self._places(places), self._places(goals))
        return np.asarray(steps.cpu().double().numpy())

    @property
    def time_along(self) -> TimeAlong | None:
        """What estimates the time between places of a path; None without an estimate."""
        return None if self.model.time_to_goal is None else self._time_along

    @property
    def support(self) -> Support | None:
        """How well the data supports the moves of a path; None where the model does not know."""
        return None if self.model.support is None else self._support

    def cost(self, plan: Plan, /) -> Array:
        """Return by how many control steps, (N,), plans are worse than the time they take."""
        return total_cost(self.costs, plan)

    @torch.no_grad()
    def _time_along(self, paths: Array, gaps: tuple[int, ...]) -> list[Array]:
        assert self.model.time_to_goal is not None
        embedded = self.model.time_to_goal.embed(self._places(paths))  # once, for it is most of the work
        steps = [self.model.time_to_goal.between(embedded[:, :-gap], embedded[:, gap:]) for gap in gaps]
        return [np.asarray(each.cpu().double().numpy()) for each in steps]

    @torch.no_grad()
    def _support(self, paths: Array) -> Array:
        assert self.model.support is not None
        places = self._places(paths)
        return np.asarray(self.model.support(places[:, :-1], places[:, 1:]).cpu().double().numpy())

    def _places(self, places: Array) -> Tensor:
        channels = list(self.goal_channels)
        mean, std = self.tokenizer.mean[channels].numpy(), self.tokenizer.std[channels].numpy()
        return self._tensor((places - mean) / std)

    def _tensor(self, array: Array) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)

    def _buckets(self, horizons: IntArray, group: IntArray) -> IntArray:
        """Return which of the lengths each candidate runs at, (N,); one for all candidates of a group (N,)."""
        needed = horizons + self.tokenizer.config.context
        if needed.max() > self.lengths[-1]:
            raise ValueError(f"horizons must be below {self.horizons[-1] + 1} tokens, got {int(horizons.max())}")
        if self.one_length:
            most = np.zeros(int(group.max()) + 1, np.int64)
            np.maximum.at(most, group, needed)
            needed = most[group]
        return np.searchsorted(self.lengths, needed)

    def _noise(self, request: PlanRequest, number: int) -> Callable[[IntArray, int, int], Tensor]:
        """Return what gives standard normal noise: (row of each of N candidates, tokens, k) -> (N, tokens, D).

        It is each row's own: k = 0 to begin with, k = m + 1 of pass m.
        """

        def noise(rows: IntArray, tokens: int, k: int) -> Tensor:
            out = np.empty((len(rows), tokens, self.tokenizer.config.token_dim), np.float32)
            for row in np.unique(rows):
                seeds, own = request.seeds[row], rows == row
                rng = np.random.default_rng([*seeds, k, number] if number else [*seeds, k] if k else seeds)
                out[own] = rng.standard_normal((int(own.sum()), *out.shape[1:]), dtype=np.float32)
            return torch.from_numpy(out)

        return noise

    def _objective(
        self,
        request: PlanRequest,
        rows: IntArray,
        horizons: IntArray,
        to_goal: bool,
        guide: str | None,
        strength: Array | float,
    ) -> tuple[Callable[[IntArray], GuidanceObjective] | None, float]:
        """Return what makes, for some of the N candidates, what guidance climbs, and its scale; none without any."""
        c = self.tokenizer.config
        if to_goal:
            if not self.costs:
                return None, 0.0
            lengths = horizons * c.frame_stack + 1
            return lambda pick: cost_objective(self.costs, self.tokenizer, lengths[pick]), self.cost_scale
        if guide is None:
            return None, 0.0
        channels, stack, context = c.goal_channels, c.frame_stack, c.context
        places = self.tokenizer.goal_token(self._tensor(request.goal))[:, list(channels)][rows]
        planned = torch.as_tensor(horizons, device=self.device)
        if guide == "time_to_goal":
            assert self.model.time_to_goal is not None
            estimator, strengths = self.model.time_to_goal, self._tensor(np.asarray(strength))
            places = self._places(request.goal[rows])

            def approach(pick: IntArray) -> GuidanceObjective:
                climb = approach_objective(estimator, places[pick], int(horizons[0]), stack, channels, context)
                return lambda tokens: strengths[pick] * climb(tokens)

            return approach, float(np.any(strength))
        scale = float(strength)
        if guide == "reward":
            mean, std = float(self.tokenizer.mean[-1]), float(self.tokenizer.std[-1])
            return lambda pick: reward_objective(planned[pick], stack, mean, std, context), scale
        return lambda pick: goal_objective(places[pick], planned[pick], stack, channels, context), scale

    def _start(self, history: Array, level: IntArray, noise: Tensor, s: SamplingConfig) -> tuple[Tensor, Tensor]:
        """Initial tokens (N, T, D), the first ones observed, and levels (M, N, T)."""
        c, top = self.tokenizer.config, self.model.diffusion.config.levels
        x = (noise * s.temperature).to(self.device)
        observed = self.tokenizer.observed_tokens(self._tensor(history))
        known = reduce(torch.as_tensor(level, device=self.device), "n (c f) -> n c", "max", f=c.frame_stack)
        # What is noisy already is a sample at its level once it is scaled as one; of what is missing there is none.
        scaled = self.model.diffusion.alpha_bar[known][..., None].sqrt() * observed
        shown = torch.where(known[..., None] == 0, observed, scaled)
        x[:, : c.context] = torch.where((known == top)[..., None], x[:, : c.context], shown)
        matrix = scheduling_matrix(s.matrix, noise.shape[1] - c.context, s.steps, s.uncertainty, s.near)
        free = torch.as_tensor(to_levels(matrix, s.steps, top), device=self.device)
        waiting = repeat(known, "n c -> m n c", m=len(free))
        return x, torch.cat([waiting, repeat(free, "m t -> m n t", n=len(x))], -1)

    def _sample(
        self,
        start: tuple[Tensor, Tensor],
        lengths: IntArray,
        goals: Array | None,
        drawn: Tensor,
        noise: Callable[[int], Tensor],
        watch: PassWatch,
        **options: Any,
    ) -> Tensor:
        """Return N denoised candidates (N, T, D).

        Args:
            start: initial tokens and levels, see `_start`.
            lengths: (N,) tokens up to each one's end; behind it are pads.
            goals: (N, G), given as a clean token at the end; None without.
            drawn: (N, T, D) noise, shown in place of what counts more or less than by itself.
            noise: gives the noise (N, T, D) of pass m as noise(m + 1).
            watch: told of every pass.
            **options: of `df_agent.diffusion.sampler.sample`.
        """
        x, levels = start
        behind = torch.as_tensor(lengths, device=self.device)
        index, end = torch.arange(x.shape[1], device=self.device)[None], behind[:, None] - 1
        given = None if goals is None else index == end
        if goals is not None and given is not None:
            token = self.tokenizer.goal_token(self._tensor(goals))[:, None]
            x, levels = torch.where(given[..., None], token, x), torch.where(given, 0, levels)
        levels = torch.where(index > end, self.model.diffusion.config.levels, levels)
        c = self.config
        options |= {"eta": c.eta, "futures": c.futures, "stabilization_level": c.stabilization_level}
        watch.trace.append(x)
        model = self._denoiser(given, drawn, behind)
        return sample(model, x, levels, noise=lambda m: noise(m + 1), callback=watch.keep, stop=watch.stop, **options)

    def _denoiser(self, given: Tensor | None, noise: Tensor, lengths: Tensor) -> Denoiser:
        """Return the model as it is to be asked about N candidates of `lengths` (N,) tokens.

        Their goals are `given` (N, T), or not.
        """
        c, context = self.config, self.tokenizer.config.context
        model: Denoiser = self.model.diffusion
        if noise.shape[1] > self.window + context:
            model = Composed(self.model.diffusion, self.window + context, c.overlap, lengths)
        elif c.history_weight == 1 and remembers(self.model.diffusion.network):
            model = Continued(self.model.diffusion, context)
        noise = noise.to(self.device)
        if given is not None and c.goal_weight != 1:
            model = Weighted(model, given, c.goal_weight, noise)
        if c.history_weight != 1:
            observed = torch.arange(noise.shape[1], device=self.device) < context
            model = Weighted(model, observed.expand(len(noise), -1), c.history_weight, noise)
        return model
