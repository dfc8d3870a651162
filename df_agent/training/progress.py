"""What the terminal shows while training: a bar where there is a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any


class Progress:
    """Loss, steps per second and time left.

    Args:
        start: step at which this process begins.
        total: steps in all.
        log_every: steps between plain lines.
        quiet: show nothing (processes other than the first).
    """

    def __init__(self, start: int, total: int, log_every: int, quiet: bool = False) -> None:
        self._start, self._total, self._log_every, self._quiet = start, total, log_every, quiet
        self._began: float | None = None
        self._bar: Any = None if quiet or not sys.stdout.isatty() else _rich_bar()
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("train", total=total, completed=start, loss="", speed="")

    def update(self, step: int, metrics: dict[str, float] | None = None) -> None:
        """Report that `step` steps are done; `metrics` (with "loss") only where they were just measured."""
        if self._quiet:
            return
        if self._began is None:  # the first step builds kernels and would spoil the estimate
            self._began, self._start = time.perf_counter(), step
        rate = (step - self._start) / max(1e-9, time.perf_counter() - self._began)
        if self._bar is not None:
            fields = {"loss": f"loss {metrics['loss']:.4g}"} if metrics else {}
            self._bar.update(self._task, completed=step, speed=f"{rate:.2f} steps/s", **fields)
        elif metrics:
            left = (self._total - step) / rate if rate else 0.0
            print(
                f"step {step}/{self._total}  loss {metrics['loss']:.4g}  lr {metrics['learning_rate']:.2e}  "
                f"{rate:.2f} steps/s  {_clock(left)} left",
                flush=True,
            )

    def note(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        elif not self._quiet:
            print(text, flush=True)

    def close(self) -> None:
        """Take the bar off the terminal."""
        if self._bar is not None:
            self._bar.stop()


def _rich_bar() -> Any:
    try:
        from rich import progress
    except ImportError:  # optional where models are only trained
        return None
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[loss]}"),
        progress.TextColumn("{task.fields[speed]}"),
        progress.TimeRemainingColumn(),
    )


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
