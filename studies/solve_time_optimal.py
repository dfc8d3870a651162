"""Solve the fixed-goal mazes for the least time to the goal: `python studies/solve_time_optimal.py`.

Writes the tables that `df_envs.time_optimal` loads, and compares with the oracle on validation starts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import gymnasium as gym
import numpy as np
from df_envs.maps import MAZES, maze_of
from df_envs.oracle import lower_bound_steps, oracle_steps
from df_envs.time_optimal.policy import time_optimal_steps
from df_envs.time_optimal.solver import solve
from df_envs.time_optimal.table import FOLDER, load_table, table_path
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

VALIDATION_SEED = 1000
ENV_IDS = [f"maze2d-{maze}" for maze in MAZES]


def make(env_id: str, spacing: float, speed_step: float, folder: Path) -> Path:
    """Solve one maze and write its table."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[done]}"), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(env_id, total=None, done="")

        def show(what: str, done: int, total: int) -> None:
            of = f"{done / total:.0%}" if total else f"{done}"
            bar.update(task, description=f"{env_id}: {what}", completed=done, total=total or None, done=of)

        table = solve(maze_of(env_id), spacing, speed_step, on_progress=show)
    path = table_path(table.maze, folder)
    table.save(path)
    return path


def validation_row(env_id: str, episodes: int) -> list[str]:
    """Mean steps on validation starts: the limit, the oracle, the bound, and the limit's share of the oracle's."""
    env = gym.make(env_id)
    resets = [env.reset(seed=VALIDATION_SEED + i)[0] for i in range(episodes)]
    starts = np.array([reset["observation"] for reset in resets])
    goals = np.array([reset["desired_goal"] for reset in resets])
    steps = (time_optimal_steps, oracle_steps, lower_bound_steps)
    fastest, oracle, bound = (float(measure(env_id, starts, goals).mean()) for measure in steps)
    return [env_id, f"{fastest:.1f}", f"{oracle:.1f}", f"{bound:.1f}", f"{fastest / oracle:.2f}"]


def main() -> None:
    """Solve, write, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("envs", nargs="*", metavar="ENV", help=f"of {', '.join(ENV_IDS)}; all by default")
    parser.add_argument("--spacing", type=float, default=0.1, help="of positions [m]")
    parser.add_argument("--speed-step", type=float, default=1.0, help="of velocities [m/s]")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the tables go; the package by default")
    parser.add_argument("--episodes", type=int, default=50, help="validation starts to compare on")
    options = parser.parse_args()
    if unknown := [env_id for env_id in options.envs if env_id not in ENV_IDS]:
        parser.error(f"there is no fixed-goal maze {unknown[0]!r}; there are {', '.join(ENV_IDS)}")
    result = Table(title=f"Mean steps to the goal, {options.episodes} starts from seed {VALIDATION_SEED}")
    for column in ("environment", "time-optimal", "oracle", "lower bound", "time-optimal / oracle"):
        result.add_column(column, justify="left" if column == "environment" else "right")
    for env_id in options.envs or ENV_IDS:
        began = time.perf_counter()
        path = make(env_id, options.spacing, options.speed_step, options.folder)
        size = path.stat().st_size / 1e6
        Console().print(f"{path}: {size:.2f} MB in {time.perf_counter() - began:.0f} s", highlight=False)
        if options.folder == FOLDER:
            load_table.cache_clear()
            result.add_row(*validation_row(env_id, options.episodes))
    if options.folder == FOLDER:
        Console().print(result)


if __name__ == "__main__":
    main()
