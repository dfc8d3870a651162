"""Diffusion over the latents of video frames: Diffusion Forcing, and what it is compared with.

One network, one loss and one sampler; a method is a way to draw the levels of a clip's frames:

- "diffusion_forcing": every frame has a level of its own (Chen et al. 2024);
- "full_sequence": one level for all frames behind a clean beginning;
- "teacher_forcing": each frame is noisy, those before it are clean (next-frame diffusion);
- "regression": the same, with nothing of the frame in sight; one pass gives the mean that follows from those before.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from df_agent.data.clips import ClipBatch
from df_agent.diffusion.conditioning import remembers
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.diffusion.diffusion_forcing import DiffusionForcing
from df_agent.diffusion.noise_schedule import add_noise, target
from df_agent.models.autoencoder import Autoencoder, Pixels
from df_agent.world_model.config import VideoConfig


class VideoDiffusion(DiffusionForcing):
    """A network over frames with its noise schedule and its loss.

    Args:
        network: as `SpaceTimeTransformer`.
        config: the noise schedule, prediction type and SNR weights; the rest of it is for trajectories.
        video: how clips are noised.
        autoencoder: what made the latents, carried along; it takes no part in the loss.
    """

    def __init__(
        self,
        network: nn.Module,
        config: DiffusionForcingConfig,
        video: VideoConfig,
        autoencoder: Autoencoder | Pixels | None = None,
    ) -> None:
        super().__init__(network, config)
        self.video, self.autoencoder = video, autoencoder
        if self.two_copies and not remembers(network):
            raise ValueError(
                f"method {video.method!r} with two copies of each clip needs a causal network that can look back at "
                f"other frames: network=space_time with causal=true; got {type(network).__name__}"
            )
        if video.method == "regression" and config.prediction_type != "x0":
            raise ValueError(
                f"regression predicts frames: prediction_type must be 'x0', not {config.prediction_type!r}"
            )

    @property
    def two_copies(self) -> bool:
        """Whether frames see another copy of those before them in training."""
        forced = self.video.method in ("teacher_forcing", "regression")
        return forced or (self.video.method == "diffusion_forcing" and self.video.two_copies)

    def levels(self, batch: int, frames: int, generator: torch.Generator) -> Tensor:
        """Draw the levels, (B, T), of clips; frames at level 0 are given."""
        top = self.config.levels
        own = torch.randint(1, top + 1, (batch, frames), generator=generator)
        if self.video.method == "regression":
            return torch.full_like(own, top)
        unknown = torch.rand(batch, frames, generator=generator) < self.video.unknown
        own = torch.where(unknown, top, own)
        if self.two_copies:
            return own
        if self.video.method == "full_sequence":
            given = torch.randint(1, max(frames // 2, 1) + 1, (batch, 1), generator=generator)
            return torch.where(torch.arange(frames)[None] < given, 0, own[:, :1].expand(-1, frames))
        mixed = torch.rand(batch, 1, generator=generator) < self.video.nearly_clean
        chance = torch.rand(batch, 1, generator=generator)
        low = mixed & (torch.rand(batch, frames, generator=generator) < chance)
        return torch.where(low & ~unknown, (own + 49) // 50, own)

    def past_levels(self, batch: int, frames: int, generator: torch.Generator) -> Tensor:
        """Draw the levels, (B, T), of the copies of clips that are looked back at."""
        if self.video.method != "diffusion_forcing":
            return torch.zeros(batch, frames, dtype=torch.long)
        own = torch.randint(0, self.config.levels + 1, (batch, frames), generator=generator)
        low = torch.rand(batch, 1, generator=generator) < self.video.nearly_clean
        return torch.where(low, own // 50, own)

    def loss(self, batch: ClipBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:  # type: ignore[override]
        """Return the weighted denoising loss of clips and the metrics to log."""
        tokens, (b, t) = batch.tokens, batch.tokens.shape[:2]
        level = self.levels(b, t, generator).to(tokens.device)
        known = torch.rand(b, 1, 1, generator=generator) >= self.video.cond_dropout
        cond = batch.cond * known.to(batch.cond)
        eps = torch.randn(tokens.shape, generator=generator).to(tokens.device)
        alpha_bar = self.alpha_bar[level]
        noisy = add_noise(tokens, eps, alpha_bar)
        if self.video.method == "regression":
            noisy = torch.zeros_like(tokens)  # the top level leaves a little of the frame, which is the answer
        network: Any = self.network
        past_alpha_bar = None
        if self.two_copies:
            past_level = self.past_levels(b, t, generator).to(tokens.device)
            past_eps = torch.randn(tokens.shape, generator=generator).to(tokens.device)
            past_alpha_bar = self.alpha_bar[past_level]
            past = add_noise(tokens, past_eps, past_alpha_bar)
            both = torch.cat([past, noisy], 1), torch.cat([past_level, level], 1)
            output = network(*both, torch.cat([cond, cond], 1), history=t)[:, t:]
        else:
            output = network(noisy, level, cond)
        error = (output.float() - target(self.prediction_type, tokens, eps, alpha_bar)).square().mean(-1)
        counts = level > 0
        weight = self.snr_weight(alpha_bar, past_alpha_bar)
        total = (weight * counts * error).sum() / counts.sum().clamp_min(1)
        return total, {"loss": total.detach()}
