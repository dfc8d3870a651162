"""Any environment as a goal-conditioned one, by a `GoalSpec`, and with plain answers."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from df_agent.data.answers import frames_in_one, newest_frame, read_info, read_step
from df_agent.data.goal_spec import KEYS, GoalSpec


class GoalEnv(gym.Wrapper[dict[str, Any], Any, Any, Any]):
    """Shows observations as a `GoalEnv` does and says in info["success"] whether the goal is reached.

    Args:
        env: flat observations, or those of a GoalEnv.
        goal_spec: where its goals are found.

    Raises:
        ValueError: the environment has no goals, and the specification names none.
    """

    def __init__(self, env: gym.Env[Any, Any], goal_spec: GoalSpec) -> None:
        super().__init__(env)
        self.goal_spec = goal_spec
        space = env.observation_space
        example: Any = (
            {key: np.zeros(part.shape or ()) for key, part in space.spaces.items()}
            if isinstance(space, gym.spaces.Dict)
            else np.zeros(space.shape or ())
        )
        shapes = {key: value.shape for key, value in goal_spec.goal_dict(example).items()}
        self.observation_space = gym.spaces.Dict(
            {key: gym.spaces.Box(-np.inf, np.inf, shape, np.float64) for key, shape in shapes.items()}
        )

    def reset(self, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(**options)
        return self._observed(observation), info

    def step(self, action: Any) -> tuple[dict[str, Any], Any, bool, bool, dict[str, Any]]:
        """Act once."""
        observation, reward, terminated, truncated, info = read_step(self.env.step(action))
        seen = self._observed(observation)
        success = self.goal_spec.succeeded(seen, terminated, info)
        if success is not None:
            info = {**info, "success": success}
        return seen, reward, terminated, truncated, info

    def _observed(self, observation: Any) -> dict[str, Any]:
        return {key: np.asarray(value, np.float64) for key, value in self.goal_spec.goal_dict(observation).items()}


class PlainSteps(gym.Wrapper[Any, Any, Any, Any]):
    """An environment whose steps are Python's own numbers and truth values, whatever it answers.

    Frames that it stacks are one observation, see `frames_in_one`.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        space: Any = env.observation_space
        if isinstance(space, gym.spaces.Dict):
            boxes = {key: _unstacked(part, key) for key, part in space.spaces.items()}
            self.observation_space = gym.spaces.Dict(boxes)
        else:
            self.observation_space = _unstacked(space, KEYS[0])

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        observation, info = self.env.reset(**options)
        return self._seen(observation), read_info(info)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act once; raises ValueError for what cannot be read, see `read_step`."""
        observation, *rest = read_step(self.env.step(action))
        return self._seen(observation), *rest  # type: ignore[return-value]

    def _seen(self, observation: Any) -> Any:
        if isinstance(observation, dict):
            return {key: _frames(value, key) for key, value in observation.items()}
        return _frames(observation, KEYS[0])


def _frames(values: Any, key: str) -> Any:
    if not isinstance(values, np.ndarray):
        return values
    return newest_frame(values, 0) if key in KEYS[1:] else frames_in_one(values, 0)


def _unstacked(space: Any, key: str) -> Any:
    """Return the space of what `PlainSteps` shows of one."""
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 2:
        return space
    return gym.spaces.Box(_frames(space.low, key), _frames(space.high, key), dtype=space.dtype.type)  # type: ignore[arg-type]
