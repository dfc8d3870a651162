"""How well world models predict: errors by steps ahead, long roll-outs, and what actions do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.data.clips import Clips
from df_agent.world_model.config import RolloutConfig
from df_agent.world_model.metrics import carried, crop, fvd_if_here, lpips_if_here, mse, position_errors, psnr, ssim
from df_agent.world_model.video_model import VideoModel

Frames = NDArray[np.uint8]
Values = NDArray[np.float64]
Locate = Callable[[Frames], tuple[Values, NDArray[np.int64]]]  # pictures -> positions, how many agents are seen
WINDOW = 16  # around the agent [pixels]


@dataclass(frozen=True)
class FilmedClips:
    """Clips with all that is known of them.

    Attributes:
        frames: (B, T, H, W, C).
        actions: (B, T - 1, A).
        places: (B, T, 2) of the agent [m]; None where there is none.
    """

    frames: Frames
    actions: NDArray[np.float32]
    places: Values | None

    @classmethod
    def of(cls, clips: Clips, with_places: bool) -> FilmedClips:
        """Return clips of one length side by side."""
        b = len(clips.starts) - 1
        frames = clips.frames.reshape(b, -1, *clips.frames.shape[1:])
        places = None
        if with_places and clips.states is not None:
            places = clips.states.reshape(b, frames.shape[1], -1)[..., :2].astype(np.float64)
        return cls(frames, clips.actions.reshape(b, frames.shape[1], -1)[:, 1:], places)


@dataclass(frozen=True)
class Predictor:
    """One way to predict: a label, and a model with its roll-out; no model copies the last frame."""

    label: str
    model: VideoModel | None
    rollout: RolloutConfig | None = None

    def predict(self, film: FilmedClips, seen: int, seed: int, hidden: bool = False) -> Frames:
        """Return the frames behind the first `seen` of the clips."""
        ahead = film.frames.shape[1] - seen
        if self.model is None:
            return np.repeat(film.frames[:, seen - 1 : seen], ahead, 1)
        actions = None if hidden else film.actions
        return self.model.predict(film.frames[:, :seen], actions, ahead, rollout=self.rollout, seed=seed)


def by_step(values: Values) -> dict[str, list[float | None]]:
    """Return means over clips, and half widths of their 95 % intervals, by step ahead, of values (B, T).

    Values that are NaN do not count; a step that has no others has no mean.
    """
    count = np.isfinite(values).sum(0)
    known = np.where(np.isfinite(values), values, 0.0)
    mean = known.sum(0) / np.maximum(count, 1)
    spread = (np.where(np.isfinite(values), values - mean, 0.0) ** 2).sum(0) / np.maximum(count - 1, 1)
    half = 1.96 * np.sqrt(spread / np.maximum(count, 1))
    return {"mean": _or_none(mean, count), "half": _or_none(half, count)}


def _or_none(values: Values, count: NDArray[np.int64]) -> list[float | None]:
    return [round(float(v), 5) if n else None for v, n in zip(values, count, strict=True)]


def measure(
    row: Predictor,
    film: FilmedClips,
    seen: int,
    seed: int,
    locate: Locate | None,
    pixels_of: Callable[[Values, int], NDArray[np.int64]],
    i3d: Path | None = None,
) -> dict[str, Any]:
    """Return errors by steps ahead of one way to predict, as JSON values.

    Args:
        row: what predicts.
        film: the truth.
        seen: frames that are shown.
        seed: of the prediction.
        locate: reads positions from frames; None where that cannot be done.
        pixels_of: (positions (..., 2) [m], width of a frame) -> pixels (..., 2).
        i3d: network for FVD.
    """
    true = film.frames[:, seen:]
    began = time.perf_counter()
    predicted = row.predict(film, seen, seed)
    seconds = time.perf_counter() - began
    finite = np.minimum(psnr(predicted, true), 99.0)  # equal frames would be infinite
    out = {
        "mse": by_step(mse(predicted, true)),
        "psnr": by_step(finite),
        "ssim": by_step(ssim(predicted, true)),
        "seconds": seconds,
    }
    if locate is not None and film.places is not None:
        places = film.places[:, seen:]
        found, spots = locate(predicted)
        centres = pixels_of(places, true.shape[2])
        out["ssim_ball"] = by_step(ssim(crop(predicted, centres, WINDOW), crop(true, centres, WINDOW)))
        # Losing the agent must not pay off: it counts as where it was last.
        out["position"] = by_step(position_errors(carried(found, film.places[:, seen - 1]), places))
        out["no_ball"] = float(np.isnan(found).any(-1).mean())
        out["one_ball"] = float((spots == 1).mean())
    for name, measured in (("lpips", lpips_if_here(None)), ("fvd", fvd_if_here(i3d))):
        if isinstance(measured, str):
            out[name] = measured
        else:
            value = measured(predicted, true)
            out[name] = by_step(value) if isinstance(value, np.ndarray) else value
    return out


def stability(row: Predictor, film: FilmedClips, seen: int, seed: int, locate: Locate | None) -> dict[str, Any]:
    """Return agents, background and pixel statistics of a long roll-out, over its first and its last 100 frames."""
    predicted = row.predict(film, seen, seed)
    background = np.median(film.frames.reshape(-1, *film.frames.shape[2:])[::7], 0)
    differs = np.abs(predicted.astype(np.float64) - background)
    still = np.median(differs, (2, 3, 4))
    last = predicted[:, -100:]
    out: dict[str, Any] = {
        "frames": int(predicted.shape[1]),
        "pixel_mean": [float(film.frames.mean()), float(last.mean())],
        "pixel_std": [float(film.frames.std()), float(last.std())],
        "background_error": [float(still[:, :100].mean()), float(still[:, -100:].mean())],
    }
    if locate is not None:
        _, spots = locate(predicted)
        out["one_ball"] = [float((spots[:, :100] == 1).mean()), float((spots[:, -100:] == 1).mean())]
    return out


def speed(row: Predictor, film: FilmedClips, seen: int, seed: int) -> float:
    """Return the pictures per second of one roll-out alone, the median of three."""
    one = FilmedClips(film.frames[:1], film.actions[:1], None)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        row.predict(one, seen, seed)
        seconds.append(time.perf_counter() - began)
    return float((film.frames.shape[1] - seen) / np.median(seconds))


def effect_of_actions(
    row: Predictor, film: FilmedClips, seen: int, seed: int, locate: Locate
) -> dict[str, float | None]:
    """Return how the imagined agent's way changes when the actions to come are negated.

    It should be displaced along what these actions add up to twice; walls may be in the way. The correlation of the two
    over clips and axes is near 1 if actions act as they should, and 0 if they are ignored.
    """
    ahead = 8
    turned = film.actions[:, : seen - 1 + ahead].copy()
    turned[:, seen - 1 :] *= -1
    short = FilmedClips(film.frames[:, : seen + ahead], film.actions[:, : seen - 1 + ahead], None)
    plain = row.predict(short, seen, seed)
    other = row.predict(FilmedClips(short.frames, turned, None), seen, seed)
    moved = locate(plain[:, -1])[0] - locate(other[:, -1])[0]
    each = film.actions[:, seen - 1 : seen - 1 + ahead].reshape(len(moved), -1, 2).cumsum(1).sum(1)
    fine = np.isfinite(moved).all(1)
    if fine.sum() < 3 or moved[fine].std() == 0:
        return {"correlation": None}
    return {"correlation": float(np.corrcoef(moved[fine].ravel(), each[fine].ravel())[0, 1])}
