"""Goal-conditioned behaviour cloning with hindsight goals and action chunks.

The actor is trained to repeat what the data did on its way to a later state of the same trajectory (Lynch et al.
2019; Ghosh et al. 2021), several actions at once (Zhao et al. 2023).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from df_agent.baselines.goal_conditioned import GoalMLP, GoalPolicy
from df_agent.baselines.learners import load_learner
from df_agent.build import make
from df_agent.data.episodes import Episodes
from df_agent.data.hindsight import HindsightConfig, HindsightSampler, Normalizer, Transitions
from df_agent.inference import choose_device


@dataclass(frozen=True)
class GCBCConfig:
    """Sizes of the actor.

    Attributes:
        observation_dim: Do.
        goal_dim: G.
        action_dim: Da.
        chunk: K, actions predicted at once.
        width: of the hidden layers.
        depth: number of hidden layers.
    """

    observation_dim: int
    goal_dim: int
    action_dim: int
    chunk: int
    width: int = 256
    depth: int = 3


class GCBC(nn.Module):
    """The actor and its loss.

    Args:
        options: sizes of the actor.
        normalizer: of observations and goals.
        goals: how goals were chosen, for the record.
    """

    def __init__(self, options: GCBCConfig, normalizer: Normalizer, goals: HindsightConfig) -> None:
        super().__init__()
        self.options, self.normalizer, self.goals = options, normalizer, goals
        o = options
        self.network = GoalMLP(o.observation_dim + o.goal_dim, o.chunk * o.action_dim, o.width, o.depth)

    def forward(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the next actions, (B, K, Da), for normalised observations (B, Do) and goals (B, G)."""
        actions: Tensor = rearrange(self.network(observation, goal), "b (k a) -> b k a", k=self.options.chunk)
        return actions

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error: a Gaussian of fixed width; nothing is drawn from the generator."""
        loss = (self(batch.observation, batch.actor_goal) - batch.actions).square().mean()
        return loss, {"actor_loss": loss.detach()}

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` rebuilds the module from, JSON-ready."""
        return {
            "sizes": asdict(self.options),
            "normalizer": self.normalizer.to_dict(),
            "goals": asdict(self.goals),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> GCBC:
        """Return the untrained module."""
        sizes, goals = make(GCBCConfig, config["sizes"]), make(HindsightConfig, config["goals"])
        return cls(sizes, Normalizer(**config["normalizer"]), goals)

    @classmethod
    def from_data(
        cls, episodes: Episodes, goals: Mapping[str, Any] | None = None, **sizes: Any
    ) -> tuple[GCBC, HindsightSampler]:
        """Return an untrained module that fits the data, and the sampler of its batches.

        Args:
            episodes: with achieved goals.
            goals: options of HindsightConfig.
            **sizes: options of GCBCConfig that do not follow from the data.
        """
        sampler = HindsightSampler(episodes, make(HindsightConfig, dict(goals or {})))
        follows = {**sampler.sizes, "chunk": sampler.config.chunk}
        return cls(make(GCBCConfig, sizes, **follows), sampler.normalizer, sampler.config), sampler


class GCBCPolicy(GoalPolicy):
    """A trained GCBC as a policy.

    Args:
        learner: the trained module.
        execute: actions of a chunk that are executed before the next one is predicted.
    """

    def __init__(self, learner: GCBC, execute: int = 1) -> None:
        normalizer = learner.normalizer

        def actor(observation: Tensor, goal: Tensor) -> Tensor:
            actions: Tensor = learner(normalizer.observation(observation), normalizer.goal(goal))
            return actions

        super().__init__(actor, execute, next(learner.parameters()).device)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str = "auto", execute: int = 1) -> GCBCPolicy:
        """Load the policy from a checkpoint: a folder, the name of one that ships, or a Hub id."""
        learner, _ = load_learner(name, "gcbc")
        return cls(learner.to(choose_device(device)), execute)
