"""Which action leads from here to there: an inverse model, learned by regression on the same data.

A planner of observations acts through it where nothing else can track its plans (as in Ajay et al. 2023, Decision
Diffuser).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from df_agent.models.layers import perceptron
from df_agent.types import InverseDynamicsBatch


@dataclass(frozen=True)
class InverseDynamicsConfig:
    """Sizes of the inverse model.

    Attributes:
        observation_dim: Do, the modelled channels of the observation.
        channels: G, the number of goal channels.
        action_dim: Da.
        width: size of the hidden layers.
        depth: number of hidden layers.
    """

    observation_dim: int
    channels: int
    action_dim: int
    width: int = 192
    depth: int = 3

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


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
