"""Options of the baselines of `df-agent train`: what each algorithm is made with and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from df_agent.cli.options import GIVEN, Options, part
from df_agent.cli.options.training import ValidationEpisodes
from df_agent.data.config import HindsightConfig
from df_agent.data.goal_spec import GoalSpec
from df_agent.options.baselines import DiffuserConfig, GCIQLConfig, GoalConfig, SACHERConfig
from df_agent.options.ranges import Count, Device, Natural, Precision, Tracker
from df_agent.policies.config import DiffuserPolicyConfig
from df_agent.training.config import TrainConfig


@dataclass(frozen=True)
class BaselineOptions:
    """A baseline that learns from data.

    Attributes:
        algorithm: as its checkpoint is called.
        env: gymnasium id.
        dataset: Minari id, its folder, or an .npz pack.
        run_dir: folder of the run; started again, it goes on where it stopped.
        tracker: "tensorboard", "wandb" or "none"; metrics.jsonl is always written.
        steps: optimiser steps of the training, short for train.steps.
        goal: of environments that are no GoalEnv: where goals and success are found.
        learner: what it is made with.
        policy: how the policy that is validated acts.
        train: how it is trained.
        validation: the policy in its environment.
    """

    algorithm: str = "diffuser"
    env: str = "maze2d-large"
    dataset: str = "${demonstrations:${env}}"
    run_dir: str = "runs/${file_name:${env}}-${algorithm}"
    tracker: Tracker = "tensorboard"
    steps: Natural = GIVEN  # type: ignore[assignment]
    goal: Options = part(
        GoalSpec, achieved=None, desired=None, success=None, angles=None, goal_angles=None, ignored=None
    )
    learner: Options = part(DiffuserConfig)
    policy: Options = part(DiffuserPolicyConfig)
    train: Options = part(TrainConfig)
    validation: Options = part(ValidationEpisodes, episodes=50, seed=1000)


@dataclass(frozen=True)
class NetworkOptions:
    """How a network is computed.

    Attributes:
        precision: "fp32", "bf16", or "auto": bf16 where the device has arithmetic for it.
        device: "auto", "cpu", "cuda" or "mps".
    """

    precision: Precision = "auto"
    device: Device = "auto"


@dataclass(frozen=True)
class SegmentOptions(DiffuserConfig):
    """What Diffuser is made with; see `DiffuserConfig`.

    Attributes:
        horizon: transitions of a segment; a multiple of what the network can take.
        levels: levels of the noise, denoising steps of the training.
    """


def _diffuser(**values: Any) -> dict[str, Any]:
    """Return how Diffuser is trained.

    Its 2 million steps of 32 segments, two of them accumulated, with Adam at a constant 2e-4, without clipping, and an
    average of weights over some 2,000 steps, are replaced by 20,000 of 64 (umaze: 10,000) for two CPU cores: a higher
    rate that falls, warmed up and clipped, betas of 0.9 and 0.99, an average over 1,000, bf16.
    """
    return {
        "steps": "${steps}", "batch_size": 64, "learning_rate": 1e-3,
        "weight_decay": 0.0, "warmup_steps": "${warmup:300}", "ema_decay": 0.999, "grad_clip": 1.0, "seed": 0,
        "precision": "auto", "compile": True, "checkpoint_every": 500, "validate_every": 2500, "log_every": 100,
        "keep": 2, **values,
    }  # fmt: skip


@dataclass(frozen=True)
class DiffuserOptions(BaselineOptions):
    """Diffuser's published sizes, loss and noise; see `BaselineOptions`."""

    steps: Natural = "${by_name:${env},{2d-umaze: 10000, elsewhere: 20000}}"  # type: ignore[assignment]
    learner: Options = part(
        SegmentOptions,
        horizon="${by_name:${env},{maze2d: 256, multi2d: 256, 2d-umaze: 128, 2d-large: 384}}",
        levels="${by_name:${env},{maze2d: 256, multi2d: 256, 2d-umaze: 64}}",
    )
    policy: Options = part(NetworkOptions, DiffuserPolicyConfig, precision="auto")
    train: Options = part(TrainConfig, **_diffuser())


@dataclass(frozen=True)
class DiffuserLongOptions(BaselineOptions):
    """Diffuser in OGBench's mazes: positions only, 8 control steps apart; see `BaselineOptions`.

    The trajectories of stitch have 200 steps, so it learns segments of 192 from them, and its convolutions make longer
    ones.
    """

    steps: Natural = 4000
    learner: Options = part(
        SegmentOptions,
        horizon="${by_name:${env},{navigate: 64, giant-navigate: 128, stitch: 24}}",
        levels=256,
        frame_skip=8,
    )
    policy: Options = part(
        NetworkOptions,
        DiffuserPolicyConfig,
        precision="auto",
        controller="path",
        open_loop_horizon=50,
        horizon="shrinking",
        longest="${by_name:${env},{medium: 320, large: 512, giant: 1024, teleport: 512}}",
        steps=32,
        hold_distance=1.0,
        tracker={"position_gain": 5.0, "velocity_gain": 0.0, "lookahead": 2.0},
    )
    train: Options = part(TrainConfig, **_diffuser(validate_every=2000))


@dataclass(frozen=True)
class CloneLearner(GoalConfig):
    """Sizes of goal-conditioned behaviour cloning; see `GoalConfig`.

    Attributes:
        goals: goals in hindsight.
    """

    goals: Options = part(HindsightConfig)


