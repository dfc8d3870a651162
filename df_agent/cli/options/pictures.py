"""Options of `df-agent train algorithm=video` and `algorithm=compact`, which learn from pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from df_agent.cli.options import Options, part
from df_agent.cli.options.training import NetworkName
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.options.networks import SpaceTimeConfig, Unet3dConfig
from df_agent.options.ranges import Among, Count, Natural, Range, Tracker
from df_agent.options.side_models import AutoencoderConfig, LatentDynamicsConfig
from df_agent.training.config import TrainConfig
from df_agent.world_model.config import RolloutConfig, VideoConfig


def _pictures(**values: Any) -> dict[str, Any]:
    """Return how an autoencoder is trained; it has no forward to compile."""
    return {
        "weight_decay": 0.0, "precision": "auto", "compile": False, "checkpoint_every": 500, **values,
    }  # fmt: skip


@dataclass(frozen=True)
class AutoencoderTraining(AutoencoderConfig):
    """The autoencoder of the pictures; see `AutoencoderConfig`.

    Attributes:
        name: "pixels" for pictures as they are, of networks over pixels.
        load: a video model's checkpoint whose autoencoder is taken instead.
        train: how it is trained.
    """

    name: str = "autoencoder"
    load: str | None = None
    train: Options = part(TrainConfig)


@dataclass(frozen=True)
class TecoOptions:
    """TECO's clips.

    Attributes:
        name: "dmlab" or "minecraft".
        folder: that holds train/ and test/, as `df-agent fetch-teco` leaves them.
        frame_skip: of the published frames, every which one is taken.
    """

    name: Annotated[str, Among("dmlab", "minecraft")] = "dmlab"
    folder: str = "data/dmlab"
    frame_skip: Count = 2


@dataclass(frozen=True)
class VideoOptions:
    """A video model: first the autoencoder, then diffusion over its latents.

    Attributes:
        env: gymnasium id.
        dataset: Minari id or folder, as `df-agent collect pixels=64` writes it.
        run_dir: folder of the run; started again, it goes on where it stopped.
        tracker: "tensorboard", "wandb" or "none"; metrics.jsonl is always written.
        steps: optimiser steps of the video model's training, short for train.steps.
        teco: TECO's clips instead, see data=.
        every: control steps from one picture to the next, as they were taken.
        length: frames in a clip.
        autoencoder: of the pictures.
        network: which, and its sizes.
        diffusion: the loss.
        video: what the frames' levels are.
        rollout: how frames are sampled unless told otherwise.
        train: how the video model is trained.
    """

    env: str = "maze2d-medium"
    dataset: str = "${film:${env}}"
    run_dir: str = "runs/${env}-video"
    tracker: Tracker = "tensorboard"
    steps: Natural = 5000
    teco: Mapping[str, Any] | None = field(default=None, metadata={"classes": (TecoOptions,)})
    every: Count = "${every:${env}}"  # type: ignore[assignment]
    length: Annotated[int, Range(2)] = 16
    autoencoder: Options = part(
        AutoencoderTraining,
        load=None,
        widths=[32, 48, 64],
        latent_channels=16,
        noise=0.1,
        emphasis=20.0,
        train=_pictures(steps=2500, batch_size=128, learning_rate=2e-3, warmup_steps="${warmup:100}"),
    )
    network: Options = part(NetworkName, SpaceTimeConfig, Unet3dConfig)
    diffusion: Options = part(
        DiffusionForcingConfig, schedule="cosine", prediction_type="v", snr_weighting="fused", snr_decay=0.9
    )
    video: Options = part(VideoConfig, unknown=0.5)
    rollout: Options = part(RolloutConfig, start=0.15, steps=3, eta=1.0, temperature=0.7, stabilization=0.01)
    train: Options = part(
        TrainConfig,
        steps="${steps}",
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.01,
        warmup_steps="${warmup:300}",
        ema_decay=0.999,
        grad_clip=1.0,
        seed=0,
        precision="auto",
        compile=True,
        checkpoint_every=500,
        log_every=100,
        keep=2,
    )


@dataclass(frozen=True)
class DynamicsTraining(LatentDynamicsConfig):
    """Dynamics over latents; see `LatentDynamicsConfig`.

    Attributes:
        length: pictures in a row that it is trained on.
        train: how it is trained.
    """

    length: Annotated[int, Range(2)] = 12
    train: Options = part(TrainConfig)


@dataclass(frozen=True)
class CompactOptions:
    """The encoder of an agent that sees pictures: one small vector per picture, and dynamics over these vectors.

    Attributes:
        env: gymnasium id.
        dataset: Minari id or folder, as `df-agent collect pixels=64` writes it.
        run_dir: folder of the run; it takes the data's vectors too, in latents.npz.
        every: control steps from one picture to the next, as they were taken.
        autoencoder: of the pictures.
        dynamics: over the vectors.
    """

    env: str = "maze2d-umaze"
    dataset: str = "${film:${env}}"
    run_dir: str = "runs/${env}-compact"
    every: Count = "${every:${env}}"  # type: ignore[assignment]
    autoencoder: Options = part(
        AutoencoderTraining,
        widths=[32, 48, 64],
        latent_channels=8,
        normalise=False,
        noise=0.1,
        emphasis=20.0,
        straighten=0.5,
        train=_pictures(steps=4000, batch_size=32, learning_rate=1e-3, warmup_steps="${warmup:200}"),
    )
    dynamics: Options = part(
        DynamicsTraining,
        width=256,
        depth=2,
        length=12,
        train={
            "steps": 4000, "batch_size": 256, "learning_rate": 1e-3, "weight_decay": 0.0,
            "warmup_steps": "${warmup:200}", "precision": "fp32", "checkpoint_every": 1000,
        },
    )  # fmt: skip
