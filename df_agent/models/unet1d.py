"""Diffuser's network: a U-Net whose convolutions run along time."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from df_agent.models.layers import sinusoidal
from df_agent.options.networks import TemporalUnetConfig


class Mish(nn.Module):
    """x tanh(softplus(x)) (Misra 2019) with a single exponential, which a compiler fuses; PyTorch's takes three."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply elementwise, in float32 inside."""
        e = x.float().clamp(max=20).exp()  # beyond 20 the factor is 1 to the last bit
        n = e * (e + 2)
        return (x * (n / (n + 2))).to(x.dtype)


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2), nn.GroupNorm(8, outputs), Mish())


class ResidualBlock(nn.Module):
    """Two convolutions, the level's embedding added between them."""

    def __init__(self, inputs: int, outputs: int, width: int, kernel: int) -> None:
        super().__init__()
        self.first, self.second = _convolution(inputs, outputs, kernel), _convolution(outputs, outputs, kernel)
        self.level = nn.Sequential(Mish(), nn.Linear(width, outputs))
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Map x (B, C, T) under the level's embedding (B, W)."""
        out: Tensor = self.second(self.first(x) + self.level(level)[..., None]) + self.skip(x)
        return out


class TemporalUnet(nn.Module):
    """The U-Net of Diffuser's maze2d branch (Janner et al. 2022), one level per sequence.

    As there, the first resolution's features are not handed across to the decoder.
    """

    def __init__(self, config: TemporalUnetConfig) -> None:
        super().__init__()
        self.config = config
        width, kernel = config.width, config.kernel
        channels = [config.token_dim, *(width * m for m in config.multipliers)]
        self.level = nn.Sequential(nn.Linear(width, 4 * width), Mish(), nn.Linear(4 * width, width))

        def block(inputs: int, outputs: int) -> ResidualBlock:
            return ResidualBlock(inputs, outputs, width, kernel)

        pairs = list(pairwise(channels))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, (inputs, outputs) in enumerate(pairs):
            halve = nn.Conv1d(outputs, outputs, 3, 2, 1) if i < len(pairs) - 1 else nn.Identity()
            self.down.append(nn.ModuleList([block(inputs, outputs), block(outputs, outputs), halve]))
        self.middle = nn.ModuleList([block(channels[-1], channels[-1]), block(channels[-1], channels[-1])])
        for inputs, outputs in reversed(pairs[1:]):
            double = nn.ConvTranspose1d(inputs, inputs, 4, 2, 1)
            self.up.append(nn.ModuleList([block(2 * outputs, inputs), block(inputs, inputs), double]))
        self.out = nn.Sequential(_convolution(width, width, kernel), nn.Conv1d(width, config.token_dim, 1))

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        """Map noisy transitions (B, T, D) with levels (B,) to the prediction of its type, (B, T, D).

        Raises:
            ValueError: T is no multiple of `config.stride`, or there is a condition.
        """
        if x.shape[1] % self.config.stride or cond is not None:
            raise ValueError(
                f"horizons must be multiples of {self.config.stride} and conditions are not supported, got "
                f"{x.shape[1]} transitions, cond={'none' if cond is None else 'one'}"
            )
        dtype = next(self.parameters()).dtype
        e = self.level(sinusoidal(level, self.config.width).to(dtype))  # (B, W)
        h = rearrange(x.to(dtype), "b t d -> b d t")
        skips = []
        for stage in self.down:
            first, second, halve = cast(nn.ModuleList, stage)
            h = second(first(h, e), e)
            skips.append(h)
            h = halve(h)
        for block in self.middle:
            h = block(h, e)
        for stage in self.up:
            first, second, double = cast(nn.ModuleList, stage)
            h = double(second(first(torch.cat([h, skips.pop()], 1), e), e))
        output: Tensor = rearrange(self.out(h), "b d t -> b t d")
        return output
