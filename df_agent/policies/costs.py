"""What plans should be besides short: a place to keep out of, one to pass, a speed to keep to.

A cost says by how many control steps a plan is worse than it takes. Its gradient guides the sampling, and of the
feasible candidates the one is taken that is least in time and costs together. Three are here; any function will do that
takes frames (N, H, Do) in environment units, from the present on, and which of them are valid, (N, H), to costs (N,).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from df_planners.plan import Plan
from numpy.typing import NDArray
from torch import Tensor

from df_agent.data.tokens import Tokenizer
from df_agent.diffusion.sampler import GuidanceObjective
from df_agent.policies.state import IntArray

Cost = Callable[[Tensor, Tensor], Tensor]


class Avoid:
    """Keep out of a ball.

    Args:
        centre: of the ball, in the channels.
        radius: of the ball.
        channels: of the modelled observation that say where the agent is.
        weight: cost of a frame in the middle of the ball [control steps].
    """

    def __init__(
        self, centre: Sequence[float], radius: float, channels: Sequence[int] = (0, 1), weight: float = 500.0
    ) -> None:
        _check(centre, channels)
        if radius <= 0:
            raise ValueError(f"radius must be positive, got {radius}")
        self.centre, self.radius, self.channels, self.weight = tuple(centre), radius, list(channels), weight

    def __call__(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Return the cost: how deep the frames lie in the ball."""
        depth = (1 - _distance(frames, self.channels, self.centre) / self.radius).clamp_min(0)
        return self.weight * (depth * valid).sum(1)


class PassBy:
    """Come by a place, at any time.

    Args:
        place: in the channels.
        radius: how near is near enough.
        channels: of the modelled observation that say where the agent is.
        weight: cost per unit of distance beyond that [control steps].
    """

    def __init__(
        self, place: Sequence[float], radius: float, channels: Sequence[int] = (0, 1), weight: float = 500.0
    ) -> None:
        _check(place, channels)
        self.place, self.radius, self.channels, self.weight = tuple(place), radius, list(channels), weight

    def __call__(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Return the cost: how far from the place the nearest frame is."""
        distance = _distance(frames, self.channels, self.place)
        nearest = torch.where(valid, distance, torch.inf).amin(1)
        return self.weight * (nearest - self.radius).clamp_min(0)


class KeepSpeed:
    """Move no faster than this.

    Args:
        speed: units per control step.
        frame_skip: control steps per frame.
        channels: of the modelled observation that say where the agent is.
        weight: cost per frame at twice the speed [control steps].
    """

    def __init__(self, speed: float, frame_skip: int, channels: Sequence[int] = (0, 1), weight: float = 100.0) -> None:
        if speed <= 0 or frame_skip < 1:
            raise ValueError(f"need a positive speed and a frame_skip of at least 1, got {speed} and {frame_skip}")
        self.step, self.channels, self.weight = speed * frame_skip, list(channels), weight

    def __call__(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Return the cost: by how much frames exceed the speed."""
        move = frames[:, 1:, self.channels] - frames[:, :-1, self.channels]
        excess = ((move.square().sum(-1) + 1e-12).sqrt() / self.step - 1).clamp_min(0)
        return self.weight * (excess * valid[:, 1:]).sum(1)


def _distance(frames: Tensor, channels: list[int], place: tuple[float, ...]) -> Tensor:
    squared = (frames[..., channels] - frames.new_tensor(place)).square().sum(-1)
    return (squared + 1e-12).sqrt()  # smooth at the place itself


def _check(place: Sequence[float], channels: Sequence[int]) -> None:
    if len(place) != len(channels):
        raise ValueError(f"a place in channels {list(channels)} has {len(channels)} numbers, got {list(place)}")


def total_cost(costs: Sequence[Cost], plan: Plan) -> NDArray[np.float64]:
    """Return the sum, (N,), of what N plans cost.

    Raises:
        ValueError: a cost does not return a finite number for each plan.
    """
    total = np.zeros(len(plan))
    if not costs:
        return total
    frames = torch.as_tensor(plan.observations)
    valid = torch.arange(frames.shape[1])[None] < torch.as_tensor(plan.lengths)[:, None]
    for cost in costs:
        value = cost(frames, valid).detach().numpy()
        if value.shape != total.shape or not np.isfinite(value).all():
            name = getattr(cost, "__name__", type(cost).__name__)
            raise ValueError(
                f"the cost {name} must return {len(plan)} finite numbers, one per plan, for frames "
                f"{tuple(frames.shape)}, got {value.shape}: {value.ravel()[:3]}"
            )
        total += value
    return total


def cost_objective(costs: Sequence[Cost], tokenizer: Tokenizer, lengths: IntArray) -> GuidanceObjective:
    """Return what guidance climbs for candidates of `lengths` (N,) frames: as little cost as possible."""
    c = tokenizer.config

    def value(tokens: Tensor) -> Tensor:
        frames = tokenizer.observations(tokens)[:, c.context_frames - 1 :]
        index = torch.arange(frames.shape[1], device=frames.device)[None]
        valid = index < torch.as_tensor(lengths, device=frames.device)[:, None]
        return -torch.stack([cost(frames, valid) for cost in costs]).sum(0)

    return value
