"""A recurrent network over tokens: what it knows of the past is a state, so sequences may be of any length."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from df_agent.models.layers import check_condition, sinusoidal
from df_agent.options.networks import RecurrentConfig


@dataclass
class RecurrentState:
    """The state after the tokens so far, (layers, B, state); None before the first."""

    state: Tensor | None = None


class Residual(nn.Module):
    """A feed-forward layer beside the identity, its norm shifted and scaled by the level."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 2 * width)
        self.inner = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))

    def forward(self, h: Tensor, level: Tensor) -> Tensor:
        """Return h (B, T, W) given the level's embedding (B, T, W)."""
        shift, scale = self.modulation(level).chunk(2, -1)
        inner: Tensor = self.inner(F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift)
        return h + inner


class Recurrent(nn.Module):
    """The denoising network of Diffusion Forcing's first version (Chen et al. 2024): a state takes in noisy tokens.

    The state after a token is a posterior given that token at its level: clean ones are observations, noisy ones count
    as much as they say, and at the top level the state moves as the prior does. Unlike the original, layers before the
    recurrence do not see the state, so that they run over all tokens at once.
    """

    causal = True
    any_length = True  # of sequences, whatever it was trained on

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        c = self.config = config
        self.embed = nn.Linear(c.token_dim + c.cond_dim, c.width)
        self.level_embed = nn.Sequential(nn.Linear(64, c.width), nn.SiLU(), nn.Linear(c.width, c.width), nn.SiLU())
        self.before = nn.ModuleList(Residual(c.width) for _ in range(c.depth))
        self.recurrence = nn.GRU(c.width, c.state, c.layers, batch_first=True)
        self.join = nn.Linear(c.state + c.width, c.width)
        self.after = nn.ModuleList(Residual(c.width) for _ in range(c.depth))
        self.head = nn.Linear(c.width, c.token_dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def kv_cache(self) -> RecurrentState:
        """Return the state of one that has seen nothing, which here stands for a cache of keys and values."""
        return RecurrentState()

    def forward(
        self,
        x: Tensor,
        level: Tensor,
        cond: Tensor | None = None,
        *,
        cache: RecurrentState | None = None,
        write: bool = False,
    ) -> Tensor:
        """Map noisy tokens (B, T, D) with levels (B, T) to the prediction of its type, (B, T, D).

        Args:
            x, level: the tokens.
            cond: (B, T, cond_dim).
            cache: of the tokens before these.
            write: add these tokens to it.

        Raises:
            ValueError: a condition that is missing or not expected.
        """
        c = self.config
        check_condition(cond, c.cond_dim)
        dtype = self.embed.weight.dtype
        inputs = x if cond is None else torch.cat([x, cond], -1)
        e = self.level_embed(sinusoidal(level * (1000 / c.level_scale), 64).to(dtype))
        h = self.embed(inputs.to(dtype)) + e
        for layer in self.before:
            h = layer(h, e)
        # cuDNN's has no gradient outside of training, which guidance needs.
        with torch.backends.cudnn.flags(enabled=self.training or not torch.is_grad_enabled()):
            known, state = self.recurrence(h, None if cache is None else cache.state)
        if cache is not None and write:
            cache.state = state
        h = self.join(torch.cat([known, h], -1))
        for layer in self.after:
            h = layer(h, e)
        output: Tensor = self.head(F.layer_norm(h, h.shape[-1:]))
        return output
