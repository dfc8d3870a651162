"""Which episodes a policy is still asked about, and not believing all it answers."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from df_agent.data.answers import read_prediction

Array = NDArray[Any]


class PolicyError(RuntimeError):
    """A policy that cannot be made, that raised, or that returned something that is not an action."""


class ActiveRows:
    """Which of n episodes that run side by side a policy is still asked about, and its state of them.

    Episodes that have ended leave the batch, so that nothing is planned for them: their rows are taken out of the
    policy's state too. A policy whose state has no rows to take out goes on being asked about all of them.

    Args:
        space: of one environment's actions.
        n: number of episodes.
    """

    def __init__(self, space: gym.Space[Any], n: int) -> None:
        self.space = space
        self.rows = np.arange(n)  # of the batch that the policy sees
        self.state: Any = None
        self._n, self._begun = n, False

    def question(self, observation: dict[str, Array]) -> tuple[dict[str, Array], Any, NDArray[np.bool_]]:
        """Return what to give `predict`: observation, state and episode starts of the rows that are asked about.

        Args:
            observation: rows of all n episodes.
        """
        starts = np.full(len(self.rows), not self._begun)
        return {key: value[self.rows] for key, value in observation.items()}, self.state, starts

    def take_in(self, answer: Any, where: str) -> Array:
        """Return (n, *shape) actions, checked; zeros for rows that are no longer asked about.

        Args:
            answer: what `predict` returned.
            where: for the errors, which begin with it.

        Raises:
            PolicyError: it is no (actions, state), or the actions are invalid.
        """
        try:
            told, self.state = read_prediction(answer)
        except ValueError as error:
            raise PolicyError(f"{where}: {error}") from error
        self._begun = True
        some = check_actions(told, self.space, len(self.rows), where)
        actions = np.zeros((self._n, *some.shape[1:]), some.dtype)
        actions[self.rows] = some
        return actions

    def keep(self, alive: NDArray[np.bool_]) -> None:
        """Stop asking about episodes that have ended; alive is (n,)."""
        staying = alive[self.rows]
        if staying.all() or not staying.any():
            return
        try:
            self.state = take_rows(self.state, np.flatnonzero(staying), len(self.rows))
        except TypeError:
            return
        self.rows = self.rows[staying]


def take_rows(state: Any, rows: NDArray[np.int64], n: int) -> Any:
    """Return some rows of a policy's state, which is made of arrays and lists with a row per environment.

    Args:
        state: None, an array or a tensor (n, ...), a list of n entries, or a dataclass, dict or tuple of such; or
            something that has a `take_rows` (rows) of its own.
        rows: which.
        n: how many there are.

    Raises:
        TypeError: something in it has no n rows.
    """
    if state is None:
        return None
    if callable(own := getattr(state, "take_rows", None)):
        return own(rows)
    if is_dataclass(state) and not isinstance(state, type):
        return replace(state, **{f.name: take_rows(getattr(state, f.name), rows, n) for f in fields(state)})
    if isinstance(state, dict):
        return {key: take_rows(value, rows, n) for key, value in state.items()}
    if isinstance(state, tuple):
        return tuple(take_rows(value, rows, n) for value in state)
    if isinstance(state, list) and len(state) == n:
        return [state[row] for row in rows]
    if getattr(state, "shape", ())[:1] == (n,):
        return state[rows]
    raise TypeError(f"no {n} rows in {type(state).__name__}")


def check_actions(actions: Any, space: gym.Space[Any], n: int, where: str) -> Array:
    """Return actions as an (n, ...) array; raises PolicyError, beginning with `where`, if any is invalid."""
    array: Array = np.asarray(actions)
    expected = (n, *(space.shape or ()))
    if array.shape != expected:
        raise PolicyError(f"{where}: actions must have shape {expected}, got {array.shape}")
    if not np.issubdtype(array.dtype, np.number):
        raise PolicyError(f"{where}: actions must be numbers, got {array.dtype}")
    bad = ~np.isfinite(array)
    if bad.any():
        raise PolicyError(f"{where}: actions must be finite, {_example(array, bad)}")
    if isinstance(space, gym.spaces.Box):
        # The bounds are float32, actions may be float64 clipped to the same decimal number.
        bad = (array < space.low - 1e-6) | (array > space.high + 1e-6)
        if bad.any():
            bounds = f"[{space.low}, {space.high}]"
            raise PolicyError(f"{where}: actions must lie in {bounds}, {_example(array, bad)}")
    return array


def _example(actions: Array, bad: Array) -> str:
    rows = np.flatnonzero(bad.reshape(len(bad), -1).any(axis=1))
    return f"{len(rows)} of {len(bad)} do not, first row {rows[0]}: {actions[rows[0]]}"
