"""How long it takes from here to there: a quantile of the control steps, learned in hindsight.

Any two frames of a walk show one way from the first place to the second and the steps it took. A low
quantile over all such pairs is the pace of the direct ways, whatever detours the data makes besides. The
planner centres its horizons on it; it gives no route.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from df_agent.types import Batch


@dataclass(frozen=True)
class TimeToGoalConfig:
    """Sizes of the estimator.

    Attributes:
        goal_channels: positions of the goal within a frame.
        frame_stack: frames in a token.
        frame_skip: control steps between two frames.
        quantile: which quantile of the steps is learned.
        bands: sines and cosines per channel, at doubling frequencies, so that thin walls can be told.
        width: size of the hidden layers.
        depth: number of hidden layers.
        pairs: pairs of frames taken from each window of a batch.
    """

    goal_channels: tuple[int, ...] = (0, 1)
    frame_stack: int = 1
    frame_skip: int = 1
    quantile: float = 0.1
    bands: int = 5
    width: int = 160
    depth: int = 3
    pairs: int = 32

    def __post_init__(self) -> None:
        object.__setattr__(self, "goal_channels", tuple(self.goal_channels))
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {self.quantile}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


class TimeToGoal(nn.Module):
    """A small network from two places to the control steps between them."""

    def __init__(self, config: TimeToGoalConfig) -> None:
        super().__init__()
        self.config = config
        inputs = 2 * len(config.goal_channels) * (1 + 2 * config.bands)
        layers: list[nn.Module] = []
        for k in range(config.depth):
            layers += [nn.Linear(inputs if k == 0 else config.width, config.width), nn.GELU()]
        self.mlp = nn.Sequential(*layers, nn.Linear(config.width, 1))

    def forward(self, start: Tensor, goal: Tensor) -> Tensor:
        """Return the logarithm of the control steps, (B,), from `start` to `goal`, both (B, G) normalised."""
        x = torch.cat([start, goal], -1)
        rate = math.pi / 2 * 2.0 ** torch.arange(self.config.bands, device=x.device)
        angle = (x[..., None] * rate).flatten(-2)
        value: Tensor = self.mlp(torch.cat([x, angle.sin(), angle.cos()], -1))[..., 0]
        return value

    @torch.no_grad()
    def steps(self, start: Tensor, goal: Tensor) -> Tensor:
        """Return the estimated control steps, (B,)."""
        return torch.exp(self(start, goal))

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Quantile (pinball) loss of the log steps between random pairs of frames of each window.

        Koenker & Bassett 1978; the quantile of a logarithm is the logarithm of the quantile.
        """
        c = self.config
        frames = rearrange(batch.tokens, "b t (f c) -> b (t f) c", f=c.frame_stack)[..., list(c.goal_channels)]
        b = len(frames)
        real = batch.mask.cpu().sum(1, keepdim=True) * c.frame_stack  # (B, 1) real frames come first
        draw = torch.rand(2, b, c.pairs, generator=generator)
        low, high = (draw * (real - c.frame_stack + 1)).long().sort(0).values + c.frame_stack - 1
        low, high = low.to(frames.device), high.to(frames.device)
        row = torch.arange(b, device=frames.device)[:, None]
        apart = (high - low).clamp_min(0.5) * c.frame_skip  # the same frame twice: half a frame
        error = apart.log() - self(frames[row, low], frames[row, high])
        pinball = torch.maximum(c.quantile * error, (c.quantile - 1) * error)
        loss = pinball.mean()
        return loss, {"loss": loss.detach()}
