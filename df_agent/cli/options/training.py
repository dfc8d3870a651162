"""Options of `df-agent train`, as it trains the agent.

What an environment, a method or an algorithm asks for stands in a file of that name in df_configs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from df_agent.cli.options import GIVEN, Options, part
from df_agent.data.config import TokenizerConfig
from df_agent.data.goal_spec import GoalSpec
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.options.networks import RecurrentConfig, SpaceTimeConfig, TransformerConfig
from df_agent.options.ranges import Count, Natural, NotNegative, Positive, Range, Share, Tracker
from df_agent.options.side_models import (
    InverseDynamicsConfig,
    LocalPolicyConfig,
    SupportConfig,
    TimeToGoalConfig,
)
from df_agent.policies.config import PolicyConfig
from df_agent.training.config import TrainConfig


@dataclass(frozen=True)
class RewardOptions:
    """Rewards for tokenizer.include_rewards=true and policy.planner=reward_guidance.

    Attributes:
        place: [x, y]: each step is rewarded by exp(-distance to it) [position units]; null: as in the data.
    """

    place: Sequence[float] | None = None


@dataclass(frozen=True)
class WindowOptions:
    """Training windows.

    Attributes:
        max_tokens: length of a window [tokens].
        short_tokens: lengths to which some batches are cut [tokens], for plans to near goals.
        short_share: share of the batches that are cut.
        jump_distance: trajectories are cut where a control step moves them further, by chance; null: they are not.
        stop_distance: trajectories are cut where they move no further than this within a token; null: they are not.
    """

    max_tokens: Count | None = None
    short_tokens: Sequence[Count] = ()
    short_share: Share = 0.5
    jump_distance: Positive | None = None
    stop_distance: NotNegative | None = None


@dataclass(frozen=True)
class NetworkName:
    """Which network.

    Attributes:
        name: what it is called in `df_agent.models.NETWORKS`.
        merge: of space_time: neighbouring latents of a picture that make one token.
    """

    name: str = "transformer"
    merge: Count = 1


@dataclass(frozen=True)
class TimeToGoalTraining(TimeToGoalConfig):
    """The estimator of the time to the goal, which is trained first; see `TimeToGoalConfig`.

    Attributes:
        steps: training steps; 0: it is not trained.
        pairs: pairs of places per batch.
    """

    steps: Natural = 8000
    pairs: Count = 2048


@dataclass(frozen=True)
class InverseDynamicsTraining(InverseDynamicsConfig):
    """The inverse model, for controller=inverse_dynamics; see `InverseDynamicsConfig`.

    Attributes:
        steps: training steps; 0: it is not trained.
    """

    steps: Natural = 0


@dataclass(frozen=True)
class LocalPolicyTraining(LocalPolicyConfig):
    """The learned local policy, for controller=local_policy; see `LocalPolicyConfig`.

    Attributes:
        steps: training steps; 0: it is not trained.
        batch_size: transitions per batch.
    """

    steps: Natural = 0
    batch_size: Count = 512


@dataclass(frozen=True)
class SupportTraining(SupportConfig):
    """The classifier that tells moves of the data from others, for feasibility; see `SupportConfig`.

    Attributes:
        steps: training steps; 0: it is not trained.
    """

    steps: Natural = 0


@dataclass(frozen=True)
class ValidationEpisodes:
    """A policy in its environment, now and then during training.

    Attributes:
        episodes: how many each validation runs.
        seed: decides where they start, 1000 and above; 0 and 1 are for reports.
    """

    episodes: Count = 32
    seed: Annotated[int, Range(1000)] = 1000


@dataclass(frozen=True)
class ValidationOptions(ValidationEpisodes):
    """The agent in its environment, now and then during training.

    Attributes:
        choose: after training, try ways to plan and act on these episodes and keep the best one.
    """

    choose: bool = False


@dataclass(frozen=True)
class TrainOptions:
    """The agent: a Diffusion Forcing model with its estimators, and how it acts with them.

    Attributes:
        env_id: gymnasium id; follows from env=.
        maze: with env=maze2d, a maze of your own: a file or rows, see docs/own-maze.md.
        dataset: Minari id (D4RL/... is downloaded), its folder, an .npz pack, or ogbench/....
        run_dir: folder of the run; started again, it goes on where it stopped.
        load: name, folder or Hub id of a checkpoint whose weights a new run starts from.
        tracker: "tensorboard", "wandb" or "none"; metrics.jsonl is always written.
        steps: optimiser steps of the training, short for train.steps.
        debug: find the operation whose gradient is not finite, and log the gradients; slow.
        resolve_to: write the resolved configuration to this file, for `python -m df_agent.training.run FILE` where
            Hydra and Gymnasium are missing, and stop.
        goal: of environments that are no GoalEnv: where goals and success are found.
        reward: what is rewarded.
        tokenizer: what a frame and a token hold.
        windows: what training sees at once.
        network: which, and its sizes.
        diffusion: the loss.
        time_to_goal: the estimator that is trained first.
        inverse_dynamics: the inverse model.
        local_policy: the learned local policy.
        support: the classifier of moves.
        policy: how the agent plans and acts unless told otherwise.
        train: how the diffusion model is trained.
        validation: the agent in its environment.
    """

    env_id: str = GIVEN
    maze: Any = None
    dataset: str = "df-agent/${env_id}-dfs-v0"
    run_dir: str = "runs/${env_id}"
    load: str | None = None
    tracker: Tracker = "tensorboard"
    steps: Natural = GIVEN  # type: ignore[assignment]
    debug: bool = False
    resolve_to: str | None = None
    goal: Options = part(
        GoalSpec, achieved=None, desired=None, success=None, angles=None, goal_angles=None, ignored=None
    )
    reward: Options = part(RewardOptions, place=None)
    tokenizer: Options = part(
        TokenizerConfig, observation_indices=[0, 1], goal_channels=[0, 1], frame_skip=8, frame_stack=2, context=1
    )
    windows: Options = part(WindowOptions, max_tokens=GIVEN, short_tokens=[], jump_distance=None, stop_distance=None)
    network: Options = part(
        NetworkName,
        TransformerConfig,
        RecurrentConfig,
        SpaceTimeConfig,
        name="transformer",
        width=160,
        depth=7,
        heads=5,
    )
    diffusion: Options = part(DiffusionForcingConfig, schedule="cosine", prediction_type="v")
    time_to_goal: Options = part(TimeToGoalTraining, steps=8000, pairs=2048, quantile=0.1, symmetric=False)
    inverse_dynamics: Options = part(InverseDynamicsTraining, steps=0)
    local_policy: Options = part(LocalPolicyTraining, steps=0)
    support: Options = part(SupportTraining, steps=0)
    policy: Options = part(PolicyConfig)
    train: Options = part(
        TrainConfig,
        steps="${steps}",
        batch_size=64,
        learning_rate=1e-3,
        weight_decay=0.01,
        warmup_steps="${warmup:300}",
        ema_decay=0.999,
        grad_clip=1.0,
        seed=0,
        precision="auto",
        debug="${debug}",
        compile=True,
        checkpoint_every=500,
        validate_every=3000,
        log_every=100,
        keep=2,
    )
    validation: Options = part(ValidationOptions, episodes=32, choose=False, seed=1000)
