"""What single channels of the data hold: wrapped angles, copies of others, constants, what is never a number."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
SLACK = 0.01  # by which a wrapped angle may exceed its range [rad]
QUARTER = np.pi / 2  # an angle turns by less within a control step
ODD = 0.05  # share of the steps beyond that which may be something else than a wrap, say a reset in between
STILL = 1e-6  # spread of a channel that does not change
LEAST = 1e-12  # spread below which even what is smooth is rounding
SMOOTH = 0.5  # deviation of a smooth channel's steps, in units of its own; that of noise is 1.4


def wrapped_angles(values: Array, starts: Array) -> list[int]:
    """Return the channels that hold an angle which jumps by a full turn where it wraps.

    Such a channel stays within [-pi, pi] or [0, 2 pi]. Within an episode it moves by less than a quarter turn, or by
    what is nearly a full turn; taken as a turn, such a jump is no longer than its other steps. An angle that never
    wraps in the data is not told from other channels, and neither is one that counts its turns.

    Args:
        values: (N, C) [rad where it is an angle].
        starts: (E + 1,) first row of each episode, and the end.
    """
    within = _within(len(values), starts)
    return [c for c in range(values.shape[1]) if _wraps(values[:, c].astype(np.float64), within)]


def _wraps(channel: Array, within: NDArray[np.bool_]) -> bool:
    low, high = channel.min(), channel.max()
    signed = low >= -np.pi - SLACK and high <= np.pi + SLACK
    if not signed and not (low >= -SLACK and high <= 2 * np.pi + SLACK):  # NaN is in neither
        return False
    steps = np.abs(np.diff(channel)[within])
    jumps, ordinary = steps[steps > 3 * QUARTER], steps[steps < QUARTER]
    between = len(steps) - len(jumps) - len(ordinary)
    largest = ordinary.max(initial=0.0)
    if not len(jumps) or between > ODD * len(jumps) or largest == 0:
        return False
    return bool(np.quantile(np.abs(2 * np.pi - jumps), 1 - ODD) <= 2 * largest)


def changing(values: Array, starts: Array) -> NDArray[np.bool_]:
    """Return which channels, (C,), of values (N, C) change.

    A spread below 1e-6 counts where it is more than rounding and smooth in time, as in channels whose unit is large.
    Channels with NaN do not change.

    Args:
        values: (N, C).
        starts: (E + 1,) first row of each episode, and the end.
    """
    values = np.asarray(values)
    spread, size = np.ptp(values, axis=0), np.abs(values).max(axis=0)
    found = np.asarray(spread > STILL)
    within = _within(len(values), starts)
    for c in np.flatnonzero(~found & (spread > np.maximum(LEAST, STILL * size))):
        channel = values[:, c].astype(np.float64)
        found[c] = np.diff(channel)[within].std() < SMOOTH * channel.std()
    return found


def copies(values: Array, channels: Iterable[int]) -> dict[int, int]:
    """Return, for those of the `channels` of values (N, C) that repeat an earlier one exactly, which one that is."""
    first: dict[bytes, int] = {}
    found = {}
    for c in channels:
        content = np.ascontiguousarray(values[:, c] + 0.0)  # -0 becomes 0
        original = first.setdefault(sha256(content.tobytes()).digest(), c)
        if original != c:
            found[c] = original
    return found


def _within(rows: int, starts: Array) -> NDArray[np.bool_]:
    """Return which of the steps from row to row, (N - 1,), do not lead into the next episode."""
    within = np.ones(rows - 1, dtype=bool)
    within[np.asarray(starts)[1:-1] - 1] = False
    return within
