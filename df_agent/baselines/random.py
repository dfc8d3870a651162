"""Uniformly random actions: the floor under every comparison."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from df_agent.types import Observation


class RandomPolicy:
    """Draw every action uniformly from a bounded box.

    Each episode has a generator of its own, seeded by its number since `reset_seed`, so that what happens in
    an episode does not depend on how many run beside each other.

    Args:
        action_space: the environment's, for one environment.
        seed: of the generators.
    """

    def __init__(self, action_space: gym.Space[Any], seed: int = 0) -> None:
        if not isinstance(action_space, gym.spaces.Box) or not action_space.is_bounded():
            raise ValueError(f"the action space must be a bounded Box, got {action_space}")
        self.low, self.high = action_space.low, action_space.high
        self.reset_seed(seed)

    def reset_seed(self, seed: int) -> None:
        """Begin again with the first episode's generator."""
        self.seed, self.started = seed, 0

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float64], list[np.random.Generator]]:
        """Return (B, *shape) actions, or one without the leading axis for one observation without it."""
        array = observation["desired_goal"] if isinstance(observation, dict) else observation
        single = np.ndim(array) == 1
        generators = list(state) if state is not None else [self._next() for _ in range(1 if single else len(array))]
        if state is not None and episode_start is not None:
            for row in np.flatnonzero(episode_start):
                generators[row] = self._next()
        actions = np.stack([rng.uniform(self.low, self.high) for rng in generators])
        return (actions[0] if single else actions), generators

    def _next(self) -> np.random.Generator:
        self.started += 1
        return np.random.default_rng([self.seed, self.started])
