"""A temporal transformer whose norms are modulated, token by token, by the noise level."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from df_agent.models.layers import attend, check_condition, fourier_features, sinusoidal
from df_agent.options.networks import TransformerConfig


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm that the level shifts, scales and gates (adaLN).

    The level's part is computed once for all blocks; each block adds a table of its own
    (adaLN-single, Chen et al. 2023), which keeps most weights in the mixing layers.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.causal = config.heads, config.causal
        width, hidden = config.width, int(config.mlp_ratio * config.width)
        self.table = nn.Parameter(torch.randn(6, width) / math.sqrt(width))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Mix x (B, T, W) under modulation (B, T, 6, W)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation + self.table).unbind(-2)
        h = torch.addcmul(shift_a, F.layer_norm(x, x.shape[-1:]), 1 + scale_a)
        q, k, v = rearrange(self.qkv(h), "b t (n h d) -> n b h t d", n=3, h=self.heads)
        h = attend(q, k, v, causal=self.causal)
        x = torch.addcmul(x, gate_a, self.out(rearrange(h, "b h t d -> b t (h d)")))
        h = torch.addcmul(shift_m, F.layer_norm(x, x.shape[-1:]), 1 + scale_m)
        return torch.addcmul(x, gate_m, self.mlp(h))


class Transformer(nn.Module):
    """The denoising network over tokens with a level each (after DiT, Peebles & Xie 2023)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config, self.causal = config, config.causal
        width = config.width
        self.embed = nn.Linear(config.token_dim * (1 + 2 * config.bands) + config.cond_dim, width)
        # Learned, but from sinusoids as large as the content: small random ones leave attention blind to order
        # for the first thousand steps.
        self.position = nn.Parameter(sinusoidal(torch.arange(config.max_tokens), width, max_period=1e3))
        self.level_embed = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, config.token_dim)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        """Map noisy tokens (B, T, D) with levels (B, T) to the prediction of its type, (B, T, D).

        Raises:
            ValueError: more tokens than `max_tokens`, or a condition that is missing or not expected.
        """
        c = self.config
        if x.shape[1] > c.max_tokens:
            raise ValueError(f"got {x.shape[1]} tokens, the network was built for at most {c.max_tokens}")
        check_condition(cond, c.cond_dim)
        dtype = self.embed.weight.dtype
        seen = torch.cat([x, *fourier_features(x, c.bands)], -1) if c.bands else x
        inputs = seen if cond is None else torch.cat([seen, cond], -1)
        e = self.level_embed(sinusoidal(level * (1000 / c.level_scale), 64).to(dtype))  # (B, T, W)
        h = self.embed(inputs.to(dtype)) + self.position[: x.shape[1]] + e
        modulation = rearrange(self.modulation(e), "b t (n w) -> b t n w", n=6)
        for block in self.blocks:
            h = block(h, modulation)
        shift, scale = self.final(e).chunk(2, -1)
        output: Tensor = self.head(F.layer_norm(h, h.shape[-1:]) * (1 + scale) + shift)
        return output
