"""A small convolutional autoencoder: pictures to a few latent vectors and back."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from df_agent.options.side_models import AutoencoderConfig, PixelsConfig


@dataclass
class Frames:
    """Pictures to learn from.

    Attributes:
        frames: (B, H, W, C) uint8, or (B, 3, H, W, C), three in a row.
        background: (H, W, C) uint8, what is usually there.
    """

    frames: Tensor
    background: Tensor

    def to(self, device: torch.device | str) -> Frames:
        """Return the pictures on another device."""
        return Frames(self.frames.to(device), self.background.to(device))


def to_signal(frames: Tensor) -> Tensor:
    """Map uint8 pictures (..., H, W, C) to values (..., C, H, W) in [-1, 1]."""
    return frames.movedim(-1, -3).float() / 127.5 - 1


def to_frames(signal: Tensor) -> Tensor:
    """Map values (..., C, H, W) in [-1, 1] to uint8 pictures (..., H, W, C)."""
    return ((signal.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(-3, -1)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class Encoder(nn.Module):
    """Pictures (N, C, H, W) in [-1, 1] to latents (N, P, L)."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = c = config
        widths = c.widths
        down: list[nn.Module] = [nn.PixelUnshuffle(4), nn.Conv2d(16 * c.channels, widths[0], 3, padding=1)]
        for i, width in enumerate(widths):
            if i:
                down += [nn.Conv2d(widths[i - 1], width, 4, 2, 1)]
            down += [_Residual(width)]
        self.down = nn.Sequential(*down)
        self.features = widths[-1] * (c.side**2 if c.one_vector else 1)
        self.to_latent = nn.Linear(self.features, c.latent_channels)

    def encode(self, signal: Tensor) -> Tensor:
        """Return the latents, (N, P, L), of pictures (N, C, H, W) in [-1, 1]."""
        features = self.down(signal)
        pattern = "n c h w -> n 1 (h w c)" if self.config.one_vector else "n c h w -> n (h w) c"
        latent = self.to_latent(rearrange(features, pattern))
        return F.layer_norm(latent, latent.shape[-1:]) if self.config.normalise else latent


class Autoencoder(Encoder):
    """The encoder, and the way back."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        widths = config.widths
        up: list[nn.Module] = [_Residual(widths[0])]
        for narrow, wide in pairwise(widths):
            up = [_Residual(wide), nn.ConvTranspose2d(wide, narrow, 4, 2, 1), *up]
        self.up = nn.Sequential(*up)
        self.out = nn.Sequential(nn.Conv2d(widths[0], 16 * config.channels, 3, padding=1), nn.PixelShuffle(4))
        self.from_latent = nn.Linear(config.latent_channels, self.features)

    def encoder(self) -> Encoder:
        """Return the encoder alone, with the same weights."""
        alone = Encoder(self.config)
        weights = self.state_dict()
        alone.load_state_dict({key: weights[key] for key in alone.state_dict()})
        return alone

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures (N, C, H, W) of latents (N, P, L); values may lie a little outside [-1, 1]."""
        side = self.config.side
        pattern = "n 1 (h w c) -> n c h w" if self.config.one_vector else "n (h w) c -> n c h w"
        features = rearrange(self.from_latent(latents), pattern, h=side, w=side)
        decoded: Tensor = self.out(self.up(features))
        return decoded

    def loss(self, batch: Frames, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted error of pictures that went through noisy latents, and the metrics to log."""
        c = self.config
        signal, background = to_signal(batch.frames.flatten(0, -4)), to_signal(batch.background)
        latents = self.encode(signal)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        decoded = self.decode(latents + c.noise * noise).float()
        differs = ((signal - background).abs() > 0.1).any(-3, keepdim=True)
        near = F.max_pool2d(differs.float(), 5, 1, 2)  # its surroundings too, or it would be drawn too large
        weight = 1 + (c.emphasis - 1) * near
        error = (decoded - signal).square()
        total = (weight * error).mean() / weight.mean()
        metrics = {"mse": error.mean().detach()}
        if not c.normalise:
            total = total + 1e-3 * latents.float().square().mean()
        if c.straighten:
            before, now, after = latents.float().reshape(-1, 3, *latents.shape[1:]).unbind(1)
            bend = (after - 2 * now + before).square().mean() / (after - before).square().mean().clamp_min(1e-6)
            total = total + c.straighten * bend
            metrics["bend"] = bend.detach()
        return total, {"loss": total.detach(), **metrics}


class Pixels(nn.Module):
    """In place of an autoencoder, for networks that work on pixels: pictures (N, C, H, W) as latents (N, 1, C H W)."""

    def __init__(self, config: PixelsConfig) -> None:
        super().__init__()
        self.config = config

    def encode(self, signal: Tensor) -> Tensor:
        """Return the latents of pictures in [-1, 1]."""
        return signal.flatten(1)[:, None]

    def decode(self, latents: Tensor) -> Tensor:
        """Return the pictures."""
        c = self.config
        return latents.reshape(-1, c.channels, c.size, c.size)
