"""Goal-conditioned implicit Q-learning with hindsight goals, as in OGBench.

IQL (Kostrikov et al. 2022) learns the values of the best actions that the data shows, without asking about others;
the goal of a transition is chosen in hindsight (Park et al. 2025, OGBench, section on baselines). A step costs 1 until
the goal is reached, so that a value is a discounted time to the goal.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from df_agent.baselines.goal_conditioned import GoalLearner, GoalMLP
from df_agent.data.config import HindsightConfig
from df_agent.data.samplers.hindsight import Normalizer, Transitions
from df_agent.options.baselines import GCIQLConfig

LARGEST_WEIGHT = 100.0


class Critic(nn.Module):
    """Two estimates of the value of actions; the lower one counts."""

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(GoalMLP(inputs, 1, width, depth) for _ in range(2))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map inputs (B, ...) to both estimates, (2, B)."""
        return torch.stack([member(*inputs)[:, 0] for member in self.members])


class GCIQL(GoalLearner):
    """The networks and their losses.

    Values are the discounted sum of rewards times (1 - discount): from -1, never there, to 0, at the goal.

    Args:
        options: sizes and settings.
        normalizer: of observations and goals.
        goals: how goals are chosen and rewards given.
    """

    config_class = GCIQLConfig

    def __init__(self, options: Any, normalizer: Normalizer, goals: HindsightConfig) -> None:
        super().__init__(options, normalizer, goals)
        o = options
        state = o.observation_dim + o.goal_dim
        self.value = GoalMLP(state, 1, o.width, o.depth)
        self.critic = Critic(state + goals.chunk * o.action_dim, o.width, o.depth)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)

    def loss(self, batch: Transitions, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the sum of the three losses, which share no trained weights; nothing is drawn from the generator.

        In training the target network follows first, by what the last optimiser step changed.
        """
        if self.training:
            self.follow()
        value, value_metrics = self.value_loss(batch)
        critic, critic_metrics = self.critic_loss(batch)
        actor, actor_metrics = self.actor_loss(batch)
        return value + critic + actor, {**value_metrics, **critic_metrics, **actor_metrics}

    @torch.no_grad()
    def follow(self) -> None:
        """Move the target critic towards the critic by `polyak`."""
        torch._foreach_lerp_(list(self.target.parameters()), list(self.critic.parameters()), self.options.polyak)

    def value_loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """Expectile regression of the value on the target critic's values of the data's actions (IQL, eq. 5)."""
        with torch.no_grad():
            best = self.target(batch.observation, batch.actions, batch.value_goal).amin(0)
        value = self.value(batch.observation, batch.value_goal)[:, 0]
        loss = expectile_loss(best - value, self.options.expectile)
        return loss, {"value_loss": loss.detach(), "value": value.detach().mean()}

    def critic_loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """Squared error of both critics against the reward and the value of the next state (IQL, eq. 6)."""
        with torch.no_grad():
            following = self.value(batch.next_observation, batch.value_goal)[:, 0]
            wanted = (1 - self.goals.discount) * batch.reward + batch.bootstrap * following
        error = self.critic(batch.observation, batch.actions, batch.value_goal) - wanted
        loss = error.square().mean(1).sum()
        return loss, {"critic_loss": loss.detach()}

    def actor_loss(self, batch: Transitions) -> tuple[Tensor, dict[str, Tensor]]:
        """Imitation that prefers what the critic prefers, in one of two ways; see `GCIQLConfig`.

        DDPG+BC is Fujimoto & Gu 2021 (TD3+BC), with the critic's values divided by their size; AWR is Peng et al.
        2019. Values are the target critic's, so that no gradient of the actor reaches the critic; OGBench climbs the
        trained critic and keeps that gradient out.
        """
        o, goal = self.options, batch.actor_goal
        actions = self(batch.observation, goal)
        imitation = 0.5 * (actions - batch.actions).square().sum((1, 2))
        if o.actor == "awr":
            with torch.no_grad():
                known = self.target(batch.observation, batch.actions, goal).amin(0)
                gained = (known - self.value(batch.observation, goal)[:, 0]) / (1 - self.goals.discount)
                weight = (o.alpha * gained).exp().clamp_max(LARGEST_WEIGHT)
            loss = (weight * imitation).mean()
        else:
            # Beyond the bounds the critic has no say; without a pull back into them an actor would stay there.
            executed = actions.clamp(-1, 1)
            beyond = (actions - executed).square().sum((1, 2)).mean()
            reached = self.target(batch.observation, executed, goal).amin(0)
            loss = o.alpha * imitation.mean() + beyond - reached.mean() / (reached.detach().abs().mean() + 1e-6)
        return loss, {"actor_loss": loss.detach(), "imitation": imitation.detach().mean()}


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """Squared error, weighted by `expectile` where it is positive and by 1 - `expectile` where it is not.

    Newey & Powell 1987; with an expectile near 1 its minimum is near the largest value.
    """
    weight = torch.where(error > 0, expectile, 1 - expectile)
    return (weight * error.square()).mean()
