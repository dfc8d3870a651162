"""Diffuser (Janner et al. 2022), as published for Maze2D, and its stronger variants.

A U-Net denoises whole segments of (action, observation) transitions. The start and the goal are put into the
segment by inpainting: their observations are overwritten with the known values before and after every pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from df_agent.data.episodes import Episodes
from df_agent.data.samplers.segments import SegmentSampler
from df_agent.diffusion.noise_schedule import add_noise, alpha_bar_table, to_x0_eps
from df_agent.diffusion.sampler import ddim_step
from df_agent.models.unet1d import TemporalUnet
from df_agent.options import make
from df_agent.options.baselines import DiffuserConfig
from df_agent.options.networks import TemporalUnetConfig
from df_agent.types import Batch


class Diffuser(nn.Module):
    """The denoising network over segments, its loss and its sampler.

    Args:
        config: what it is rebuilt from.
    """

    alpha_bar: Tensor
    low: Tensor
    span: Tensor

    def __init__(self, config: DiffuserConfig) -> None:
        super().__init__()
        network = make(TemporalUnetConfig, {**config.network, "token_dim": len(config.low)})
        if config.horizon % network.stride or config.horizon < 2 * network.stride:
            raise ValueError(f"horizon must be a multiple of {network.stride}, got {config.horizon}")
        self.options, self.network = config, TemporalUnet(network)
        self.register_buffer("alpha_bar", alpha_bar_table("cosine", config.levels), persistent=False)
        self.register_buffer("low", torch.tensor(config.low), persistent=False)
        span = torch.tensor(config.high) - self.low
        self.register_buffer("span", torch.where(span > 0, span, 1.0), persistent=False)  # constant channels

    @classmethod
    def from_data(
        cls, episodes: Episodes, *, horizon: int, levels: int, frame_skip: int = 1
    ) -> tuple[Diffuser, SegmentSampler]:
        """Return an untrained model scaled to the data, and the sampler of its training segments.

        Raises:
            ValueError: goals are not about the leading values of an observation, where a goal is put; or the data
                does not do for the sampler.
        """
        if (places := episodes.achieved_goals) is not None:
            leading = episodes.observations[:, : places.shape[1]]
            if leading.shape != places.shape or not np.allclose(leading, places, atol=1e-3):
                raise ValueError(
                    f"a Diffuser is given its goal as the leading values of the last observation, but the leading "
                    f"{places.shape[1]} in this data are not what its goals are about"
                )
        sampler = SegmentSampler(episodes, horizon, frame_skip)
        low, high = sampler.limits()
        dim = episodes.observations.shape[1]
        config = DiffuserConfig(horizon, levels, tuple(low), tuple(high), dim, frame_skip=frame_skip)
        return cls(config), sampler

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Diffuser:
        """Return the untrained model that `config` describes."""
        return cls(make(DiffuserConfig, config))

    @property
    def config(self) -> dict[str, Any]:
        """JSON-ready, for `from_config`."""
        return asdict(self.options)

    def normalize(self, values: Tensor) -> Tensor:
        """Scale (..., C) of the leading C channels from the data's limits to [-1, 1]."""
        low, span = self.low[: values.shape[-1]], self.span[: values.shape[-1]]
        return (values - low) / span * 2 - 1

    def denormalize(self, values: Tensor) -> Tensor:
        """Undo `normalize`; beyond the limits values are clipped."""
        low, span = self.low[: values.shape[-1]], self.span[: values.shape[-1]]
        return (values.clamp(-1, 1) + 1) / 2 * span + low

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the estimated segments, all levels and channels weighted alike."""
        x0 = self.normalize(batch.tokens)
        ends = x0[:, [0, -1], : self.options.observation_dim]
        level = torch.randint(1, self.options.levels + 1, (len(x0), 1), generator=generator).to(x0.device)
        eps = torch.randn(x0.shape, generator=generator).to(x0.device)
        noisy = self._inpaint(add_noise(x0, eps, self.alpha_bar[level]), ends)
        estimate = self._inpaint(self.network(noisy, level[:, 0]).float(), ends)
        loss = (estimate - x0).square().mean()
        return loss, {"loss": loss.detach()}

    @torch.no_grad()
    def sample(
        self,
        start: Tensor,
        goal: Tensor,
        horizon: int,
        noise: Callable[[int], Tensor],
        steps: int | None = None,
    ) -> Tensor:
        """Sample segments from start to goal.

        Args:
            start: (B, Do) observations, in environment units.
            goal: (B, Do) observations to be at in the end.
            horizon: transitions H; the convolutions take any multiple of the network's stride.
            noise: (k) -> standard normal noise (B, H, Do + Da); k = 0 to begin with, then of every pass.
            steps: None for ancestral sampling through all levels, as published; else so many DDIM steps.

        Returns:
            (B, H, Do) observations in environment units, frame_skip control steps apart, the start first.
        """
        levels, dim = self.options.levels, self.options.observation_dim
        if horizon % self.network.config.stride:
            raise ValueError(f"horizon must be a multiple of {self.network.config.stride}, got {horizon}")
        ends = self.normalize(torch.stack([start, goal], 1).to(self.low))
        x = self._inpaint(noise(0).to(ends), ends)
        schedule = torch.linspace(levels, 0, (steps or levels) + 1).round().long().tolist()
        for k, (now, then) in enumerate(pairwise(schedule)):
            level = torch.full((len(x),), now, device=x.device)
            x0 = self.network(x, level).to(x.dtype).clamp(-1, 1)
            here, there = (self.alpha_bar[i].expand(x.shape[:2]) for i in (now, then))
            _, eps = to_x0_eps("x0", x0, x, here)
            fresh = noise(k + 1).to(x) if steps is None else None
            x = ddim_step(x, x0, eps, here, there, eta=1.0 if steps is None else 0.0, noise=fresh)
            x = self._inpaint(x, ends)
        return self.denormalize(x[..., :dim])

    def _inpaint(self, x: Tensor, ends: Tensor) -> Tensor:
        """Put the observations (B, 2, Do) at both ends of x (B, H, Do + Da)."""
        dim = self.options.observation_dim
        first = torch.cat([ends[:, :1], x[:, :1, dim:]], -1)
        last = torch.cat([ends[:, 1:], x[:, -1:, dim:]], -1)
        return torch.cat([first, x[:, 1:-1], last], 1)
