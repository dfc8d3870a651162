"""Candidate plans from a Diffusion Forcing model: the bridge between the sampler and the planners."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from df_planners.plan import Plan
from einops import reduce, repeat
from numpy.typing import NDArray
from torch import Tensor

from df_agent.data.tokens import Tokenizer
from df_agent.diffusion.composition import Composed
from df_agent.diffusion.conditioning import Continued, Weighted, remembers
from df_agent.diffusion.diffusion_forcing import DiffusionForcing
from df_agent.diffusion.sampler import Denoiser, GuidanceObjective, sample
from df_agent.diffusion.scheduling_matrix import scheduling_matrix, to_levels

LEAST_PASSES = 2  # in a hurry
Array = NDArray[np.float64]
Noise = Callable[[NDArray[np.int64], int, int], Tensor]
"""(row of each candidate, tokens, k) -> standard normal noise (N, tokens, D): to begin with, k = 0; of pass k."""


@dataclass(frozen=True)
class SamplingConfig:
    """How plans are sampled.

    Attributes:
        steps: denoising passes for a token.
        matrix: name of the scheduling matrix.
        uncertainty: of the pyramid, trapezoid and near_first matrices.
        near: tokens that near_first makes first; 0 for half of them.
        eta: 0 for DDIM, 1 for DDPM.
        stabilization_level: see `sample`.
        temperature: scale of the initial noise.
        futures: N of Monte-Carlo guidance, see `guided`.
        goal_weight: how strongly the clean goal token counts, see `Weighted`; 1 is as it is.
        history_weight: how strongly the observed tokens count, likewise.
        overlap: tokens that neighbouring windows share in plans that are longer than a window, see `Composed`; 0 for
            no such plans.
    """

    steps: int = 5
    matrix: str = "full_sequence"
    uncertainty: float = 1.0
    near: int = 0
    eta: float = 0.0
    stabilization_level: int = 0
    temperature: float = 1.0
    futures: int = 1
    goal_weight: float = 1.0
    history_weight: float = 1.0
    overlap: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.stabilization_level < 0:
            raise ValueError(
                f"need sampling steps of at least 1 and a stabilization_level of at least 0, got {self.steps} and "
                f"{self.stabilization_level}"
            )
        if self.futures < 1 or self.near < 0 or self.overlap < 0:
            raise ValueError(
                f"futures must be at least 1, near and overlap not negative, got futures={self.futures}, "
                f"near={self.near}, overlap={self.overlap}"
            )
        together = self.matrix == "full_sequence" or (self.uncertainty == 0 and self.matrix != "autoregressive")
        if self.futures > 1 and together:
            raise ValueError(
                f"futures={self.futures} needs a matrix in which some tokens are made later than others: with "
                f"{self.matrix} and uncertainty={self.uncertainty} there is no future to draw"
            )
        for name in ("eta", "temperature", "uncertainty"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")
        for name in ("goal_weight", "history_weight"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, got {getattr(self, name)}")
        scheduling_matrix(self.matrix, 2, self.steps, self.uncertainty, self.near)  # names what there is instead


@dataclass(frozen=True)
class Denoising:
    """Candidates on their way from noise to plans, as told to `PlanSampler.on_denoise`.

    Attributes:
        rows: (N,) which environment each candidate is for.
        frames: (M + 1, N, H, Do) frames in environment units, from the present on: noise, then after each of M passes.
        lengths: (N,) valid frames of each candidate.
    """

    rows: NDArray[np.int64]
    frames: Array
    lengths: NDArray[np.int64]


class PlanSampler:
    """Samples plans with the goal as a clean token at a chosen horizon, or guided towards it.

    Args:
        model: the trained model.
        tokenizer: its tokenizer.
        lengths: sequence lengths the model has been trained on, ascending; a plan runs at the shortest one
            that holds it, and what is left behind the goal is padding.
        config: how to sample.
        longest: tokens of the longest plans, the observed ones among them; more than in training only with
            config.overlap. None is as in training.
        one_length: run all plans of a row at the length that the longest needs. That is more padding, but for a few
            rows longer passes cost less than more of them; a model that knows no padding cannot do it.

    Attributes:
        on_denoise: if set, told how the candidates of each call came about; plans are the same with or without.
        stop: if set, asked after every pass whether there is no time for another, see `sample`; two are made anyway.
        passes: how many the plans of the last call were made in; the least, if some were stopped and some not.
    """

    def __init__(
        self,
        model: DiffusionForcing,
        tokenizer: Tokenizer,
        lengths: Sequence[int],
        config: SamplingConfig,
        one_length: bool = False,
        longest: int | None = None,
    ) -> None:
        levels = model.config.levels
        if max(config.steps, config.stabilization_level) > levels:
            raise ValueError(
                f"a model of {levels} levels cannot take {config.steps} sampling steps, or be stabilised at level "
                f"{config.stabilization_level}"
            )
        self.model, self.tokenizer, self.config, self.one_length = model, tokenizer, config, one_length
        self.lengths = sorted(lengths)
        self.window = self.lengths[-1]
        if longest is not None and longest > self.window:
            if not config.overlap:
                raise ValueError(f"plans of {longest} tokens by a model of {self.window} need an overlap of windows")
            self.lengths.append(longest)
        self.device = model.alpha_bar.device
        self.on_denoise: Callable[[Denoising], None] | None = None
        self.stop: Callable[[], bool] | None = None
        self.passes = 0

    @torch.no_grad()
    def to_goal(
        self,
        history: Array,
        goal: Array,
        rows: NDArray[np.int64],
        horizons: NDArray[np.int64],
        noise: Noise,
        objective: Callable[[NDArray[np.int64]], GuidanceObjective] | None = None,
        scale: float = 0.0,
        level: NDArray[np.int64] | None = None,
    ) -> Plan:
        """Sample one plan per candidate that is at its goal after `horizons` (N,) tokens.

        Args:
            history: (B, F, Do) observed frames of all observed tokens, the present last.
            goal: (B, G) goals.
            rows: (N,) which environment each candidate is for.
            horizons: (N,) tokens until the goal, at least 1.
            noise: source of the noise, the initial and, with eta > 0, that of each pass.
            objective, scale: guidance besides, as for `guided`.
            level: (B, F) noise level of each observed frame: 0 is the truth, the model's top level says nothing.
        """
        return self._propose(history, rows, horizons, noise, goal=goal, objective=objective, scale=scale, level=level)

    @torch.no_grad()
    def guided(
        self,
        history: Array,
        objective: Callable[[NDArray[np.int64]], GuidanceObjective],
        scale: float,
        rows: NDArray[np.int64],
        horizons: NDArray[np.int64],
        noise: Noise,
        level: NDArray[np.int64] | None = None,
    ) -> Plan:
        """Sample one plan per row of `horizons` (N,) tokens under guidance, pads behind it (the original's way).

        Args:
            history: (B, F, Do) observed frames of all observed tokens, the present last.
            objective: makes what guidance climbs from the indices, among the N, of the plans in a batch.
            scale: strength of the guidance.
            rows: (N,) which environment each plan is for.
            horizons: (N,) tokens, at least 1.
            noise: source of the noise, the initial and, with eta > 0, that of each pass.
            level: see `to_goal`.
        """
        return self._propose(history, rows, horizons, noise, objective=objective, scale=scale, level=level)

    def _propose(
        self,
        history: Array,
        rows: NDArray[np.int64],
        horizons: NDArray[np.int64],
        noise: Noise,
        goal: Array | None = None,
        objective: Callable[[NDArray[np.int64]], GuidanceObjective] | None = None,
        scale: float = 0.0,
        level: NDArray[np.int64] | None = None,
    ) -> Plan:
        """Sample each plan at the shortest length that will do; a goal is a clean token, pads are behind the end."""
        c, longest = self.tokenizer.config, self.lengths[-1]
        if horizons.max() > longest - c.context:
            raise ValueError(f"horizons must be below {longest - c.context + 1} tokens, got {int(horizons.max())}")
        if level is None:
            level = np.zeros(history.shape[:2], np.int64)
        out = np.zeros((len(rows), longest * c.frame_stack, c.frame_dim))
        needed = horizons + c.context
        if self.one_length:
            most = np.zeros(len(history), np.int64)
            np.maximum.at(most, rows, needed)
            needed = most[rows]
        bucket = np.searchsorted(self.lengths, needed)
        drawn = noise(rows, longest, 0)
        traces: list[tuple[NDArray[np.int64], list[Tensor]]] = []
        made: list[int] = []
        for k in np.unique(bucket):
            pick = np.flatnonzero(bucket == k)
            length = self.lengths[k]
            x, levels = self._start(history[rows[pick]], level[rows[pick]], drawn[pick, :length])
            end = torch.as_tensor(horizons[pick] + c.context - 1, device=self.device)[:, None]
            index = torch.arange(length, device=self.device)[None]
            if goal is not None:
                token = self.tokenizer.goal_token(self._tensor(goal[rows[pick]]))[:, None]
                x = torch.where((index == end)[..., None], token, x)
                levels = torch.where(index == end, 0, levels)
            levels = torch.where(index > end, self.model.config.levels, levels)
            climb = None if objective is None else objective(pick)
            trace = [x]
            model = self._denoiser(index == end if goal is not None else None, drawn[pick, :length], end[:, 0] + 1)
            x = self._sample(model, x, levels, rows[pick], noise, climb, scale, trace, made)
            traces.append((pick, trace))
            out[pick, : length * c.frame_stack] = self.tokenizer.unpack(x).cpu().double().numpy()
        self.passes = min(made)
        if self.on_denoise is not None:
            self.on_denoise(self._denoising(rows, horizons, traces))
        plan = self._plan(out, horizons * c.frame_stack + 1, ends_at_goal=goal is not None)
        # An observed token that is noisy stays so, and is noise where it is missing: what was seen last is nearer.
        unclear = level[rows, -c.frame_stack :].any(1)
        plan.observations[unclear, 0] = history[rows[unclear], -1]
        return plan

    def _tensor(self, array: Array) -> Tensor:
        return torch.as_tensor(array, dtype=torch.float32, device=self.device)

    def _start(self, history: Array, level: NDArray[np.int64], noise: Tensor) -> tuple[Tensor, Tensor]:
        """Initial tokens (N, T, D), the first ones observed, and levels (M, N, T)."""
        s, c = self.config, self.tokenizer.config
        tokens = noise.shape[1]
        x = (noise * s.temperature).to(self.device)
        observed = self.tokenizer.observed_tokens(self._tensor(history))
        known = reduce(torch.as_tensor(level, device=self.device), "n (c f) -> n c", "max", f=c.frame_stack)
        # What is noisy already is a sample at its level once it is scaled as one; of what is missing there is none.
        scaled = self.model.alpha_bar[known][..., None].sqrt() * observed
        missing = (known == self.model.config.levels)[..., None]
        x[:, : c.context] = torch.where(
            missing, x[:, : c.context], torch.where(known[..., None] == 0, observed, scaled)
        )
        matrix = scheduling_matrix(s.matrix, tokens - c.context, s.steps, s.uncertainty, s.near)
        free = torch.as_tensor(to_levels(matrix, s.steps, self.model.config.levels), device=self.device)
        waiting = repeat(known, "n c -> m n c", m=len(free))
        return x, torch.cat([waiting, repeat(free, "m t -> m n t", n=len(x))], -1)

    def _denoiser(self, given: Tensor | None, noise: Tensor, lengths: Tensor) -> Denoiser:
        """Return the model as it is to be asked about N candidates of `lengths` (N,) tokens.

        Their goals are `given` (N, T), or not.
        """
        c, context = self.config, self.tokenizer.config.context
        model: Denoiser = self.model
        if noise.shape[1] > self.window:
            model = Composed(self.model, self.window, c.overlap, lengths)
        elif c.history_weight == 1 and remembers(getattr(self.model, "network", None)):
            model = Continued(self.model, context)
        noise = noise.to(self.device)
        if given is not None and c.goal_weight != 1:
            model = Weighted(model, given, c.goal_weight, noise)
        if c.history_weight != 1:
            observed = torch.arange(noise.shape[1], device=self.device) < context
            model = Weighted(model, observed.expand(len(noise), -1), c.history_weight, noise)
        return model

    def _sample(
        self,
        model: Denoiser,
        x: Tensor,
        levels: Tensor,
        rows: NDArray[np.int64],
        noise: Noise,
        objective: GuidanceObjective | None,
        scale: float,
        trace: list[Tensor],
        made: list[int],
    ) -> Tensor:
        """Denoise x; the tokens after each pass go to `trace` if someone watches, their number to `made`."""
        s, length = self.config, x.shape[1]
        made.append(0)

        def keep(step: int, tokens: Tensor, clean: Tensor) -> None:
            made[-1] = step + 1
            if self.on_denoise is not None:
                trace.append(tokens)

        def stop() -> bool:
            # One pass gives the mean of all ways. Asked each time, for it may measure how long passes take.
            over = self.stop is not None and self.stop()
            return over and made[-1] >= LEAST_PASSES

        return sample(
            model,
            x,
            levels,
            eta=s.eta,
            objective=objective,
            guidance_scale=scale,
            futures=s.futures,
            stabilization_level=s.stabilization_level,
            noise=lambda step: noise(rows, length, step + 1),
            callback=keep,
            stop=stop,
        )

    def _denoising(
        self,
        rows: NDArray[np.int64],
        horizons: NDArray[np.int64],
        traces: Sequence[tuple[NDArray[np.int64], Sequence[Tensor]]],
    ) -> Denoising:
        """Put the passes of all lengths together; where one needs fewer passes, its plans wait."""
        c = self.tokenizer.config
        passes, back = max(len(trace) for _, trace in traces), c.context_frames - 1
        frames = np.zeros((passes, len(rows), self.lengths[-1] * c.frame_stack, c.observation_dim))
        for pick, trace in traces:
            for m in range(passes):
                x = self.tokenizer.unpack(trace[min(m, len(trace) - 1)]).cpu().double().numpy()
                frames[m, pick, : x.shape[1]] = x[..., : c.observation_dim]
        return Denoising(rows, frames[:, :, back:], horizons * c.frame_stack + 1)

    def _plan(self, frames: Array, lengths: NDArray[np.int64], ends_at_goal: bool) -> Plan:
        """Cut the plan out of the frames (N, T * fs, C): from the present on, the last valid frame repeated."""
        c = self.tokenizer.config
        frames = frames[:, c.context_frames - 1 :]
        if ends_at_goal:
            # The goal token says where to be at its end; its earlier frames hold copies, not a plan, and so do
            # its other channels.
            n, stack, channels = np.arange(len(frames)), c.frame_stack, list(c.goal_channels)
            before, last = frames[n, lengths - 1 - stack], frames[n, lengths - 1]
            for f in range(1, stack + 1):
                between = before.copy()
                between[:, channels] += (last - before)[:, channels] * f / stack
                frames[n, lengths - 1 - stack + f] = between
            frames[n[:, None], lengths[:, None] - 1, channels] = last[:, channels]  # to the last bit
        index = np.minimum(np.arange(frames.shape[1])[None], lengths[:, None] - 1)
        whole = np.take_along_axis(frames, index[..., None], axis=1)
        plan = Plan(whole[..., : c.observation_dim], lengths, c.frame_skip)
        if c.include_actions:
            # A frame holds the actions that led to it; the goal token holds none.
            valid = (lengths - 1 - (c.frame_stack if ends_at_goal else 0)) * c.frame_skip
            flat = frames[:, 1:, c.observation_dim : c.observation_dim + c.action_dim * c.frame_skip]
            actions = flat.reshape(len(frames), -1, c.action_dim)
            index = np.minimum(np.arange(actions.shape[1])[None], np.maximum(valid[:, None] - 1, 0))
            plan.actions, plan.action_lengths = np.take_along_axis(actions, index[..., None], axis=1), valid
        return plan
