"""v1.5's network for trajectories: a plain post-norm encoder that is told the level with its input.

Its sizes and names of weights are those of the original's public checkpoints, see `df_agent.training.convert_v15`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from df_agent.options.networks import TransformerV15Config


def sines_and_cosines(position: Tensor, dim: int) -> Tensor:
    """Embed positions (...) as (..., dim); periods run from 2 pi to 20000 pi, both ends included."""
    rate = torch.exp(-math.log(1e4) * torch.arange(dim // 2, device=position.device) / (dim // 2 - 1))
    angle = position[..., None].float() * rate
    return torch.cat([angle.sin(), angle.cos()], -1)


class TransformerV15(nn.Module):
    """The denoising network of Diffusion Forcing v1.5 (2.41 M parameters in its mazes)."""

    def __init__(self, config: TransformerV15Config) -> None:
        super().__init__()
        self.config, self.causal = config, config.causal
        c = config
        layer = nn.TransformerEncoderLayer(c.width, c.heads, c.feed_forward, dropout=0.0, batch_first=True)
        self.transformer = nn.TransformerEncoder(layer, c.depth, enable_nested_tensor=False)
        self.init_mlp = nn.Sequential(
            nn.Linear(c.token_dim + c.width // 2, c.width), nn.ReLU(), nn.Linear(c.width, c.width)
        )
        self.out = nn.Linear(c.width, c.token_dim)

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        """Map noisy tokens (B, T, D) with levels (B, T) to the prediction of its type, (B, T, D).

        Raises:
            ValueError: more tokens than `max_tokens`, or a condition, for which the original has no place in mazes.
        """
        c = self.config
        if x.shape[1] > c.max_tokens:
            raise ValueError(f"got {x.shape[1]} tokens, the network was built for at most {c.max_tokens}")
        if cond is not None:
            raise ValueError("this network takes no condition")
        # The original counts noisy levels from 0; it never shows a token as clean.
        index = (level - 1).clamp_min(0) * (1000 / c.level_scale)
        dtype = self.out.weight.dtype
        h = torch.cat([x.to(dtype), sines_and_cosines(index, c.width // 2).to(dtype)], -1)
        h = self.init_mlp(h) + sines_and_cosines(torch.arange(x.shape[1], device=x.device), c.width).to(dtype)
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1], x.device, h.dtype) if self.causal else None
        output: Tensor = self.out(self.transformer(h, mask=mask, is_causal=self.causal))
        return output
