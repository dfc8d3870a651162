"""Errors that the user of a command can mend end it with one line instead of a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import gymnasium as gym

from df_agent.checkpoint import CheckpointError
from df_agent.evaluation.active_rows import PolicyError
from df_agent.training.run_folder import RunError
from df_agent.training.trainer import TrainingError

EXPECTED: tuple[type[Exception], ...] = (
    ValueError, OSError, ImportError, CheckpointError, PolicyError, RunError, TrainingError, gym.error.Error,
)  # fmt: skip


@contextmanager
def errors_in_one_line(*more: type[Exception]) -> Iterator[None]:
    """Raise SystemExit with the name and the text of an error that is expected, or one of `more`."""
    try:
        yield
    except EXPECTED + more as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
