"""Scheduling matrices: which level every token has in every row of a sampling run.

All are (M, T) integer arrays of step indices: a token starts at S (pure noise) and ends at 0 (clean),
never rising. `to_levels` maps step indices to the training levels 0..K.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]


def _staircase(delay: IntArray, steps: int) -> IntArray:
    """Rows in which token t starts `delay[t]` rows late, then falls by one a row."""
    rows = np.arange(steps + int(delay.max()) + 1)[:, None]
    return np.asarray(np.clip(steps + delay[None, :] - rows, 0, steps), dtype=np.int64)


def full_sequence(tokens: int, steps: int, uncertainty: float = 1.0) -> IntArray:
    """All tokens at one level: ordinary diffusion; (S + 1, T). `uncertainty` has no effect here."""
    return _staircase(np.zeros(tokens, dtype=np.int64), steps)


def pyramid(tokens: int, steps: int, uncertainty: float = 1.0) -> IntArray:
    """Each token `uncertainty` rows behind its predecessor; (S + floor((T - 1) u) + 1, T)."""
    return _staircase(np.floor(np.arange(tokens) * uncertainty).astype(np.int64), steps)


def autoregressive(tokens: int, steps: int, uncertainty: float = 1.0) -> IntArray:
    """A token starts when its predecessor is clean: the pyramid with uncertainty S. `uncertainty` is ignored."""
    return pyramid(tokens, steps, steps)


def trapezoid(tokens: int, steps: int, uncertainty: float = 1.0) -> IntArray:
    """Both ends first, the middle last; symmetric in time for odd and even T."""
    t = np.arange(tokens)
    return _staircase(np.floor(np.minimum(t, tokens - 1 - t) * uncertainty).astype(np.int64), steps)


def near_first(tokens: int, steps: int, uncertainty: float = 1.0, near: int = 0) -> IntArray:
    """The first `near` tokens at once while the others stay at the share `uncertainty` of all steps, then these.

    Between causal and not: with 1 the near part is made while nothing is known of the future, with less the future is
    made roughly first and then waits, with 0 it is made along; (S + ceil(u S) + 1, T).

    Args:
        tokens, steps: T and S.
        uncertainty: u; more than 1 is 1.
        near: how many tokens; 0 for half of them.
    """
    near = near or -(-tokens // 2)
    held = int(np.ceil(min(uncertainty, 1.0) * steps)) if near < tokens else 0
    rows = np.arange(steps + held + 1)[:, None]
    first = np.clip(steps - rows, 0, steps)
    later = np.where(rows <= steps, np.maximum(first, held), np.maximum(held - (rows - steps), 0))
    return np.asarray(np.where(np.arange(tokens)[None] < near, first, later), dtype=np.int64)


MATRICES: dict[str, Callable[[int, int, float], IntArray]] = {
    "full_sequence": full_sequence,
    "pyramid": pyramid,
    "autoregressive": autoregressive,
    "trapezoid": trapezoid,
    "near_first": near_first,
}


def scheduling_matrix(name: str, tokens: int, steps: int, uncertainty: float = 1.0, near: int = 0) -> IntArray:
    """Return the matrix called `name`, (M, T), in step indices 0..steps; `near` is of "near_first".

    Raises:
        ValueError: unknown name, no tokens, no steps, or a negative uncertainty.
    """
    if name not in MATRICES:
        close = get_close_matches(name, MATRICES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown scheduling matrix {name!r}, available: {sorted(MATRICES)}{hint}")
    if tokens < 1 or steps < 1 or uncertainty < 0:
        raise ValueError(
            f"need tokens >= 1, steps >= 1, uncertainty >= 0; got tokens={tokens}, steps={steps}, "
            f"uncertainty={uncertainty}"
        )
    if name == "near_first":
        return near_first(tokens, steps, uncertainty, near)
    return MATRICES[name](tokens, steps, uncertainty)


def to_levels(matrix: IntArray, steps: int, levels: int) -> IntArray:
    """Map step indices 0..steps evenly onto training levels 0..levels."""
    if steps > levels:
        raise ValueError(f"cannot take {steps} sampling steps on a schedule of {levels} levels")
    return np.round(np.linspace(0, levels, steps + 1)).astype(np.int64)[matrix]
