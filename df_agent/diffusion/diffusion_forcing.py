"""Diffusion Forcing: a network that denoises tokens which each carry a noise level of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.diffusion.masking import corrupt
from df_agent.diffusion.noise_schedule import (
    add_noise,
    alpha_bar_table,
    check_prediction_type,
    fused_snr_weight,
    min_snr_weight,
    target,
    to_x0_eps,
)
from df_agent.types import Batch


class DiffusionForcing(nn.Module):
    """A network with its noise schedule and its loss (Chen et al. 2024, algorithm 1).

    Args:
        network: one of `df_agent.models`: forward(x (B, T, D), level (B, T), cond) -> (B, T, D).
        config: how noise is added and weighted.
    """

    alpha_bar: Tensor

    def __init__(self, network: nn.Module, config: DiffusionForcingConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.prediction_type = check_prediction_type(config.prediction_type)
        table = alpha_bar_table(config.schedule, config.levels, config.zero_terminal_snr, config.signal_scale)
        self.register_buffer("alpha_bar", table, persistent=False)

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted denoising loss of a batch and the metrics to log.

        The mean is over the tokens that count (weight > 0), so it does not depend on how many are given.
        """
        c = self.config
        tokens, level, weight = corrupt(batch.tokens, batch.mask, c.levels, c, generator)
        eps = torch.randn(tokens.shape, generator=generator).clamp(-c.clip_noise, c.clip_noise).to(tokens.device)
        alpha_bar = self.alpha_bar[level]
        output = self.network(add_noise(tokens, eps, alpha_bar), level, batch.cond).float()
        error = (output - target(self.prediction_type, tokens, eps, alpha_bar)).square().mean(-1)  # (B, T)
        total = (weight * self.snr_weight(alpha_bar) * error).sum() / (weight > 0).sum().clamp_min(1)
        return total, {"loss": total.detach()}

    def snr_weight(self, alpha_bar: Tensor, past: Tensor | None = None) -> Tensor:
        """Return the loss weight of every token, (B, T), by its SNR; `past`: see `fused_snr_weight`."""
        c = self.config
        if c.snr_weighting == "min_snr":
            return min_snr_weight(self.prediction_type, alpha_bar, c.snr_clip)
        if c.snr_weighting == "fused":
            both_ways = not getattr(self.network, "causal", False)
            return fused_snr_weight(self.prediction_type, alpha_bar, c.snr_decay, c.snr_clip, both_ways, past)
        return torch.ones_like(alpha_bar)

    def denoise(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return estimates of x0 and eps, each (B, T, D), at noisy x (B, T, D) with levels (B, T)."""
        output = self.network(x, level, cond).to(x.dtype)
        return to_x0_eps(self.prediction_type, output, x, self.alpha_bar[level])
