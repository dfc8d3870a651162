"""Objectives for gradient guidance: what a plan should be good at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor

from df_agent.diffusion.sampler import GuidanceObjective
from df_agent.models.time_to_goal import TimeToGoal


def goal_objective(
    goal: Tensor, horizon: Tensor, frame_stack: int, channels: Sequence[int], context: int = 1
) -> GuidanceObjective:
    """Be at the goal at every planned time (Diffusion Forcing v1.5's planning guidance).

    The value of a row is the sum over its own planned frames of -tanh(|x - goal| / 2) in normalised units,
    so neither padding nor the other rows of the batch change its gradient (the original's mean over the
    batch weakens guidance as the batch grows).

    Args:
        goal: (B, G) normalised goals.
        horizon: (B,) planned tokens behind the observed ones; later ones are padding.
        frame_stack: frames per token.
        channels: where the goal lies in a frame.
        context: number of observed tokens.
    """

    def value(tokens: Tensor) -> Tensor:
        frames = rearrange(tokens, "b t (f c) -> b t f c", f=frame_stack)[..., list(channels)]
        squared = (frames - goal[:, None, None]).square().sum(-1)
        distance = (squared + 1e-12).sqrt()  # smooth at the goal, where the norm has no gradient
        index = torch.arange(tokens.shape[1], device=tokens.device)[None]
        planned = (index >= context) & (index < context + horizon[:, None])
        return -(torch.tanh(distance / 2) * planned[..., None]).sum((1, 2))

    return value


def reward_objective(horizon: Tensor, frame_stack: int, mean: float, std: float, context: int = 1) -> GuidanceObjective:
    """Collect reward: the sum of what a row's planned frames are expected to bring, in the data's units.

    Args:
        horizon: (B,) planned tokens behind the observed ones.
        frame_stack: frames per token; the reward is a frame's last channel.
        mean, std: of the reward's normaliser.
        context: number of observed tokens.
    """

    def value(tokens: Tensor) -> Tensor:
        rewards = rearrange(tokens, "b t (f c) -> b t f c", f=frame_stack)[..., -1] * std + mean
        index = torch.arange(tokens.shape[1], device=tokens.device)[None]
        planned = (index >= context) & (index < context + horizon[:, None])
        return (rewards * planned[..., None]).sum((1, 2))

    return value


def approach_objective(
    estimator: TimeToGoal,
    goal: Tensor,
    horizon: int,
    frame_stack: int,
    channels: Sequence[int],
    context: int = 1,
) -> GuidanceObjective:
    """Come nearer to the goal as it is to walk: the time that is left at the planned times, a mean, in its own unit.

    Args:
        estimator: of the time to the goal.
        goal: (B, G) normalised goals.
        horizon: planned tokens behind the observed ones; later ones are padding.
        frame_stack: frames per token.
        channels: where the goal lies in a frame.
        context: number of observed tokens.
    """
    there = estimator.embed(goal)[:, None]

    def value(tokens: Tensor) -> Tensor:
        frames = rearrange(tokens, "b t (f c) -> b (t f) c", f=frame_stack)
        planned = frames[:, context * frame_stack : (context + horizon) * frame_stack, list(channels)]
        steps = estimator.between(estimator.embed(planned), there)
        return -steps.mean(1) / estimator.config.unit

    return value
