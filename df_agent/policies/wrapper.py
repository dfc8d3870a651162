"""A policy around another one, which changes what that one sees or does."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.types import Observation, Policy


class PolicyWrapper:
    """Acts as another policy does, but for what a subclass changes of its observations and actions.

    Args:
        policy: what acts.
    """

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def set_random_seed(self, seed: int) -> None:
        """Pass the seed on to a policy that takes one."""
        if hasattr(self.policy, "set_random_seed"):
            self.policy.set_random_seed(seed)

    def shown(self, observation: Observation) -> Observation:
        """Return what the policy sees instead of an observation."""
        return observation

    def done(self, actions: NDArray[np.float64], deterministic: bool) -> NDArray[np.float64]:
        """Return what is done instead of the policy's actions."""
        return actions

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float64], Any]:
        """Return actions, (B, Da) or (Da,), and the policy's next state."""
        actions, state = self.policy.predict(self.shown(observation), state, episode_start, deterministic)
        return self.done(actions, deterministic), state
