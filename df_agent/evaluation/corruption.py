"""Bad sensors: the same policy with observations that turn noisy or drop out on the way to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from df_agent.policies.wrapper import PolicyWrapper
from df_agent.types import Observation, Policy

Array = NDArray[np.float64]
KINDS = ("noise", "dropout")


class Corrupted(PolicyWrapper):
    """A policy behind sensors that fail at random, independently in every step; goals are always right.

    Args:
        policy: with dict observations.
        kind: "noise" adds Gaussian noise to all channels, "dropout" shows zeros.
        share: of the observations that are corrupted, in [0, 1].
        scale: (Do,) standard deviation of the noise in each channel.
        noise: what the policy is told of it: standard deviation of the noise in the data's standard deviations.
        told: whether the policy is told, as "noise" in the observation, which observations are corrupted.
        seed: of the corruption; it is the same for all policies.
    """

    def __init__(
        self,
        policy: Policy,
        kind: str,
        share: float,
        scale: Array,
        noise: float = 1.0,
        told: bool = True,
        seed: int = 0,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"unknown kind {kind!r}, available: {list(KINDS)}")
        if not 0 <= share <= 1:
            raise ValueError(f"share must lie in [0, 1], got {share}")
        super().__init__(policy)
        self.kind, self.share, self.scale = kind, share, np.asarray(scale, dtype=np.float64)
        self.noise, self.told, self.seed = noise, told, seed
        self._random = np.random.default_rng(seed)

    def set_random_seed(self, seed: int) -> None:
        """Begin the corruption again, and pass the seed on."""
        self._random = np.random.default_rng([self.seed, seed])
        super().set_random_seed(seed)

    def shown(self, observation: Observation) -> Observation:
        """Return the corrupted observation; it must be a batched dict."""
        if not isinstance(observation, dict) or np.ndim(observation["observation"]) != 2:
            raise ValueError("Corrupted needs dict observations with a leading environment axis")
        values = np.array(observation["observation"], dtype=np.float64)
        bad = self._random.random(len(values)) < self.share
        error = self._random.standard_normal(values.shape) * self.scale
        wrong = values + error if self.kind == "noise" else np.zeros_like(values)
        seen = {**observation, "observation": np.where(bad[:, None], wrong, values)}
        if self.told:
            seen["noise"] = np.where(bad, self.noise if self.kind == "noise" else np.inf, 0.0)
        return seen
