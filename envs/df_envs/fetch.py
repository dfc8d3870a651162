"""Scripted demonstrators of Gymnasium-Robotics' Fetch tasks: the arm moves by rules on where things are.

They see positions only through the observation and remember nothing, so that noise and recovery come for free.
Importing this registers Gymnasium-Robotics' environments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_envs.names import FETCH_TASKS as FETCH_TASKS
from df_envs.names import RECALL_TASKS as RECALL_TASKS
from df_envs.recall import Rememberer, register_fetch

register_fetch()

Array = NDArray[np.float64]

TABLE = 0.425  # height of an object's centre on the table [m]
GAIN = 12.0  # action per metre; an action of 1 moves the arm's target by 5 cm
CLEARANCE = 0.08  # above an object, high enough to pass over it [m]


def _towards(grip: Array, target: Array, gain: float = GAIN) -> Array:
    return np.asarray(gain * (target - grip))


def _action(motion: Array, fingers: Array | float) -> Array:
    opening = np.broadcast_to(np.asarray(fingers, dtype=np.float64), (len(motion),))
    return np.asarray(np.clip(np.concatenate([motion, opening[:, None]], axis=1), -1.0, 1.0))


def reach(observation: Array, goal: Array) -> Array:
    """Straight to the goal."""
    return _action(_towards(observation[:, :3], goal, gain=20.0), 0.0)


def push(observation: Array, goal: Array) -> Array:
    """Go around the object to its far side, come down, and push it until it lies at the goal."""
    grip, cube = observation[:, :3], observation[:, 3:6]
    return _action(_push_motion(grip, cube, goal, behind=0.06), -1.0)


def _line(grip: Array, thing: Array, goal: Array) -> tuple[Array, Array, Array, Array]:
    """Where the hand is along and (B, 2) aside the line from a thing to its goal, the line's direction and length."""
    way = (goal - thing)[:, :2]
    left = np.linalg.norm(way, axis=1, keepdims=True)
    way = way / np.maximum(left, 1e-6)
    offset = (grip - thing)[:, :2]
    along = (offset * way).sum(1, keepdims=True)
    return along, offset - along * way, way, left


def _push_motion(grip: Array, thing: Array, goal: Array, behind: float) -> Array:
    along, aside, way, left = _line(grip, thing, goal)
    in_line = (along < -0.02) & (np.linalg.norm(aside, axis=1, keepdims=True) < 0.02)
    stand = thing[:, :2] - behind * way
    near_stand = np.linalg.norm(grip[:, :2] - stand, axis=1, keepdims=True) < 0.025
    height = np.where(in_line | near_stand, TABLE, TABLE + CLEARANCE)
    # Too low to pass over the thing: up first, and sideways only once that is done.
    close = np.linalg.norm((grip - thing)[:, :2], axis=1, keepdims=True) < 0.1
    rising = ~(in_line | near_stand) & (grip[:, 2:] < TABLE + 0.05) & close
    pushing = in_line & (grip[:, 2:] < TABLE + 0.03)
    ahead = thing[:, :2] + way * (np.minimum(left, 0.05) - 0.03) - aside
    level = np.where(pushing & (left >= 0.01), ahead, np.where(pushing | rising, grip[:, :2], stand))
    return _towards(grip, np.concatenate([level, height], axis=1))


def pick_and_place(observation: Array, goal: Array) -> Array:
    """Come down on the object with open fingers, close them, and carry it to the goal."""
    grip, cube, fingers = observation[:, :3], observation[:, 3:6], observation[:, 9:11].sum(1, keepdims=True)
    offset = grip - cube
    above = np.linalg.norm(offset[:, :2], axis=1, keepdims=True) < 0.02
    at = above & (np.abs(offset[:, 2:]) < 0.015)
    held = at & (fingers < 0.06)
    hover = np.concatenate([cube[:, :2], cube[:, 2:] + np.where(above, 0.0, CLEARANCE)], axis=1)
    target = np.where(held, goal, np.where(at, grip, hover))
    return _action(_towards(grip, target), np.where(at, -1.0, 1.0)[:, 0])


def slide(observation: Array, goal: Array) -> Array:
    """Take a run-up behind the puck and push it off; let go once it is fast enough to slide to the goal."""
    grip, puck = observation[:, :3], observation[:, 3:6]
    along, aside, way, left = _line(grip, puck, goal)
    speed = (observation[:, 14:16] * way).sum(1, keepdims=True)  # per control step [m]
    gone = (speed > 0.03 * np.sqrt(left)) | ((grip[:, :1] > 1.42) & (speed > 0.005))  # or out of the arm's reach
    off_line = np.linalg.norm(aside, axis=1, keepdims=True)
    ready = (along < 0) & (off_line < 0.025) & (grip[:, 2:] < TABLE + 0.03)
    strike = np.concatenate([way - 10.0 * aside, np.zeros_like(left)], axis=1)
    motion = np.where(ready, strike, _push_motion(grip, puck, goal, behind=0.1))
    return _action(np.where(gone, 0.0, motion), -1.0)


SCRIPTS: dict[str, Callable[[Array, Array], Array]] = dict(
    zip(FETCH_TASKS, (reach, push, pick_and_place, slide), strict=True)
)


class FetchDemonstrator:
    """A scripted demonstrator with noise, as a policy with `predict`.

    Args:
        env_id: one of `FETCH_TASKS`.
        action_noise: standard deviation of Gaussian noise on the action, before it is clipped to [-1, 1].
        seed: seeds the noise.
    """

    def __init__(self, env_id: str, *, action_noise: float = 0.0, seed: int = 0) -> None:
        if env_id not in SCRIPTS:
            raise ValueError(f"no demonstrator for {env_id!r}; there are those of {', '.join(SCRIPTS)}")
        self.script, self.action_noise = SCRIPTS[env_id], action_noise
        self._random = np.random.default_rng(seed)

    def predict(
        self,
        observation: dict[str, NDArray[Any]] | NDArray[Any],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, Any]:
        """Return actions (B, 4) or (4,) for dict observations, and no state; `deterministic` leaves the noise out."""
        if not isinstance(observation, dict):
            raise TypeError("the Fetch demonstrators need the environments' dict observations")
        values = np.asarray(observation["observation"], dtype=np.float64)
        goal = np.asarray(observation["desired_goal"], dtype=np.float64)
        single = values.ndim == 1
        actions = self.script(np.atleast_2d(values), np.atleast_2d(goal))
        if self.action_noise and not deterministic:
            actions = np.clip(actions + self._random.normal(0.0, self.action_noise, actions.shape), -1.0, 1.0)
        return (actions[0] if single else actions), state


def fetch_demonstrator(env_id: str, *, action_noise: float = 0.0, seed: int = 0) -> FetchDemonstrator | Rememberer:
    """Return the demonstrator of a Fetch task; that of `RECALL_TASKS` is FetchPush's, with a memory."""
    if env_id in RECALL_TASKS:
        return Rememberer(FetchDemonstrator("FetchPush-v4", action_noise=action_noise, seed=seed))
    return FetchDemonstrator(env_id, action_noise=action_noise, seed=seed)
