"""Options of `df-agent train`, which trains the agent and everything else that learns.

What an environment, a method or an algorithm asks for stands in a file of that name in df_configs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from df_agent.cli.options import GIVEN, Options, part
from df_agent.data.config import TokenizerConfig
from df_agent.data.goal_spec import GoalSpec
from df_agent.diffusion.config import DiffusionForcingConfig
from df_agent.options.networks import RecurrentConfig, SpaceTimeConfig, TransformerConfig, Unet3dConfig
from df_agent.options.side_models import (
    AutoencoderConfig,
    InverseDynamicsConfig,
    LatentDynamicsConfig,
    LocalPolicyConfig,
    SupportConfig,
    TimeToGoalConfig,
)
from df_agent.policies.config import PolicyConfig
from df_agent.training.config import TrainConfig
from df_agent.world_model.config import RolloutConfig, VideoConfig


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
        short_share: share of the batches that are cut, 0 to 1.
        jump_distance: trajectories are cut where a control step moves them further, by chance; null: they are not.
        stop_distance: trajectories are cut where they move no further than this within a token; null: they are not.
    """

    max_tokens: int | None = None
    short_tokens: Sequence[int] = ()
    short_share: float = 0.5
    jump_distance: float | None = None
    stop_distance: float | None = None


@dataclass(frozen=True)
class NetworkName:
    """Which network.

    Attributes:
        name: of the network, see `df_agent.models.NETWORKS`.
        merge: of space_time: neighbouring latents of a picture that make one token.
    """

    name: str = "transformer"
    merge: int = 1


@dataclass(frozen=True)
class TimeToGoalTraining(TimeToGoalConfig):
    """The estimator of the time to the goal, which is trained first; see `TimeToGoalConfig`.

    Attributes:
        steps: of its training; 0: none.
        pairs: per batch.
    """

    steps: int = 8000
    pairs: int = 2048


@dataclass(frozen=True)
class InverseDynamicsTraining(InverseDynamicsConfig):
    """The inverse model, for controller=inverse_dynamics; see `InverseDynamicsConfig`.

    Attributes:
        steps: of its training; 0: none.
    """

    steps: int = 0


@dataclass(frozen=True)
class LocalPolicyTraining(LocalPolicyConfig):
    """The learned local policy, for controller=local_policy; see `LocalPolicyConfig`.

    Attributes:
        steps: of its training; 0: none.
        batch_size: transitions per batch.
    """

    steps: int = 0
    batch_size: int = 512


@dataclass(frozen=True)
class SupportTraining(SupportConfig):
    """The classifier that tells moves of the data from others, for feasibility; see `SupportConfig`.

    Attributes:
        steps: of its training; 0: none.
    """

    steps: int = 0


@dataclass(frozen=True)
class ValidationOptions:
    """The agent in its environment, now and then during training.

    Attributes:
        episodes: of each validation.
        choose: after training, try ways to plan and act on these episodes and keep the best one.
        seed: of the starts, 1000 and above; 0 and 1 are for reports.
    """

    episodes: int = 32
    choose: bool = False
    seed: int = 1000


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
        steps: of the training, short for train.steps.
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
    tracker: str = "tensorboard"
    steps: int = GIVEN  # type: ignore[assignment]
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


def _pictures(**values: Any) -> dict[str, Any]:
    """Return how an autoencoder is trained; it has no forward to compile."""
    return {
        "weight_decay": 0.0, "precision": "auto", "compile": False, "checkpoint_every": 500, **values,
    }  # fmt: skip


@dataclass(frozen=True)
class AutoencoderTraining(AutoencoderConfig):
    """The autoencoder of the pictures; see `AutoencoderConfig`.

    Attributes:
        name: "pixels" for pictures as they are, of networks over pixels.
        load: a video model's checkpoint whose autoencoder is taken instead.
        train: how it is trained.
    """

    name: str = "autoencoder"
    load: str | None = None
    train: Options = part(TrainConfig)


@dataclass(frozen=True)
class TecoOptions:
    """TECO's clips.

    Attributes:
        name: "dmlab" or "minecraft".
        folder: that holds train/ and test/, as `df-agent fetch-teco` leaves them.
        frame_skip: of the published frames, every which one is taken.
    """

    name: str = "dmlab"
    folder: str = "data/dmlab"
    frame_skip: int = 2


