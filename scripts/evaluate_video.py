"""How good a world model is: `python scripts/evaluate_video.py maze2d-medium`.

Diffusion Forcing with and without stabilisation, and what it is compared with, on clips filmed on the spot: errors by
steps ahead over five times the training length, a thousand frames, what actions do, futures that are uncertain.
Writes results/video-ENV.json, docs/video-ENV.png, docs/video-ENV-frames.png, docs/video-ENV-futures.png and
docs/video-ENV.mp4.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.table import Table

from df_agent.checkpoint import CheckpointError
from df_agent.cli.collecting import Locate, film_clips, locator, pixels_of
from df_agent.cli.environments import check_env, trained
from df_agent.cli.errors import errors_in_one_line
from df_agent.cli.measuring import console, new_figure, parser_of, write
from df_agent.data.clips import Clips
from df_agent.evaluation.video import encode
from df_agent.world_model.imagine import RolloutConfig
from df_agent.world_model.metrics import carried, crop, fvd_if_here, lpips_if_here, mse, position_errors, psnr, ssim
from df_agent.world_model.video_model import VideoModel

Frames = NDArray[np.uint8]
Values = NDArray[np.float64]

WINDOW = 16  # around the ball [pixels]
METHODS = ("regression", "teacher_forcing", "full_sequence", "diffusion_forcing")
TITLES = {
    "position": "ball's position, error [m]",
    "ssim_ball": "SSIM around the ball",
    "ssim": "SSIM",
    "psnr": "PSNR [dB]",
}
COLOURS = {
    "copy": "#999999",
    "regression": "#7a5195",
    "teacher_forcing": "#e07b39",
    "full_sequence": "#2a9d8f",
    "diffusion_forcing": "#1f6fe5",
    "diffusion_forcing, not stabilised": "#8ab4f8",
}


@dataclass(frozen=True)
class Film:
    """Clips with all that is known of them.

    Attributes:
        frames: (B, T, H, W, C).
        actions: (B, T - 1, A).
        places: (B, T, 2) of the ball [m]; None where there is none.
    """

    frames: Frames
    actions: NDArray[np.float32]
    places: Values | None

    @classmethod
    def of(cls, clips: Clips, with_places: bool) -> Film:
        """Return clips of one length as a film."""
        b = len(clips.starts) - 1
        frames = clips.frames.reshape(b, -1, *clips.frames.shape[1:])
        places = None
        if with_places and clips.states is not None:
            places = clips.states.reshape(b, frames.shape[1], -1)[..., :2].astype(np.float64)
        return cls(frames, clips.actions.reshape(b, frames.shape[1], -1)[:, 1:], places)


@dataclass(frozen=True)
class Row:
    """One way to predict: a label, and a model with its roll-out; no model copies the last frame."""

    label: str
    model: VideoModel | None
    rollout: RolloutConfig | None = None

    def predict(self, film: Film, seen: int, seed: int, hidden: bool = False) -> Frames:
        """Return the frames behind the first `seen` of a film."""
        ahead = film.frames.shape[1] - seen
        if self.model is None:
            return np.repeat(film.frames[:, seen - 1 : seen], ahead, 1)
        actions = None if hidden else film.actions
        return self.model.predict(film.frames[:, :seen], actions, ahead, rollout=self.rollout, seed=seed)


def rows_of(env_id: str, methods: Sequence[str], device: str) -> list[Row]:
    """Return what is compared; models that are not there are left out, with a line that says so."""
    rows = [Row("copy", None)]
    for method in methods:
        suffix = "video" if method == "diffusion_forcing" else f"video-{method}"
        name = trained(env_id, suffix)
        try:
            model = VideoModel.from_pretrained(name, device=device)
        except CheckpointError as error:
            console.print(f"{method} left out: {error}", highlight=False)
            continue
        rows.append(Row(method, model))
        if method == "diffusion_forcing" and model.rollout.stabilization:
            rows.append(Row(f"{method}, not stabilised", model, replace(model.rollout, stabilization=0.0)))
    return rows


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


def measure(row: Row, film: Film, env_id: str, locate: Locate | None, options: argparse.Namespace) -> dict[str, Any]:
    """Return errors by steps ahead of one way to predict."""
    seen, true = options.seen, film.frames[:, options.seen :]
    began = time.perf_counter()
    predicted = row.predict(film, seen, options.seed)
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
        centres = pixels_of(env_id, places, true.shape[2])
        out["ssim_ball"] = by_step(ssim(crop(predicted, centres, WINDOW), crop(true, centres, WINDOW)))
        # Who loses the ball must not gain by it: it counts as where it was last.
        out["position"] = by_step(position_errors(carried(found, film.places[:, seen - 1]), places))
        out["no_ball"] = float(np.isnan(found).any(-1).mean())
        out["one_ball"] = float((spots == 1).mean())
    for name, measured in (("lpips", lpips_if_here(None)), ("fvd", fvd_if_here(options.i3d))):
        if isinstance(measured, str):
            out[name] = measured
        else:
            value = measured(predicted, true)
            out[name] = by_step(value) if isinstance(value, np.ndarray) else value
    return out


def stability(row: Row, film: Film, locate: Locate | None, options: argparse.Namespace) -> dict[str, Any]:
    """Return what becomes of a long roll-out: balls, background, pixel statistics, at its end and by the way."""
    predicted = row.predict(film, options.seen, options.seed)
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


def speed(row: Row, film: Film, options: argparse.Namespace) -> float:
    """Return the pictures per second of one roll-out alone, the median of three."""
    one = Film(film.frames[:1], film.actions[:1], None)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        row.predict(one, options.seen, options.seed)
        seconds.append(time.perf_counter() - began)
    return float((film.frames.shape[1] - options.seen) / np.median(seconds))


def effect_of_actions(row: Row, film: Film, locate: Locate, options: argparse.Namespace) -> dict[str, float | None]:
    """Return how the imagined ball's way changes when the actions to come are negated.

    It should be displaced along what these actions add up to twice; walls may be in the way. The correlation of the two
    over clips and axes is near 1 if actions act as they should, and 0 if they are ignored.
    """
    seen, ahead = options.seen, 8
    turned = film.actions[:, : seen - 1 + ahead].copy()
    turned[:, seen - 1 :] *= -1
    short = Film(film.frames[:, : seen + ahead], film.actions[:, : seen - 1 + ahead], None)
    plain = row.predict(short, seen, options.seed)
    other = row.predict(Film(short.frames, turned, None), seen, options.seed)
    moved = locate(plain[:, -1])[0] - locate(other[:, -1])[0]
    each = film.actions[:, seen - 1 : seen - 1 + ahead].reshape(len(moved), -1, 2).cumsum(1).sum(1)
    fine = np.isfinite(moved).all(1)
    if fine.sum() < 3 or moved[fine].std() == 0:
        return {"correlation": None}
    return {"correlation": float(np.corrcoef(moved[fine].ravel(), each[fine].ravel())[0, 1])}


def draw(result: dict[str, Any], length: int) -> Figure:
    """Draw errors over steps ahead; the grey line is the training length."""
    rows = result["rows"]
    names = [(name, title) for name, title in TITLES.items() if name in next(iter(rows.values()))]
    figure = new_figure(4.2 * len(names), 4.0)
    axes = np.atleast_1d(figure.subplots(1, len(names)))
    for axis, (name, title) in zip(axes, names, strict=True):
        for label, row in rows.items():
            mean, half = (np.array(row[name][key], dtype=float) for key in ("mean", "half"))
            steps = np.arange(1, len(mean) + 1)
            axis.plot(steps, mean, color=COLOURS.get(label), label=label)
            axis.fill_between(steps, mean - half, mean + half, color=COLOURS.get(label), alpha=0.2, lw=0)
        axis.axvline(length, color="#bbbbbb", lw=1)
        axis.set(xlabel="pictures ahead", title=title)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(rows))
    return figure


def grid(rows: list[Frames], enlarged: int = 3) -> Frames:
    """Return pictures (N, H, W, C) of several rows as one."""
    lines = [np.concatenate([np.pad(f, ((1, 1), (1, 1), (0, 0)), constant_values=255) for f in row], 1) for row in rows]
    return np.kron(np.concatenate(lines, 0), np.ones((enlarged, enlarged, 1), np.uint8))


def table_of(result: dict[str, Any]) -> Table:
    """Return the means over all steps ahead."""
    names = [n for n in ("position", "ssim_ball", "ssim", "psnr") if n in next(iter(result["rows"].values()))]
    table = Table(title=f"{result['env']}: means over {result['ahead']} pictures ahead")
    for column in ["", *names, "no ball", "actions", "one ball", "pictures/s"]:
        table.add_column(column, justify="left" if not column else "right")
    for label, row in result["rows"].items():
        effect, long = row.get("actions", {}).get("correlation"), row.get("long", {}).get("one_ball")
        cells = [f"{np.nanmean(np.array(row[n]['mean'], dtype=float)):.3g}" for n in names]
        cells.append(f"{row['no_ball']:.3f}" if "no_ball" in row else "–")
        cells += ["–" if effect is None else f"{effect:.2f}", f"{long[1]:.2f}" if long else "–"]
        rate = row.get("frames_per_second")
        table.add_row(label, *cells, "–" if rate is None else f"{rate:.0f}")
    return table


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("video", "how good a world model is")
    parser.add_argument("env")
    parser.add_argument("--seen", type=int, default=4, help="pictures that are shown")
    parser.add_argument("--times", type=float, default=5.0, help="how many times the training length is imagined")
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--long", type=int, default=1000, help="pictures of the long roll-out; 0 for none")
    parser.add_argument("--long-clips", type=int, default=8)
    parser.add_argument("--methods", nargs="*", default=METHODS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--i3d", type=Path, default=None, help="I3D network as TorchScript, for FVD")
    return parser.parse_args(arguments)


def main() -> None:
    """Measure, draw and write."""
    options = read_options()
    with errors_in_one_line(RuntimeError):
        check_env(options.env)
        run(options)


def run(options: argparse.Namespace) -> None:
    """Measure all rows."""
    rows, locate = rows_of(options.env, options.methods, options.device), locator(options.env)
    if len(rows) == 1:
        raise ValueError(f"there is no video model of {options.env}: python scripts/train_video.py env={options.env}")
    models = [row.model for row in rows if row.model is not None]
    length = max(int(model.config["network"]["window"]) for model in models)
    taken = {"size": models[0].autoencoder.config.size, "every": models[0].config["every"]}  # as the models' data was
    total = options.seen + round(options.times * length)
    with console.status("filming"):
        film = Film.of(film_clips(options.env, options.clips, total, options.seed, **taken), locate is not None)
        long = None
        if options.long and locate is not None:
            seed = options.seed + 500
            ahead = options.seen + options.long
            long = Film.of(film_clips(options.env, options.long_clips, ahead, seed, **taken), True)
    result: dict[str, Any] = {"env": options.env, "seen": options.seen, "ahead": total - options.seen, "rows": {}}
    for row in rows:
        with console.status(row.label):
            measured = measure(row, film, options.env, locate, options)
            if row.model is not None:
                measured["frames_per_second"] = speed(row, film, options)
            if row.model is not None and locate is not None:
                measured["actions"] = effect_of_actions(row, film, locate, options)
                if long is not None:
                    measured["long"] = stability(row, long, locate, options)
        result["rows"][row.label] = measured
    for name in ("lpips", "fvd"):
        said = {m[name] for m in result["rows"].values() if isinstance(m[name], str)}
        for line in said:
            console.print(line, highlight=False)
    stem = f"video-{options.env}"
    output, picture = options.output.with_name(f"{stem}.json"), options.picture.with_name(f"{stem}.png")
    write(
        argparse.Namespace(**{**vars(options), "output": output, "picture": picture}),
        result,
        table_of(result),
        draw(result, length),
    )
    beside(rows, film, options, picture)
    futures(rows, film, options, picture)


def beside(rows: list[Row], film: Film, options: argparse.Namespace, picture: Path) -> None:
    """Film four clips, the truth in the first line and each way to predict in one below, and draw moments of one."""
    few = Film(film.frames[:4], film.actions[:4], None)
    lines = {"truth": few.frames[:, options.seen :]}
    lines |= {row.label: row.predict(few, options.seen, options.seed) for row in rows}
    ahead = few.frames.shape[1] - options.seen
    frames = (grid([line[:, t] for line in lines.values()]) for t in range(ahead))
    encode(frames, picture.with_suffix(".mp4"), 20)
    shown = np.unique(np.geomspace(1, ahead, 8).astype(int)) - 1
    figure = strips({label: line[0, shown] for label, line in lines.items()}, shown + 1)
    figure.savefig(picture.with_name(f"{picture.stem}-frames.png"), dpi=90)


def futures(rows: list[Row], film: Film, options: argparse.Namespace, picture: Path) -> None:
    """Draw futures of one clip whose actions are hidden: four samples of Diffusion Forcing, and the regression."""
    chosen = [row for row in rows if row.label in ("regression", "diffusion_forcing") and row.model is not None]
    ahead = min(16, film.frames.shape[1] - options.seen)
    one = Film(film.frames[:1, : options.seen + ahead], film.actions[:1, : options.seen - 1 + ahead], None)
    shown = np.arange(1, ahead, 2)
    lines = {"truth": one.frames[0, options.seen :][shown]}
    for row in chosen:
        for seed in range(1 if row.label == "regression" else 4):
            label = row.label if row.label == "regression" else f"{row.label}, {seed + 1}"
            lines[label] = row.predict(one, options.seen, options.seed + seed, hidden=True)[0][shown]
    strips(lines, shown + 1).savefig(picture.with_name(f"{picture.stem}-futures.png"), dpi=90)


def strips(lines: dict[str, Frames], ahead: NDArray[np.int64]) -> Figure:
    """Draw pictures (N, H, W, C) of several lines below each other; `ahead` (N,) says how far ahead they lie."""
    figure = new_figure(1.3 * len(ahead) + 1.6, 1.3 * len(lines) + 0.3)
    axes = figure.subplots(len(lines), len(ahead), squeeze=False)
    for i, (label, frames) in enumerate(lines.items()):
        for j, frame in enumerate(frames):
            axes[i, j].imshow(frame)
            axes[i, j].set(xticks=[], yticks=[])
            if i == 0:
                axes[i, j].set_title(f"{ahead[j]} ahead", fontsize=9)
        words = label.replace(", ", ",\n").replace("_", "\n")
        axes[i, 0].set_ylabel(words, rotation=0, ha="right", va="center", fontsize=9)
    return figure


if __name__ == "__main__":
    main()
