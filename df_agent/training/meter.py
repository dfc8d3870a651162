"""Running means between two log lines, kept on the device so that no step waits for its numbers."""

from __future__ import annotations

import time
from collections.abc import Mapping

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
