"""From the tokens that a model has sampled to plans in environment units."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from df_planners.plan import Plan
from torch import Tensor

from df_agent.data.config import TokenizerConfig
from df_agent.data.tokens import Tokenizer
from df_agent.policies.state import Array, IntArray

LEAST_PASSES = 2  # in a hurry; one gives the mean of all ways


@dataclass(frozen=True)
class Denoising:
    """Candidates on their way from noise to plans, as told to `PlanSampler.on_denoise`.

    Attributes:
        rows: (N,) which environment each candidate is for.
        frames: (M + 1, N, H, Do) frames in environment units, from the present on: noise, then after each of M passes.
        lengths: (N,) valid frames of each candidate.
    """

    rows: IntArray
    frames: Array
    lengths: IntArray


def denoising(
    tokenizer: Tokenizer,
    rows: IntArray,
    lengths: IntArray,
    width: int,
    traces: Sequence[tuple[IntArray, Sequence[Tensor]]],
) -> Denoising:
    """Put the passes of candidates of several lengths together; where one needs fewer passes, its plans wait.

    Args:
        tokenizer: what the tokens were made with.
        rows, lengths: (N,) of all candidates.
        width: tokens of the longest.
        traces: indices of some of the N candidates, and their tokens before and after each pass.
    """
    c = tokenizer.config
    passes = max(len(trace) for _, trace in traces)
    frames = np.zeros((passes, len(rows), width * c.frame_stack, c.observation_dim))
    for pick, trace in traces:
        for m in range(passes):
            x = tokenizer.unpack(trace[min(m, len(trace) - 1)]).cpu().double().numpy()
            frames[m, pick, : x.shape[1]] = x[..., : c.observation_dim]
    return Denoising(rows, frames[:, :, c.context_frames - 1 :], lengths)


def plan_of(frames: Array, lengths: IntArray, ends_at_goal: bool, c: TokenizerConfig) -> Plan:
    """Cut plans out of frames (N, T * fs, C): from the present on, the last of `lengths` (N,) valid frames repeated."""
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


class PassWatch:
    """Counts the passes of one sampling, keeps their tokens if someone watches, and stops it when time is over."""

    def __init__(self, over: Callable[[], bool] | None, watched: bool) -> None:
        self.trace: list[Tensor] = []
        self.passes, self._over, self._watched = 0, over, watched

    def keep(self, step: int, tokens: Tensor, clean: Tensor) -> None:
        """Take note of a pass, as the sampler's `callback`."""
        self.passes = step + 1
        if self._watched:
            self.trace.append(tokens)

    def stop(self) -> bool:
        """Return whether time is over, as the sampler's `stop`."""
        # Asked each time, for it may measure how long passes take.
        over = self._over is not None and self._over()
        return over and self.passes >= LEAST_PASSES