@dataclass(frozen=True)
class VideoOptions:
    """A video model: first the autoencoder, then diffusion over its latents.

    Attributes:
        env: gymnasium id.
        dataset: Minari id or folder, as `df-agent collect pixels=64` writes it.
        run_dir: folder of the run; started again, it goes on where it stopped.
        tracker: "tensorboard", "wandb" or "none"; metrics.jsonl is always written.
        teco: TECO's clips instead, see data=.
        every: control steps from one picture to the next, as they were taken.
        length: frames in a clip.
        autoencoder: of the pictures.
        network: which, and its sizes.
        diffusion: the loss.
        video: what the frames' levels are.
        rollout: how frames are sampled unless told otherwise.
        train: how the video model is trained.
    """

    env: str = "maze2d-medium"
    dataset: str = "${film:${env}}"
    run_dir: str = "runs/${env}-video"
    tracker: str = "tensorboard"
    teco: Mapping[str, Any] | None = field(default=None, metadata={"classes": (TecoOptions,)})
    every: int = "${every:${env}}"  # type: ignore[assignment]
    length: int = 16
    autoencoder: Options = part(
        AutoencoderTraining,
        load=None,
        widths=[32, 48, 64],
        latent_channels=16,
        noise=0.1,
        emphasis=20.0,
        train=_pictures(steps=2500, batch_size=128, learning_rate=2e-3, warmup_steps="${warmup:100}"),
    )
    network: Options = part(NetworkName, SpaceTimeConfig, Unet3dConfig)
    diffusion: Options = part(
        DiffusionForcingConfig, schedule="cosine", prediction_type="v", snr_weighting="fused", snr_decay=0.9
    )
    video: Options = part(VideoConfig, unknown=0.5)
    rollout: Options = part(RolloutConfig, start=0.15, steps=3, eta=1.0, temperature=0.7, stabilization=0.01)
    train: Options = part(
        TrainConfig,
        steps=5000,
        batch_size=32,
        learning_rate=1e-3,
        weight_decay=0.01,
        warmup_steps="${warmup:300}",
        ema_decay=0.999,
        grad_clip=1.0,
        seed=0,
        precision="auto",
        compile=True,
        checkpoint_every=500,
        log_every=100,
        keep=2,
    )


@dataclass(frozen=True)
class DynamicsTraining(LatentDynamicsConfig):
    """Dynamics over latents; see `LatentDynamicsConfig`.

    Attributes:
        length: pictures in a row that it is trained on.
        train: how it is trained.
    """

    length: int = 12
    train: Options = part(TrainConfig)


@dataclass(frozen=True)
class CompactOptions:
    """The encoder of an agent that sees pictures: one small vector per picture, and dynamics over these vectors.

    Attributes:
        env: gymnasium id.
        dataset: Minari id or folder, as `df-agent collect pixels=64` writes it.
        run_dir: folder of the run; it takes the data's vectors too, in latents.npz.
        every: control steps from one picture to the next, as they were taken.
        autoencoder: of the pictures.
        dynamics: over the vectors.
    """

    env: str = "maze2d-umaze"
    dataset: str = "${film:${env}}"
    run_dir: str = "runs/${env}-compact"
    every: int = "${every:${env}}"  # type: ignore[assignment]
    autoencoder: Options = part(
        AutoencoderTraining,
        widths=[32, 48, 64],
        latent_channels=8,
        normalise=False,
        noise=0.1,
        emphasis=20.0,
        straighten=0.5,
        train=_pictures(steps=4000, batch_size=32, learning_rate=1e-3, warmup_steps="${warmup:200}"),
    )
    dynamics: Options = part(
        DynamicsTraining,
        width=256,
        depth=2,
        length=12,
        train={
            "steps": 4000, "batch_size": 256, "learning_rate": 1e-3, "weight_decay": 0.0,
            "warmup_steps": "${warmup:200}", "precision": "fp32", "checkpoint_every": 1000,
        },
    )  # fmt: skip
