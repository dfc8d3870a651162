"""How long it takes from here to there: a learned quasimetric, a quantile of the control steps in hindsight.

Any two moments of a walk show one way from the first place to the second and the steps it took. A low
quantile over all such pairs is the pace of the direct ways, whatever detours the data makes besides. The
distance obeys the triangle inequality by construction, so a way that the data never took at a stretch is no
longer than its parts, and two sides of a wall are as far apart as the way around it. The planner centres its
horizons on the estimate and measures shortcuts by it; it gives no route.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from df_agent.models.layers import fourier_features, perceptron
from df_agent.types import Pairs


@dataclass(frozen=True)
class TimeToGoalConfig:
    """Sizes of the estimator.

    Attributes:
        channels: G, the number of goal channels.
        symmetric: whether the way back takes as long, as for a robot that can turn round anywhere.
        quantile: which quantile of the steps is learned, of pairs as `PairSampler` draws them.
        resolution: below about so many steps, differences count for little [control steps].
        unit: steps to a distance of one between embeddings [control steps].
        spread: how strongly places of different pairs are pushed apart. Of places that no walk joins, the data only
            says that they are no further apart than a chain of trajectories is; pushed apart, they are as far as that
            (compare Wang et al. 2023, QRL).
        bands: sines and cosines per channel, at doubling frequencies, so that thin walls can be told.
        width: size of the hidden layers.
        depth: number of hidden layers.
        groups: terms of which the distance is the sum.
        group_size: coordinates of a place in each of them.
    """

    channels: int = 2
    symmetric: bool = False
    quantile: float = 0.1
    resolution: int = 4
    unit: int = 16
    spread: float = 0.0
    bands: int = 5
    width: int = 160
    depth: int = 3
    groups: int = 8
    group_size: int = 16

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {self.quantile}")
        if self.resolution < 1 or self.unit < 1:
            raise ValueError(f"resolution and unit are steps, at least 1, got {self.resolution} and {self.unit}")
        if not 0 <= self.spread < self.quantile:
            raise ValueError(
                f"spread must lie in [0, quantile={self.quantile}), or everything is pushed apart, got {self.spread}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


class TimeToGoal(nn.Module):
    """Embeds places so that the distance between two embeddings is the time from one place to the other.

    Each term of the distance is the largest lead of the goal's coordinates over the start's, at least zero: a
    quasimetric, and so is their sum (compare Liu et al. 2023, MRN; Wang & Isola 2022, IQE). Where the way back
    takes as long, it is the largest difference in either direction: a metric.
    """

    def __init__(self, config: TimeToGoalConfig) -> None:
        super().__init__()
        self.config = config
        inputs = config.channels * (1 + 2 * config.bands)
        self.mlp = perceptron(inputs, config.width, config.depth, config.groups * config.group_size, bias=False)

    def embed(self, place: Tensor) -> Tensor:
        """Map normalised places (..., G) to coordinates (..., groups, group_size)."""
        coordinates: Tensor = self.mlp(torch.cat([place, *fourier_features(place, self.config.bands)], -1))
        return rearrange(coordinates, "... (g s) -> ... g s", g=self.config.groups)

    def forward(self, start: Tensor, goal: Tensor) -> Tensor:
        """Return the control steps, (...), from `start` to `goal`, both (..., G) normalised."""
        return self.between(*self.embed(torch.stack([start, goal])))

    def between(self, here: Tensor, there: Tensor) -> Tensor:
        """Return the control steps, (...), between embedded places (..., groups, group_size)."""
        lead = (there - here).abs() if self.config.symmetric else there - here
        distance = lead.amax(-1).clamp_min(0).sum(-1)
        steps: Tensor = self.config.unit * distance
        return steps

    def loss(self, batch: Pairs, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Quantile (pinball) loss of log(resolution + steps); nothing is drawn from the generator.

        Koenker & Bassett 1978; the quantile of a logarithm is the logarithm of the quantile. The resolution is
        added to both sides: the steps along an even way add up, and so must what is compared with a metric.
        """
        c = self.config
        here, there = self.embed(torch.stack([batch.start, batch.goal]))
        error = (c.resolution + batch.steps).log() - (c.resolution + self.between(here, there)).log()
        loss = torch.maximum(c.quantile * error, (c.quantile - 1) * error).mean()
        if c.spread:  # the goal of another pair, which may be anywhere
            loss = loss - c.spread * (c.resolution + self.between(here, there.roll(1, 0))).log().mean()
        return loss, {"loss": loss.detach()}
