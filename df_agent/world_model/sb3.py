"""Worlds of pictures for Stable-Baselines3: a `VecEnv` of compact latents around any vector environment of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from df_agent.world_model.compact import CompactModel

Array = NDArray[np.float32]


class LatentVecEnv(VecEnv):  # type: ignore[misc]
    """Shows latents of pictures as a `GoalEnv` does; a step costs 1, and an episode ends when the goal is reached.

    A goal counts as reached where the latents say so, since an imagined world knows nothing else: when they differ by
    less than the world moves in `reach` pictures. So the real world and the imagined one reward alike.

    Args:
        env: pictures under "observation" and "desired_goal", such as `WorldModelVectorEnv` or a real one; it must begin
            ended rows anew in the same step.
        encoder: makes latents (B, L) of pictures, with the dynamics that say how far these move.
        reach: how near is there, in typical changes from one picture to the next.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], encoder: CompactModel, reach: float = 4.0) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode is not AutoresetMode.SAME_STEP:
            raise ValueError(f"ended rows must begin anew in the same step, the environment's autoreset_mode is {mode}")
        self.env, self.encoder = env, encoder
        width = encoder.encoder.config.latent_channels
        self.radius = reach * float(encoder.dynamics.step_scale) * width**0.5
        latent = gym.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        pair = gym.spaces.Box(-np.inf, np.inf, (2 * width,), np.float32)
        space = gym.spaces.Dict({"observation": pair, "achieved_goal": latent, "desired_goal": latent})
        self.render_mode = env.render_mode
        super().__init__(env.num_envs, space, env.single_action_space)
        self._latent = np.zeros((env.num_envs, width), np.float32)
        self._goal = self._latent.copy()

    def reset(self) -> dict[str, Array]:
        """Begin all episodes."""
        observation, _ = self.env.reset(seed=self._seeds[0] if self._seeds else None)
        self._reset_seeds()
        self._reset_options()
        self._latent, self._goal = self._encode(observation)
        return self._observe(np.zeros_like(self._latent))

    def step_async(self, actions: NDArray[Any]) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[dict[str, Array], Array, NDArray[np.bool_], list[dict[str, Any]]]:
        """Act in all worlds."""
        observation, _, terminated, truncated, info = self.env.step(self._actions)
        ended = terminated | truncated
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        seen = dict(observation)
        if ended.any():  # what ended rows ended with, the others as they are
            last = _stacked(info["final_obs"], observation, ended)
            seen = {key: last[key] for key in ("observation", "desired_goal")}
        latent, goal = self._encode(seen)
        change = latent - self._latent
        self._latent, self._goal = latent, goal
        there = np.linalg.norm(latent - goal, axis=1) <= self.radius
        shown = self._observe(change)
        reward = np.where(there, 0.0, -1.0).astype(np.float32)
        done = there | ended
        for row in np.flatnonzero(done):
            infos[row]["terminal_observation"] = {key: value[row] for key, value in shown.items()}
            infos[row]["TimeLimit.truncated"] = bool(truncated[row] and not terminated[row] and not there[row])
        for entry, success in zip(infos, there.tolist(), strict=True):
            entry["is_success"] = success
        if done.any():
            # Rows that are there by the latents' word have not ended in the environment; they are begun anew.
            early = done & ~ended
            if early.any():
                observation, _ = self.env.reset(options={"reset_mask": early})
            latent, goal = self._encode(observation)
            self._latent = np.where(done[:, None], latent, self._latent)
            self._goal = np.where(done[:, None], goal, self._goal)
            change = np.where(done[:, None], 0.0, change).astype(np.float32)
            shown = self._observe(change)
        return shown, reward, done, infos

    def compute_reward(self, achieved: Array, desired: Array, info: Any) -> Array:
        """Return the rewards (B,) of latents (B, L) for goals (B, L), as hindsight replay asks for them."""
        there = np.linalg.norm(np.asarray(achieved) - np.asarray(desired), axis=-1) <= self.radius
        return np.where(there, 0.0, -1.0).astype(np.float32)

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, once per row."""
        return [getattr(self, attr_name)] * len(self._rows(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of them all."""
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **options: Any) -> list[Any]:
        """Call a method once and return what it says, once per row."""
        return [getattr(self, method_name)(*args, **options)] * len(self._rows(indices))

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return that no row is."""
        return [False] * len(self._rows(indices))

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return the pictures."""
        drawn: Any = self.env.render()
        return list(drawn or [])

    def _rows(self, indices: Any) -> list[int]:
        return list(self._get_indices(indices))

    def _encode(self, observation: dict[str, Any]) -> tuple[Array, Array]:
        both = np.stack([observation["observation"], observation["desired_goal"]])
        latent, goal = self.encoder.encode(both).float().cpu().numpy()
        return latent, goal

    def _observe(self, change: Array) -> dict[str, Array]:
        return {
            "observation": np.concatenate([self._latent, change], 1),
            "achieved_goal": self._latent.copy(),
            "desired_goal": self._goal.copy(),
        }


def _stacked(final: Any, now: dict[str, Any], ended: NDArray[np.bool_]) -> dict[str, NDArray[Any]]:
    """Return the observation of all rows as it was before ended ones began anew.

    gymnasium's own vector environments give `final_obs` as an object array of dicts, ours as a dict of arrays.
    """
    out = {key: np.array(value) for key, value in now.items()}
    for row in np.flatnonzero(ended):
        one = {key: final[key][row] for key in out} if isinstance(final, dict) else final[row]
        for key in out:
            out[key][row] = one[key]
    return out
