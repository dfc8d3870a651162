"""One progress bar for a whole comparison, whose policies differ a thousandfold in pace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from df_agent.evaluation.episode_batch import Progress


@dataclass
class Work:
    """What is still to be run of one policy in one environment.

    Attributes:
        steps: control steps at most.
        pace: seconds per control step, from rows there are; None if unknown.
        done: control steps run.
        seconds: spent on them.
    """

    steps: int
    pace: float | None = None
    done: int = 0
    seconds: float = 0.0

    def seconds_left(self) -> float | None:
        """Return the seconds still needed; None if nothing is known about the pace."""
        left = max(self.steps - self.done, 0)
        pace = self.seconds / self.done if self.done else self.pace
        return 0.0 if not left else None if pace is None else pace * left


class ComparisonProgress:
    """Tells a progress bar what runs and how long all of it will take.

    The time left is the sum over policies, each at its own pace: what it takes now, or took in the rows there are.
    Policies that never ran are counted, not guessed.

    Args:
        bar: rich's.
        work: by whatever identifies a policy in an environment.
    """

    def __init__(self, bar: Bar, work: Mapping[tuple[str, str], Work]) -> None:
        self.bar, self.work = bar, work
        self.task = bar.add_task("", total=max(sum(entry.steps for entry in work.values()), 1), text="", left="")

    def watch(self, key: tuple[str, str], label: str) -> Callable[[Progress], None]:
        """Return what to give a rollout as `on_progress`; it may start from zero with every wave."""
        work, before, clock = self.work[key], 0, time.perf_counter()

        def update(now: Progress) -> None:
            nonlocal before, clock
            work.done += now.steps - before if now.steps >= before else now.steps
            seen = time.perf_counter()
            work.seconds += seen - clock
            before, clock = now.steps, seen
            self.show(label, f"{now.successes} of {now.started} reached the goal")

        return update

    def finish(self, key: tuple[str, str]) -> None:
        """Count what is left of a policy as done: its episodes ended early, or it failed."""
        self.work[key].done = self.work[key].steps

    def show(self, label: str, text: str = "") -> None:
        """Bring the bar up to date."""
        done = sum(min(entry.done, entry.steps) for entry in self.work.values())
        self.bar.update(self.task, completed=done, description=label, text=text, left=self.left())

    def left(self) -> str:
        """Return the time left in words."""
        times = [entry.seconds_left() for entry in self.work.values()]
        known = sum(seconds for seconds in times if seconds is not None)
        unknown = sum(seconds is None for seconds in times)
        minutes, seconds = divmod(round(known), 60)
        text = f"{minutes}:{seconds:02d} left" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min left"
        return text + (f", and {unknown} of unknown pace" if unknown else "")


@contextmanager
def comparison_progress(work: Mapping[tuple[str, str], Work], console: Console) -> Iterator[ComparisonProgress]:
    """Show a bar while a comparison runs; none if nothing is left to run."""
    columns = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()]
    columns += [TextColumn("{task.fields[text]}"), TextColumn("{task.fields[left]}", style="dim")]
    with Bar(*columns, console=console, disable=not any(item.steps for item in work.values())) as bar:
        yield ComparisonProgress(bar, work)
