"""Stopping a training from outside, by SIGTERM as schedulers send it or by Ctrl-C, without losing what it did."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A training was stopped by a signal, and what it did is saved.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number


class StopRequest:
    """Whether a signal to stop has come."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._waits = False

    def __bool__(self) -> bool:
        return self.number is not None

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Let what must not be cut in two, as a step or a save, come to its end; who asks `bool` finds out then."""
        before, self._waits = self._waits, True
        try:
            yield
        finally:
            self._waits = before

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note a signal; the second one, or one that comes where nothing must be finished, stops at once."""
        again, self.number = bool(self), number
        if again or not self._waits:
            raise Stopped(number)


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Yield what hears of signals to stop while the block runs; outside of the main thread none are heard."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = [signal.signal(number, request.handle) for number in SIGNALS]
    try:
        yield request
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
