"""Which action leads from here to there: an inverse model, learned by regression on the same data.

A planner of observations acts through it where nothing else can track its plans (as in Ajay et al. 2023, Decision
Diffuser).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from df_agent.models.layers import perceptron
from df_agent.options.side_models import InverseDynamicsConfig
from df_agent.types import InverseDynamicsBatch


class InverseDynamics(nn.Module):
    """The action that leads, held for a frame, from an observation to a place."""

    def __init__(self, config: InverseDynamicsConfig) -> None:
        super().__init__()
        self.config = config
        inputs = config.observation_dim + config.channels
        self.mlp = perceptron(inputs, config.width, config.depth, config.action_dim)

    def forward(self, observation: Tensor, displacement: Tensor) -> Tensor:
        """Return actions (..., Da), in environment units.

        Args:
            observation: (..., Do) normalised.
            displacement: (..., G) change of the goal channels within a frame, in units of its own deviation.
        """
        actions: Tensor = self.mlp(torch.cat([observation, displacement], -1))
        return actions

    def loss(self, batch: InverseDynamicsBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error; nothing is drawn from the generator."""
        loss = (self(batch.observation, batch.displacement) - batch.action).square().mean()
        return loss, {"loss": loss.detach()}
