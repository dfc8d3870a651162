"""Record a policy into the local Minari store: `df-agent collect env=maze2d-large`.

In the mazes the demonstrator goes from goal to goal without end, as the one did that made Minari's PointMaze sets.
"""

from __future__ import annotations

import time
from contextlib import closing

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from df_agent.cli.collecting import Job, dataset_of, default_steps, is_endless, job_of
from df_agent.cli.environments import check_env, own_maze
from df_agent.cli.errors import errors_in_one_line
from df_agent.data.collect import collect
from df_agent.data.datasets import load_episodes

# Segments of Minari's D4RL/pointmaze/*-v2: mean and longest, in steps.
MINARI_SEGMENTS = {"umaze": (75.7, 190), "medium": (210.4, 504), "large": (297.6, 797)}


def report(job: Job, lengths: NDArray[np.int64], seconds: float) -> None:
    """Print what was collected; in the mazes, how the segments compare with Minari's."""
    title = f"{job.dataset}: {lengths.sum():,} steps in {seconds:.0f} s ({lengths.sum() / seconds:,.0f}/s)"
    table = Table(title=title)
    endless = is_endless(job.env) and job.every == 1
    first = "steps from goal to goal" if endless else "steps"
    columns = [first, "segments" if endless else "episodes", "mean", "median", "longest"]
    for column in columns if endless else [*columns, "success", "steps to goal"]:
        table.add_column(column, justify="left" if column == first else "right")
    ended = lengths[:-1] if len(lengths) > 1 else lengths
    cells = ["this dataset", f"{len(ended)}", f"{ended.mean():.1f}", f"{np.median(ended):.0f}", f"{ended.max()}"]
    if endless:
        table.add_row(*cells)
        maze = str(job.env.spec.id).removeprefix("walk2d-")  # type: ignore[union-attr]
        if maze in MINARI_SEGMENTS:
            mean, longest = MINARI_SEGMENTS[maze]
            table.add_row(f"Minari D4RL/pointmaze/{maze}-v2", "", f"{mean}", "", f"{longest}")
    else:
        times = [steps for steps in job.times_to_goal if steps is not None]
        share = f"{len(times) / len(job.times_to_goal):.3f}" if job.times_to_goal else "unknown"
        table.add_row(*cells, share, f"{np.mean(times):.1f}" if times else "–")
    Console().print(table)


def run(config: DictConfig) -> None:
    """Collect, report, and pack if asked."""
    config.env = own_maze(config.env, config.maze)
    check_env(config.env)
    job = job_of(config)
    steps = config.steps or default_steps(config.env)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True)
    )
    began = time.perf_counter()
    with bar, closing(job.env):
        task = bar.add_task(f"collecting {job.dataset}", total=steps)
        lengths = collect(
            job.env,
            job.policy,
            steps,
            job.dataset,
            seed=config.seed,
            every=job.every,
            overwrite=config.overwrite,
            **job.about,
            on_progress=lambda steps: bar.advance(task, steps),
            on_episode=job.note,
        )
    report(job, lengths, time.perf_counter() - began)
    if config.pack:  # of the vectors; a world model reads pictures from the store
        load_episodes(job.dataset).save(config.pack)
        Console().print(f"Packed into {config.pack}")


def written(config: DictConfig) -> dict[str, str]:
    """Return the options that say where results go, with where that is."""
    chosen = config.copy()
    chosen.env = own_maze(config.env, config.maze)
    return {"dataset": dataset_of(chosen)}


def main(config: DictConfig) -> None:
    """Collect as the config says."""
    with errors_in_one_line(RuntimeError):
        run(config)
