"""The types every part of the package speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Observation = dict[str, NDArray[np.float64]] | NDArray[np.float64]


class Policy(Protocol):
    """Anything that acts: Stable-Baselines3's `predict` signature, batched over environments.

    `state` is whatever the policy returned last time (None at first); `episode_start` is a (B,) boolean
    array, True where the observation is the first of an episode. A dict observation holds arrays with a
    leading environment axis; without that axis the policy treats it as one environment and returns one action.
    """

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float64], Any]:
        """Return actions, (B, Da) or (Da,), and the next state."""
        ...


class TrainingBatch(Protocol):
    """What a trained module's loss takes; the trainer only moves it."""

    def to(self, device: torch.device | str) -> TrainingBatch:
        """Return the batch on another device."""
        ...


@dataclass
class Batch:
    """Training windows.

    Attributes:
        tokens: (B, T, D) normalised tokens.
        mask: (B, T) True where the token is real, False on padding behind an episode's end.
        cond: (B, T, C) what the network is told of each token besides; None where there is nothing.
    """

    tokens: torch.Tensor
    mask: torch.Tensor
    cond: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on another device."""
        cond = None if self.cond is None else self.cond.to(device)
        return Batch(self.tokens.to(device), self.mask.to(device), cond)


@dataclass
class Pairs:
    """Pairs of places that one episode passed.

    Attributes:
        start: (B, G) normalised goal channels at the first moment.
        goal: (B, G) the same at the second.
        steps: (B,) control steps between the two.
    """

    start: torch.Tensor
    goal: torch.Tensor
    steps: torch.Tensor

    def to(self, device: torch.device | str) -> Pairs:
        """Return the pairs on another device."""
        return Pairs(self.start.to(device), self.goal.to(device), self.steps.to(device))


@dataclass
class InverseDynamicsBatch:
    """Actions, and where the episode went within a frame.

    Attributes:
        observation: (B, Do) normalised.
        displacement: (B, G) change of the goal channels until a frame later, in units of its own deviation.
        action: (B, Da) the mean action on the way, in environment units.
    """

    observation: torch.Tensor
    displacement: torch.Tensor
    action: torch.Tensor

    def to(self, device: torch.device | str) -> InverseDynamicsBatch:
        """Return the moves on another device."""
        return InverseDynamicsBatch(self.observation.to(device), self.displacement.to(device), self.action.to(device))


@dataclass
class HindsightBatch:
    """Actions, places that were reached after them, and how long that took.

    Attributes:
        observation: (B, Do) normalised.
        goal: (B, G) goal channels of a later moment of the episode, normalised alike.
        steps: (B,) control steps until then, at least 1.
        action: (B, Da) the action taken at the observation, in environment units.
    """

    observation: torch.Tensor
    goal: torch.Tensor
    steps: torch.Tensor
    action: torch.Tensor

    def to(self, device: torch.device | str) -> HindsightBatch:
        """Return the batch on another device."""
        return HindsightBatch(*(value.to(device) for value in vars(self).values()))
