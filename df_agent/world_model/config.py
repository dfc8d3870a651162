"""Options of video models: how they are trained, and how they are rolled out.

Plain dataclasses: nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from df_agent.options.ranges import Among, Count, Range, Share

METHODS = ("diffusion_forcing", "full_sequence", "teacher_forcing", "regression")


@dataclass(frozen=True)
class VideoConfig:
    """How clips are noised in training.

    Attributes:
        method: one of `METHODS`.
        cond_dropout: share of the clips whose actions are hidden.
        nearly_clean: of Diffusion Forcing: share of the clips in which each frame, with a chance drawn for the clip,
            has a level from the lowest fiftieth: in use most of what a frame looks back at is clean, and more noise
            hides where exactly small things are. With two copies, share of the clips whose earlier copy has all its
            levels from there.
        unknown: share of the frames, of full-sequence diffusion of the clips, that lie at the top level, beyond what
            falls there by chance. Only near it must a frame follow from the past and the action alone; at lower levels
            most of the answer is in sight. Of no effect on regression, where all lie there.
        two_copies: of Diffusion Forcing: let each frame look back at a copy of the clip with levels of its own, as
            teacher forcing does at a clean one. A step costs twice as much, and every frame learns from a past as in
            use. Causal networks of space and time only.
    """

    method: Annotated[str, Among(*METHODS)] = "diffusion_forcing"
    cond_dropout: Share = 0.15
    nearly_clean: Share = 0.8
    unknown: Share = 0.0
    two_copies: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}, available: {sorted(METHODS)}")
        for name in ("cond_dropout", "nearly_clean", "unknown"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share and must lie in [0, 1], got {getattr(self, name)}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class RolloutConfig:
    """How frames are sampled.

    Attributes:
        steps: S, passes from noise to clean.
        start: share of the noise levels at which these begin. Less than 1: one pass more first tells the mean future,
            and that is noised to there (as SDEdit does with a guess, Meng et al. 2022). It puts small things where
            actions that are known bring them, and the rest of the passes make them sharp. For cached roll-outs.
        eta: 0 for DDIM, 1 for DDPM.
        temperature: scale of the noise. Less than 1 keeps to what is likely, which is more
            accurate where actions are known; futures that are uncertain come out alike then.
        stabilization: share of the noise levels at which frames that are done are shown to the network, scaled
            accordingly, without noise; 0 shows them as clean. It keeps long roll-outs from feeding on their own small
            errors.
        chunk: frames that are sampled jointly.
        matrix: order in which these are denoised, see `scheduling_matrix`; "pyramid" keeps the later ones uncertain.
        cached: keep keys and values of the frames that are done; for causal networks, one frame at a time.
        history_guidance: how strongly the frames seen count (Song et al. 2025); 1 is plain sampling. For windows.
        history_level: share of the noise levels at which they are shown for comparison: 1 hides them (vanilla), less
            keeps their coarse content (fractional).
    """

    steps: Count = 10
    start: Annotated[float, Range(0, 1, open="left")] = 1.0
    eta: Share = 0.0
    temperature: Share = 1.0
    stabilization: Share = 0.02
    chunk: Count = 1
    matrix: str = "full_sequence"
    cached: bool = True
    history_guidance: float = 1.0
    history_level: Share = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.chunk < 1:
            raise ValueError(f"steps and chunk must be at least 1, got steps={self.steps}, chunk={self.chunk}")
        for name in ("eta", "temperature", "stabilization", "history_level"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 < self.start <= 1:
            raise ValueError(f"start is a share of the noise levels and must lie in (0, 1], got {self.start}")
        if self.start < 1 and not self.cached:
            raise ValueError("start below 1 begins at the mean of one frame, so it needs cached=true")
        if self.cached and (self.chunk > 1 or self.history_guidance != 1):
            raise ValueError("cached roll-outs sample one frame at a time, without history guidance; set cached=false")

    def uncertain(self) -> RolloutConfig:
        """Return the same, but sampling all that may come, from noise alone at full temperature: for hidden actions."""
        steps = self.steps + (self.start < 1)  # as many passes
        return replace(self, steps=steps, start=1.0, eta=0.0, temperature=1.0)
