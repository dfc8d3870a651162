"""Where the data was, and how it moved there: a classifier that tells its moves from blurred and mixed ones.

Noise-contrastive estimation (Gutmann & Hyvärinen 2010): the logit is the logarithm of how much likelier a move is in
the data than in a blurred copy of it. Within the data that is about 0 or more; where the data never was, say nearer to
an obstacle than any trajectory came, or in a direction that none took there, it is far below.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from df_agent.models.layers import fourier_features, perceptron
from df_agent.options.side_models import SupportConfig
from df_agent.types import Pairs


class Support(nn.Module):
    """The logit that a move, from one place to the place a frame later, is one of the data's."""

    def __init__(self, config: SupportConfig) -> None:
        super().__init__()
        self.config = config
        inputs = config.channels * (2 + 2 * config.bands)
        self.mlp = perceptron(inputs, config.width, config.depth, 1)
        # Moves are small beside places, and told apart in their own deviations.
        self.register_buffer("move_std", torch.ones(config.channels))

    move_std: Tensor

    def forward(self, start: Tensor, end: Tensor) -> Tensor:
        """Return logits (...,) of moves between normalised places (..., G)."""
        move = (end - start) / self.move_std
        logit: Tensor = self.mlp(torch.cat([start, move, *fourier_features(start, self.config.bands)], -1))
        return logit[..., 0]

    def loss(self, batch: Pairs, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the data's moves against the same at blurred places, and against moves made elsewhere."""
        start, move = batch.start, batch.goal - batch.start
        least, most = self.config.blur
        n = len(start)
        scale = least * (most / least) ** torch.rand(n, 1, generator=generator).to(start)
        noise = torch.randn(start.shape, generator=generator).to(start)
        elsewhere = torch.randperm(n, generator=generator).to(start.device)
        blurred, mixed = start + scale * noise, move[elsewhere]
        half = torch.arange(n, device=start.device)[:, None] % 2 == 0
        place, step = torch.where(half, blurred, start), torch.where(half, move, mixed)
        real, false = self(start, start + move), self(place, place + step)
        loss = nn.functional.softplus(-real).mean() + nn.functional.softplus(false).mean()
        right = 0.5 * ((real > 0).float().mean() + (false < 0).float().mean())
        return loss, {"loss": loss.detach(), "told_right": right.detach()}
