"""The policy of an agent trained online: Stable-Baselines3's actor as a plain network.

`df_agent.training.sac_her` trains it: SAC (Haarnoja et al. 2018) or TD3 (Fujimoto et al. 2018) with hindsight
goals (Andrychowicz et al. 2017). To act, Stable-Baselines3 is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from df_agent.models.layers import perceptron
from df_agent.options import make
from df_agent.options.baselines import GoalConfig

ALGORITHM = "sac_her"


class Actor(nn.Module):
    """The mean action: a perceptron with ReLU over the observation and, behind it, the goal; tanh at the end."""

    def __init__(self, sizes: GoalConfig) -> None:
        super().__init__()
        self.sizes = sizes
        inputs = sizes.observation_dim + sizes.goal_dim
        self.layers = perceptron(inputs, sizes.width, sizes.depth, sizes.action_dim, nn.ReLU)

    def forward(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return actions (B, 1, Da) in (-1, 1) for raw observations (B, Do) and goals (B, G)."""
        mean: Tensor = self.layers(torch.cat([observation, goal], -1))
        return mean.tanh()[:, None]

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` rebuilds the actor from, JSON-ready."""
        return asdict(self.sizes)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Actor:
        """Return the untrained actor."""
        return cls(make(GoalConfig, dict(config)))
