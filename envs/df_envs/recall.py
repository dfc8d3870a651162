"""Tasks that need memory: the goal is shown during the first steps of an episode only, and must be remembered."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from df_envs.copying import CopiedWithState

Array = NDArray[np.float64]
MIDDLE = (1.34, 0.75, 0.42)  # of the places on the table where FetchPush's goals lie [m]


class GoalCue(CopiedWithState):
    """A GoalEnv whose goal is part of the observation, as a cue, and may vanish.

    Behind the observation's own channels stand the goal's and one that says whether it is shown. Once it has vanished
    they hold `blank` and 0, and so does "desired_goal". What counts as success stays the same.

    Args:
        env: a GoalEnv.
        shown: control steps during which the goal is shown, at least 1; None for always.
        blank: (G,) what stands for a goal that is not shown. In the midst of the goals it leaves the channels' spread
            to the goals; far from them the spread says little but whether one is shown.
    """

    def __init__(self, env: gym.Env[Any, Any], shown: int | None, blank: Sequence[float]) -> None:
        super().__init__(env)
        if shown is not None and shown < 1:
            raise ValueError(f"shown is a number of control steps, at least 1, got {shown}")
        self.shown, self.blank, self._step = shown, np.array(blank, dtype=np.float64), 0
        space: Any = env.observation_space
        if self.blank.shape != space["desired_goal"].shape:
            raise ValueError(f"blank must have the goal's shape {space['desired_goal'].shape}, got {list(blank)}")
        width = space["observation"].shape[0] + space["desired_goal"].shape[0] + 1
        wide = gym.spaces.Box(-np.inf, np.inf, (width,), np.float64)
        self.observation_space = gym.spaces.Dict({**space.spaces, "observation": wide})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode, with the goal in sight."""
        self._step = 0
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with_cue(observation), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Act once."""
        self._step += 1
        observation, *rest = self.env.step(action)
        return self._with_cue(observation), *rest  # type: ignore[return-value]

    def _with_cue(self, observation: dict[str, Any]) -> dict[str, Any]:
        seen = self.shown is None or self._step < self.shown
        goal = np.asarray(observation["desired_goal"], dtype=np.float64) if seen else self.blank.copy()
        values = np.concatenate([observation["observation"], goal, [float(seen)]])
        return {**observation, "observation": values, "desired_goal": goal}


class _Predicts(Protocol):
    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, Any]: ...


class Rememberer:
    """A policy that was made for the environment without `GoalCue`: it remembers the goal that was shown first.

    Args:
        policy: without a state of its own.
    """

    def __init__(self, policy: _Predicts) -> None:
        self.policy = policy

    def predict(
        self,
        observation: dict[str, NDArray[Any]] | NDArray[Any],
        state: Array | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, Array]:
        """Return the policy's actions, and the goals as the state."""
        if not isinstance(observation, dict):
            raise TypeError("goals are remembered from dict observations")
        shown = np.asarray(observation["desired_goal"], dtype=np.float64)
        goal = shown if state is None else state
        if episode_start is not None and goal.ndim == shown.ndim:
            begins = np.asarray(episode_start).reshape(-1, 1) if shown.ndim > 1 else np.asarray(episode_start).any()
            goal = np.where(begins, shown, goal)
        values = np.asarray(observation["observation"])[..., : -shown.shape[-1] - 1]
        actions, _ = self.policy.predict(
            {"observation": values, "desired_goal": goal}, None, episode_start, deterministic
        )
        return actions, goal


def register_fetch() -> None:
    """Register Gymnasium-Robotics' environments, when they are needed: it takes a second."""
    with contextlib.redirect_stderr(io.StringIO()):  # it warns of old versions of environments that nobody asked for
        import gymnasium_robotics  # noqa: F401


def make_push(shown: int | None = None, **options: Any) -> gym.Env[Any, Any]:
    """Return FetchPush whose goal is shown during the first `shown` steps, or always."""
    register_fetch()
    spec: Any = gym.spec("FetchPush-v4")
    return GoalCue(gym.make(spec, disable_env_checker=True, max_episode_steps=-1, **options), shown, MIDDLE)
