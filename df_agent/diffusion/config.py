"""Options of the training loss of Diffusion Forcing.

Plain dataclasses: nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal, cast

from df_agent.options.ranges import Among, Count, Natural, NotNegative, Positive, Share

PredictionType = Literal["x0", "eps", "v"]


def check_prediction_type(name: str) -> PredictionType:
    """Return `name` if it is a prediction type, or raise a ValueError that lists them."""
    if name not in ("x0", "eps", "v"):
        raise ValueError(f"unknown prediction_type {name!r}, available: ['eps', 'v', 'x0']")
    return cast(PredictionType, name)


@dataclass(frozen=True)
class MaskingConfig:
    """Which tokens of a training window are given, and in which form.

    Attributes:
        shared_level: share of windows whose free tokens have one level in common; the rest draw one each.
        clean_first: share of windows whose observed tokens are given clean, as in use.
        repeat_first: share of windows in whose observed tokens nothing lies before the last frame of one of them,
            which is repeated, as at an episode's start, when there is no history.
        terminal: share of windows that end at a token drawn at random; behind it lies pure noise.
        terminal_tail: that token is among the last so many real ones of its window; 0 for any but the first.
            Where windows have several lengths, the gap between two lengths lets all horizons come up alike.
        clean_goal: share of these whose last token is given clean, as a goal is in use: the goal
            channels of its last frame, repeated; every other channel zero.
        pad_weight: loss weight of the pads behind the terminal token.
        frame_stack: frames in a token.
        goal_channels: positions of the goal within a frame.
        context: tokens that hold what was observed, the present last.
    """

    shared_level: Share = 0.5
    clean_first: Share = 0.75
    repeat_first: Share = 0.3
    terminal: Share = 0.75
    terminal_tail: Natural = 0
    clean_goal: Share = 0.8
    pad_weight: NotNegative = 0.05
    frame_stack: Count = 1
    goal_channels: tuple[int, ...] = (0, 1)
    context: Count = 1

    def __post_init__(self) -> None:
        for name in ("shared_level", "clean_first", "repeat_first", "terminal", "clean_goal"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share and must lie in [0, 1], got {getattr(self, name)}")
        if self.terminal_tail < 0:
            raise ValueError(f"terminal_tail is a number of tokens, got {self.terminal_tail}")
        object.__setattr__(self, "goal_channels", tuple(self.goal_channels))


@dataclass(frozen=True)
class DiffusionForcingConfig(MaskingConfig):
    """How noise is added and weighted in training; what is given besides, see `MaskingConfig`.

    Attributes:
        levels: K, the number of noisy levels; 0 is clean.
        schedule: "linear", "cosine" or "sigmoid".
        zero_terminal_snr: let level K hold no signal at all.
        signal_scale: how large the data counts beside the noise; more than 1 where what matters is small in it.
        prediction_type: what the network predicts: "x0", "eps" or "v".
        snr_weighting: "none", "min_snr" or "fused".
        snr_clip: gamma of min-SNR.
        snr_decay: decay of the fused SNR, per token.
        clip_noise: noise is clamped to this absolute value.
    """

    levels: Count = 1000
    schedule: Annotated[str, Among("linear", "cosine", "sigmoid")] = "cosine"
    zero_terminal_snr: bool = False
    signal_scale: Positive = 1.0
    prediction_type: Annotated[str, Among("x0", "eps", "v")] = "v"
    snr_weighting: Annotated[str, Among("none", "min_snr", "fused")] = "none"
    snr_clip: Positive = 5.0
    snr_decay: Share = 0.9
    clip_noise: Positive = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prediction_type(self.prediction_type)
        if self.zero_terminal_snr and self.prediction_type == "eps":
            raise ValueError(
                "zero_terminal_snr needs prediction_type 'x0' or 'v': noise says nothing of the data at level K"
            )
        if self.snr_weighting not in ("none", "min_snr", "fused"):
            raise ValueError(f"unknown snr_weighting {self.snr_weighting!r}, available: ['fused', 'min_snr', 'none']")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)
