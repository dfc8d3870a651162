"""Errors that the user of a command can mend end it with one line instead of a traceback."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

BAD_INPUT, FAILED = 2, 1  # how a process ends: the user has to change something; something went wrong on the way
TRACEBACK = "HYDRA_FULL_ERROR"  # 1 in this variable of the environment: errors come with their traceback, as Hydra's do


class CommandError(SystemExit):
    """Ends a command with a text for its user.

    Args:
        text: one line, without the command's name.
        code: the process's exit status.
    """

    def __init__(self, text: str, code: int = BAD_INPUT) -> None:
        super().__init__(text)
        self.code = code


def in_one_line(error: Exception, code: int = BAD_INPUT) -> CommandError:
    """Return what ends a command for an error; raises that as it came where its traceback is asked for."""
    if os.environ.get(TRACEBACK) == "1":
        raise error
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    return CommandError(text or type(error).__name__, code)


@contextmanager
def errors_in_one_line(*more: type[Exception]) -> Iterator[None]:
    """Raise CommandError with the text of an error that is expected, or one of `more`."""
    import gymnasium as gym  # these bring torch, and a typo is answered without

    from df_agent.checkpoint import CheckpointError
    from df_agent.evaluation.active_rows import PolicyError
    from df_agent.training.run_folder import RunError
    from df_agent.training.trainer import TrainingError

    expected: tuple[type[Exception], ...] = (
        ValueError, OSError, ImportError, CheckpointError, PolicyError, RunError, gym.error.Error,
    )  # fmt: skip
    failures: tuple[type[Exception], ...] = (TrainingError, *more)
    try:
        yield
    except expected as error:
        raise in_one_line(error) from error
    except failures as error:
        raise in_one_line(error, FAILED) from error
