"""AdamW, its learning rate, how large its gradients are, and the moving average of the weights."""

from __future__ import annotations

import copy
import math
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from df_agent.training.config import TrainConfig


def adamw(model: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.AdamW:
    """AdamW, fused where the device has it; weight decay on matrices only."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=fused)


def learning_rate_at(config: TrainConfig, step: int) -> float:
    """Learning rate for optimiser step `step` (0 is the first): linear warm-up, then the decay."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if config.decay == "constant":
        return config.learning_rate
    progress = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    shape = 0.5 * (1 + math.cos(math.pi * progress)) if config.decay == "cosine" else 1 - progress
    return config.learning_rate * (config.final_lr_fraction + (1 - config.final_lr_fraction) * max(0.0, shape))


@torch.no_grad()
def gradient_statistics(model: nn.Module) -> dict[str, Tensor]:
    """Return least, median and largest norm of the weights' gradients, and of these over the weights' own norms."""
    norms = [(p.grad.norm(), p.norm()) for p in model.parameters() if p.grad is not None]
    gradients, weights = (torch.stack(part) for part in zip(*norms, strict=True))
    found: dict[str, Tensor] = {}
    for name, values in {"gradient": gradients, "gradient_over_weight": gradients / weights.clamp_min(1e-12)}.items():
        found |= {f"{name}/min": values.min(), f"{name}/median": values.median(), f"{name}/max": values.max()}
    return found


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
