"""What gymnasium knows of an environment before it is made."""

from __future__ import annotations

from importlib import import_module

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec


def spec_of(env_id: str) -> EnvSpec:
    """Return the specification of a gymnasium id; imports the module of "module:id", as `gym.make` does."""
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module)
    return gym.spec(name)


def episode_limit(env_id: str, max_steps: int | None) -> int:
    """Return `max_steps`, or the environment's own limit; raises ValueError if there is neither."""
    limit = spec_of(env_id).max_episode_steps if max_steps is None else max_steps
    if limit is None or limit < 1:
        raise ValueError(f"{env_id!r} has no limit of its own: give max_steps >= 1, got {max_steps}")
    return int(limit)
