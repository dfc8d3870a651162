"""The world model as an environment: many imagined worlds that step as one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from df_agent.data.clips import Clips
from df_agent.runtime import own_modes
from df_agent.world_model.config import RolloutConfig
from df_agent.world_model.imagine import Imagination
from df_agent.world_model.video_model import VideoModel

Frames = NDArray[np.uint8]
Reward = Callable[[Frames, Frames], NDArray[np.float64]]
"""Maps pictures (B, H, W, C) and goals' pictures (B, H, W, C) to rewards (B,); above 0 the goal is reached."""

KEYS = ("observation", "achieved_goal", "desired_goal")


class WorldModelVectorEnv(VectorEnv[dict[str, Frames], NDArray[np.float32], NDArray[Any]]):
    """Copies of an imagined world, each begun from pictures of the real one.

    Observation: {"observation", "achieved_goal": the latest picture, "desired_goal": a picture of the goal}, uint8
    (size, size, 3) each, as in the mazes seen as pictures. Action: the real environment's, in [-1, 1] (beyond, it is
    clipped), held until the next picture. A goal is any picture of the data. Rows that end begin anew in the same step;
    what they ended with is in info["final_obs"] and info["final_info"].

    Args:
        model: what imagines; its network must be a causal one of space and time.
        contexts: where the worlds begin, and where goals come from.
        num_envs: B, number of copies.
        reward: of pictures and goals; None rewards nothing and never ends before `max_steps`.
        seen: pictures that a world begins with.
        max_steps: length of an episode [pictures].
        rollout: how pictures are sampled, one at a time with a cache; by default as the model says.
        render_mode: "rgb_array" or None.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  (gymnasium declares it so)
        "render_modes": ["rgb_array"],
        "autoreset_mode": AutoresetMode.SAME_STEP,
    }

    def __init__(
        self,
        model: VideoModel,
        contexts: Clips,
        num_envs: int = 16,
        *,
        reward: Reward | None = None,
        seen: int = 4,
        max_steps: int = 60,
        rollout: RolloutConfig | None = None,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1 or seen < 1 or max_steps < 1:
            raise ValueError(f"num_envs, seen and max_steps must be at least 1, got {num_envs}, {seen}, {max_steps}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        every, width = int(model.config["every"] or 1), len(model.action_scale)
        size = model.autoencoder.config.size
        if contexts.frames.shape[1:3] != (size, size) or contexts.actions.shape[1] != width:
            raise ValueError(
                f"the model is of pictures {size} wide with {width} numbers of actions between them, the contexts have "
                f"{contexts.frames.shape[1:3]} and {contexts.actions.shape[1]}"
            )
        self.model, self.contexts, self.num_envs, self.render_mode = model, contexts, num_envs, render_mode
        self.reward, self.seen, self.max_steps, self.every = reward, seen, max_steps, every
        self.rollout = rollout or model.rollout
        if not self.rollout.cached:
            raise ValueError("the worlds step by one picture, with a cache: give a rollout with cached=True")
        frame = gym.spaces.Box(0, 255, contexts.frames.shape[1:], np.uint8)
        self.single_observation_space = gym.spaces.Dict(dict.fromkeys(KEYS, frame))
        self.single_action_space = gym.spaces.Box(-1.0, 1.0, (width // every,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._windows = contexts.windows(seen)
        Imagination(model.model, self.rollout, torch.Generator())  # refuses what cannot step, before the first reset
        self._imagination: Imagination | None = None
        self._latents = torch.zeros(num_envs, 0)

    @own_modes()
    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Frames], dict[str, Any]]:
        """Begin all worlds, or those in options["reset_mask"] (B,), from pictures drawn at random."""
        if isinstance(seed, list):
            raise ValueError("the worlds draw from one generator: give one seed")
        super().reset(seed=seed)
        mask = (options or {}).get("reset_mask")
        if self._imagination is None or mask is None:
            generator = torch.Generator().manual_seed(int(self.np_random.integers(2**31)))
            self._imagination = Imagination(self.model.model, self.rollout, generator)
            self._steps = np.zeros(self.num_envs, np.int64)
            self._frames = np.zeros((self.num_envs, *self.contexts.frames.shape[1:]), np.uint8)
            self._goals = self._frames.copy()
            self._begin(np.arange(self.num_envs))
        else:
            self._begin(np.flatnonzero(mask))
        return self._observe(), {}

    @torch.no_grad()
    @own_modes()
    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[dict[str, Frames], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Act in all worlds, (B, Da), until the next picture.

        Raises:
            ValueError: actions of another shape, or not finite.
            RuntimeError: `reset` was not called.
        """
        if self._imagination is None:
            raise RuntimeError("call reset before step")
        actions = np.asarray(actions, dtype=np.float32)
        if actions.shape != self.action_space.shape or not np.isfinite(actions).all():
            raise ValueError(f"actions must be finite, of shape {self.action_space.shape}; got {actions.shape}")
        held = np.tile(actions.clip(-1, 1), (1, self.every))
        latents = self._imagination.step(self.model.condition(held), self._latents)
        self._latents = latents
        self._frames = self.model.decode(latents)
        self._steps += 1
        reward = np.zeros(self.num_envs) if self.reward is None else self.reward(self._frames, self._goals)
        terminated = reward > 0
        truncated = ~terminated & (self._steps >= self.max_steps)
        info: dict[str, Any] = {"success": terminated.copy()}
        ended = terminated | truncated
        if ended.any():
            info |= {"final_obs": self._observe(), "_final_obs": ended, "final_info": {"success": terminated.copy()}}
            self._begin(np.flatnonzero(ended))
        return self._observe(), reward, terminated, truncated, info

    def render(self) -> tuple[Frames, ...]:
        """Return the pictures of all worlds."""
        if self.render_mode is None:
            gym.logger.warn("render() was called without a render_mode")
            return ()
        return tuple(self._frames.copy())

    @torch.no_grad()
    def _begin(self, rows: NDArray[np.int64]) -> None:
        """Begin some worlds from pictures and goals drawn at random."""
        assert self._imagination is not None
        first = self._windows[self.np_random.integers(len(self._windows), size=len(rows))]
        goals = self.np_random.integers(len(self.contexts.frames), size=len(rows))
        index = first[:, None] + np.arange(self.seen)
        latents = self.model.encode(self.contexts.frames[index])
        cond = self.model.condition(self.contexts.actions[index])
        cond[:, 0] = 0.0  # what led to the first picture is not known
        if len(rows) == self.num_envs:
            self._imagination.cache.blocks.clear()
            self._imagination.cache.frames, self._imagination.cache.first = 0, None
            self._imagination.see(latents, cond)
            self._latents = latents[:, -1].clone()
        else:
            self._imagination.begin_anew(torch.from_numpy(rows).to(latents.device), latents, cond)
            self._latents[rows] = latents[:, -1]
        self._frames = self._frames.copy()
        self._frames[rows] = self.contexts.frames[index[:, -1]]
        self._goals[rows] = self.contexts.frames[goals]
        self._steps[rows] = 0

    def _observe(self) -> dict[str, Frames]:
        return {
            "observation": self._frames.copy(),
            "achieved_goal": self._frames.copy(),
            "desired_goal": self._goals.copy(),
        }
