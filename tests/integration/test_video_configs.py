"""What `df-agent train algorithm=video` is told: every method builds, TECO's networks have the originals' sizes."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from df_agent.checkpoint import load_checkpoint
from df_agent.cli.composing import configuration
from df_agent.data.teco import SETS
from df_agent.models.autoencoder import Autoencoder
from df_agent.options.side_models import AutoencoderConfig, PixelsConfig
from df_agent.world_model.config import METHODS
from df_agent.world_model.training import describe, train_video
from df_agent.world_model.video_model import VideoModel, build_video_model


def config(*overrides: str) -> dict:
    return OmegaConf.to_container(configuration("train", ["algorithm=video", *overrides]), resolve=True)


@pytest.mark.parametrize(("name", "millions"), [("dmlab", 18.65), ("minecraft", 34.52)])
def test_tecos_networks_have_the_originals_sizes(name, millions):
    plain = config(f"data={name}", "network=unet3d")
    actions = [1.0] * SETS[name].actions * plain["teco"]["frame_skip"]
    with torch.device("meta"):
        model = build_video_model(describe(plain, PixelsConfig(SETS[name].size).to_dict(), actions))
    conditions = model.network.cond_embed.weight.numel()  # which the original has not
    count = sum(p.numel() for p in model.parameters()) - conditions
    assert round(count / 1e6, 2) == millions


@pytest.mark.parametrize("method", METHODS)
def test_every_method_builds(method):
    plain = config(f"method={method}", "env=maze2d-umaze")
    encoder = {k: v for k, v in plain["autoencoder"].items() if k not in ("load", "train")}
    model = build_video_model(describe(plain, AutoencoderConfig(**encoder).to_dict(), [1.0] * 10))
    assert model.video.method == method
    assert model.network.causal == (method != "full_sequence")
    suffix = "" if method == "diffusion_forcing" else f"-{method}"
    assert plain["run_dir"] == f"runs/maze2d-umaze-video{suffix}"


def test_compile_is_asked_for_only_where_there_is_a_forward():
    compact = OmegaConf.to_container(configuration("train", ["algorithm=compact", "env=maze2d-umaze"]), resolve=True)
    for plain in (config("env=maze2d-umaze"), compact):
        forward = Autoencoder.forward is not torch.nn.Module.forward
        assert forward or not plain["autoencoder"]["train"]["compile"]


def test_a_few_steps_on_clips_as_tecos(tmp_path):
    folder = tmp_path / "train" / "0"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(2):
        video = rng.integers(0, 256, (40, 64, 64, 3)).astype(np.uint8)
        np.savez(folder / f"{i}.npz", video=video, actions=rng.integers(0, 3, 40))
    plain = config("data=dmlab", "network=unet3d", f"teco.folder={tmp_path}", f"run_dir={tmp_path / 'run'}")
    plain["network"] |= {"width": 8, "heads": 1, "head_dim": 8}
    plain["train"] |= {"steps": 2, "warmup_steps": 1, "batch_size": 1, "precision": "fp32", "compile": False}
    train_video(plain | {"length": 4, "tracker": "none"})
    assert load_checkpoint(tmp_path / "run" / "final").config["network"]["token_dim"] == 3 * 64**2
    model = VideoModel.from_pretrained(tmp_path / "run" / "final", device="cpu")
    ahead = model.predict(video[None, :2], None, 1, rollout=None)
    assert ahead.shape == (1, 1, 64, 64, 3)
    with pytest.raises(ValueError, match="give network=unet3d"):
        train_video(config("data=dmlab", f"teco.folder={tmp_path}"))
