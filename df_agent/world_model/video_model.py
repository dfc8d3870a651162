"""A trained video model: frames and actions in, the frames that follow out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from df_agent.checkpoint import KINDS, load_checkpoint
from df_agent.data.clips import conditions
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.models import build_network
from df_agent.models.autoencoder import Autoencoder, Pixels, to_frames, to_signal
from df_agent.options import make
from df_agent.options.side_models import AutoencoderConfig, PixelsConfig
from df_agent.runtime import building, choose_device, own_modes
from df_agent.world_model.config import RolloutConfig, VideoConfig
from df_agent.world_model.imagine import imagine
from df_agent.world_model.video_diffusion import VideoDiffusion

AUTOENCODERS: dict[str, tuple[Any, Any]] = {
    "convolutional": (Autoencoder, AutoencoderConfig),
    "pixels": (Pixels, PixelsConfig),
}


def build_autoencoder(options: Mapping[str, Any]) -> Autoencoder | Pixels:
    """Build what turns pictures into latents, as "name" says: "convolutional", the default, or "pixels"."""
    given = dict(options)
    name = given.pop("name", "convolutional")
    if name not in AUTOENCODERS:
        raise ValueError(f"unknown autoencoder {name!r}, available: {sorted(AUTOENCODERS)}")
    cls, config = AUTOENCODERS[name]
    built: Autoencoder | Pixels = cls(make(config, given))
    return built


def build_video_model(config: Mapping[str, Any]) -> VideoDiffusion:
    """Build the untrained model of a checkpoint's config: "autoencoder", "network", "diffusion" and "video"."""
    diffusion = make(DiffusionForcingConfig, dict(config["diffusion"]))
    network = build_network({"name": "space_time", **config["network"]}, diffusion.levels)
    autoencoder = build_autoencoder(config["autoencoder"]).requires_grad_(False)
    video = make(VideoConfig, dict(config["video"]))
    return VideoDiffusion(network, diffusion, video, autoencoder)


class VideoModel:
    """Predicts what a camera sees.

    Args:
        model: the trained module, with its autoencoder.
        config: of its checkpoint.
        rollout: how frames are sampled; by default as the checkpoint says.
        device: "auto", "cpu", "cuda", ...
    """

    def __init__(
        self,
        model: VideoDiffusion,
        config: Mapping[str, Any],
        rollout: RolloutConfig | None = None,
        device: str | torch.device | None = "auto",
    ) -> None:
        self.device = choose_device(device)
        self.model = model.eval().to(self.device)
        self.config = dict(config)
        self.rollout = rollout or make(RolloutConfig, dict(config.get("rollout", {})))
        assert model.autoencoder is not None
        self.autoencoder = model.autoencoder
        self.action_scale = torch.tensor(config["action_scale"], device=self.device)

    @classmethod
    @building()
    def from_pretrained(cls, name: str | Path, **options: Any) -> VideoModel:
        """Load a shipped model by name, a folder or a repository of the Hub.

        Raises:
            CheckpointError: there is none, or it holds something else.
        """
        checkpoint = load_checkpoint(name)
        sections = ("video", "network", "diffusion", "autoencoder")
        model = checkpoint.build(lambda: build_video_model(checkpoint.config), KINDS["video"], *sections)
        return cls(model, checkpoint.config, **options)

    @torch.no_grad()
    @own_modes()
    def encode(self, frames: NDArray[np.uint8], batch: int = 512) -> Tensor:
        """Return the latents (..., D) of pictures (..., H, W, C)."""
        flat = torch.from_numpy(np.ascontiguousarray(frames)).reshape(-1, *frames.shape[-3:])
        parts = [
            self.autoencoder.encode(to_signal(part.to(self.device))).flatten(1) for part in torch.split(flat, batch)
        ]
        return torch.cat(parts).reshape(*frames.shape[:-3], -1)

    @torch.no_grad()
    @own_modes()
    def decode(self, latents: Tensor, batch: int = 512) -> NDArray[np.uint8]:
        """Return the pictures (..., H, W, C) of latents (..., D)."""
        flat = latents.reshape(-1, self.autoencoder.config.places, self.autoencoder.config.latent_channels)
        parts = [to_frames(self.autoencoder.decode(part)).cpu() for part in torch.split(flat, batch)]
        pictures: NDArray[np.uint8] = torch.cat(parts).numpy()
        return pictures.reshape(*latents.shape[:-1], *pictures.shape[1:])

    @own_modes()
    def condition(self, actions: NDArray[np.float32]) -> Tensor:
        """Return what the network is told of actions (..., A)."""
        return conditions(torch.as_tensor(actions, dtype=torch.float32, device=self.device), self.action_scale)

    @own_modes()
    def predict(
        self,
        frames: NDArray[np.uint8],
        actions: NDArray[np.float32] | None,
        length: int | None = None,
        *,
        rollout: RolloutConfig | None = None,
        seed: int = 0,
    ) -> NDArray[np.uint8]:
        """Return the frames that follow, (B, n, H, W, C).

        Args:
            frames: (B, C, H, W, C) the frames so far.
            actions: (B, C - 1 + n, A) what was done between them, and what will be; None hides all actions.
            length: n; follows from the actions where they are given.
            rollout: how frames are sampled; by default as the model says, and as `RolloutConfig.uncertain` where
                actions are hidden.
            seed: of the noise.

        Raises:
            ValueError: pictures or actions of another shape or type than the model's, or not finite.
        """
        size, width = self.autoencoder.config.size, len(self.action_scale)
        if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[2:4] != (size, size) or not frames.shape[1]:
            raise ValueError(f"frames must be uint8 (B, C, {size}, {size}, 3), got {frames.dtype} {frames.shape}")
        if actions is not None and (
            actions.ndim != 3 or actions.shape[::2] != (len(frames), width) or not np.isfinite(actions).all()
        ):
            raise ValueError(f"actions must be finite, of shape ({len(frames)}, T, {width}), got {actions.shape}")
        seen = self.encode(frames)
        cond = None
        if actions is not None:
            length = actions.shape[1] - frames.shape[1] + 1
            cond = self.condition(actions)
            cond = torch.cat([torch.zeros_like(cond[:, :1]), cond], 1)
        elif length is not None:
            cond = torch.zeros(len(frames), frames.shape[1] + length, width + 1, device=self.device)
        if length is None or length < 1:
            raise ValueError(f"give actions beyond the frames seen, or a length of at least 1, got {length}")
        generator = torch.Generator().manual_seed(seed)
        rollout = rollout or (self.rollout.uncertain() if actions is None else self.rollout)
        return self.decode(imagine(self.model, seen, cond, length, rollout, generator))
