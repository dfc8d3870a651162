"""The networks' options: sizes, and what each is made for.

Plain dataclasses: nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from df_agent.options.ranges import Count, Natural, Positive


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of the network.

    Attributes:
        token_dim: D, the size of a token.
        max_tokens: the longest sequence, for the learned positions.
        width: size of the hidden state.
        depth: number of blocks.
        heads: attention heads; must divide width.
        mlp_ratio: hidden size of the feed-forward part over width.
        cond_dim: size of an optional per-token condition, 0 for none.
        causal: whether a token sees the past only.
        level_scale: K, by which levels are divided before they are embedded.
        bands: sines and cosines per input channel, at doubling frequencies, so that small differences can be told where
            the data spans many times their size, as walls of a large maze are (compare Kingma et al. 2021, VDM).
    """

    token_dim: int
    max_tokens: int
    width: Count = 160
    depth: Count = 7
    heads: Count = 5
    mlp_ratio: Positive = 4.0
    cond_dim: int = 0
    causal: bool = False
    level_scale: Count = 1000
    bands: Natural = 0

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise ValueError(f"width must be even and a multiple of heads, got width={self.width}, heads={self.heads}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class TransformerV15Config:
    """Sizes of the network.

    Attributes:
        token_dim: D, the size of a token.
        max_tokens: the longest sequence.
        width: size of the hidden state.
        depth: number of layers.
        heads: attention heads; must divide width.
        feed_forward: hidden size of the feed-forward part.
        causal: whether a token sees the past only.
        level_scale: K, the number of levels.
    """

    token_dim: int
    max_tokens: int
    width: int = 128
    depth: int = 12
    heads: int = 4
    feed_forward: int = 512
    causal: bool = False
    level_scale: int = 1000

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 4:
            raise ValueError(f"width must be a multiple of 4 and of heads, got width={self.width}, heads={self.heads}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class SpaceTimeConfig:
    """Sizes of the network.

    Attributes:
        token_dim: D, the size of a frame: places times what each holds.
        places: P, the number of patches of a frame; 1 for tokens that are no pictures.
        window: frames that a frame may look at, itself among them.
        cond_dim: size of a frame's condition; 0 for none.
        width, depth, heads: of the transformer.
        mlp_ratio: hidden size of the feed-forward layers over `width`.
        causal: no frame sees those behind it.
        level_scale: K, for the embedding of levels.
    """

    token_dim: int
    places: Count = 1
    window: Count = 16
    cond_dim: int = 0
    width: Count = 160
    depth: Count = 6
    heads: Count = 5
    mlp_ratio: Positive = 4.0
    causal: bool = True
    level_scale: Positive = 1000.0

    def __post_init__(self) -> None:
        if self.token_dim % self.places:
            raise ValueError(f"token_dim={self.token_dim} must be a multiple of places={self.places}")
        if self.width % (4 * self.heads):
            raise ValueError(f"width={self.width} must be a multiple of 4 * heads, got heads={self.heads}")

    @property
    def max_tokens(self) -> int:
        """The longest sequence that is seen at once, as the other networks call it."""
        return self.window

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class RecurrentConfig:
    """Sizes of the network.

    Attributes:
        token_dim: D, the size of a token.
        max_tokens: tokens of the training windows; in use sequences may be longer.
        width: size of the hidden layers before and after the recurrence.
        state: size of the state, per layer.
        depth: residual layers on either side of the recurrence.
        layers: how many the recurrence has.
        cond_dim: size of an optional per-token condition, 0 for none.
        level_scale: K, by which levels are divided before they are embedded.
    """

    token_dim: int
    max_tokens: int = 0
    width: Count = 256
    state: Count = 256
    depth: Count = 2
    layers: Count = 1
    cond_dim: int = 0
    level_scale: Count = 1000

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class Unet3dConfig:
    """Sizes of the network.

    Attributes:
        token_dim: D, the size of a flattened frame, `channels * side ** 2`.
        channels: of a frame.
        window: frames that attention reaches over.
        cond_dim: size of a frame's condition; 0 for none. The original has none.
        width: channels of the first resolution.
        multipliers: channels of each resolution over `width`; each but the first has half the side of the one before.
        attention: at which resolutions, as how many times smaller than the frame, there is attention; the smallest has
            it always.
        heads, head_dim: of the attention.
        causal: no frame sees those behind it.
        places: 1; a frame is one token.
        level_scale: K, for the embedding of levels.
    """

    token_dim: int
    channels: int = 3
    window: Count = 16
    cond_dim: int = 0
    width: Count = 64
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    attention: tuple[int, ...] = (1, 2, 4, 8)
    heads: Count = 4
    head_dim: Count = 32
    causal: bool = True
    places: int = 1
    level_scale: Positive = 1000.0

    def __post_init__(self) -> None:
        for name in ("multipliers", "attention"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        side, smallest = self.side, 2 ** (len(self.multipliers) - 1)
        if side**2 * self.channels != self.token_dim or side % smallest:
            raise ValueError(
                f"token_dim must be that of square frames of {self.channels} channels, a multiple of {smallest} wide; "
                f"got {self.token_dim}"
            )
        if self.width % 8 or self.head_dim % 4:
            raise ValueError(f"need width % 8 == 0 and head_dim % 4 == 0, got {self.width} and {self.head_dim}")

    @property
    def side(self) -> int:
        """Height and width of a frame."""
        return int((self.token_dim / self.channels) ** 0.5 + 0.5)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)


@dataclass(frozen=True)
class TemporalUnetConfig:
    """Sizes of the network.

    Attributes:
        token_dim: D, the size of a transition.
        width: channels of the first resolution, and size of the level's embedding.
        multipliers: channels of each resolution over `width`; time is halved between two of them.
        kernel: size of the convolutions, odd.
    """

    token_dim: int
    width: Count = 32
    multipliers: tuple[int, ...] = (1, 4, 8)
    kernel: Count = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        if self.width % 8 or self.kernel % 2 == 0 or len(self.multipliers) < 2:
            raise ValueError(
                f"need a width that is a multiple of 8, an odd kernel and two multipliers or more, got "
                f"width={self.width}, kernel={self.kernel}, multipliers={self.multipliers}"
            )

    @property
    def stride(self) -> int:
        """What a horizon must be a multiple of."""
        return int(2 ** (len(self.multipliers) - 1))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the config can be made again."""
        return asdict(self)
