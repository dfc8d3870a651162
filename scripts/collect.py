"""Collect demonstrations into the local Minari store: `python scripts/collect.py env=maze2d-large`.

The demonstrator walks from goal to goal without end, as the one did that made Minari's PointMaze sets.
"""

from __future__ import annotations

import time

import gymnasium as gym
import hydra
import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import envs
from df_agent.data.collect import collect
from df_agent.data.episodes import OWN_NAMESPACE, load_episodes
from envs.waypoints import demonstrator

# Segments of Minari's D4RL/pointmaze/*-v2: mean and longest, in steps.
MINARI_SEGMENTS = {"umaze": (75.7, 190), "medium": (210.4, 504), "large": (297.6, 797)}


def report(dataset: str, maze: str, lengths: NDArray[np.int64], seconds: float) -> None:
    """Print how the segments compare with Minari's."""
    arrived = lengths[:-1] if len(lengths) > 1 else lengths
    mean, longest = MINARI_SEGMENTS[maze]
    table = Table(title=f"{dataset}: {lengths.sum():,} steps in {seconds:.0f} s ({lengths.sum() / seconds:,.0f}/s)")
    for column in ("steps from goal to goal", "segments", "mean", "median", "longest"):
        table.add_column(column, justify="left" if column.startswith("steps") else "right")
    table.add_row(
        "this dataset",
        f"{len(arrived)}",
        f"{arrived.mean():.1f}",
        f"{np.median(arrived):.0f}",
        f"{arrived.max()}",
    )
    table.add_row(f"Minari D4RL/pointmaze/{maze}-v2", "", f"{mean}", "", f"{longest}")
    Console().print(table)


def run(config: DictConfig) -> None:
    """Collect, report, and pack if asked."""
    maze = envs.maze_of(config.env).name
    env = gym.make(f"walk2d-{maze}").unwrapped
    policy = demonstrator(config.env, route=config.waypoints, action_noise=config.noise, seed=config.seed)
    dataset = config.dataset or f"{OWN_NAMESPACE}/{config.env}-{config.waypoints}-v0"
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True)
    )
    began = time.perf_counter()
    with bar:
        task = bar.add_task(f"collecting {dataset}", total=config.steps)
        lengths = collect(
            env,
            policy,
            config.steps,
            dataset,
            seed=config.seed,
            overwrite=config.overwrite,
            algorithm_name=f"PD along {config.waypoints} routes, action noise {config.noise}",
            description="An endless walk from goal to goal; one episode per goal.",
            on_progress=lambda steps: bar.advance(task, steps),
        )
    report(dataset, maze, lengths, time.perf_counter() - began)
    if config.pack:
        load_episodes(dataset).save(config.pack)
        Console().print(f"Packed into {config.pack}")


@hydra.main(version_base=None, config_path="../configs", config_name="collect")
def main(config: DictConfig) -> None:
    """Collect as the config says."""
    try:
        run(config)
    except (ValueError, FileExistsError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
