"""A rollout video drawn from episode records with Pillow: no simulator, no OpenGL, but room for their pictures."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from df_agent.data.pictures import as_rgb
from df_agent.evaluation.plots import (
    FAIL,
    FLOOR,
    GOAL,
    INK,
    MUTED,
    PLAN,
    TIME_MAP,
    WALL,
    drawing_bounds,
    positions,
)
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import NO_REFERENCES, References
from df_agent.files import naming

Array = NDArray[Any]
Box = tuple[float, float, float, float]

SUPERSAMPLING = 2  # Pillow draws without antialiasing: draw twice as large, then average
CAPTION = 26  # height of the line of text above a panel [pixels]
GAP = 10
LINGER = 60  # steps shown after the last success, to see that they stay


def write_video(
    records: Sequence[EpisodeRecord],
    path: str | Path,
    references: References = NO_REFERENCES,
    *,
    panels: int = 6,
    fps: int = 25,
    frame_skip: int | None = None,
    panel_width: int = 320,
    film: Film | None = None,
) -> Path:
    """Show the first episodes side by side: the agent, its trail coloured by time and its present plan.

    Args:
        records: with paths.
        path: MP4 to write; a GIF of the same name if no encoder for MP4 is available.
        references: walls, goal radius and control period are used if known.
        panels: episodes shown, at most.
        fps: frames per second.
        frame_skip: control steps per frame; by default real time, at least 1.
        panel_width: [pixels].
        film: the simulator's pictures of these episodes, shown above their plans.

    Returns:
        The file written.
    """
    shown = [record for record in records if record.path][:panels]
    if not shown:
        raise ValueError("no episode has its path recorded: call rollout with keep_paths=True")
    if frame_skip is None:
        period = references.control_period or 1.0 / fps
        frame_skip = max(1, round(1.0 / (fps * period)))
    frames = video_frames(shown, references, frame_skip, panel_width, film)
    return encode(frames, Path(path), fps)


class Film:
    """The simulator's pictures of episodes that run side by side, made smaller as they come.

    Args:
        width: of a picture [pixels].
    """

    def __init__(self, width: int = 320) -> None:
        self.width = width
        self.scenes: list[list[Image.Image]] = []

    def add(self, pictures: Sequence[Array]) -> None:
        """Add a picture of each episode, one control step after the last; see `as_rgb` for what they may be."""
        scene = []
        for picture in pictures:
            image = Image.fromarray(as_rgb(picture))
            scene.append(image.resize((self.width, round(self.width * image.height / image.width))))
        self.scenes.append(scene)

    @property
    def height(self) -> int:
        """Of a picture [pixels]."""
        return self.scenes[0][0].height

    def at(self, step: int, episode: int) -> Image.Image:
        """Return the picture of an episode at a control step, or its last one."""
        return self.scenes[min(step, len(self.scenes) - 1)][episode]


def video_frames(
    records: Sequence[EpisodeRecord],
    references: References,
    frame_skip: int,
    panel_width: int,
    film: Film | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Yield (height, width, 3) frames, `frame_skip` control steps apart; both sides are even."""
    bounds = drawing_bounds(records, references.walls)
    columns = min(3, len(records))
    rows = -(-len(records) // columns)
    ratio = float(np.clip((bounds[3] - bounds[1]) / (bounds[2] - bounds[0]), 0.4, 1.5))
    panel_height = round(panel_width * ratio)
    above = 0 if film is None else film.height + GAP
    size = (
        even(columns * (panel_width + GAP) + GAP),
        even(rows * (above + panel_height + CAPTION) + GAP),
    )
    ended = max(record.time_to_goal if record.success else record.length for record in records)
    last = min(ended + LINGER, max(record.length for record in records))
    view = View(bounds, panel_width * SUPERSAMPLING, panel_height * SUPERSAMPLING)
    panels = [Panel(record, view, references, max(ended, 1)) for record in records]
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 13)
    for step in [*range(0, last, frame_skip), last]:
        frame = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(frame)
        for i, panel in enumerate(panels):
            x = GAP + (i % columns) * (panel_width + GAP)
            y = (i // columns) * (above + panel_height + CAPTION) + CAPTION
            if film is not None:
                frame.paste(film.at(min(step, panel.record.length), i), (x + (panel_width - film.width) // 2, y))
            drawn = panel.draw(step).resize((panel_width, panel_height), Image.Resampling.BOX)
            frame.paste(drawn, (x, y + above))
            text, colour = panel.caption(step)
            draw.text((x + panel_width / 2, y - CAPTION / 2), text, fill=colour, font=font, anchor="mm")
        yield np.asarray(frame)


@dataclass(frozen=True)
class View:
    """Maps positions to the pixels of one panel of the given width and height."""

    bounds: Box
    width: int
    height: int

    @property
    def scale(self) -> float:
        """Pixels per unit of length."""
        across, up = self.bounds[2] - self.bounds[0], self.bounds[3] - self.bounds[1]
        return min(self.width / across, self.height / up)

    def pixels(self, points: Array) -> Array:
        """(H, 2) positions -> (H, 2) pixels, the second axis pointing down."""
        centre = np.array([self.bounds[0] + self.bounds[2], self.bounds[1] + self.bounds[3]]) / 2
        offset = (np.asarray(points) - centre) * self.scale * np.array([1.0, -1.0])
        result: Array = offset + np.array([self.width, self.height]) / 2
        return result


class Panel:
    """One episode. The trail is drawn once into a layer that is kept; agent and plan on a copy of it."""

    def __init__(self, record: EpisodeRecord, view: View, references: References, last: int) -> None:
        self.record = record
        self.points = view.pixels(positions(record.path))
        self.plans = [
            (plan.step, view.pixels(positions(plan.path))) for plan in record.plans if plan.path and plan.executed
        ]
        self.colours = (255 * colormaps[TIME_MAP](np.linspace(0, 1, last + 1))[:, :3]).astype(int)
        self.unit = SUPERSAMPLING
        self.layer = Image.new("RGB", (view.width, view.height), FLOOR)
        self.drawn = 0
        draw = ImageDraw.Draw(self.layer)
        for box in [] if references.walls is None else references.walls:
            (x0, y1), (x1, y0) = view.pixels(box.reshape(2, 2))
            draw.rectangle((round(x0), round(y0), round(x1), round(y1)), fill=WALL)
        goal = view.pixels(positions([record.goal]))[0]
        if references.goal_radius is not None:
            draw_disc(draw, goal, references.goal_radius * view.scale, fill="#cfe6d8")
        self.goal = (float(goal[0]), float(goal[1]))

    def draw(self, step: int, plans_before: int | None = None) -> Image.Image:
        """Return the panel as it stands at a control step, at the drawing size.

        Args:
            step: control step.
            plans_before: show only a plan made before this step; by default the newest one there is.
        """
        now = min(step, self.record.length)
        end = min(now, self.record.time_to_goal)  # the hovering at the goal leaves no trail
        trail = ImageDraw.Draw(self.layer)
        for i in range(self.drawn, end):
            colour = tuple(self.colours[min(i, len(self.colours) - 1)])
            trail.line([*self.points[i], *self.points[i + 1]], fill=colour, width=3 * self.unit)
        self.drawn = max(self.drawn, end)
        image = self.layer.copy()
        draw = ImageDraw.Draw(image)
        current = [path for made, path in self.plans if made <= now and (plans_before is None or made < plans_before)]
        if current and len(current[-1]) > 1:
            draw.line([tuple(point) for point in current[-1]], fill=PLAN, width=round(1.5 * self.unit))
        draw_disc(draw, self.points[0], 4 * self.unit, fill="white", outline=INK, width=2 * self.unit)
        draw_star(draw, self.goal, 8 * self.unit)
        draw_disc(draw, self.points[now], 5.5 * self.unit, fill="white", outline="#1f6fe5", width=3 * self.unit)
        return image

    def caption(self, step: int) -> tuple[str, str]:
        """Return what stands above the panel at a control step, and its colour."""
        if self.record.success and step >= self.record.time_to_goal:
            return f"reached in {self.record.time_to_goal} steps", GOAL
        if step >= self.record.length:
            return f"not reached in {self.record.length} steps", FAIL
        return f"step {step}", MUTED


def draw_disc(draw: ImageDraw.ImageDraw, centre: Array, radius: float, **style: Any) -> None:
    """Draw a disc around a pixel."""
    x, y = centre
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), **style)


def draw_star(draw: ImageDraw.ImageDraw, centre: tuple[float, float], radius: float) -> None:
    """Draw the star that marks a goal around a pixel."""
    angle = -np.pi / 2 + np.arange(10) * np.pi / 5
    for grow, colour in ((1.25, "white"), (1.0, GOAL)):
        r = radius * grow * np.where(np.arange(10) % 2 == 0, 1.0, 0.42)
        points = np.stack([centre[0] + r * np.cos(angle), centre[1] + r * np.sin(angle)], axis=1)
        draw.polygon([tuple(point) for point in points], fill=colour)


def even(pixels: int) -> int:
    """Return the next even number, as MP4 needs its sides."""
    return pixels + pixels % 2


def encode(frames: Iterator[NDArray[np.uint8]], path: Path, fps: int, quality: int = 8) -> Path:
    """Write frames to an MP4, or to a GIF of the same name if no encoder for it is available; return the file."""
    imageio: Any = importlib.import_module("imageio.v2")
    try:
        importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        path = path.with_suffix(".gif")
        # GIF counts in milliseconds and repeats for ever with loop=0.
        options: dict[str, Any] = {"duration": 1000 / fps, "loop": 0}
    else:
        options = {"fps": fps, "codec": "libx264", "quality": quality, "macro_block_size": 2}
    with naming(path), imageio.get_writer(path, **options) as writer:
        for frame in frames:
            writer.append_data(frame)
    return path
