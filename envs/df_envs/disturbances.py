"""What goes wrong between a policy and its motors: noise, a constant push, and actions that take effect late."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

Action = NDArray[np.floating[Any]]


class DisturbedActions(gym.Wrapper[Any, Any, Any, Any]):
    """Executes something else than it is told: an action of `delay` steps ago, pushed and noisy, clipped.

    Args:
        env: with actions in a bounded box.
        noise: standard deviation of Gaussian noise, drawn anew in every step from the environment's own generator.
        push: added to every action, one number or one per channel.
        delay: control steps until an action takes effect; before the first one, nothing is done.

    Raises:
        ValueError: actions that are not in a box, or a negative noise or delay.
    """

    def __init__(
        self, env: gym.Env[Any, Any], *, noise: float = 0.0, push: float | Sequence[float] = 0.0, delay: int = 0
    ) -> None:
        super().__init__(env)
        if not isinstance(env.action_space, gym.spaces.Box):
            raise ValueError(f"actions must lie in a box, got {env.action_space}")
        if noise < 0 or delay < 0:
            raise ValueError(f"noise and delay must not be negative, got {noise} and {delay}")
        self.noise, self.push, self.delay = noise, np.asarray(push, dtype=np.float64), delay
        self._box = env.action_space
        self._coming: deque[Action] = deque()

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, with no action on its way."""
        self._coming = deque([np.zeros(self._box.shape)] * self.delay)
        return self.env.reset(**options)

    def step(self, action: Action) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Send an action on its way, and execute the one that arrives."""
        self._coming.append(np.asarray(action, dtype=np.float64))
        arriving = self._coming.popleft() + self.push
        if self.noise:
            arriving = arriving + self.noise * self.env.unwrapped.np_random.standard_normal(self._box.shape)
        return self.env.step(np.clip(arriving, self._box.low, self._box.high).astype(self._box.dtype))
