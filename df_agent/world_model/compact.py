"""One small vector per picture, in which to plan: an encoder whose latents move evenly where the world does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from df_agent.checkpoint import KINDS, load_checkpoint, save_checkpoint
from df_agent.data.clips import Clips, load_clips
from df_agent.data.episodes import Episodes
from df_agent.models.autoencoder import Encoder, to_signal
from df_agent.models.latent_dynamics import LatentClips, LatentDynamics
from df_agent.options import make
from df_agent.options.side_models import AutoencoderConfig, LatentDynamicsConfig
from df_agent.runtime import building, choose_device, own_modes
from df_agent.training.config import TrainConfig
from df_agent.training.run_folder import command, record
from df_agent.training.trainer import Trainer
from df_agent.world_model.training import fit_autoencoder


class CompactModel(nn.Module):
    """An encoder of one vector per picture, and dynamics over these vectors."""

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: Encoder, dynamics: LatentDynamics) -> None:
        super().__init__()
        self.encoder, self.dynamics = encoder, dynamics
        self.register_buffer("mean", torch.zeros(encoder.config.latent_channels))
        self.register_buffer("std", torch.ones(encoder.config.latent_channels))

    @torch.no_grad()
    @own_modes()
    def encode(self, frames: NDArray[np.uint8], batch: int = 512) -> Tensor:
        """Return the latents (..., L), of zero mean and unit variance over the data, of pictures (..., H, W, C)."""
        flat = torch.from_numpy(np.ascontiguousarray(frames)).reshape(-1, *frames.shape[-3:])
        parts = [self.encoder.encode(to_signal(part.to(self.mean.device)))[:, 0] for part in torch.split(flat, batch)]
        latents = (torch.cat(parts).float() - self.mean) / self.std
        return latents.reshape(*frames.shape[:-3], -1)


def build_compact(config: Mapping[str, Any]) -> CompactModel:
    """Build the untrained model of a checkpoint's config."""
    return CompactModel(
        Encoder(make(AutoencoderConfig, dict(config["autoencoder"]))),
        LatentDynamics(make(LatentDynamicsConfig, dict(config["dynamics"]))),
    )


@building()
def load_compact(name: str | Path, device: str | torch.device | None = "auto") -> tuple[CompactModel, dict[str, Any]]:
    """Return a trained model and the config it was saved with; raises CheckpointError if there is none."""
    checkpoint = load_checkpoint(name)
    sections = ("compact", "autoencoder", "dynamics")
    model = checkpoint.build(lambda: build_compact(checkpoint.config), KINDS["compact"], *sections)
    return model.eval().to(choose_device(device)), checkpoint.config


@own_modes(gradients=True)
def train_compact(config: Mapping[str, Any]) -> CompactModel:
    """Train, or continue; leave `final` and the data's latents, `latents.npz`, in config["run_dir"].

    Args:
        config: plain values: "dataset" (a Minari id), "run_dir", "every" (control steps from picture to picture),
            "autoencoder" and "dynamics" (their options, "train" among them).
    """
    run_dir = Path(config["run_dir"])
    record(run_dir, config)
    clips = load_clips(config["dataset"])
    length = int(config["dynamics"]["length"])
    if length < 3:
        raise ValueError(f"dynamics.length must be at least 3, two pictures and one that follows, got {length}")
    clips.windows(length)  # refuses data that is too short, before minutes of training
    given = dict(config["autoencoder"])
    schedule = TrainConfig.from_dict(given.pop("train"))
    data = {"dataset": str(config["dataset"]), "every": int(config["every"])}
    torch.manual_seed(schedule.seed)
    autoencoder = fit_autoencoder({**given, "one_vector": True}, clips, schedule, run_dir, data)
    described = {"autoencoder": autoencoder.config.to_dict()}

    given = dict(config["dynamics"])
    schedule = TrainConfig.from_dict(given.pop("train"))
    del given["length"]
    sizes = make(
        LatentDynamicsConfig,
        {**given, "latent_dim": autoencoder.config.latent_channels, "action_dim": clips.actions.shape[1]},
    )
    torch.manual_seed(schedule.seed)
    model = CompactModel(autoencoder.encoder().eval(), LatentDynamics(sizes))
    raw = model.encode(clips.frames)
    model.mean, model.std = raw.mean(0), raw.std(0)
    latents = (raw - model.mean) / model.std
    model.dynamics.step_scale.data = typical_change(latents, clips)
    clip_sampler = LatentClipSampler(latents, clips, length)
    checked = {"dynamics": sizes.to_dict(), **described, "data": {**data, "length": length}}
    model.dynamics = Trainer(model.dynamics, clip_sampler, schedule, run_dir / "dynamics", checked).fit()
    checkpoint_config = {
        "compact": {"every": int(config["every"])},
        "env": config.get("env"),
        **described,
        "dynamics": sizes.to_dict(),
        "provenance": {"dataset": str(config["dataset"]), "command": command()},
    }
    save_checkpoint(run_dir / "final", model.state_dict(), checkpoint_config)
    latent_episodes(latents.numpy(), clips, int(config["every"])).save(run_dir / "latents.npz")
    return model


def typical_change(latents: Tensor, clips: Clips) -> Tensor:
    """Return the deviation, (), of the changes of latents (N, L) from one picture of an episode to the next."""
    within = np.delete(np.arange(len(latents) - 1), clips.starts[1:-1] - 1)
    return (latents[within + 1] - latents[within]).std()


class LatentClipSampler:
    """Draws batches of latents in a row.

    Args:
        latents: (N, L).
        clips: whose pictures they are of.
        length: T.
    """

    def __init__(self, latents: Tensor, clips: Clips, length: int) -> None:
        self.latents, self.actions, self.length = latents, torch.from_numpy(clips.actions), length
        self.windows = torch.from_numpy(clips.windows(length))

    def __call__(self, batch_size: int, generator: torch.Generator) -> LatentClips:
        """Draw `batch_size` clips with a CPU generator."""
        pick = self.windows[torch.randint(len(self.windows), (batch_size,), generator=generator)]
        rows = pick[:, None] + torch.arange(self.length)
        return LatentClips(self.latents[rows], self.actions[rows])


def latent_episodes(latents: NDArray[np.float32], clips: Clips, every: int) -> Episodes:
    """Return the data as an agent sees it: latents and how they changed since the picture before.

    One row per picture, `every` control steps apart; the action is the mean of those until the next picture, as one
    that is held.
    """
    change = np.zeros_like(latents)
    change[1:] = latents[1:] - latents[:-1]
    change[clips.starts[:-1]] = 0.0
    held = clips.actions.reshape(len(latents), every, -1).mean(1)
    held = np.concatenate([held[1:], np.zeros_like(held[:1])])  # row t: what was done from picture t on
    held[clips.starts[1:] - 1] = 0.0
    return Episodes(
        observations=np.concatenate([latents, change], 1).astype(np.float32),
        actions=held.astype(np.float32),
        rewards=np.zeros(len(latents), np.float32),
        desired_goals=None,
        achieved_goals=latents.astype(np.float32),
        starts=clips.starts,
    )
