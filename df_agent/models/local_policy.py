"""Which action leads there in so many steps, and how few steps the data takes: a goal-conditioned policy with a clock.

Trained by hindsight: any two moments of a trajectory show an action, a place that was reached, and the control steps it
took. A policy that is told these steps (Ghosh et al. 2021, GCSL, with a horizon; Schmidhuber 2019) does not average
quick and slow ways, so asked for few steps it acts as the data does where it is quick. How few can be asked for, a low
quantile of the steps says.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from df_agent.models.layers import perceptron
from df_agent.options.side_models import LocalPolicyConfig
from df_agent.types import HindsightBatch

NEAR = 10.0  # how much finer near goals are told apart than by the data's deviation


class LocalPolicy(nn.Module):
    """The action that leads from an observation to a goal in so many control steps, and the steps that are needed."""

    def __init__(self, config: LocalPolicyConfig) -> None:
        super().__init__()
        self.config = config
        inputs = len(config.observation_indices) + 3 * len(config.goal_channels)
        self.actor = perceptron(inputs + 2, config.width, config.depth, len(config.action_mean))
        self.clock = perceptron(inputs, config.width, config.depth, 1)

    def forward(self, observation: Tensor, goal: Tensor, steps: Tensor) -> Tensor:
        """Return actions (B, Da), in environment units.

        Args:
            observation: (B, Do) in environment units, as the goal is.
            goal: (B, G).
            steps: (B,) control steps until the goal is to be reached.
        """
        time = torch.stack([(1 + steps).log() / 3, 10 / (3 + steps)], -1)
        actions: Tensor = self.actor(torch.cat([self._inputs(observation, goal), time], -1))
        return actions * actions.new_tensor(self.config.action_std) + actions.new_tensor(self.config.action_mean)

    def steps(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the control steps, (B,) at least 1, in which the data gets to a goal where it is quick."""
        least: Tensor = self._log_steps(observation, goal).clamp(math.log(2), math.log(1 + self.config.longest)).exp()
        return least - 1

    def loss(self, batch: HindsightBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the actions, and the pinball loss of the logarithm of the steps (Koenker 1978)."""
        error = (1 + batch.steps).log() - self._log_steps(batch.observation, batch.goal)
        q = self.config.quantile
        clock = torch.maximum(q * error, (q - 1) * error).mean()
        off = self(batch.observation, batch.goal, batch.steps) - batch.action
        imitation = (off / off.new_tensor(self.config.action_std)).square().mean()
        loss = imitation + clock
        return loss, {"loss": loss.detach(), "imitation": imitation.detach(), "clock": clock.detach()}

    def _log_steps(self, observation: Tensor, goal: Tensor) -> Tensor:
        return torch.as_tensor(self.clock(self._inputs(observation, goal)))[..., 0]

    def _inputs(self, observation: Tensor, goal: Tensor) -> Tensor:
        c = self.config
        mean, std = observation.new_tensor(c.observation_mean), observation.new_tensor(c.observation_std)
        channels = list(c.goal_channels)
        observation, goal = (observation - mean) / std, (goal - mean[channels]) / std[channels]
        away = goal - observation[..., channels]
        return torch.cat([observation, goal, 3 * away, (NEAR * away).tanh()], -1)