@dataclass(frozen=True)
class IQLLearner(GCIQLConfig):
    """What GCIQL is made with; see `GCIQLConfig`.

    Attributes:
        goals: goals in hindsight.
    """

    goals: Options = part(HindsightConfig)


@dataclass(frozen=True)
class ChunkOptions(NetworkOptions):
    """How actions in chunks are executed.

    Attributes:
        execute: control steps that are executed of each chunk of actions.
    """

    execute: Count = 1


def _goal_conditioned(**values: Any) -> dict[str, Any]:
    """Return how the goal-conditioned learners are trained, with OGBench's learning rate and a quarter of its batch."""
    return {
        "steps": "${steps}", "batch_size": 256, "learning_rate": 3e-4, "weight_decay": 0.0, "betas": [0.9, 0.999],
        "warmup_steps": "${warmup:500}", "ema_decay": 0.999, "grad_clip": None, "seed": 0, "precision": "fp32",
        "log_every": 500, "keep": 2, **values,
    }  # fmt: skip


@dataclass(frozen=True)
class GCBCOptions(BaselineOptions):
    """Goal-conditioned behaviour cloning: 3 x 256, batch 256; see `BaselineOptions`.

    A trajectory to one goal does not show the way to the next one, so goals are of the same segment.
    """

    algorithm: str = "gcbc"
    steps: Natural = 10000
    learner: Options = part(
        CloneLearner,
        goals={
            "chunk": 10,
            "segments": True,
            "horizon": "${by_name:${env},{umaze: 150, medium: 150, large: 800, pointmaze: 1000, elsewhere: 50}}",
        },
    )
    policy: Options = part(ChunkOptions, execute="${by_name:${env},{maze2d: 5, multi2d: 5, elsewhere: 2}}")
    train: Options = part(
        TrainConfig,
        **_goal_conditioned(decay="cosine", checkpoint_every=2500, validate_every=2500),
    )


@dataclass(frozen=True)
class GCIQLOptions(BaselineOptions):
    """Goal-conditioned IQL as in OGBench, with half the width (3 x 256), and 40,000 steps instead of a million.

    A transition has five actions, valued together. Goals are of the same segment, or the turns between goals are
    imitated too. In OGBench's mazes and Fetch it has not been tuned. See `BaselineOptions`.
    """

    algorithm: str = "gciql"
    steps: Natural = 40000
    learner: Options = part(
        IQLLearner,
        expectile=0.9,
        actor="ddpg+bc",
        alpha="${by_name:${env},{maze2d: 0.03, multi2d: 0.03, 2d-umaze: 0.1, 2d-large: 0.1, elsewhere: 0.1}}",
        goals={
            "chunk": 5,
            "discount": "${by_name:${env},{2d: 0.99, 2d-large: 0.995, pointmaze: 0.995, elsewhere: 0.98}}",
            "horizon": "${by_name:${env},{umaze: 300, medium: 300, large: 800, pointmaze: 1000, elsewhere: 50}}",
            "radius": "${by_name:${env},{maze2d: 0.5, multi2d: 0.5, pointmaze: 1.0, Fetch: 0.05, elsewhere: 0.0}}",
            "segments": True,
        },
    )
    policy: Options = part(ChunkOptions, execute=5)
    train: Options = part(
        TrainConfig,
        **_goal_conditioned(decay="constant", checkpoint_every=5000, validate_every=10000),
    )


@dataclass(frozen=True)
class SACHEROptions:
    """Stable-Baselines3's SAC or TD3 with goals in hindsight, trained in the environment itself.

    Attributes:
        env: where it is validated; gymnasium id.
        train_env: where it is trained: goals anywhere, so that one agent serves both families of mazes.
        run_dir: folder of the run; started again, it goes on from its newest saved state.
        steps: control steps in the environment.
        save_every: environment steps from one saved state and row of the curve to the next.
        algorithm: "sac" or "td3".
        training: how it is trained.
        validation: the policy in its environment, without the end at the goal.
    """

    env: str = "maze2d-umaze"
    train_env: str = "${multi2d:${env}}"
    run_dir: str = "runs/${env}-${algorithm}_her"
    steps: Count = "${by_name:${env},{2d-umaze: 150000, elsewhere: 1000000}}"  # type: ignore[assignment]
    save_every: Count = 25000
    algorithm: str = "sac"
    training: Options = part(
        SACHERConfig,
        algorithm="${algorithm}",
        envs=8,
        gradient_steps="${by_name:${env},{maze2d: 2, multi2d: 2, elsewhere: 4}}",
        batch_size=256,
        learning_rate=1e-3,
        discount="${by_name:${env},{maze2d: 0.995, multi2d: 0.995, 2d-umaze: 0.99, elsewhere: 0.95}}",
        polyak="${by_name:${env},{maze2d: 0.005, multi2d: 0.005, elsewhere: 0.05}}",
        width=256,
        depth="${by_name:${env},{maze2d: 2, multi2d: 2, elsewhere: 3}}",
        buffer_size=1_000_000,
        learning_starts=10_000,
        hindsight_goals=4,
        max_episode_steps=None,
        seed=0,
        device="auto",
    )
    validation: Options = part(ValidationEpisodes, episodes=50, seed=1000)
