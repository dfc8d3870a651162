"""Prediction beside truth: `df-agent predict-video env=maze2d-medium`.

Films clips on the spot, shows the model their first frames and all actions, and lets it imagine the rest. Writes
video.mp4, a picture with every so many frames, and what was measured.
"""

from __future__ import annotations

import time
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from df_agent.checkpoint import CheckpointError
from df_agent.cli.collecting import film_clips, locator
from df_agent.cli.environments import check_env
from df_agent.cli.errors import errors_in_one_line
from df_agent.cli.folders import check_writable
from df_agent.evaluation.video import encode
from df_agent.files import json_bytes, replace_file
from df_agent.options import make
from df_agent.world_model.config import RolloutConfig
from df_agent.world_model.metrics import carried, mse, position_errors, psnr, ssim
from df_agent.world_model.video_model import VideoModel

console = Console()
ENLARGED = 4


def beside(true: NDArray[np.uint8], predicted: NDArray[np.uint8], seen: int, frame: int) -> NDArray[np.uint8]:
    """Return frame number `frame` of all clips in two rows, the truth above; what was shown has a dark line below."""
    rows = []
    for frames in (true, predicted):
        row = np.concatenate([np.pad(clip[frame], ((0, 0), (1, 1), (0, 0)), constant_values=255) for clip in frames], 1)
        rows.append(np.kron(row, np.ones((ENLARGED, ENLARGED, 1), np.uint8)))
    line = np.full((ENLARGED * 2, rows[0].shape[1], 3), 0 if frame < seen else 255, np.uint8)
    return np.concatenate([rows[0], line, rows[1]], 0)


def run(config: DictConfig) -> None:
    """Film, imagine, compare."""
    check_env(config.env)
    check_writable(Path(config.output))
    rollout = make(RolloutConfig, OmegaConf.to_container(config.rollout)) if config.rollout else None  # type: ignore[arg-type]
    try:
        model = VideoModel.from_pretrained(config.checkpoint, device=config.device)
    except CheckpointError as error:
        hint = f"`df-agent train algorithm=video env={config.env}` trains one"
        raise CheckpointError(f"no video model: {hint} ({error})") from error
    seen, total = int(config.seen), int(config.seen + config.frames)
    with console.status("filming"):
        taken = {"size": model.autoencoder.config.size, "every": model.config["every"]}  # as the model's data was
        clips = film_clips(config.env, int(config.clips), total, int(config.seed), **taken)
    true = clips.frames.reshape(config.clips, total, *clips.frames.shape[1:])
    actions = clips.actions.reshape(config.clips, total, -1)[:, 1:]
    began = time.perf_counter()
    with console.status("imagining"):
        shown = actions if config.actions else None
        frames = model.predict(true[:, :seen], shown, int(config.frames), rollout=rollout, seed=config.seed)
    seconds = time.perf_counter() - began
    ahead = true[:, seen:]
    measured = {
        "mse": float(mse(frames, ahead).mean()),
        "psnr": float(psnr(frames, ahead)[np.isfinite(psnr(frames, ahead))].mean()),
        "ssim": float(ssim(frames, ahead).mean()),
        "frames_per_second": config.clips * config.frames / seconds,
    }
    if (locate := locator(config.env)) is not None:
        found, _ = locate(frames)
        states = np.asarray(clips.states, np.float64).reshape(config.clips, total, -1)
        errors = position_errors(carried(found, states[:, seen - 1, :2]), states[:, seen:, :2])
        measured["no_ball"] = float(np.isnan(found).any(-1).mean())
        measured["position_error_m"] = float(errors.mean())  # an agent that is lost counts as where it was last
        measured["position_error_last_m"] = float(errors[:, -1].mean())
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    predicted = np.concatenate([true[:, :seen], frames], 1)
    film = [beside(true, predicted, seen, t) for t in range(total)]
    video = encode(iter(film), folder / "video.mp4", int(config.fps))
    chosen = np.linspace(seen, total - 1, 4).astype(int)
    apart = ((0, 6 * ENLARGED), (0, 0), (0, 0))
    moments = [np.pad(film[t], apart, constant_values=255) for t in chosen]
    imageio.imwrite(folder / "frames.png", np.concatenate(moments, 0))
    replace_file(folder / "measured.json", json_bytes(measured))
    for name, value in measured.items():
        console.print(f"{name:24} {value:.4g}")
    console.print(f"truth above, prediction below: {video}, {folder / 'frames.png'}")


def main(config: DictConfig) -> None:
    """Predict as the config says."""
    with errors_in_one_line(RuntimeError):
        run(config)
