"""The time left of a comparison is what is known of it."""

import io

import pytest
from rich.console import Console

from df_agent.benchmark.progress import Work, comparison_progress
from df_agent.evaluation.episode_batch import Progress


def now(steps):
    return Progress(steps, 100, 0, 2, 2)


def test_each_policy_counts_at_its_own_pace():
    work = {("env", "fast"): Work(1000, pace=0.01), ("env", "slow"): Work(1000, pace=5.0), ("env", "new"): Work(1000)}
    with comparison_progress(work, Console(file=io.StringIO())) as progress:
        assert progress.left() == "1 h 23 min left, and 1 of unknown pace"
        progress.finish(("env", "slow"))
        assert progress.left() == "0:10 left, and 1 of unknown pace"
        progress.finish(("env", "new"))
        assert progress.left() == "0:10 left"


def test_waves_add_up_and_what_is_measured_replaces_what_was_stored():
    work = {("env", "fast"): Work(200, pace=1000.0)}
    with comparison_progress(work, Console(file=io.StringIO())) as progress:
        update = progress.watch(("env", "fast"), "fast")
        for steps in (50, 100, 50):  # a wave of 100 steps, then half of the next
            update(now(steps))
        entry = work["env", "fast"]
        assert entry.done == 150
        assert entry.seconds_left() == pytest.approx(entry.seconds / 3)
        assert progress.bar.tasks[0].completed == 150
        assert progress.left() == "0:00 left"
