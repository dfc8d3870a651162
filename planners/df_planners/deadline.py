"""How long planning may take."""

from __future__ import annotations

import time
from collections.abc import Callable


class Deadline:
    """Tells whether there is time for another piece of work, each about as long as the longest so far.

    Args:
        milliseconds: from now on.
        clock: seconds that pass, for tests.
    """

    def __init__(self, milliseconds: float, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began = self._last = clock()
        self._end = self._began + milliseconds / 1000
        self._longest = 0.0

    def over(self) -> bool:
        """Return whether another piece of work would end too late; called after each."""
        now = self._clock()
        self._longest, self._last = max(self._longest, now - self._last), now
        return now + self._longest > self._end

    def spent(self) -> float:
        """Return the seconds since it was set."""
        return self._clock() - self._began
