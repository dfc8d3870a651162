"""Roll-outs: which frames follow from those seen, as actions come.

Frame by frame with a cache of keys and values, or jointly over a window that slides; both go far past the length the
model was trained on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from df_agent.diffusion.conditioning import Weighted, remembers
from df_agent.diffusion.noise_schedule import add_noise, to_x0_eps
from df_agent.diffusion.sampler import Denoiser, ddim_step, sample
from df_agent.diffusion.scheduling_matrix import scheduling_matrix, to_levels
from df_agent.models.space_time import Cache
from df_agent.runtime import own_modes
from df_agent.world_model.config import RolloutConfig
from df_agent.world_model.video_diffusion import VideoDiffusion


class Imagination:
    """Frames one at a time as actions come, with a cache.

    Args:
        model: a causal one.
        config: how frames are sampled.
        generator: of the noise.

    Raises:
        ValueError: the network keeps no memory of frames.
    """

    def __init__(self, model: VideoDiffusion, config: RolloutConfig, generator: torch.Generator) -> None:
        if not remembers(model.network):
            raise ValueError(
                f"frames one at a time, with a cache, need network=space_time with causal=true; with this "
                f"{type(model.network).__name__} roll out with cached=false"
            )
        self.model, self.config, self.generator, self.cache = model, config, generator, Cache()
        self.once = model.video.method == "regression"
        steps, start = (1, 1.0) if self.once else (config.steps, config.start)
        first = max(start * model.config.levels, 1.0)
        self.levels = torch.linspace(first, 0, steps + 1).round().long().tolist()
        self.shown = 0 if self.once else round(config.stabilization * model.config.levels)

    @own_modes()
    def see(self, frames: Tensor, cond: Tensor | None) -> None:
        """Take frames (B, T, D) and what led to them, (B, T, A), as seen."""
        self._see(frames, cond, self.cache)

    @own_modes()
    def begin_anew(self, rows: Tensor, frames: Tensor, cond: Tensor | None) -> None:
        """Let some rows (B',) forget what they saw, and see frames (B', T, D) instead.

        Args:
            rows: which.
            frames: what they see, at most as many as all began with.
            cond: (B', T, A) what led to these.
        """
        start = self.cache.frames - frames.shape[1]
        fresh = Cache(start, first=torch.full((len(rows),), start, device=frames.device))
        self._see(frames, cond, fresh)
        self.cache.begin_anew(rows, fresh)

    def _see(self, frames: Tensor, cond: Tensor | None, cache: Cache) -> None:
        level = torch.full(frames.shape[:2], self.shown, device=frames.device)
        scaled = self.model.alpha_bar[self.shown].sqrt() * frames
        self.model.network(scaled, level, cond, cache=cache, write=True)

    @own_modes()
    def step(self, cond: Tensor | None, like: Tensor) -> Tensor:
        """Return the next frame, (B, D) as `like`, given the action that leads to it, (B, A); it counts as seen."""
        table, top = self.model.alpha_bar, self.model.config.levels
        cond = None if cond is None else cond[:, None]
        nothing = torch.zeros_like(like)[:, None]
        if self.once:
            x = nothing
        elif self.levels[0] < top:
            mean, _ = self._denoise(nothing, top, cond)
            x = add_noise(mean, self._noise(like), table[self.levels[0]].expand(mean.shape[:2]))
        else:
            x = self._noise(like)
        for now, then in zip(self.levels[:-1], self.levels[1:], strict=True):
            x0, eps = self._denoise(x, now, cond)
            noise = self._noise(like) if self.config.eta else None
            x = ddim_step(
                x, x0, eps, table[now].expand(x.shape[:2]), table[then].expand(x.shape[:2]), self.config.eta, noise
            )
        self.see(x, cond)
        return x[:, 0]

    def _noise(self, like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=self.generator).to(like)[:, None]
        return self.config.temperature * drawn

    def _denoise(self, x: Tensor, level: int, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        levels = torch.full(x.shape[:2], level, device=x.device)
        output = self.model.network(x, levels, cond, cache=self.cache).to(x.dtype)
        return to_x0_eps(self.model.prediction_type, output, x, self.model.alpha_bar[levels])


@torch.no_grad()
@own_modes()
def imagine(
    model: VideoDiffusion,
    seen: Tensor,
    cond: Tensor | None,
    frames: int,
    config: RolloutConfig,
    generator: torch.Generator,
) -> Tensor:
    """Return the `frames` frames that follow, (B, frames, D).

    Args:
        model: what imagines.
        seen: (B, C, D) the frames so far, at least one.
        cond: (B, C + frames, A) what led to each frame, those to come among them.
        frames: how many to imagine.
        config: how frames are sampled.
        generator: of the noise.

    Raises:
        ValueError: shapes, or a way to sample, that do not fit the model.
    """
    if not config.cached and model.video.method == "regression":
        raise ValueError("regression was trained to begin at nothing, not at noise: roll out with cached=true")
    if seen.shape[1] < 1 or (cond is not None and cond.shape[1] != seen.shape[1] + frames):
        got = None if cond is None else tuple(cond.shape)
        raise ValueError(f"need a frame or more, and a condition for all {seen.shape[1]} + {frames} frames, got {got}")
    if config.cached:
        known = seen.shape[1]
        imagination = Imagination(model, config, generator)
        imagination.see(seen, None if cond is None else cond[:, :known])
        out = [imagination.step(None if cond is None else cond[:, known + i], seen[:, 0]) for i in range(frames)]
        return torch.stack(out, 1)
    done, total = seen, seen.shape[1] + frames
    while done.shape[1] < total:
        chunk = min(config.chunk, total - done.shape[1])
        done = torch.cat([done, _next_chunk(model, done, cond, chunk, config, generator)], 1)
    return done[:, seen.shape[1] :]


def _next_chunk(
    model: VideoDiffusion,
    done: Tensor,
    cond: Tensor | None,
    chunk: int,
    config: RolloutConfig,
    generator: torch.Generator,
) -> Tensor:
    """Sample (B, chunk, D) jointly, shown as many of the frames `done` (B, T, D) as the window has room for."""
    network: Any = model.network
    window, top = network.config.window, model.config.levels
    if config.chunk >= window:
        raise ValueError(f"chunk must leave room for a frame seen in the window of {window}, got {config.chunk}")
    known = done[:, -(window - chunk) :]
    first, kept = done.shape[1] - known.shape[1], known.shape[1]
    shape = (len(done), kept + chunk, done.shape[2])

    def noise(_: int) -> Tensor:
        return config.temperature * torch.randn(shape, generator=generator)

    fresh = noise(0)[:, kept:].to(done)
    rows = to_levels(scheduling_matrix(config.matrix, chunk, config.steps), config.steps, top)
    levels = torch.cat([torch.zeros(len(rows), kept, dtype=torch.long), torch.from_numpy(rows)], 1)
    denoiser: Denoiser = model
    if config.history_guidance != 1:
        hiding = torch.randn(shape, generator=generator).to(done)
        level = round(config.history_level * top)
        given = (torch.arange(kept + chunk, device=done.device) < kept).expand(len(done), -1)
        denoiser = Weighted(model, given, config.history_guidance, hiding, level)
    x = sample(
        denoiser,
        torch.cat([known, fresh], 1),
        levels,
        cond=None if cond is None else cond[:, first : first + kept + chunk],
        eta=config.eta,
        stabilization_level=round(config.stabilization * top),
        noise=noise,
    )
    return x[:, kept:]
