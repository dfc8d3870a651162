"""Uniformly random actions: the floor under every comparison."""

from __future__ import annotations

import zlib
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from df_agent.types import Observation


class RandomPolicy:
    """Draw every action uniformly from a bounded box.

    Each episode has a generator of its own. With `deterministic` it follows from the seed and the episode's first
    observation, so that the same episode repeats, whatever runs beside it.

    Args:
        action_space: the environment's, for one environment.
        seed: of the generators.
    """

    def __init__(self, action_space: gym.Space[Any], seed: int = 0) -> None:
        if not isinstance(action_space, gym.spaces.Box) or not action_space.is_bounded():
            raise ValueError(f"the action space must be a bounded Box, got {action_space}")
        self.low, self.high = action_space.low, action_space.high
        self.set_random_seed(seed)

    @classmethod
    def for_env(cls, env_id: str, seed: int = 0) -> RandomPolicy:
        """Make one for the actions of a gymnasium environment."""
        env = gym.make(env_id)
        try:
            return cls(env.action_space, seed)
        finally:
            env.close()

    def set_random_seed(self, seed: int) -> None:
        """Begin again with another set of actions."""
        self.seed, self._entropy = seed, np.random.default_rng(seed)

    def predict(
        self,
        observation: Observation,
        state: list[np.random.Generator] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float64], list[np.random.Generator]]:
        """Return (B, *shape) actions, or one without the leading axis for one observation without it."""
        given = observation if isinstance(observation, dict) else {"desired_goal": observation}
        single = np.ndim(given["desired_goal"]) == 1
        arrays = [np.asarray(given[key])[None] if single else np.asarray(given[key]) for key in sorted(given)]
        rows = len(arrays[0])
        starts = np.ones(rows, dtype=bool) if state is None else np.zeros(rows, dtype=bool)
        if episode_start is not None:
            starts |= np.asarray(episode_start, dtype=bool).reshape(rows)
        generators: list[Any] = [None] * rows if state is None else list(state)
        for row in np.flatnonzero(starts):
            first = zlib.crc32(b"".join(array[row].tobytes() for array in arrays))
            generators[row] = np.random.default_rng([self.seed, first]) if deterministic else self._entropy.spawn(1)[0]
        actions = np.stack([rng.uniform(self.low, self.high) for rng in generators])
        return (actions[0] if single else actions), generators
