"""Options of the commands about pictures, and of those that fetch what others published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from df_agent.cli.options import GIVEN
from df_agent.options.ranges import Among, Count, Device, Natural, Positive
from df_agent.world_model.config import METHODS


@dataclass(frozen=True)
class PredictVideoOptions:
    """What a video model predicts.

    Attributes:
        env: gymnasium id.
        checkpoint: a video model: what ships or lies in runs/; a folder or a Hub id.
        clips: how many are filmed, on the spot.
        seen: frames that are shown to the model.
        frames: frames it imagines.
        actions: false: what is done is hidden from it, so the future is uncertain.
        rollout: how frames are sampled, see `RolloutConfig`; null: as the checkpoint says.
        seed: decides film and noise.
        device: "auto", "cpu", "cuda" or "mps".
        fps: frames per second of the video.
        output: folder that is written.
    """

    env: str = "maze2d-medium"
    checkpoint: str = "${trained:${env},video}"
    clips: Count = 6
    seen: Count = 4
    frames: Count = 76
    actions: bool = True
    rollout: Any = None
    seed: Natural = 0
    device: Device = "auto"
    fps: Count = 20
    output: str = "outputs/predict_video/${env}"


@dataclass(frozen=True)
class EvaluateVideoOptions:
    """How well video models predict; writes video-ENV.json, and pictures beside `picture`.

    Attributes:
        env: gymnasium id.
        seen: pictures that are shown.
        times: how many times the training length is imagined.
        clips: how many are filmed, on the spot.
        long: pictures of the long roll-out; 0 for none.
        long_clips: clips of the long roll-out.
        methods: which models are measured, by the methods they were trained with.
        device: "auto", "cpu", "cuda" or "mps".
        i3d: I3D network as TorchScript, for FVD; null: without.
        seed: decides film and noise; tune on 1000 and above.
        output: its folder takes video-ENV.json.
        picture: its folder takes the pictures.
    """

    env: str = GIVEN
    seen: Count = 4
    times: Positive = 5.0
    clips: Count = 64
    long: Natural = 1000
    long_clips: Count = 8
    methods: Sequence[Annotated[str, Among(*METHODS)]] = (
        "regression",
        "teacher_forcing",
        "full_sequence",
        "diffusion_forcing",
    )
    device: Device = "auto"
    i3d: str | None = None
    seed: Natural = 0
    output: str = "results/video.json"
    picture: str = "docs/video.png"


@dataclass(frozen=True)
class ConvertOptions:
    """Weights that Diffusion Forcing v1.5 released.

    Attributes:
        weights: the original's .ckpt.
        env: maze2d-umaze, -medium or -large.
        mean: mean of the data's channels, where the file has none.
        std: standard deviation of the channels, likewise.
        dataset: whose motion limits plans; null: that of `df-agent collect`.
        output: folder that is written; null: runs/ENV-v15/final.
    """

    weights: str = GIVEN
    env: str = GIVEN
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    dataset: str | None = None
    output: str | None = None


@dataclass(frozen=True)
class FetchTecoOptions:
    """TECO's clips of DMLab or Minecraft.

    Attributes:
        name: "dmlab" or "minecraft".
        folder: that takes them, in NAME/train and NAME/test.
        archive: address they are downloaded from; null: archive.org.
    """

    name: Annotated[str, Among("dmlab", "minecraft")] = GIVEN
    folder: str = "data"
    archive: str | None = None
