"""How good a world model is: `df-agent evaluate-video env=maze2d-medium`.

Diffusion Forcing with and without stabilisation, and what it is compared with, on clips filmed on the spot: errors by
steps ahead over five times the training length, a thousand frames, what actions do, futures that are uncertain.
Writes results/video-ENV.json, docs/video-ENV.png, docs/video-ENV-frames.png, docs/video-ENV-futures.png and
docs/video-ENV.mp4.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from df_agent.checkpoint import CheckpointError
from df_agent.cli.collecting import film_clips, locator, pixels_of
from df_agent.cli.environments import check_env, trained
from df_agent.cli.errors import errors_in_one_line
from df_agent.cli.folders import check_writable
from df_agent.cli.measuring import console, new_figure, write
from df_agent.evaluation.video import encode
from df_agent.world_model.prediction import FilmedClips, Frames, Predictor, effect_of_actions, measure, speed, stability
from df_agent.world_model.video_model import VideoModel

TITLES = {
    "position": "agent's position, error [m]",
    "ssim_ball": "SSIM around the agent",
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


def rows_of(env_id: str, methods: Sequence[str], device: str) -> list[Predictor]:
    """Return what is compared; models that are not there are left out, and named on the terminal."""
    rows = [Predictor("copy", None)]
    for method in methods:
        suffix = "video" if method == "diffusion_forcing" else f"video-{method}"
        name = trained(env_id, suffix)
        try:
            model = VideoModel.from_pretrained(name, device=device)
        except CheckpointError as error:
            console.print(f"{method} left out: {error}", highlight=False)
            continue
        rows.append(Predictor(method, model))
        if method == "diffusion_forcing" and model.rollout.stabilization:
            rows.append(Predictor(f"{method}, not stabilised", model, replace(model.rollout, stabilization=0.0)))
    return rows


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
    for column in ["", *names, "no agent", "actions", "one agent", "pictures/s"]:
        table.add_column(column, justify="left" if not column else "right")
    for label, row in result["rows"].items():
        effect, long = row.get("actions", {}).get("correlation"), row.get("long", {}).get("one_ball")
        cells = [f"{np.nanmean(np.array(row[n]['mean'], dtype=float)):.3g}" for n in names]
        cells.append(f"{row['no_ball']:.3f}" if "no_ball" in row else "–")
        cells += ["–" if effect is None else f"{effect:.2f}", f"{long[1]:.2f}" if long else "–"]
        rate = row.get("frames_per_second")
        table.add_row(label, *cells, "–" if rate is None else f"{rate:.0f}")
    return table


def main(config: DictConfig) -> None:
    """Measure, draw and write."""
    options = argparse.Namespace(**OmegaConf.to_container(config))  # type: ignore[arg-type]
    options.output, options.picture = Path(options.output), Path(options.picture)
    with errors_in_one_line(RuntimeError):
        check_env(options.env)
        for file in (options.output, options.picture):
            check_writable(file.parent)
        run(options)


def run(options: argparse.Namespace) -> None:
    """Measure all rows."""
    rows, locate = rows_of(options.env, options.methods, options.device), locator(options.env)
    if len(rows) == 1:
        raise ValueError(
            f"there is no video model of {options.env}: `df-agent train algorithm=video env={options.env}` trains one"
        )
    models = [row.model for row in rows if row.model is not None]
    length = max(int(model.config["network"]["window"]) for model in models)
    taken = {"size": models[0].autoencoder.config.size, "every": models[0].config["every"]}  # as the models' data was
    total = options.seen + round(options.times * length)
    with console.status("filming"):
        film = FilmedClips.of(film_clips(options.env, options.clips, total, options.seed, **taken), locate is not None)
        long = None
        if options.long and locate is not None:
            seed = options.seed + 500
            ahead = options.seen + options.long
            long = FilmedClips.of(film_clips(options.env, options.long_clips, ahead, seed, **taken), True)
    result: dict[str, Any] = {"env": options.env, "seen": options.seen, "ahead": total - options.seen, "rows": {}}
    shown = (options.seen, options.seed)
    for row in rows:
        with console.status(row.label):
            measured = measure(row, film, *shown, locate, partial(pixels_of, options.env), options.i3d)
            if row.model is not None:
                measured["frames_per_second"] = speed(row, film, *shown)
            if row.model is not None and locate is not None:
                measured["actions"] = effect_of_actions(row, film, *shown, locate)
                if long is not None:
                    measured["long"] = stability(row, long, *shown, locate)
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


def beside(rows: list[Predictor], film: FilmedClips, options: argparse.Namespace, picture: Path) -> None:
    """Film four clips, the truth in the first line and each way to predict in one below, and draw moments of one."""
    few = FilmedClips(film.frames[:4], film.actions[:4], None)
    lines = {"truth": few.frames[:, options.seen :]}
    lines |= {row.label: row.predict(few, options.seen, options.seed) for row in rows}
    ahead = few.frames.shape[1] - options.seen
    frames = (grid([line[:, t] for line in lines.values()]) for t in range(ahead))
    encode(frames, picture.with_suffix(".mp4"), 20)
    shown = np.unique(np.geomspace(1, ahead, 8).astype(int)) - 1
    figure = strips({label: line[0, shown] for label, line in lines.items()}, shown + 1)
    figure.savefig(picture.with_name(f"{picture.stem}-frames.png"), dpi=90)


def futures(rows: list[Predictor], film: FilmedClips, options: argparse.Namespace, picture: Path) -> None:
    """Draw futures of one clip whose actions are hidden: four samples of Diffusion Forcing, and the regression."""
    chosen = [row for row in rows if row.label in ("regression", "diffusion_forcing") and row.model is not None]
    ahead = min(16, film.frames.shape[1] - options.seen)
    one = FilmedClips(film.frames[:1, : options.seen + ahead], film.actions[:1, : options.seen - 1 + ahead], None)
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
