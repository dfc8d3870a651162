"""What a run measures between two log lines, and what the terminal shows of it."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Meter:
    """Means of what the steps measured, steps per second, and the first step that was not finite."""

    def __init__(self, device: torch.device) -> None:
        self._bad_step = torch.full((), -1, device=device, dtype=torch.long)
        self._bad_loss = torch.zeros((), device=device)
        self.restart()

    def restart(self) -> None:
        """Begin the next means."""
        self._sums: dict[str, Tensor | float] = {}
        self._count = 0
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave out of the rate what passed since the last step (a save, a validation)."""
        self._began, self._timed = time.perf_counter(), 0

    @torch.no_grad()
    def add(self, step: int, metrics: Mapping[str, Tensor | float]) -> None:
        """Count one step; `metrics` holds "loss" and "grad_norm"."""
        loss, norm = (torch.as_tensor(metrics[key]) for key in ("loss", "grad_norm"))
        is_bad = (self._bad_step < 0) & ~(torch.isfinite(loss) & torch.isfinite(norm))
        self._bad_step = torch.where(is_bad, step, self._bad_step)
        self._bad_loss = torch.where(is_bad, loss.float(), self._bad_loss)
        for key, value in metrics.items():
            self._sums[key] = self._sums.get(key, 0.0) + value
        self._count += 1
        self._timed += 1

    def means(self) -> dict[str, float]:
        """Mean of each metric since `restart`."""
        return {key: float(value) / self._count for key, value in self._sums.items()}

    def rate(self) -> float:
        """Steps per second."""
        return self._timed / max(1e-9, time.perf_counter() - self._began)

    def first_bad(self) -> tuple[int, float] | None:
        """The first step whose loss or gradient was not finite, and its loss; waits for the device."""
        step = int(self._bad_step)
        return (step, float(self._bad_loss)) if step >= 0 else None


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
