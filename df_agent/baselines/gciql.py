"""Goal-conditioned implicit Q-learning with hindsight goals, as in OGBench.

IQL (Kostrikov et al. 2022) learns the values of the best actions that the data shows, without asking about others;
the goal of a transition is chosen in hindsight (Park et al. 2025, OGBench, section on baselines). A step costs 1 until
the goal is reached, so that a value is a discounted time to the goal.
"""

from __future__ import annotations

import copy
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

ACTOR_LOSSES = ("ddpg+bc", "awr")
LARGEST_WEIGHT = 100.0


@dataclass(frozen=True)
class GCIQLConfig:
    """Sizes of the networks and what the losses are told.

    Attributes:
        observation_dim: Do.
        goal_dim: G.
        action_dim: Da.
        width: of the hidden layers.
        depth: number of hidden layers.
        expectile: of the critic's values over the data's actions that the value follows.
        polyak: share of the critic that its target takes over per step.
        actor: "ddpg+bc" climbs the critic, held near the data's actions; "awr" repeats these actions, weighted by
            their advantage.
        alpha: weight of the imitation for "ddpg+bc", inverse temperature per control step gained for "awr".
    """

    observation_dim: int
    goal_dim: int
    action_dim: int
    width: int = 256
    depth: int = 3
    expectile: float = 0.9
    polyak: float = 0.005
    actor: str = "ddpg+bc"
    alpha: float = 0.003

    def __post_init__(self) -> None:
        if self.actor not in ACTOR_LOSSES:
            raise ValueError(f"unknown actor loss {self.actor!r}, available: {', '.join(ACTOR_LOSSES)}")
        if not 0 < self.expectile < 1 or not 0 < self.polyak <= 1 or self.alpha < 0:
            raise ValueError(
                f"need 0 < expectile < 1, 0 < polyak <= 1 and alpha >= 0, got {self.expectile}, {self.polyak}, "
                f"{self.alpha}"
            )


class Critic(nn.Module):
    """Two estimates of the value of actions; the lower one counts."""

    def __init__(self, inputs: int, width: int, depth: int) -> None:
        super().__init__()
        self.members = nn.ModuleList(GoalMLP(inputs, 1, width, depth) for _ in range(2))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map inputs (B, ...) to both estimates, (2, B)."""
        return torch.stack([member(*inputs)[:, 0] for member in self.members])


class GCIQL(nn.Module):
    """The networks and their losses.

    Values are the discounted sum of rewards times (1 - discount): from -1, never there, to 0, at the goal.

    Args:
        options: sizes and settings.
        normalizer: of observations and goals.
        goals: how goals are chosen and rewards given.
    """

    def __init__(self, options: GCIQLConfig, normalizer: Normalizer, goals: HindsightConfig) -> None:
        super().__init__()
        self.options, self.normalizer, self.goals = options, normalizer, goals
        o, chunk = options, goals.chunk * options.action_dim
        state = o.observation_dim + o.goal_dim
        self.actor = GoalMLP(state, chunk, o.width, o.depth)
        self.value = GoalMLP(state, 1, o.width, o.depth)
        self.critic = Critic(state + chunk, o.width, o.depth)
        self.target = copy.deepcopy(self.critic).requires_grad_(False)

    def forward(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Return the next actions, (B, K, Da), for normalised observations (B, Do) and goals (B, G)."""
        actions: Tensor = rearrange(self.actor(observation, goal), "b (k a) -> b k a", k=self.goals.chunk)
        return actions

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
        2019. Values are the target critic's, so that no gradient of the actor reaches the critic.
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

    @property
    def config(self) -> dict[str, Any]:
        """What `from_config` rebuilds the module from, JSON-ready."""
        return {
            "options": asdict(self.options),
            "normalizer": self.normalizer.to_dict(),
            "goals": asdict(self.goals),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> GCIQL:
        """Return the untrained module."""
        options, goals = make(GCIQLConfig, config["options"]), make(HindsightConfig, config["goals"])
        return cls(options, Normalizer(**config["normalizer"]), goals)

    @classmethod
    def from_data(
        cls, episodes: Episodes, goals: Mapping[str, Any] | None = None, **options: Any
    ) -> tuple[GCIQL, HindsightSampler]:
        """Return an untrained module that fits the data, and the sampler of its batches.

        Args:
            episodes: with achieved goals.
            goals: options of HindsightConfig.
            **options: options of GCIQLConfig that do not follow from the data.
        """
        sampler = HindsightSampler(episodes, make(HindsightConfig, dict(goals or {})))
        return cls(make(GCIQLConfig, options, **sampler.sizes), sampler.normalizer, sampler.config), sampler


class GCIQLPolicy(GoalPolicy):
    """A trained GCIQL's actor as a policy.

    Args:
        learner: the trained module.
        execute: actions of a chunk that are executed before the next one is predicted.
    """

    def __init__(self, learner: GCIQL, execute: int = 1) -> None:
        normalizer = learner.normalizer

        def actor(observation: Tensor, goal: Tensor) -> Tensor:
            actions: Tensor = learner(normalizer.observation(observation), normalizer.goal(goal))
            return actions

        super().__init__(actor, execute, next(learner.parameters()).device)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str = "auto", execute: int = 1) -> GCIQLPolicy:
        """Load the policy from a checkpoint: a folder, the name of one that ships, or a Hub id."""
        learner, _ = load_learner(name, "gciql")
        return cls(learner.to(choose_device(device)), execute)


def expectile_loss(error: Tensor, expectile: float) -> Tensor:
    """Squared error, weighted by `expectile` where it is positive and by 1 - `expectile` where it is not.

    Newey & Powell 1987; with an expectile near 1 its minimum is near the largest value.
    """
    weight = torch.where(error > 0, expectile, 1 - expectile)
    return (weight * error.square()).mean()
