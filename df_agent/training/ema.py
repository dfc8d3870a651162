"""Exponential moving average of a model's weights."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def decay_at(decay: float, updates: int) -> float:
    """Decay for the update number `updates` (0 is the first).

    (1 + n) / (10 + n) at the start, so that the random initial weights fade fast, and never above `decay`.
    """
    return min(decay, (1 + updates) / (10 + updates))


class EMA(Generic[M]):
    """A copy of the model, in evaluation mode, whose parameters follow the trained ones.

    Attributes:
        module: the averaged model; buffers are copied, not averaged.
    """

    def __init__(self, model: M, decay: float) -> None:
        self.decay = decay
        self.module: M = copy.deepcopy(model).eval().requires_grad_(False)
        self._averages: list[Tensor] = list(self.module.parameters())
        self._weights: list[Tensor] = list(model.parameters())
        self._model = model

    @torch.no_grad()
    def update(self, updates: int) -> None:
        """average += (1 - decay) * (weights - average), in one fused call for all parameters."""
        torch._foreach_lerp_(self._averages, self._weights, 1 - decay_at(self.decay, updates))
        # Looked up anew: data-parallel wrappers put other tensors in the place of buffers.
        for average, buffer in zip(self.module.buffers(), self._model.buffers(), strict=True):
            average.copy_(buffer)
