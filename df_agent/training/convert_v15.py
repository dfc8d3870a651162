"""Diffusion Forcing v1.5's released weights of its mazes, in our format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from df_agent.checkpoint import CheckpointError
from df_agent.data.config import TokenizerConfig
from df_agent.data.tokens import Tokenizer
from df_agent.models.transformer_v15 import TransformerV15
from df_agent.options.networks import TransformerV15Config

FRAME_STACK = 10  # of all released models, at every control step
LEVELS = 1000


@dataclass(frozen=True)
class Axes:
    """How channels of another simulator's become ours: channel i is `sign[i]` times its `source[i]`, plus `offset[i]`.

    Attributes:
        source: which of the other's channels.
        sign: 1 or -1.
        offset: in our units.
    """

    source: tuple[int, ...]
    sign: tuple[float, ...]
    offset: tuple[float, ...]

    def __post_init__(self) -> None:
        n = len(self.source)
        if sorted(self.source) != list(range(n)) or len(self.sign) != n or len(self.offset) != n:
            raise ValueError(f"axes must permute their channels, with a sign and an offset each, got {self}")
        if any(abs(sign) != 1 for sign in self.sign):
            raise ValueError(f"signs must be 1 or -1, got {self.sign}")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a Lightning checkpoint (or a bare state dict), read without executing code.

    Names lose what `torch.compile` and the modules around the network put before them.

    Raises:
        CheckpointError: no such file, more than plain values in it, or another network.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever torch's unpickler makes of a foreign file
        raise CheckpointError(
            f"{path} cannot be read safely: it is truncated, no checkpoint of torch's, or holds more than weights; "
            f"nothing of it was executed ({type(error).__name__})"
        ) from error
    state = stored.get("state_dict", stored) if isinstance(stored, Mapping) else {}
    plain = {str(k).replace("_orig_mod.", ""): v for k, v in state.items() if isinstance(v, Tensor)}
    marks = [key for key in plain if key.endswith("init_mlp.0.weight")]
    if len(marks) != 1:
        raise CheckpointError(
            f"{path} holds no transformer of Diffusion Forcing v1.5's mazes; its tensors begin with {sorted(plain)[:5]}"
        )
    prefix = marks[0].removesuffix("init_mlp.0.weight")
    network = {key.removeprefix(prefix): value.float() for key, value in plain.items() if key.startswith(prefix)}
    return {**network, **{key: plain[key].float() for key in ("data_mean", "data_std") if key in plain}}


def check_network(weights: Mapping[str, Tensor], max_tokens: int = 1) -> TransformerV15Config:
    """Return the network's sizes; raises CheckpointError if tensors are missing, left over or do not go together."""
    first, depth = weights["init_mlp.0.weight"], 0
    while f"transformer.layers.{depth}.linear1.weight" in weights:
        depth += 1
    if first.ndim != 2 or depth == 0 or first.shape[0] % 4:
        raise CheckpointError(
            "the weights are not those of v1.5's transformer: the first layer or all others are missing"
        )
    hidden = first.shape[0]
    feed_forward = weights["transformer.layers.0.linear1.weight"].shape[0]
    sizes = TransformerV15Config(first.shape[1] - hidden // 2, max_tokens, hidden, depth, feed_forward=feed_forward)
    wanted = {key: value.shape for key, value in TransformerV15(sizes).state_dict().items()}
    found = {key: value.shape for key, value in weights.items() if not key.startswith("data_")}
    amiss = sorted(key for key in {*wanted, *found} if wanted.get(key) != found.get(key))
    if amiss:
        raise CheckpointError(f"tensors are missing, left over or of another size than v1.5's: {', '.join(amiss[:5])}")
    return sizes


def convert(
    weights: Mapping[str, Tensor],
    axes: Axes,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    max_tokens: int = 81,
    frame_stack: int = FRAME_STACK,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights and config ("network", "diffusion", "tokenizer", "windows") of a checkpoint of ours.

    Other axes are folded into the first and the last layer, so the network computes what it did.

    Args:
        weights: as `read_weights` returns them.
        axes: of a frame: positions; positions and velocities; or both and actions.
        mean, std: of a frame's channels in the other's order; by default as the weights tell.
        max_tokens: the longest plan, with the present.
        frame_stack: frames in a token.

    Raises:
        CheckpointError: sizes that do not fit each other, or no mean and std.
    """
    sizes, channels = check_network(weights, max_tokens), len(axes.source)
    if sizes.token_dim != channels * frame_stack:
        raise CheckpointError(
            f"tokens of {sizes.token_dim} numbers are not {frame_stack} frames of {channels}; v1.5 released models of "
            "2, 4 and 6 channels (x, xv and xva)"
        )
    network = _in_axes(weights, axes, frame_stack)
    observed = min(channels, 4)
    tokenizer = Tokenizer(
        TokenizerConfig(
            observation_indices=tuple(range(observed)),
            goal_channels=(0, 1),
            action_dim=channels - observed,
            include_actions=channels > observed,
            frame_stack=frame_stack,
        ),
        *_statistics(weights, axes, mean, std),
    )
    config = {
        "network": {"name": "transformer_v15", **sizes.to_dict()},
        "diffusion": {"schedule": "linear", "prediction_type": "x0", "levels": LEVELS, "frame_stack": frame_stack},
        "tokenizer": tokenizer.to_dict(),
        "windows": {"max_tokens": max_tokens},
    }
    return {f"diffusion.network.{key}": value for key, value in network.items()}, config


def _statistics(
    weights: Mapping[str, Tensor], axes: Axes, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of a frame's channels, (Df,) each, in our axes."""
    given = [weights.get("data_mean") if mean is None else torch.tensor(mean)]
    given.append(weights.get("data_std") if std is None else torch.tensor(std))
    if any(part is None or part.numel() != len(axes.source) for part in given):
        raise CheckpointError(
            f"give the mean and standard deviation of the {len(axes.source)} channels that training used"
        )
    means, stds = (part.flatten().float()[list(axes.source)] for part in given if part is not None)
    return means * torch.tensor(axes.sign) + torch.tensor(axes.offset), stds


def _in_axes(weights: Mapping[str, Tensor], axes: Axes, frame_stack: int) -> dict[str, Tensor]:
    """Return the network's weights with our axes folded into its first and its last layer."""
    channels = len(axes.source)
    rows = (torch.arange(frame_stack)[:, None] * channels + torch.tensor(axes.source)).flatten()
    flips = torch.tensor(axes.sign).repeat(frame_stack)
    network = {key: value.clone() for key, value in weights.items() if not key.startswith("data_")}
    first = network["init_mlp.0.weight"]
    network["init_mlp.0.weight"] = torch.cat([first[:, rows] * flips, first[:, len(rows) :]], 1)
    network["out.weight"] = network["out.weight"][rows] * flips[:, None]
    network["out.bias"] = network["out.bias"][rows] * flips
    return network
