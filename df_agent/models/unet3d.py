"""Diffusion Forcing v1.5's network for video: a U-Net over pixels in which only attention mixes time."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from df_agent.models.layers import attend, check_condition, sinusoidal
from df_agent.models.space_time import rotary_angles, rotate
from df_agent.options.networks import Unet3dConfig


def _within(x: Tensor, layer: nn.Module) -> Tensor:
    """Apply a layer of pictures to clips (B, C, T, H, W)."""
    out: Tensor = rearrange(layer(rearrange(x, "b c t h w -> (b t) c h w")), "(b t) c h w -> b c t h w", b=len(x))
    return out


class _Residual(nn.Module):
    """Two convolutions within frames; the level scales and shifts the second norm."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList((nn.GroupNorm(8, inputs), nn.GroupNorm(8, outputs)))
        self.level = nn.Linear(embedding, 2 * outputs) if embedding else None
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, e: Tensor) -> Tensor:
        """Map x (B, C, T, H, W) under embeddings (B, T, E)."""
        frames = rearrange(x, "b c t h w -> (b t) c h w")
        h = self.norms[1](self.first(F.silu(self.norms[0](frames))))
        if self.level is not None:
            scale, shift = rearrange(self.level(F.silu(e)), "b t c -> (b t) c 1 1").chunk(2, 1)
            h = h * (1 + scale) + shift
        h = self.second(F.silu(h)) + self.skip(frames)
        out: Tensor = rearrange(h, "(b t) c h w -> b c t h w", b=len(x))
        return out


class _Attention(nn.Module):
    """Residual attention over the places of a frame (linear or not), or over the frames at a place."""

    def __init__(self, width: int, config: Unet3dConfig, kind: str) -> None:
        super().__init__()
        self.kind, self.heads, self.causal, self.window = kind, config.heads, config.causal, config.window
        inner = config.heads * config.head_dim
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, T, H, W)."""
        b, _, frames, height, _ = x.shape
        over_time = self.kind == "time"
        flat = rearrange(x, "b c t h w -> (b h w) t c" if over_time else "b c t h w -> (b t) (h w) c")
        q, k, v = rearrange(self.qkv(self.norm(flat)), "n s (j h d) -> j n h s d", j=3, h=self.heads)
        if self.kind == "linear":
            q, k = q.softmax(-1) * q.shape[-1] ** -0.5, k.softmax(-2)
            h = q @ (k.transpose(-1, -2) @ v)
        else:
            mask = None
            if over_time:
                time = torch.arange(frames, device=x.device)
                angle = rotary_angles(time, q.shape[-1])
                q, k = rotate(q, angle), rotate(k, angle)
                ahead = time[:, None] - time[None]
                mask = (ahead >= 0) & (ahead < self.window) if self.causal else None
            h = attend(q, k, v, mask)
        flat = flat + self.out(rearrange(h, "n h s d -> n s (h d)"))
        back = "(b h w) t c -> b c t h w" if over_time else "(b t) (h w) c -> b c t h w"
        mixed: Tensor = rearrange(flat, back, b=b, h=height)
        return mixed


class Unet3d(nn.Module):
    """The factorised U-Net of Diffusion Forcing v1.5, with conditions, which it lacks; frames are flattened tokens."""

    def __init__(self, config: Unet3dConfig) -> None:
        super().__init__()
        self.config, self.causal = config, config.causal
        c, width = config, config.width
        embedding = 4 * width
        dims = [width, *(width * m for m in c.multipliers)]
        self.level = nn.Sequential(nn.Linear(width, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.cond_embed = nn.Linear(c.cond_dim, embedding, bias=False) if c.cond_dim else None
        self.stem, self.stem_time = nn.Conv2d(c.channels, width, 7, padding=3), _Attention(width, c, "time")

        def stage(inputs: int, outputs: int, kind: str | None) -> nn.ModuleList:
            mixers = [_Attention(outputs, c, kind), _Attention(outputs, c, "time")] if kind else []
            residuals = [_Residual(inputs, outputs, embedding), _Residual(outputs, outputs, embedding)]
            return nn.ModuleList([*residuals, *mixers])

        pairs = list(pairwise(dims))
        last = len(pairs) - 1
        self.down, self.halve, self.up, self.widen = (nn.ModuleList() for _ in range(4))
        for i, (inputs, outputs) in enumerate(pairs):
            kind = ("places" if i == last else "linear") if 2**i in c.attention else None
            self.down.append(stage(inputs, outputs, kind))
            self.halve.append(nn.Conv2d(outputs, outputs, 3, 2, 1) if i < last else nn.Identity())
        middle = dims[-1]
        self.middle = nn.ModuleList(
            [
                _Residual(middle, middle, embedding),
                _Attention(middle, c, "places"),
                _Attention(middle, c, "time"),
                _Residual(middle, middle, embedding),
            ]
        )
        for i, (outputs, inputs) in reversed(list(enumerate(pairs))):
            kind = ("places" if i == last else "linear") if 2**i in c.attention else None
            self.up.append(stage(2 * inputs, outputs, kind))
            self.widen.append(nn.Conv2d(outputs, outputs, 3, padding=1) if i else nn.Identity())
        self.final = _Residual(2 * width, width, 0)
        self.head = nn.Conv2d(width, c.channels, 1)

    def forward(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> Tensor:
        """Map noisy frames (B, T, D) with levels (B, T) to the prediction of its type, (B, T, D).

        Raises:
            ValueError: a condition that is missing or not expected, or too many frames for one that is not causal.
        """
        c = self.config
        check_condition(cond, c.cond_dim)
        if not c.causal and x.shape[1] > c.window:
            raise ValueError(f"got {x.shape[1]} frames, the network was built for at most {c.window}")
        dtype = self.head.weight.dtype
        e = self.level(sinusoidal(level * (1000 / c.level_scale), c.width).to(dtype))
        if self.cond_embed is not None:
            assert cond is not None
            e = e + self.cond_embed(cond.to(dtype))
        frames = rearrange(x.to(dtype), "b t (c h w) -> b c t h w", c=c.channels, h=c.side)
        first = self.stem_time(_within(frames, self.stem))
        h, skips = first, []
        for blocks, halve in zip(self.down, self.halve, strict=True):
            h = _through(blocks, h, e)
            skips.append(h)
            h = _within(h, halve)
        h = _through(self.middle, h, e)
        for i, (blocks, double) in enumerate(zip(self.up, self.widen, strict=True)):
            h = _through(blocks, torch.cat([h, skips.pop()], 1), e)
            if i < len(self.up) - 1:
                h = _within(F.interpolate(h, scale_factor=(1, 2, 2)), double)
        h = self.final(torch.cat([h, first], 1), e)
        return rearrange(_within(h, self.head), "b c t h w -> b t (c h w)")


def _through(blocks: nn.Module, h: Tensor, e: Tensor) -> Tensor:
    for block in cast(nn.ModuleList, blocks):
        h = block(h, e) if isinstance(block, _Residual) else block(h)
    return h
