"""Roll-outs: which frames follow from those seen, as actions come.

Frame by frame with a cache of keys and values, or jointly over a window that slides; both go far past the length the
model was trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from df_agent.diffusion.conditioning import Weighted
from df_agent.diffusion.noise_schedule import to_x0_eps
from df_agent.diffusion.sampler import Denoiser, ddim_step, sample
from df_agent.diffusion.scheduling_matrix import scheduling_matrix, to_levels
from df_agent.models.space_time import Cache
from df_agent.world_model.video_diffusion import VideoDiffusion


@dataclass(frozen=True)
class RolloutConfig:
    """How frames are sampled.

    Attributes:
        steps: S, passes from noise to clean.
        eta: 0 for DDIM, 1 for DDPM.
        temperature: scale of the noise that sampling begins with. Less than 1 keeps to what is likely, which is more
            accurate where actions are known; futures that are uncertain come out alike then.
        stabilization: share of the noise levels at which frames that are done are shown to the network; 0 shows them
            as clean. It keeps long roll-outs from feeding on their own small errors.
        chunk: frames that are sampled jointly.
        matrix: order in which these are denoised, see `scheduling_matrix`; "pyramid" keeps the later ones uncertain.
        cached: keep keys and values of the frames that are done; for causal networks, one frame at a time.
        history_guidance: how strongly the frames seen count (Song et al. 2025); 1 is plain sampling. For windows.
        history_level: share of the noise levels at which they are shown for comparison: 1 hides them (vanilla), less
            keeps their coarse content (fractional).
    """

    steps: int = 10
    eta: float = 0.0
    temperature: float = 1.0
    stabilization: float = 0.02
    chunk: int = 1
    matrix: str = "full_sequence"
    cached: bool = True
    history_guidance: float = 1.0
    history_level: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.chunk < 1:
            raise ValueError(f"steps and chunk must be at least 1, got steps={self.steps}, chunk={self.chunk}")
        for name in ("eta", "temperature", "stabilization", "history_level"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.cached and (self.chunk > 1 or self.history_guidance != 1):
            raise ValueError("cached roll-outs sample one frame at a time, without history guidance; set cached=false")


class Imagination:
    """Frames one at a time as actions come, with a cache.

    Args:
        model: a causal one.
        config: how frames are sampled.
        generator: of the noise.
    """

    def __init__(self, model: VideoDiffusion, config: RolloutConfig, generator: torch.Generator) -> None:
        self.model, self.config, self.generator, self.cache = model, config, generator, Cache()
        self.once = model.video.method == "regression"
        steps = 1 if self.once else config.steps
        self.levels = torch.linspace(model.config.levels, 0, steps + 1).round().long().tolist()
        self.shown = 0 if self.once else round(config.stabilization * model.config.levels)

    def see(self, frames: Tensor, cond: Tensor | None) -> None:
        """Take frames (B, T, D) and what led to them, (B, T, A), as seen."""
        self._see(frames, cond, self.cache)

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

    def step(self, cond: Tensor | None, like: Tensor) -> Tensor:
        """Return the next frame, (B, D) as `like`, given the action that leads to it, (B, A); it counts as seen."""
        x = torch.randn(like.shape, generator=self.generator).to(like)[:, None]
        x = x * (0.0 if self.once else self.config.temperature)
        cond = None if cond is None else cond[:, None]
        for now, then in zip(self.levels[:-1], self.levels[1:], strict=True):
            level = torch.full(x.shape[:2], now, device=x.device)
            alpha_bar = self.model.alpha_bar[level]
            output = self.model.network(x, level, cond, cache=self.cache).to(x.dtype)
            x0, eps = to_x0_eps(self.model.objective, output, x, alpha_bar)
            noise = torch.randn(like.shape, generator=self.generator).to(like)[:, None] if self.config.eta else None
            x = ddim_step(
                x, x0, eps, alpha_bar, self.model.alpha_bar[torch.full_like(level, then)], self.config.eta, noise
            )
        self.see(x, cond)
        return x[:, 0]


@torch.no_grad()
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
    """
    if seen.shape[1] < 1 or (cond is not None and cond.shape[1] != seen.shape[1] + frames):
        got = None if cond is None else tuple(cond.shape)
        raise ValueError(f"need a frame or more, and a condition for all {seen.shape[1]} + {frames} frames, got {got}")
    if config.cached:
        known = seen.shape[1]
        mind = Imagination(model, config, generator)
        mind.see(seen, None if cond is None else cond[:, :known])
        out = [mind.step(None if cond is None else cond[:, known + i], seen[:, 0]) for i in range(frames)]
        return torch.stack(out, 1)
    return _slide(model, seen, cond, frames, config, generator)


def _slide(
    model: VideoDiffusion,
    seen: Tensor,
    cond: Tensor | None,
    frames: int,
    config: RolloutConfig,
    generator: torch.Generator,
) -> Tensor:
    """Sample `config.chunk` frames at a time over a window that slides."""
    network: Any = model.network
    window, top = network.config.window, model.config.levels
    if config.chunk >= window:
        raise ValueError(f"chunk must leave room for a frame seen in the window of {window}, got {config.chunk}")
    done = seen
    while done.shape[1] < seen.shape[1] + frames:
        chunk = min(config.chunk, seen.shape[1] + frames - done.shape[1])
        known = done[:, -(window - chunk) :]
        first, kept = done.shape[1] - known.shape[1], known.shape[1]
        fresh = config.temperature * torch.randn((len(done), chunk, done.shape[2]), generator=generator).to(done)
        rows = to_levels(scheduling_matrix(config.matrix, chunk, config.steps), config.steps, top)
        levels = torch.cat([torch.zeros(len(rows), kept, dtype=torch.long), torch.from_numpy(rows)], 1)
        denoiser: Denoiser = model
        if config.history_guidance != 1:
            noise = torch.randn((len(done), kept + chunk, done.shape[2]), generator=generator).to(done)
            level = round(config.history_level * top)
            given = (torch.arange(kept + chunk, device=done.device) < kept).expand(len(done), -1)
            denoiser = Weighted(model, given, config.history_guidance, noise, level)
        x = sample(
            denoiser,
            torch.cat([known, fresh], 1),
            levels,
            cond=None if cond is None else cond[:, first : first + kept + chunk],
            eta=config.eta,
            stabilization_level=round(config.stabilization * top),
            generator=generator,
        )
        done = torch.cat([done, x[:, kept:]], 1)
    return done[:, seen.shape[1] :]
