"""What an environment's results are measured against, as the environment itself tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, fields
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
StepsFunction = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class References:
    """What the one who evaluates knows about an environment and the agent does not. All of it is optional.

    Attributes:
        oracle_steps: (starts (N, Do), goals (N, Dg)) -> (N,) steps to the first success of a reference policy.
        lower_bound_steps: the same for a bound that no policy can beat.
        time_optimal_steps: the same for a numerical solution of the fastest way.
        crosses_wall: paths (N, H, Dg) -> (N,) True where a path runs into a wall.
        walls: (M, 4) boxes [xmin, ymin, xmax, ymax], for drawing.
        goal_radius: for drawing.
        score_references: returns that count as 0 and 100.
        score_limit: length of the episodes that these are of [control steps]; None: of any.
        control_period: simulated seconds per control step [s].
    """

    oracle_steps: StepsFunction | None = None
    lower_bound_steps: StepsFunction | None = None
    time_optimal_steps: StepsFunction | None = None
    crosses_wall: Callable[[Array], Array] | None = None
    walls: Array | None = None
    goal_radius: float | None = None
    score_references: tuple[float, float] | None = None
    score_limit: int | None = None
    control_period: float | None = None

    def score_range(self, limit: int) -> tuple[float, float] | None:
        """Return `score_references` if they are of episodes of this length."""
        return self.score_references if self.score_limit in (None, limit) else None


NO_REFERENCES = References()


def references_of(env_id: str, env_options: Mapping[str, Any] | None = None) -> References:
    """Make an environment once and ask it for its references.

    It, or a wrapper around it, may have a method `references()` that returns a mapping with any of the fields of
    `References`. The control period is `dt` of the environment, or
    1 / `metadata["render_fps"]`, unless it says another.

    Args:
        env_id: gymnasium id.
        env_options: of the environment's constructor.

    Raises:
        ValueError: the mapping has other keys.
        gymnasium.error.Error, ImportError: there is no such environment here.
    """
    with closing(gym.make(env_id, **dict(env_options or {}))) as env:
        offers = env.get_wrapper_attr("references") if env.has_wrapper_attr("references") else dict
        told = dict(offers())
        known = [field.name for field in fields(References)]
        unknown = [name for name in told if name not in known]
        if unknown:
            raise ValueError(f"references() of {env_id} tells {', '.join(unknown)}; known are {', '.join(known)}")
        if told.get("control_period") is None:
            told["control_period"] = _control_period(env)
        if told.get("walls") is not None:
            told["walls"] = np.asarray(told["walls"], dtype=np.float64)
        return References(**told)


def _control_period(env: gym.Env[Any, Any]) -> float | None:
    """Return the seconds between two actions, if the environment says them."""
    try:
        period = getattr(env.unwrapped, "dt", None) or 1 / float(env.metadata.get("render_fps") or 0)
    except (ZeroDivisionError, TypeError):
        return None
    return float(period)
