"""How plans come out of noise: recorded while a Diffusion Forcing policy acts, shown as a short video.

watched = DenoisingRecorder(policy)
records = rollout(watched, env_id, episodes=1, num_envs=1)
write_denoising_video(records[0], watched.episodes[0], "denoising.mp4", references)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from df_planners.plan import PlanEvent
from matplotlib import font_manager
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from df_agent.evaluation.plots import INK, drawing_bounds, positions
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import NO_REFERENCES, References
from df_agent.evaluation.video import CAPTION, GAP, LINGER, SUPERSAMPLING, Panel, View, draw_disc, encode, even
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.plan_frames import Denoising
from df_agent.policies.wrapper import PolicyWrapper
from df_agent.types import Observation

Array = NDArray[Any]
CANDIDATE = (228, 87, 46)  # the plan's colour
FIRST_PASS, LATER_PASS = 10, 5  # frames that a denoising pass is shown for
QUALITY = 5  # of the MP4; it goes into pages


@dataclass(frozen=True)
class DenoisedPlan:
    """The candidates of one planning call of one episode.

    Attributes:
        step: control step at which they were sampled.
        paths: (M + 1, N, H, Dg) positions in goal space: noise, then after each of M passes.
        lengths: (N,) valid positions of each candidate.
    """

    step: int
    paths: Array
    lengths: NDArray[np.int64]


class DenoisingRecorder(PolicyWrapper):
    """A Diffusion Forcing policy that remembers how its plans were denoised; acts as the policy does.

    It watches one environment at a time: the observations have no leading axis, or a leading axis of one.

    Args:
        policy: the policy to watch.

    Attributes:
        episodes: the planning calls of each episode since it was made.
    """

    policy: DiffusionForcingPolicy

    def __init__(self, policy: DiffusionForcingPolicy) -> None:
        super().__init__(policy)
        self.episodes: list[list[DenoisedPlan]] = []
        self._step = 0

    @property
    def on_plan(self) -> Callable[[PlanEvent], None] | None:
        """The policy's own."""
        return self.policy.on_plan

    @on_plan.setter
    def on_plan(self, listener: Callable[[PlanEvent], None] | None) -> None:
        self.policy.on_plan = listener

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float64], Any]:
        """Act as the policy does, and listen to its sampler meanwhile."""
        goal = np.asarray(observation["desired_goal"] if isinstance(observation, dict) else observation)
        if goal.ndim > 1 and len(goal) != 1:
            raise ValueError(f"a DenoisingRecorder watches one environment, got {len(goal)}: use num_envs=1")
        if state is None or (episode_start is not None and np.any(episode_start)):
            self.episodes.append([])
            self._step = -1
        self._step += 1
        proposer = self.policy.sampler
        before, proposer.on_denoise = proposer.on_denoise, self._keep
        try:
            return self.policy.predict(observation, state, episode_start, deterministic)
        finally:
            proposer.on_denoise = before

    def _keep(self, event: Denoising) -> None:
        channels = list(self.policy.tokenizer.config.goal_channels)
        paths = event.frames[:, :, : int(event.lengths.max()), channels]
        self.episodes[-1].append(DenoisedPlan(self._step, paths, event.lengths))


def write_denoising_video(
    record: EpisodeRecord,
    plans: Sequence[DenoisedPlan],
    path: str | Path,
    references: References = NO_REFERENCES,
    *,
    fps: int = 25,
    frame_skip: int | None = None,
    panel_width: int = 480,
) -> Path:
    """Show one episode; whenever it plans, time stands still and the candidates come out of the noise.

    Args:
        record: with its path.
        plans: of the same episode.
        path: MP4 to write; a GIF of the same name if no encoder for MP4 is available.
        references: walls, goal radius and control period are used if known.
        fps: frames per second.
        frame_skip: control steps per frame; by default real time, at least 1.
        panel_width: [pixels].

    Returns:
        The file written.
    """
    if not record.path:
        raise ValueError("the episode has no path recorded: call rollout with keep_paths=True")
    if frame_skip is None:
        frame_skip = max(1, round(1.0 / (fps * (references.control_period or 1.0 / fps))))
    return encode(denoising_frames(record, plans, references, frame_skip, panel_width), Path(path), fps, QUALITY)


