"""A transformer over the patches of several frames, causal in time or not, with a cache of keys and values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from df_agent.models.layers import attend, check_condition, sinusoidal
from df_agent.options.networks import SpaceTimeConfig


@dataclass
class Cache:
    """Keys and values of the frames so far, as far back as the network's window reaches.

    Attributes:
        frames: how many frames have been written.
        blocks: per block the keys and values, (B, heads, frames kept * P, width / heads) each.
        first: (B,) number of each row's first frame; None where all begin with frame 0.
    """

    frames: int = 0
    blocks: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    first: Tensor | None = None

    def write(self, blocks: list[tuple[Tensor, Tensor]], frames: int, most: int) -> None:
        """Add the keys and values of more frames; of all, the last `most` places (frames * P) are kept."""
        if self.blocks:
            joined = zip(self.blocks, blocks, strict=True)
            blocks = [(torch.cat([k, own_k], -2), torch.cat([v, own_v], -2)) for (k, v), (own_k, own_v) in joined]
        self.blocks = [(k[..., -most:, :], v[..., -most:, :]) for k, v in blocks]
        self.frames += frames

    def select(self, rows: Tensor) -> Cache:
        """Return the cache of some of its rows, in the order of `rows` (B',)."""
        first = None if self.first is None else self.first[rows]
        return Cache(self.frames, [(k[rows], v[rows]) for k, v in self.blocks], first)

    def begin_anew(self, rows: Tensor, other: Cache) -> None:
        """Let some rows (B',) begin anew with the frames of `other`, a cache that ends where this one does.

        Raises:
            ValueError: it ends elsewhere, or holds more frames than this one.
        """
        kept, new = self.blocks[0][0].shape[-2], other.blocks[0][0].shape[-2]
        if other.frames != self.frames or new > kept:
            raise ValueError(
                f"the other cache must end at frame {self.frames} and hold at most {kept} patches, it ends at "
                f"{other.frames} with {new}"
            )
        if self.first is None:
            self.first = torch.zeros(len(self.blocks[0][0]), dtype=torch.long, device=rows.device)
        for own, fresh in zip(self.blocks, other.blocks, strict=True):
            for whole, part in zip(own, fresh, strict=True):
                whole[rows, :, kept - new :] = part
        assert other.first is not None
        self.first[rows] = other.first


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Rotate pairs of channels of x (B, heads, T, d) by angle (T, d / 2): rotary embedding (Su et al. 2021)."""
    a, b = x.float().chunk(2, -1)
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1).to(x.dtype)


class SpaceTimeBlock(nn.Module):
    """Self-attention over all patches of the frames in sight, and a feed-forward layer (adaLN-single, DiT)."""

    def __init__(self, config: SpaceTimeConfig) -> None:
        super().__init__()
        self.heads = config.heads
        width, hidden = config.width, int(config.mlp_ratio * config.width)
        self.table = nn.Parameter(torch.randn(6, width) / math.sqrt(width))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))

    def forward(
        self, x: Tensor, modulation: Tensor, angle: Tensor, mask: Tensor | None, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Mix x (B, T, P, W) under modulation (B, T, 1, 6, W); return it, and its keys and values."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = (modulation + self.table).unbind(-2)
        h = torch.addcmul(shift_a, F.layer_norm(x, x.shape[-1:]), 1 + scale_a)
        q, k, v = rearrange(self.qkv(h), "b t p (n h d) -> n b h (t p) d", n=3, h=self.heads)
        q, k = rotate(q, angle), rotate(k, angle)
        own = (k, v)
        if past is not None:
            k, v = torch.cat([past[0], k], -2), torch.cat([past[1], v], -2)
        h = attend(q, k, v, mask)
        h = rearrange(h, "b h (t p) d -> b t p (h d)", p=x.shape[2])
        x = torch.addcmul(x, gate_a, self.out(h))
        h = torch.addcmul(shift_m, F.layer_norm(x, x.shape[-1:]), 1 + scale_m)
        return torch.addcmul(x, gate_m, self.mlp(h)), own


class SpaceTimeTransformer(nn.Module):
    """The denoising network over frames of patches, with a level per frame."""

    def __init__(self, config: SpaceTimeConfig) -> None:
        super().__init__()
        self.config, self.causal = config, config.causal
        width, channels = config.width, config.token_dim // config.places
        self.embed = nn.Linear(channels, width)
        self.position = nn.Parameter(sinusoidal(torch.arange(config.places), width, max_period=1e3))
        self.level_embed = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.cond_embed = nn.Linear(config.cond_dim, width, bias=False) if config.cond_dim else None
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(SpaceTimeBlock(config) for _ in range(config.depth))
        self.final = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, channels)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def kv_cache(self) -> Cache:
        """Return the cache of one that has seen nothing."""
        return Cache()

    def forward(
        self,
        x: Tensor,
        level: Tensor,
        cond: Tensor | None = None,
        *,
        history: int = 0,
        cache: Cache | None = None,
        write: bool = False,
    ) -> Tensor:
        """Map noisy frames (B, T, D) with levels (B, T) to the prediction of its type, (B, T, D).

        Args:
            x, level: the frames.
            cond: (B, T, cond_dim).
            history: the first so many frames are an own, earlier copy of the rest: each of the rest sees those of them
                that lie before it, and itself. For teacher forcing; causal networks only.
            cache: of the frames before these; causal networks only.
            write: add these frames to it.

        Raises:
            ValueError: a condition that is missing or not expected, or causal options on a network that is not.
        """
        c = self.config
        check_condition(cond, c.cond_dim)
        if (history or cache is not None) and not c.causal:
            raise ValueError("history and cache need a causal network")
        if not c.causal and x.shape[1] > c.window:
            raise ValueError(f"got {x.shape[1]} frames, the network was built for at most {c.window}")
        time = torch.arange(x.shape[1], device=x.device)
        if history:
            time = torch.cat([time[:history], time[: x.shape[1] - history]])
        time = time if cache is None else time + cache.frames
        e = self._embedding(level, cond)
        h = self.embed(rearrange(x.to(e.dtype), "b t (p c) -> b t p c", p=c.places)) + self.position + e[:, :, None]
        modulation = rearrange(self.modulation(e), "b t (n w) -> b t 1 n w", n=6)
        mask = self._mask(time, history, cache)
        angle = repeat(rotary_angles(time, c.width // c.heads), "t d -> (t p) d", p=c.places)
        before = list(cache.blocks) if cache is not None and cache.blocks else [None] * len(self.blocks)
        written = []
        for block, known in zip(self.blocks, before, strict=True):
            h, own = block(h, modulation, angle, mask, known)
            if write:
                written.append(own)
        if cache is not None and write:
            cache.write(written, x.shape[1], (c.window - 1) * c.places)
        shift, scale = self.final(e).chunk(2, -1)
        h = F.layer_norm(h, h.shape[-1:]) * (1 + scale[:, :, None]) + shift[:, :, None]
        output: Tensor = rearrange(self.head(h), "b t p c -> b t (p c)")
        return output

    def _embedding(self, level: Tensor, cond: Tensor | None) -> Tensor:
        """Return the embedding (B, T, W) of levels and conditions, which modulates the blocks."""
        dtype = self.embed.weight.dtype
        e: Tensor = self.level_embed(sinusoidal(level * (1000 / self.config.level_scale), 64).to(dtype))
        if self.cond_embed is not None:
            assert cond is not None
            e = e + self.cond_embed(cond.to(dtype))
        return F.silu(e)

    def _mask(self, time: Tensor, history: int, cache: Cache | None) -> Tensor | None:
        """Return which patches (queries, keys), or (B, 1, queries, keys), see each other; None if all do."""
        if not self.causal:
            return None
        keys = time
        if cache is not None and cache.blocks:
            kept = cache.blocks[0][0].shape[-2] // self.config.places
            keys = torch.cat([torch.arange(cache.frames - kept, cache.frames, device=time.device), time])
            if len(time) == 1 and kept < self.config.window and cache.first is None:
                return None
        ahead = time[:, None] - keys[None]
        seen = (ahead >= 0) & (ahead < self.config.window)
        if history:
            index = torch.arange(len(time), device=time.device)
            early = index < history
            itself = index[:, None] == index[None]
            seen = torch.where(early[None], seen & (early[:, None] | (ahead > 0)), itself)
        if cache is not None and cache.first is not None:
            seen = (seen[None] & (keys[None, None] >= cache.first[:, None, None]))[:, None]
        places = self.config.places
        seen = seen.repeat_interleave(places, -2)
        return seen.repeat_interleave(places, -1)


def rotary_angles(time: Tensor, channels: int) -> Tensor:
    """Angles (T, channels / 2) of the rotary embedding; the slowest turns once in some 600 frames."""
    rate = 100.0 ** (-torch.arange(channels // 2, device=time.device) / (channels // 2))
    return time[:, None].float() * rate
