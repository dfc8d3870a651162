"""Options of what training data is made into: tokens, and transitions with goals in hindsight.

Plain dataclasses: nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from df_agent.options.ranges import Count, InnerShare, Natural, NotNegative, Share


@dataclass(frozen=True)
class TokenizerConfig:
    """What a frame holds.

    Attributes:
        observation_indices: channels of the observation that are modelled.
        goal_channels: where in these channels the goal is found, in the goal's own order.
        action_dim: size of an action, used when `include_actions`.
        include_actions: whether frames hold the actions taken.
        include_rewards: whether frames hold the reward received.
        frame_skip: control steps per frame.
        frame_stack: frames per token.
        context: tokens that hold what was observed, the present last; the tokens behind them are planned.
    """

    observation_indices: tuple[int, ...] = (0, 1)
    goal_channels: tuple[int, ...] = (0, 1)
    action_dim: Natural = 0
    include_actions: bool = False
    include_rewards: bool = False
    frame_skip: Count = 1
    frame_stack: Count = 1
    context: Count = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "observation_indices", tuple(self.observation_indices))
        object.__setattr__(self, "goal_channels", tuple(self.goal_channels))
        if self.frame_skip < 1 or self.frame_stack < 1:
            raise ValueError(
                f"frame_skip and frame_stack must be at least 1, got {self.frame_skip}, {self.frame_stack}"
            )
        if self.context < 1:
            raise ValueError(f"context must be at least 1 token, the present, got {self.context}")
        if self.include_actions and self.action_dim < 1:
            raise ValueError("include_actions needs action_dim, the size of an action")
        if any(not 0 <= c < len(self.observation_indices) for c in self.goal_channels):
            raise ValueError(
                f"goal_channels {self.goal_channels} must index the {len(self.observation_indices)} modelled "
                f"observation channels"
            )

    @property
    def observation_dim(self) -> int:
        """Number of modelled observation channels."""
        return len(self.observation_indices)

    @property
    def frame_dim(self) -> int:
        """Channels of a frame."""
        actions = self.action_dim * self.frame_skip if self.include_actions else 0
        return self.observation_dim + actions + int(self.include_rewards)

    @property
    def token_dim(self) -> int:
        """Channels of a token."""
        return self.frame_dim * self.frame_stack

    @property
    def context_frames(self) -> int:
        """Number of frames that hold what was observed, the present last."""
        return self.context * self.frame_stack

    @property
    def span(self) -> int:
        """Control steps of a token."""
        return self.frame_skip * self.frame_stack


@dataclass(frozen=True)
class HindsightConfig:
    """Which goals a transition gets, and what its reward is. The defaults are OGBench's (Park et al. 2025).

    Goals for values and for the actor are drawn apart: values must be known for goals that the trajectory
    did not pursue too, an actor copies what led to its goal.

    Attributes:
        value_current: share of value goals that are the present state.
        value_future: share that are later states of the same trajectory; the rest are states of the whole data.
        value_geometric: whether later states are geometrically distributed, by `discount`, or uniformly.
        actor_future: share of actor goals that are later states; the rest are states of the whole data.
        actor_geometric: the same for the actor.
        horizon: the furthest later state, where they are uniform [control steps]; an endless trajectory needs one.
        discount: per control step.
        chunk: K, actions of a transition; its next state is K steps later.
        radius: a state within this distance of a goal is at the goal, in the goal's units; with 0 only the very
            same state is, as in OGBench.
        segments: whether a trajectory also ends where the goal that the behaviour pursued changes.
    """

    value_current: Share = 0.2
    value_future: Share = 0.5
    value_geometric: bool = True
    actor_future: Share = 1.0
    actor_geometric: bool = False
    horizon: Count = 1000
    discount: InnerShare = 0.99
    chunk: Count = 1
    radius: NotNegative = 0.0
    segments: bool = False

    def __post_init__(self) -> None:
        for key in ("value_current", "value_future", "actor_future"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key} is a share, in [0, 1], got {getattr(self, key)}")
        if self.value_current + self.value_future > 1:
            raise ValueError(
                f"value_current and value_future are shares of one whole, got {self.value_current} + "
                f"{self.value_future}"
            )
        if not 0 < self.discount < 1:
            raise ValueError(f"discount must lie between 0 and 1, got {self.discount}")
        if self.chunk < 1 or self.horizon < 1 or self.radius < 0:
            raise ValueError(
                f"need chunk >= 1, horizon >= 1 and radius >= 0, got {self.chunk}, {self.horizon}, {self.radius}"
            )
