"""Where actions lead, in a compact latent space: a small network for planners that roll out hundreds of futures."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from df_agent.models.layers import perceptron
from df_agent.options.side_models import LatentDynamicsConfig


@dataclass
class LatentClips:
    """Latents in a row.

    Attributes:
        latents: (B, T, L), in units of their own deviation.
        actions: (B, T, A); entry t led to latent t.
    """

    latents: Tensor
    actions: Tensor

    def to(self, device: torch.device | str) -> LatentClips:
        """Return the clips on another device."""
        return LatentClips(self.latents.to(device), self.actions.to(device))


class LatentDynamics(nn.Module):
    """The next latent from the last two and the action: what moves keeps moving, the network says how it changes."""

    def __init__(self, config: LatentDynamicsConfig) -> None:
        super().__init__()
        self.config = config
        inputs = 2 * config.latent_dim + config.action_dim
        self.mlp = perceptron(inputs, config.width, config.depth, config.latent_dim)
        self.step_scale = nn.Parameter(torch.ones(()), requires_grad=False)  # how far latents move from one to the next

    def forward(self, latent: Tensor, change: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next latent (..., L) and its change, from the last one, its change and the action (..., A)."""
        change = change + self.step_scale * self.mlp(torch.cat([latent, change / self.step_scale, action], -1))
        return latent + change, change

    def roll_out(self, latent: Tensor, change: Tensor, actions: Tensor) -> Tensor:
        """Return the latents (..., H, L) after each of the actions (..., H, A)."""
        out = []
        for action in actions.unbind(-2):
            latent, change = self(latent, change, action)
            out.append(latent)
        return torch.stack(out, -2)

    def loss(self, batch: LatentClips, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of roll-outs from the second latent on; nothing is drawn from the generator."""
        z = batch.latents
        ahead = self.roll_out(z[:, 1], z[:, 1] - z[:, 0], batch.actions[:, 2:])
        loss = ((ahead - z[:, 2:]) / self.step_scale).square().mean()
        return loss, {"loss": loss.detach()}
