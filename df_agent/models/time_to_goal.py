"""How long it takes from here to there: a learned quasimetric, a quantile of the control steps in hindsight.

Any two moments of a walk show one way from the first place to the second and the steps it took. A low
quantile over all such pairs is the pace of the direct ways, whatever detours the data makes besides. The
distance obeys the triangle inequality by construction, so a way that the data never took at a stretch is no
longer than its parts, and two sides of a wall are as far apart as the way around it. The planner centres its
horizons on the estimate and measures shortcuts by it; it gives no route.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from df_agent.models.layers import fourier_features, perceptron
from df_agent.options.side_models import TimeToGoalConfig
from df_agent.types import Pairs


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
