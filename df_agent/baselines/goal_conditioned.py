"""What the goal-conditioned baselines share: their network and learner; the simplest of them, GCBC."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Self

import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor, nn

from df_agent.data.config import HindsightConfig
from df_agent.data.episodes import Episodes
from df_agent.data.samplers.hindsight import HindsightSampler, Normalizer, Transitions
from df_agent.options import make
from df_agent.options.baselines import GoalConfig

Array = NDArray[Any]
# Observations (B, Do) and goals (B, G) in environment units -> the next K actions (B, K, Da)
Actor = Callable[[Tensor, Tensor], Tensor]


class GoalMLP(nn.Sequential):
    """A perceptron with GELU and layer norm after each hidden layer over concatenated inputs.

    So are OGBench's value networks, with 512 channels; its actors have no layer norm.

    Args:
        inputs: channels of all inputs together.
        outputs: channels out.
        width: of the hidden layers.
        depth: number of hidden layers.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 256, depth: int = 3) -> None:
        layers: list[nn.Module] = []
        for k in range(depth):
            layers += [nn.Linear(width if k else inputs, width), nn.GELU(), nn.LayerNorm(width)]
        super().__init__(*layers, nn.Linear(width, outputs))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map inputs (B, ...), side by side, to (B, outputs)."""
        output = torch.cat([x.flatten(1) for x in inputs], -1)
        for layer in self:
            output = layer(output)
        return output


class GoalLearner(nn.Module):
    """An actor of action chunks that is trained with goals chosen in hindsight; subclasses add the loss.

    Args:
        options: sizes, and what the loss is told.
        normalizer: of observations and goals.
        goals: how goals are chosen; its `chunk` is the number K of actions that the actor predicts at once.
    """

    config_class: ClassVar[type[GoalConfig]] = GoalConfig

    def __init__(self, options: Any, normalizer: Normalizer, goals: HindsightConfig) -> None:
        super().__init__()
        self.options, self.normalizer, self.goals = options, normalizer, goals
        o = options
        self.actor = GoalMLP(o.observation_dim + o.goal_dim, goals.chunk * o.action_dim, o.width, o.depth)

    def forward(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the next actions, (B, K, Da), for normalised observations (B, Do) and goals (B, G)."""
        actions: Tensor = rearrange(self.actor(observation, goal), "b (k a) -> b k a", k=self.goals.chunk)
        return actions

    def act(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the next actions, (B, K, Da), for observations and goals in environment units."""
        actions: Tensor = self(self.normalizer.observation(observation), self.normalizer.goal(goal))
        return actions

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` rebuilds the module from, JSON-ready."""
        return {
            "options": asdict(self.options),
            "normalizer": self.normalizer.to_dict(),
            "goals": asdict(self.goals),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return the untrained module."""
        options, goals = make(cls.config_class, config["options"]), make(HindsightConfig, config["goals"])
        return cls(options, Normalizer(**config["normalizer"]), goals)

    @classmethod
    def from_data(
        cls, episodes: Episodes, goals: Mapping[str, Any] | None = None, **options: Any
    ) -> tuple[Self, HindsightSampler]:
        """Return an untrained module that fits the data, and the sampler of its batches.

        Args:
            episodes: with achieved goals.
            goals: options of HindsightConfig.
            **options: options of `config_class` that do not follow from the data.
        """
        sampler = HindsightSampler(episodes, make(HindsightConfig, dict(goals or {})))
        return cls(make(cls.config_class, options, **sampler.sizes), sampler.normalizer, sampler.config), sampler


class GCBC(GoalLearner):
    """Goal-conditioned behaviour cloning with hindsight goals and action chunks.

    The actor is trained to repeat what the data did on its way to a later state of the same trajectory (Lynch et al.
    2019; Ghosh et al. 2021), several actions at once (Zhao et al. 2023).
    """

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error: a Gaussian of fixed width; nothing is drawn from the generator."""
        loss = (self(batch.observation, batch.actor_goal) - batch.actions).square().mean()
        return loss, {"actor_loss": loss.detach()}
