"""Options of the models beside the diffusion model, and of those that turn pictures into vectors.

Plain dataclasses: nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from df_agent.options.ranges import Count, InnerShare, Natural, NotNegative, Positive


@dataclass(frozen=True)
class InverseDynamicsConfig:
    """Sizes of the inverse model.

    Attributes:
        observation_dim: Do, the modelled channels of the observation.
        channels: G, the number of goal channels.
        action_dim: Da.
        width: size of the hidden layers.
        depth: number of hidden layers.
    """

    observation_dim: int
    channels: int
    action_dim: int
    width: Count = 192
    depth: Count = 3

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class LocalPolicyConfig:
    """Sizes of the local policy.

    Attributes:
        observation_indices: channels of the environment's observation that it sees, Do of them; others than those that
            plans are about, if need be.
        goal_channels: where among these the goal lies, G of them.
        observation_mean: (Do,) mean of the data in these channels.
        observation_std: (Do,) its standard deviation.
        action_mean: (Da,) mean of the data's actions.
        action_std: (Da,) their standard deviation.
        longest: most control steps between an action and its goal in training.
        quantile: which quantile of the steps to a goal the clock learns.
        width: size of the hidden layers.
        depth: number of hidden layers.
    """

    observation_indices: tuple[int, ...]
    goal_channels: tuple[int, ...]
    observation_mean: tuple[float, ...]
    observation_std: tuple[float, ...]
    action_mean: tuple[float, ...]
    action_std: tuple[float, ...]
    longest: int
    quantile: InnerShare = 0.1
    width: Count = 256
    depth: Count = 3

    def __post_init__(self) -> None:
        for name in (
            "observation_indices", "goal_channels", "observation_mean", "observation_std", "action_mean", "action_std",
        ):  # fmt: skip
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {self.quantile}")
        if self.longest < 1:
            raise ValueError(f"longest is in control steps, at least 1, got {self.longest}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class SupportConfig:
    """Sizes of the classifier, and what it is trained against.

    Attributes:
        channels: G, the number of goal channels.
        blur: standard deviations of the least and the most blur, in those of the data.
        bands: sines and cosines per channel, at doubling frequencies, so that small distances can be told.
        width: size of the hidden layers.
        depth: number of hidden layers.
    """

    channels: int
    blur: tuple[float, float] = (0.05, 0.5)
    bands: Natural = 4
    width: Count = 128
    depth: Count = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "blur", tuple(self.blur))
        if not 0 < self.blur[0] <= self.blur[1]:
            raise ValueError(f"blur must be two positive numbers, the least and the most, got {self.blur}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class TimeToGoalConfig:
    """Sizes of the estimator.

    Attributes:
        channels: G, the number of goal channels.
        symmetric: whether the way back takes as long, as for a robot that can turn round anywhere.
        quantile: which quantile of the steps is learned, of pairs as `PairSampler` draws them.
        resolution: below about so many steps, differences count for little [control steps].
        unit: steps to a distance of one between embeddings [control steps].
        spread: how strongly places of different pairs are pushed apart. Of places that no walk joins, the data only
            says that they are no further apart than a chain of trajectories is; pushed apart, they are as far as that
            (compare Wang et al. 2023, QRL).
        bands: sines and cosines per channel, at doubling frequencies, so that thin walls can be told.
        width: size of the hidden layers.
        depth: number of hidden layers.
        groups: terms of which the distance is the sum.
        group_size: coordinates of a place in each of them.
    """

    channels: int = 2
    symmetric: bool = False
    quantile: InnerShare = 0.1
    resolution: Count = 4
    unit: Count = 16
    spread: NotNegative = 0.0
    bands: Natural = 5
    width: Count = 160
    depth: Count = 3
    groups: Count = 8
    group_size: Count = 16

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, got {self.quantile}")
        if self.resolution < 1 or self.unit < 1:
            raise ValueError(f"resolution and unit are steps, at least 1, got {self.resolution} and {self.unit}")
        if not 0 <= self.spread < self.quantile:
            raise ValueError(
                f"spread must lie in [0, quantile={self.quantile}), or everything is pushed apart, got {self.spread}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class LatentDynamicsConfig:
    """Sizes of the network.

    Attributes:
        latent_dim: L.
        action_dim: A, of all actions from one picture to the next.
        width: size of the hidden layers.
        depth: number of hidden layers.
    """

    latent_dim: int
    action_dim: int
    width: Count = 256
    depth: Count = 2

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes, and what its training asks for.

    Attributes:
        size: height and width of the pictures, `4 * 2 ** halvings` times the latents'.
        channels: of the pictures.
        widths: features at a fourth of the size, and after each halving.
        latent_channels: C of each latent vector.
        one_vector: a single latent vector for the whole picture instead of one per place.
        normalise: give each latent vector zero mean and unit variance; otherwise a small penalty keeps them small.
        noise: standard deviation of what is added to the latents in training, so that near latents mean like pictures.
        emphasis: how many times more a pixel counts that differs from the background, or lies beside one: a small thing
            that moves has to be kept. The background is the data's median; where the camera moves, nearly all differ.
        straighten: how much it costs that latents of pictures in a row turn or change their pace: where the world moves
            evenly, they shall. Needs batches of pictures in a row.
    """

    size: Count = 64
    channels: Count = 3
    widths: tuple[int, ...] = (48, 96, 128)
    latent_channels: Count = 16
    one_vector: bool = False
    normalise: bool = True
    noise: NotNegative = 0.1
    emphasis: Positive = 20.0
    straighten: NotNegative = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if not self.widths or self.size % (4 * 2 ** (len(self.widths) - 1)):
            raise ValueError(
                f"size must be a multiple of 4 * 2 ** halvings, got size={self.size} with widths={self.widths}"
            )

    @property
    def side(self) -> int:
        """Height and width of the features before they become latents."""
        return int(self.size // (4 * 2 ** (len(self.widths) - 1)))

    @property
    def places(self) -> int:
        """P, the number of latent vectors of a picture."""
        return 1 if self.one_vector else self.side**2

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class PixelsConfig:
    """Of what takes pictures as they are.

    Attributes:
        size: height and width.
        channels: of the pictures.
    """

    size: int = 64
    channels: int = 3

    @property
    def places(self) -> int:
        """One vector holds a picture."""
        return 1

    @property
    def latent_channels(self) -> int:
        """Its size."""
        return self.channels * self.size**2

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return {"name": "pixels", **asdict(self)}
