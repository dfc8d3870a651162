"""Clips: pictures in a row, and the actions between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from df_agent.data.episodes import open_dataset, whole_numbers
from df_agent.data.pictures import as_rgb
from df_agent.models.autoencoder import Frames, to_signal


@dataclass(frozen=True)
class Clips:
    """Episodes of pictures, concatenated. N is the number of pictures, E of episodes.

    Attributes:
        frames: (N, H, W, C) uint8.
        actions: (N, A) float32; row t is what was done between pictures t - 1 and t, zero for an episode's first.
        states: (N, Do) float32, what the environment said of itself; for measuring only. None where it said nothing.
        starts: (E + 1,) int64; episode e is the rows starts[e]:starts[e + 1].
    """

    frames: NDArray[np.uint8]
    actions: NDArray[np.float32]
    states: NDArray[np.float32] | None
    starts: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", whole_numbers(self.starts, "starts"))
        rows = len(self.frames)
        if self.frames.ndim != 4 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames must be uint8 pictures (N, H, W, C), got {self.frames.dtype} {self.frames.shape}")
        for name, part in (("actions", self.actions), ("states", self.states)):
            if part is not None and (part.ndim != 2 or len(part) != rows or not np.isfinite(part).all()):
                raise ValueError(f"{name} must be finite, with 2 axes and {rows} rows; got shape {part.shape}")
        if self.starts[0] != 0 or self.starts[-1] != rows or (np.diff(self.starts) < 1).any():
            raise ValueError(f"starts must ascend from 0 to {rows}, got {self.starts[:3]}...{self.starts[-1:]}")

    def __len__(self) -> int:
        """Number of episodes."""
        return len(self.starts) - 1

    def background(self, most: int = 500) -> NDArray[np.uint8]:
        """Return what is usually there, (H, W, C): the median of up to `most` pictures, evenly spread."""
        chosen = np.linspace(0, len(self.frames) - 1, min(most, len(self.frames))).astype(int)
        return np.asarray(np.median(self.frames[chosen], 0), dtype=np.uint8)

    def windows(self, length: int) -> NDArray[np.int64]:
        """Return the first rows of all stretches of `length` pictures that lie within an episode.

        Raises:
            ValueError: there are none.
        """
        sizes = np.diff(self.starts)
        if length > sizes.max():
            raise ValueError(f"no episode has {length} pictures; the longest has {sizes.max()}")
        rows = np.arange(len(self.frames))
        return rows[rows + length <= np.repeat(self.starts[1:], sizes)]


def load_clips(name: str | Path) -> Clips:
    """Load the pictures of a Minari dataset, as `df-agent collect pixels=64` writes it.

    Raises:
        FileNotFoundError, ConnectionError: as `load_episodes`.
        ValueError: there are no pictures in it.
    """
    frames, actions, states, starts = [], [], [], [0]
    try:
        dataset = open_dataset(name)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} Give it pixels=64, so that it takes pictures.") from error
    for episode in dataset.iterate_episodes():
        seen = episode.observations
        if not isinstance(seen, dict) or "pixels" not in seen:
            raise ValueError(f"{str(name)!r} holds no pictures; `df-agent collect ... pixels=64` takes them")
        taken = np.asarray(episode.actions, dtype=np.float32)
        frames.append(as_rgb(seen["pixels"], leading=1))
        actions.append(np.concatenate([np.zeros_like(taken[:1]), taken]))
        states.append(np.asarray(seen["observation"], dtype=np.float32))
        starts.append(starts[-1] + len(frames[-1]))
    return Clips(np.concatenate(frames), np.concatenate(actions), np.concatenate(states), np.array(starts))


class FrameSampler:
    """Draws batches of pictures, single or three in a row.

    Args:
        clips: where they come from.
        in_a_row: 1 or 3.
    """

    def __init__(self, clips: Clips, in_a_row: int = 1) -> None:
        self.frames, self.in_a_row = torch.from_numpy(clips.frames), in_a_row
        self.background = torch.from_numpy(clips.background())
        self.windows = torch.from_numpy(clips.windows(in_a_row))

    def __call__(self, batch_size: int, generator: torch.Generator) -> Frames:
        """Draw `batch_size` pictures, or rows of them, with a CPU generator."""
        pick = self.windows[torch.randint(len(self.windows), (batch_size,), generator=generator)]
        if self.in_a_row > 1:
            pick = pick[:, None] + torch.arange(self.in_a_row)
        return Frames(self.frames[pick], self.background)


@dataclass
class ClipBatch:
    """Clips to learn from.

    Attributes:
        tokens: (B, T, D) the latents of the pictures.
        cond: (B, T, A + 1) normalised actions that led to each picture, and 1 where they are known.
    """

    tokens: Tensor
    cond: Tensor

    def to(self, device: torch.device | str) -> ClipBatch:
        """Return the clips on another device."""
        return ClipBatch(self.tokens.to(device), self.cond.to(device))


class ClipSampler:
    """Draws batches of clips of encoded pictures.

    Args:
        latents: (N, D) of all pictures of `clips`; or these themselves, uint8, for networks that work on pixels.
        clips: where they come from.
        length: T, pictures in a clip.
        action_scale: (A,) what actions are divided by.
    """

    def __init__(self, latents: Tensor, clips: Clips, length: int, action_scale: Tensor) -> None:
        self.latents, self.length = latents, length
        self.cond = conditions(torch.from_numpy(clips.actions), action_scale)
        first = clips.starts[:-1]
        self.cond[first] = 0.0  # nothing led to an episode's first picture
        self.windows = torch.from_numpy(clips.windows(length))

    def __call__(self, batch_size: int, generator: torch.Generator) -> ClipBatch:
        """Draw `batch_size` clips with a CPU generator."""
        pick = self.windows[torch.randint(len(self.windows), (batch_size,), generator=generator)]
        rows = pick[:, None] + torch.arange(self.length)
        chosen = self.latents[rows]
        tokens = to_signal(chosen).flatten(2) if chosen.dtype == torch.uint8 else chosen.float()
        return ClipBatch(tokens, self.cond[rows])


def conditions(actions: Tensor, scale: Tensor) -> Tensor:
    """Return what a network is told of actions (..., A): them over their scale, and 1 for known, (..., A + 1)."""
    return torch.cat([actions / scale.to(actions), torch.ones_like(actions[..., :1])], -1)
