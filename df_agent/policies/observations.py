"""What every policy does before it plans: read the observation, tell the episodes apart, seed their noise."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from df_agent.data.answers import frames_in_one, newest_frame
from df_agent.types import Observation

Array = NDArray[np.float64]


def read_observation(
    observation: Observation, *, least_width: int = 1, goal_width: int | None = None, missing: bool = False
) -> tuple[Array, Array, bool]:
    """Check a goal-conditioned observation; return values (B, Do), goals (B, G) and whether it was a single one.

    Args:
        observation: dict with "observation" (B, Do) and "desired_goal" (B, G), or both without the leading axis; or
            (B, k, Do) and (B, k, G), k stacked frames each, see `frames_in_one`.
        least_width: the least Do that will do.
        goal_width: G; None takes any.
        missing: NaN is allowed in "observation".

    Raises:
        ValueError: an observation that is not such a dict, has a wrong shape, or is not finite.
    """
    if not isinstance(observation, dict):
        raise ValueError(
            f"expected a dict observation with 'observation' and 'desired_goal', got {type(observation).__name__}"
        )
    lacking = {"observation", "desired_goal"} - set(observation)
    if lacking:
        raise ValueError(f"the observation lacks {sorted(lacking)}, it has {sorted(observation)}")
    values = np.asarray(observation["observation"], dtype=np.float64)
    goal = np.asarray(observation["desired_goal"], dtype=np.float64)
    if values.ndim == goal.ndim == 3:
        values, goal = frames_in_one(values), newest_frame(goal)
    single = values.ndim == 1
    if single:
        values, goal = values[None], goal[None]
    fits = values.ndim == 2 and values.shape[1] >= least_width and goal.shape[:1] == values.shape[:1]
    if not fits or goal.ndim != 2 or (goal_width is not None and goal.shape[1] != goal_width):
        raise ValueError(
            f"expected 'observation' (B, at least {least_width}) and 'desired_goal' (B, {goal_width or 'G'}), "
            f"got {values.shape} and {goal.shape}"
        )
    for name, array in (("observation", values), ("desired_goal", goal)):
        fine = np.isfinite(array) | (np.isnan(array) & (missing and name == "observation"))
        bad = np.flatnonzero(~fine.all(1))
        if len(bad):
            raise ValueError(f"'{name}' is not finite in rows {bad.tolist()}: {array[bad[0]]}")
    return values, goal, single


def beginning_rows(state_rows: int | None, batch: int, episode_start: Any) -> NDArray[np.bool_]:
    """Return which rows (B,) begin an episode: those of `episode_start`, or all where there is no state yet.

    Args:
        state_rows: number of environments that the policy's state is for; None without a state.
        batch: number of environments in the observation.
        episode_start: (B,) as `predict` gets it, or None.

    Raises:
        ValueError: the state is for another number of environments.
    """
    if state_rows is None:
        return np.ones(batch, dtype=bool)
    if state_rows != batch:
        raise ValueError(
            f"the state is for {state_rows} environments, the observation for {batch}; pass state=None to begin anew"
        )
    return np.zeros(batch, dtype=bool) if episode_start is None else np.array(episode_start, bool).reshape(batch)


class EpisodeSeeds:
    """Seeds of the noise that an episode's plans are made from.

    A deterministic one follows from how the episode begins, so that it repeats whatever runs beside it.
    """

    def __init__(self) -> None:
        self._entropy = np.random.default_rng()

    def __call__(self, values: Array, goal: Array, deterministic: bool) -> NDArray[np.int64]:
        """Return the seeds (B,) of episodes that begin with these observations (B, Do) and goals (B, G)."""
        if not deterministic:
            return self._entropy.integers(2**32, size=len(values), dtype=np.int64)
        starts = [zlib.crc32(v.tobytes() + g.tobytes()) for v, g in zip(values, goal, strict=True)]
        return np.array(starts, dtype=np.int64)
