"""Policies that data is collected with: scripted demonstrators, and anything else that acts."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from df_envs.fetch import FETCH_TASKS, RECALL_TASKS, fetch_demonstrator
from df_envs.ogbench_mazes import ACTION_NOISE, OGBENCH_IDS, Wanderer
from df_envs.waypoints import demonstrator
from numpy.typing import NDArray

from df_agent.cli.environments import MAZE_IDS, is_maze
from df_agent.cli.policies import make_policy, policy_config
from df_agent.cli.policy_files import check_collector
from df_agent.policies.wrapper import PolicyWrapper
from df_agent.types import Policy


class NoisyPolicy(PolicyWrapper):
    """A policy with Gaussian noise on its actions, clipped to the action space.

    Args:
        policy: what acts.
        noise: standard deviation, in units of the action.
        space: of the actions.
        seed: seeds the noise.
    """

    def __init__(self, policy: Policy, noise: float, space: gym.Space[Any], seed: int) -> None:
        if not isinstance(space, gym.spaces.Box):
            raise ValueError(f"noise={noise} needs a continuous action space, this one is {space}")
        super().__init__(policy)
        self.noise, self.space = noise, space
        self._random = np.random.default_rng(seed)

    def done(self, actions: NDArray[np.float64], deterministic: bool) -> NDArray[np.float64]:
        """Return the policy's actions with noise; `deterministic` leaves the noise out."""
        if not deterministic:
            actions = actions + self._random.normal(0.0, self.noise, np.shape(actions))
        return np.clip(actions, self.space.low, self.space.high)


class Wandering(PolicyWrapper):
    """A policy that is now and then interrupted by a random action, held for a while.

    So the data also holds what the policy would not do, which a model of the world has to know.

    Args:
        policy: what acts; one environment at a time.
        share: of the time that is spent so.
        space: of the actions.
        seed: seeds when, how long (up to `longest` steps) and what.
    """

    def __init__(self, policy: Policy, share: float, space: gym.Space[Any], seed: int, longest: int = 60) -> None:
        if not isinstance(space, gym.spaces.Box):
            raise ValueError(f"wandering needs a continuous action space, this one is {space}")
        if not 0 <= share < 1:
            raise ValueError(f"the share of the time spent wandering must lie in [0, 1), got {share}")
        super().__init__(policy)
        self.space, self.longest = space, longest
        self._random = np.random.default_rng(seed)
        mean = (longest + 1) / 2
        self._chance = share / ((1 - share) * mean) if share else 0.0  # of beginning, in a step that is the policy's
        self._left, self._action = 0, np.zeros(space.shape)

    def done(self, actions: NDArray[np.float64], deterministic: bool) -> NDArray[np.float64]:
        """Return the policy's action or the random one."""
        if self._left == 0 and self._random.random() < self._chance:
            self._left = int(self._random.integers(1, self.longest + 1))
            self._action = self._random.uniform(self.space.low, self.space.high)
        if self._left == 0:
            return actions
        self._left -= 1
        return self._action.copy()


def demonstrator_of(env_id: str, *, noise: float | None, seed: int, waypoints: str = "dfs") -> Policy:
    """Return the scripted demonstrator of one of the mazes or of Fetch; raises ValueError for other environments."""
    name = env_id.removeprefix("df_envs:")
    if is_maze(name):
        return demonstrator(name, route=waypoints, action_noise=0.5 if noise is None else noise, seed=seed)
    if name in (*FETCH_TASKS, *RECALL_TASKS):
        return fetch_demonstrator(name, action_noise=0.2 if noise is None else noise, seed=seed)
    if name in OGBENCH_IDS:
        return Wanderer(name, ACTION_NOISE if noise is None else noise, seed)
    known = ", ".join([*MAZE_IDS, *FETCH_TASKS, *RECALL_TASKS, *OGBENCH_IDS])
    raise ValueError(f"{env_id!r} has no demonstrator (those have: {known}); give policy= a name, a file or a module")


def policy_from(name: str, env_id: str, env: gym.Env[Any, Any]) -> Policy:
    """Return a policy by its name, Stable-Baselines3's file, or "module:name" of what makes one.

    Raises:
        ValueError: there is none of that name.
        FileNotFoundError: there is no such file.
    """
    check_collector(name)
    if name.endswith(".zip"):
        return load_stable_baselines(Path(name), env)
    if ":" in name:
        module, _, attribute = name.partition(":")
        policy: Policy = getattr(import_module(module), attribute)()
        return policy
    return make_policy(policy_config(name, env_id))


def load_stable_baselines(path: Path, env: gym.Env[Any, Any]) -> Policy:
    """Load a file of Stable-Baselines3's. It may run code when it is loaded: take only those you trust.

    Raises:
        ValueError: no algorithm of Stable-Baselines3's can load it.
    """
    import stable_baselines3

    reasons = []
    for algorithm in ("SAC", "TD3", "DDPG", "PPO", "A2C"):
        try:
            loaded: Policy = getattr(stable_baselines3, algorithm).load(path, env=env, device="cpu")
        except Exception as error:  # each fails in a way of its own on another's file
            reasons.append(f"{algorithm}: {type(error).__name__}: {error}")
            continue
        return loaded
    raise ValueError(f"{path} is no policy of Stable-Baselines3's for {env.spec and env.spec.id}: {'; '.join(reasons)}")
