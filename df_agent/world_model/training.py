"""Train a video model: first the autoencoder, then diffusion over its latents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from df_agent.checkpoint import load_checkpoint
from df_agent.data.clips import Clips, ClipSampler, FrameSampler, load_clips
from df_agent.data.teco import TecoSampler, set_of
from df_agent.models.autoencoder import Autoencoder, Pixels, to_signal
from df_agent.options import make
from df_agent.options.side_models import AutoencoderConfig, PixelsConfig
from df_agent.runtime import own_modes
from df_agent.training.config import TrainConfig
from df_agent.training.device import make_accelerator
from df_agent.training.run_folder import command
from df_agent.training.trainer import Trainer, run_tracker, run_training
from df_agent.world_model.video_model import build_autoencoder, build_video_model


@own_modes(gradients=True)
def train_video(config: Mapping[str, Any]) -> nn.Module:
    """Train, or continue, the run that `config` describes; return the EMA model.

    Args:
        config: plain values: "env", "dataset" (a Minari id), "run_dir", "length" (frames in a clip), "autoencoder" (its
            options, "train" among them, or "load": a checkpoint to take it from), "network", "diffusion", "video",
            "rollout" and "train". "teco", if given, takes TECO's clips instead of the dataset: their "name", the
            "folder" that holds train/ and test/, and "frame_skip".
    """
    options, length = TrainConfig.from_dict(config["train"]), int(config["length"])
    sampler: ClipSampler | TecoSampler
    autoencoder: Autoencoder | Pixels
    if config.get("teco"):
        autoencoder, sampler, scale = prepare_teco(config, length)
    else:
        clips = load_clips(config["dataset"])
        autoencoder = train_autoencoder(config, clips, options.seed)
        pixels = isinstance(autoencoder, Pixels)
        latents = torch.from_numpy(clips.frames) if pixels else encode_all(autoencoder, clips)
        scale = np.maximum(clips.actions.std(0), 1e-3)
        sampler = ClipSampler(latents, clips, length, torch.from_numpy(scale))
    checkpoint_config = describe(config, autoencoder.config.to_dict(), scale.tolist())
    torch.manual_seed(options.seed)
    model = build_video_model(checkpoint_config)
    assert model.autoencoder is not None
    model.autoencoder.load_state_dict(autoencoder.state_dict())
    return run_training(model, sampler, options, config, checkpoint_config, run_tracker(config))


def prepare_teco(config: Mapping[str, Any], length: int) -> tuple[Pixels, TecoSampler, NDArray[np.float32]]:
    """Return what TECO's clips need: pictures as they are, the sampler, and the scale of actions that are one-hot."""
    given = dict(config["teco"])
    name, skip = str(given["name"]), int(given["frame_skip"])
    if config["autoencoder"].get("name") != "pixels":
        raise ValueError("TECO's clips are modelled as pixels: give network=unet3d")
    pixels = Pixels(PixelsConfig(set_of(name).size))

    def encode(frames: NDArray[np.uint8]) -> Tensor:
        return pixels.encode(to_signal(torch.from_numpy(frames)))[:, 0]

    sampler = TecoSampler(given["folder"], name, length, encode, skip)
    return pixels, sampler, np.ones(set_of(name).actions * skip, np.float32)


def describe(config: Mapping[str, Any], autoencoder: Mapping[str, Any], action_scale: list[float]) -> dict[str, Any]:
    """What goes into each checkpoint; the sizes that follow from data and autoencoder are filled in."""
    sizes = build_autoencoder(autoencoder).config
    network = dict(config["network"])
    merge = int(network.pop("merge", 1))
    if sizes.places % merge:
        raise ValueError(f"network.merge={merge} must divide the {sizes.places} latents of a picture")
    network |= {
        "token_dim": sizes.places * sizes.latent_channels,
        "places": sizes.places // merge,
        "window": int(config["length"]),
        "cond_dim": len(action_scale) + 1,
    }
    return {
        "env": config.get("env"),
        "autoencoder": dict(autoencoder),
        "network": network,
        "diffusion": dict(config["diffusion"]),
        "video": dict(config["video"]),
        "rollout": dict(config.get("rollout", {})),
        "action_scale": action_scale,
        "every": config.get("every"),
        "provenance": {"dataset": str(config["dataset"]), "train": dict(config["train"]), "command": command()},
    }


def train_autoencoder(config: Mapping[str, Any], clips: Clips, seed: int) -> Autoencoder | Pixels:
    """Train, or load, the autoencoder."""
    given = dict(config["autoencoder"])
    if given.get("name") == "pixels":
        return Pixels(PixelsConfig(clips.frames.shape[1], clips.frames.shape[3]))
    schedule = TrainConfig.from_dict({"seed": seed, **given.pop("train")})
    if load := given.pop("load", None):
        checkpoint = load_checkpoint(load)
        if "autoencoder" not in checkpoint.config:
            raise ValueError(f"autoencoder.load={load} must be a video model's checkpoint; this one has no autoencoder")
        autoencoder = Autoencoder(make(AutoencoderConfig, checkpoint.config["autoencoder"]))
        prefix = "" if "network" not in checkpoint.config else "autoencoder."
        own = {k.removeprefix(prefix): v for k, v in checkpoint.weights.items() if k.startswith(prefix)}
        replace(checkpoint, weights=own).load_into(autoencoder)
        return autoencoder
    torch.manual_seed(seed)
    return fit_autoencoder(given, clips, schedule, config["run_dir"], {"dataset": str(config["dataset"])})


def fit_autoencoder(
    options: Mapping[str, Any], clips: Clips, schedule: TrainConfig, run_dir: str | Path, data: Mapping[str, Any]
) -> Autoencoder:
    """Train an autoencoder on the pictures of clips, in `run_dir`/autoencoder.

    Args:
        options: of `AutoencoderConfig` but for the pictures' size and channels.
        clips: the pictures.
        schedule: how to train.
        run_dir: folder of the run.
        data: what the data is, by which a run is told from another.
    """
    size, channels = clips.frames.shape[1], clips.frames.shape[3]
    sizes = make(AutoencoderConfig, {**options, "size": size, "channels": channels})
    sampler = FrameSampler(clips, 3 if sizes.straighten else 1)
    described = {"autoencoder": sizes.to_dict(), "data": data}
    return Trainer(Autoencoder(sizes), sampler, schedule, Path(run_dir, "autoencoder"), described).fit()


@torch.no_grad()
def encode_all(autoencoder: Autoencoder | Pixels, clips: Clips, batch: int = 512) -> Tensor:
    """Return the latents of all pictures, (N, D), in half precision on the CPU."""
    device = make_accelerator().device
    autoencoder = autoencoder.eval().to(device)
    frames = torch.from_numpy(clips.frames)
    parts = [
        autoencoder.encode(to_signal(part.to(device))).flatten(1).half().cpu() for part in torch.split(frames, batch)
    ]
    return torch.cat(parts)