def denoising_frames(
    record: EpisodeRecord, plans: Sequence[DenoisedPlan], references: References, frame_skip: int, panel_width: int
) -> Iterator[NDArray[np.uint8]]:
    """Yield (height, width, 3) frames: `frame_skip` control steps apart, and some for every denoising pass."""
    bounds = drawing_bounds([record], references.walls)
    panel_height = round(panel_width * float(np.clip((bounds[3] - bounds[1]) / (bounds[2] - bounds[0]), 0.4, 1.5)))
    view = View(bounds, panel_width * SUPERSAMPLING, panel_height * SUPERSAMPLING)
    ended = record.time_to_goal if record.success else record.length
    last = min(ended + LINGER, record.length)
    panel = Panel(record, view, references, max(ended, 1))
    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans"), 13)

    def finish(drawing: Image.Image, text: str, colour: str) -> NDArray[np.uint8]:
        frame = Image.new("RGB", (even(panel_width + 2 * GAP), even(panel_height + CAPTION + GAP)), "white")
        frame.paste(drawing.resize((panel_width, panel_height), Image.Resampling.BOX), (GAP, CAPTION))
        draw = ImageDraw.Draw(frame)
        draw.text((GAP + panel_width / 2, CAPTION / 2), text, fill=colour, font=font, anchor="mm")
        return np.asarray(frame)

    shown = [plan for plan in plans if plan.step < ended]  # what is planned at the goal shows nothing
    for step in sorted({*range(0, last, frame_skip), last, *(plan.step for plan in shown)}):
        for plan in shown:
            if plan.step == step:
                for drawing, text, frames in _planning(panel, view, plan):
                    yield from [finish(drawing, text, INK)] * frames
        yield finish(panel.draw(step), *panel.caption(step))


def _planning(panel: Panel, view: View, plan: DenoisedPlan) -> Iterator[tuple[Image.Image, str, int]]:
    """Yield (drawing, caption, frames) of the candidates pass by pass, then of the one that is followed."""
    before = panel.draw(plan.step, plans_before=plan.step)
    passes = len(plan.paths) - 1
    for k, paths in enumerate(plan.paths):
        drawing = _with_candidates(before, view, paths, plan.lengths, k / passes)
        stage = "noise" if k == 0 else f"pass {k} of {passes}"
        yield (
            drawing,
            f"step {plan.step}: {len(paths)} candidates, {stage}",
            FIRST_PASS if plan.step == 0 else LATER_PASS,
        )
    kept = plan.step not in [made for made, _ in panel.plans]
    text = f"step {plan.step}: " + ("no new plan is better, the old one stays" if kept else "the plan that is followed")
    yield panel.draw(plan.step), text, 2 * LATER_PASS


def _with_candidates(
    image: Image.Image, view: View, paths: Array, lengths: NDArray[np.int64], clean: float
) -> Image.Image:
    """Draw candidates (N, H, Dg) over a copy of an image: dots, joined the more, the cleaner (0 to 1) they are."""
    layer = Image.new("RGBA", image.size, (*CANDIDATE, 0))
    draw = ImageDraw.Draw(layer)
    shown = [view.pixels(positions(path[:length])) for path, length in zip(paths, lengths, strict=True)]
    for points in shown:
        draw.line([tuple(point) for point in points], fill=(*CANDIDATE, round(130 * clean**2)), width=SUPERSAMPLING)
    for point in np.concatenate(shown):
        draw_disc(draw, point, 1.6 * SUPERSAMPLING, fill=(*CANDIDATE, 170))
    return Image.alpha_composite(image.convert("RGBA"), layer).convert("RGB")
