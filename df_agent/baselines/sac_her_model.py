"""What `sac_her` is made of: Stable-Baselines3's SAC or TD3, its environments, and hindsight goals that end episodes.

A step costs 1 and the episode ends on arrival, so a value is a discounted time to the goal.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from stable_baselines3.her import HerReplayBuffer
from torch import Tensor

from df_agent.baselines.sac_her import Actor
from df_agent.data.answers import read_step
from df_agent.options.baselines import GoalConfig, SACHERConfig

ALGORITHMS = {"sac": SAC, "td3": TD3}


class ArrivalReward(gym.Wrapper[Any, Any, Any, Any]):
    """A cost of 1 per step until the goal is reached, where the episode ends; observations as float32.

    Args:
        env: a goal environment whose `compute_reward` has two values, the larger one at the goal.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        spaces: Any = env.observation_space
        self.observation_space = gym.spaces.Dict(
            {key: gym.spaces.Box(-np.inf, np.inf, space.shape, np.float32) for key, space in spaces.items()}
        )
        self._reward_of = env.get_wrapper_attr("compute_reward")
        anywhere = np.zeros((1, *spaces["desired_goal"].shape))
        self._at_goal = float(np.asarray(self._reward_of(anywhere, anywhere, {})).item())  # 1 in the mazes, 0 in Fetch

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(**options)
        return self._cast(observation), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Step; terminated at the goal."""
        observation, reward, terminated, truncated, info = read_step(self.env.step(action))
        arrived = reward >= self._at_goal
        return self._cast(observation), float(arrived) - 1.0, terminated or arrived, truncated, info

    def compute_reward(self, achieved_goal: Any, desired_goal: Any, info: Any) -> NDArray[np.float64]:
        """Rewards, (...), of achieved for desired goals (..., G): 0 at the goal, else -1."""
        arrived = np.asarray(self._reward_of(achieved_goal, desired_goal, info)) >= self._at_goal
        return np.where(arrived, 0.0, -1.0)

    @staticmethod
    def _cast(observation: Mapping[str, Any]) -> dict[str, Any]:
        return {key: np.asarray(value, dtype=np.float32) for key, value in observation.items()}


class ArrivalReplayBuffer(HerReplayBuffer):  # type: ignore[misc]
    """Hindsight goals whose arrival is the end, as it is for the goals that were pursued.

    Stable-Baselines3's buffer gives a transition with a hindsight goal a new reward, but leaves its `done` as it was.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.infos = np.empty(0, dtype=object)  # a dict per transition, never read without copy_info_dict

    def _get_virtual_samples(self, *args: Any) -> Any:
        samples = super()._get_virtual_samples(*args)
        return samples._replace(dones=(samples.rewards >= 0).float())


class GoalFeatures(BaseFeaturesExtractor):  # type: ignore[misc]
    """The observation and the goal, side by side; where the goal is measured is a part of the observation."""

    def __init__(self, observation_space: gym.spaces.Dict) -> None:
        super().__init__(observation_space, _size(observation_space, "observation", "desired_goal"))

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Concatenate to (B, Do + G)."""
        return torch.cat([observations["observation"], observations["desired_goal"]], -1)


def _size(space: gym.spaces.Dict, *keys: str) -> int:
    return sum(gym.spaces.flatdim(space[key]) for key in keys)


def make_env(env_id: str, max_episode_steps: int | None = None) -> gym.Env[Any, Any]:
    """Return the environment as it is trained in."""
    env = gym.make(env_id, max_episode_steps=max_episode_steps, disable_env_checker=True)
    space = env.action_space
    if not isinstance(space, gym.spaces.Box) or (space.low != -1).any() or (space.high != 1).any():
        raise ValueError(f"{env_id!r}: the actor's actions lie in [-1, 1], the environment's in {space}")
    return Monitor(ArrivalReward(env))  # type: ignore[no-any-return]


def make_model(env_id: str, config: SACHERConfig) -> Any:
    """Return the untrained SAC or TD3 with its environments."""
    env = DummyVecEnv([partial(make_env, env_id, config.max_episode_steps)] * config.envs)
    shape = env.action_space.shape
    exploration = {}
    if config.algorithm == "td3":
        exploration = {"action_noise": NormalActionNoise(np.zeros(shape), np.full(shape, config.action_noise))}
    return ALGORITHMS[config.algorithm](
        "MultiInputPolicy",
        env,
        learning_rate=config.learning_rate,
        buffer_size=config.buffer_size,
        learning_starts=config.learning_starts,
        batch_size=config.batch_size,
        tau=config.polyak,
        gamma=config.discount,
        train_freq=1,
        gradient_steps=config.gradient_steps,
        replay_buffer_class=ArrivalReplayBuffer,
        replay_buffer_kwargs={"n_sampled_goal": config.hindsight_goals, "goal_selection_strategy": "future"},
        policy_kwargs={"net_arch": [config.width] * config.depth, "features_extractor_class": GoalFeatures},
        seed=config.seed,
        device=config.device,
        **exploration,
    )


def actor_of(model: Any) -> Actor:
    """Copy the deterministic part of a model's actor."""
    space, action_space, theirs = model.observation_space, model.action_space, model.actor
    parts = [theirs.latent_pi, theirs.mu] if hasattr(theirs, "latent_pi") else [theirs.mu]
    linear = [layer for part in parts for layer in part.modules() if isinstance(layer, torch.nn.Linear)]
    sizes = GoalConfig(
        observation_dim=_size(space, "observation"),
        goal_dim=_size(space, "desired_goal"),
        action_dim=int(action_space.shape[0]),
        width=linear[0].out_features,
        depth=len(linear) - 1,
    )
    actor = Actor(sizes)
    own = [layer for layer in actor.layers if isinstance(layer, torch.nn.Linear)]
    for to, source in zip(own, linear, strict=True):
        to.load_state_dict(source.state_dict())
    return actor.requires_grad_(False).eval()
