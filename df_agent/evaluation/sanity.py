"""Does the goal make the difference? The same policy without it, with others' goals, with random weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from df_planners.plan import PlanEvent
from numpy.typing import NDArray

from df_agent.evaluation.metrics import wilson_interval
from df_agent.evaluation.records import EpisodeRecord
from df_agent.types import Observation, Policy

Array = NDArray[Any]


class ReplaceGoals:
    """Show a policy other goals than the environment's.

    Args:
        policy: the policy.
        goals: (E, Dg) the goal shown in the i-th episode that starts after `set_random_seed`; they repeat in turn.
    """

    def __init__(self, policy: Policy, goals: Array) -> None:
        self.policy = policy
        self.goals = np.asarray(goals, dtype=np.float64)
        self.started = 0

    def set_random_seed(self, seed: int) -> None:
        """Begin again with the first goal, and pass the seed on."""
        self.started = 0
        if hasattr(self.policy, "set_random_seed"):
            self.policy.set_random_seed(seed)

    @property
    def on_plan(self) -> Callable[[PlanEvent], None] | None:
        """The policy's own hook; a policy without one has none here either."""
        return self.policy.on_plan  # type: ignore[attr-defined,no-any-return]

    @on_plan.setter
    def on_plan(self, hook: Callable[[PlanEvent], None] | None) -> None:
        self.policy.on_plan = hook  # type: ignore[attr-defined]

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float64], Any]:
        """Act as the policy would for the other goal; the observation must be a batched dict."""
        if not isinstance(observation, dict) or observation["desired_goal"].ndim != 2:
            raise ValueError("ReplaceGoals needs dict observations with a leading environment axis")
        n = len(observation["desired_goal"])
        inner, shown = (None, np.zeros((n, self.goals.shape[1]))) if state is None else state
        fresh = np.ones(n, dtype=bool) if episode_start is None else np.asarray(episode_start)
        rows = np.flatnonzero(fresh)
        if len(rows):
            shown = shown.copy()
            shown[rows] = self.goals[(self.started + np.arange(len(rows))) % len(self.goals)]
            self.started += len(rows)
        changed = {**observation, "desired_goal": shown}
        actions, inner = self.policy.predict(changed, inner, episode_start, deterministic)
        return actions, (inner, shown)


def shuffled_goals(records: Sequence[EpisodeRecord]) -> Array:
    """Return (N, Dg) goals for `ReplaceGoals`: each episode gets another's.

    Where all episodes have the same goal there is nothing to shuffle; then it is the place where another
    episode starts. Another means the next one, in a circle.
    """
    goals = np.array([record.goal for record in records])
    if len(records) < 2:
        raise ValueError("shuffling goals takes at least 2 episodes")
    if np.allclose(goals, goals[0]):
        goals = np.array([record.path[0] for record in records])
    return np.roll(goals, -1, axis=0)


def wandering_rate(
    positions: Array,
    starts: Array,
    goals: Array,
    window: int,
    reached: Callable[[Array, Array], Array],
    *,
    samples: int = 2000,
    seed: int = 0,
) -> float:
    """Return how often a window of the data touches a goal that it was not made for.

    Args:
        positions: (N, Dg) achieved goals of the data, trajectory after trajectory.
        starts: (E + 1,) offsets of the trajectories.
        goals: (K, Dg) goals of the evaluation; the windows are paired with them in turn.
        window: steps of a window; a shorter trajectory is one window.
        reached: (positions (..., Dg), goals (..., Dg)) -> (...) True or 1 where it is there.
        samples: windows drawn.
        seed: of the draw.

    Returns:
        The share of windows.
    """
    rng = np.random.default_rng(seed)
    lengths = np.diff(starts)
    choices = np.maximum(lengths - window, 0) + 1  # first steps that a window can have, per trajectory
    trajectory = rng.choice(len(lengths), size=samples, p=choices / choices.sum())
    first = starts[trajectory] + rng.integers(choices[trajectory])
    touched = 0
    for i in range(samples):
        end = min(first[i] + window + 1, starts[trajectory[i] + 1])
        here = positions[first[i] : end]
        touched += bool(np.any(reached(here, np.broadcast_to(goals[i % len(goals)], here.shape))))
    return touched / samples


def sanity_row(name: str, records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Return one row of the table: success with its interval, and mean steps to the goal."""
    successes = sum(record.success for record in records)
    return {
        "policy": name,
        "episodes": len(records),
        "success_rate": successes / len(records),
        "success_rate_ci95": list(wilson_interval(successes, len(records))),
        "time_to_goal_mean": float(np.mean([record.time_to_goal for record in records])),
        "at_goal_at_end": float(np.mean([record.at_goal_at_end for record in records])),
    }
