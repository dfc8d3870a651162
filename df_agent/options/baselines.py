"""Options of the learned baselines.

Plain dataclasses: nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from df_agent.options.ranges import Among, Count, Device, InnerShare, Natural, NotNegative, Positive, Range, Share

ACTOR_LOSSES = ("ddpg+bc", "awr")

ONLINE = ("sac", "td3")


@dataclass(frozen=True)
class GoalConfig:
    """Sizes of a goal-conditioned learner.

    Attributes:
        observation_dim: Do.
        goal_dim: G.
        action_dim: Da.
        width: size of the hidden layers.
        depth: number of hidden layers.
    """

    observation_dim: int
    goal_dim: int
    action_dim: int
    width: Count = 256
    depth: Count = 3


@dataclass(frozen=True)
class GCIQLConfig(GoalConfig):
    """Sizes of the networks, see `GoalConfig`, and what the losses are told.

    Attributes:
        expectile: which expectile of the critic's values over the data's actions the value follows.
        polyak: share of the critic that its target takes over per step.
        actor: "ddpg+bc" climbs the critic, held near the data's actions; "awr" repeats these actions, weighted by
            their advantage.
        alpha: weight of the imitation for "ddpg+bc", inverse temperature per control step gained for "awr".
    """

    expectile: InnerShare = 0.9
    polyak: Annotated[float, Range(0, 1, open="left")] = 0.005
    actor: Annotated[str, Among(*ACTOR_LOSSES)] = "ddpg+bc"
    alpha: NotNegative = 0.003

    def __post_init__(self) -> None:
        if self.actor not in ACTOR_LOSSES:
            raise ValueError(f"unknown actor loss {self.actor!r}, available: {', '.join(ACTOR_LOSSES)}")
        if not 0 < self.expectile < 1 or not 0 < self.polyak <= 1 or self.alpha < 0:
            raise ValueError(
                f"need 0 < expectile < 1, 0 < polyak <= 1 and alpha >= 0, got {self.expectile}, {self.polyak}, "
                f"{self.alpha}"
            )


@dataclass(frozen=True)
class DiffuserConfig:
    """What a Diffuser is rebuilt from.

    Attributes:
        horizon: transitions in a segment; the published 128, 256 and 384 by maze.
        levels: denoising steps it is trained with; the published 64, 256 and 256.
        low, high: (Do + Da,) smallest and largest value in the data, observations first; scaled to -1 and 1.
        observation_dim: Do.
        network: options of `TemporalUnetConfig`.
        frame_skip: control steps from one transition to the next; the published 1.
    """

    horizon: Count
    levels: Count
    low: tuple[float, ...]
    high: tuple[float, ...]
    observation_dim: int
    network: dict[str, Any] = field(default_factory=dict)
    frame_skip: Count = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "low", tuple(self.low))
        object.__setattr__(self, "high", tuple(self.high))
        if self.frame_skip < 1:
            raise ValueError(f"frame_skip must be at least 1, got {self.frame_skip}")
        if len(self.low) != len(self.high) or not 0 < self.observation_dim <= len(self.low):
            raise ValueError(
                f"low and high must hold the same number of channels, observations first, got {len(self.low)} and "
                f"{len(self.high)} with observation_dim={self.observation_dim}"
            )


@dataclass(frozen=True)
class SACHERConfig:
    """How to train.

    Attributes:
        algorithm: "sac" or "td3".
        envs: environments stepped side by side.
        gradient_steps: updates after each step of them all.
        batch_size: transitions per update.
        learning_rate: Adam's, constant.
        discount: per control step.
        polyak: share of the critics that their targets take over per update.
        width: size of the hidden layers of actor and critics.
        depth: number of hidden layers.
        buffer_size: transitions kept.
        learning_starts: steps with random actions before the first update.
        hindsight_goals: transitions with hindsight goals per transition with its own.
        action_noise: standard deviation of TD3's exploration.
        max_episode_steps: episode limit in training [control steps]; None takes the environment's own.
        seed: decides weights, environments and exploration.
        device: "auto", "cpu", "cuda" or "mps".
    """

    algorithm: Annotated[str, Among(*ONLINE)] = "sac"
    envs: Count = 8
    gradient_steps: Count = 2
    batch_size: Count = 256
    learning_rate: Positive = 1e-3
    discount: Share = 0.99
    polyak: Share = 0.005
    width: Count = 256
    depth: Count = 2
    buffer_size: Count = 1_000_000
    learning_starts: Natural = 10_000
    hindsight_goals: Count = 4
    action_noise: NotNegative = 0.3
    max_episode_steps: Count | None = None
    seed: Natural = 0
    device: Device = "auto"

    def __post_init__(self) -> None:
        if self.algorithm not in ONLINE:
            raise ValueError(f"unknown algorithm {self.algorithm!r}, available: {', '.join(ONLINE)}")
        for key in ("envs", "gradient_steps", "batch_size", "width", "depth", "buffer_size", "hindsight_goals"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} must be at least 1, got {getattr(self, key)}")
