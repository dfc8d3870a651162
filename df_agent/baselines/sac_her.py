"""The policy of an agent trained online: Stable-Baselines3's actor as a plain network.

`df_agent.baselines.sac_her_training` trains it: SAC (Haarnoja et al. 2018) or TD3 (Fujimoto et al. 2018) with hindsight
goals (Andrychowicz et al. 2017). To act, Stable-Baselines3 is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from df_agent.baselines.goal_conditioned import GoalPolicy
from df_agent.build import make
from df_agent.checkpoint import CheckpointError, load_checkpoint
from df_agent.inference import choose_device

ALGORITHM = "sac_her"


@dataclass(frozen=True)
class ActorConfig:
    """Sizes of the actor.

    Attributes:
        observation_dim: Do.
        goal_dim: G.
        action_dim: Da.
        width: of the hidden layers.
        depth: number of hidden layers.
    """

    observation_dim: int
    goal_dim: int
    action_dim: int
    width: int = 256
    depth: int = 2


class Actor(nn.Module):
    """The mean action: a perceptron with ReLU over the observation and, behind it, the goal; tanh at the end."""

    def __init__(self, sizes: ActorConfig) -> None:
        super().__init__()
        self.sizes = sizes
        inputs = sizes.observation_dim + sizes.goal_dim
        layers: list[nn.Module] = []
        for k in range(sizes.depth):
            layers += [nn.Linear(sizes.width if k else inputs, sizes.width), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes.width, sizes.action_dim))

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
        return cls(make(ActorConfig, dict(config)))


class SACHERPolicy(GoalPolicy):
    """The actor as a policy; its action is the mean, as Stable-Baselines3's with deterministic=True."""

    def __init__(self, actor: Actor) -> None:
        super().__init__(actor, device=next(actor.parameters()).device)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str = "auto") -> SACHERPolicy:
        """Load the policy from a checkpoint: a folder, the name of one that ships, or a Hub id.

        Raises:
            CheckpointError: there is none, or it holds another algorithm's.
        """
        checkpoint = load_checkpoint(name)
        found = checkpoint.config.get("algorithm", "diffusion_forcing")
        if found != ALGORITHM:
            raise CheckpointError(f"{str(name)!r} holds a checkpoint of {found}, not of {ALGORITHM}")
        actor = Actor.from_config(checkpoint.config["learner"])
        checkpoint.load_into(actor)
        return cls(actor.requires_grad_(False).eval().to(choose_device(device)))
