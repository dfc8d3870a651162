"""How much data and training an agent needs: `python studies/how_much.py [--env boat] [--episodes 100] [--seed 0]`.

Trains local policies on the first episodes of a large data set, few and many, and for few and many steps on 100,000
steps of data, by `df-agent train`, and measures each, aimed at the goal itself. The diffusion model, which does not act
there, is trained for one step. Rows are written as they come to results/how_much.json, and what has a row there is not
trained again; the picture goes to docs/how-much.png. The data comes first; the boat is in tests/support:

    df-agent collect env=untuned:Boat-v0 policy=untuned:BoatPilot steps=1000000
    df-agent collect env=FetchPush-v4 steps=250000
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter
from rich.table import Table

from df_agent.checkpoint import load_checkpoint
from df_agent.cli import app
from df_agent.cli.environments import spec_of
from df_agent.cli.measuring import (
    at_least_one,
    check_same_starts,
    measured,
    new_figure,
    parser_of,
    run,
    save,
    with_interval,
    write,
)
from df_agent.data.datasets import load_episodes
from df_agent.data.episodes import Episodes
from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.metrics import bootstrap_interval
from df_agent.options import make
from df_agent.policies import DiffusionForcingPolicy
from df_agent.training.state import saved_steps

BASE = 100_000  # steps of data where the training varies
TRAININGS = (250, 500, 1000, 2000, 4000, 8000)  # local_policy.steps there
# Only the local policy is trained, but for one step of the diffusion model, without which there is no checkpoint.
ALONE = (
    "steps=1", "time_to_goal.steps=0", "support.steps=0", "train.validate_every=0", "train.compile=false",
    "tracker=none", "policy.planner=direct", "policy.controller=local_policy",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """An environment with its data.

    Attributes:
        title: of its pictures.
        env: gymnasium id.
        dataset: the largest, of which the others are the first episodes.
        sizes: steps of data.
        options: of `df-agent train`, besides.
        colour: of its curves.
    """

    title: str
    env: str
    dataset: str
    sizes: tuple[int, ...]
    options: tuple[str, ...]
    colour: str


TASKS = {
    "boat": Task(
        "Boat",
        "untuned:Boat-v0",
        "df-agent/Boat-v0-untuned-BoatPilot-v0",
        (1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000),
        ("goal.achieved=[0,1]", "goal.desired=[6,7]"),
        "#1f6fe5",
    ),
    "push": Task(
        "FetchPush",
        "FetchPush-v4",
        "df-agent/FetchPush-v4-demonstrator-v0",
        (1_000, 3_000, 10_000, 30_000, 100_000, 250_000),
        ("policy.local_policy.pace=0.35", "policy.open_loop_horizon=50"),  # as the agent that ships
        "#e07b39",
    ),
}


def cases(task: Task, steps: int) -> list[tuple[int, int]]:
    """Return steps of data and local_policy.steps of every training; `steps` are those where the data varies."""
    found = [(size, steps) for size in task.sizes] + [(BASE, training) for training in TRAININGS]
    return list(dict.fromkeys(found))


def first_steps(episodes: Episodes, steps: int) -> Episodes:
    """Return the fewest first episodes that have so many steps; raises ValueError if all have fewer."""
    if episodes.steps < steps:
        raise ValueError(f"the data has {episodes.steps:,} steps, and {steps:,} are asked for: collect more")
    taken = np.cumsum(np.diff(episodes.starts) - 1)
    starts = episodes.starts[: int(np.searchsorted(taken, steps)) + 2]
    rows = slice(int(starts[-1]))
    columns = ("observations", "actions", "rewards", "desired_goals", "achieved_goals")
    some = {name: getattr(episodes, name)[rows] for name in columns if getattr(episodes, name) is not None}
    return replace(episodes, **some, starts=starts)


def packs(task: Task, name: str, folder: Path) -> dict[int, Path]:
    """Return a file of episodes for every size of the data, made where it is not there yet."""
    files = {size: folder / f"{name}-{size}.npz" for size in sorted({*task.sizes, BASE})}
    if missing := {size: file for size, file in files.items() if not file.exists()}:
        episodes = load_episodes(task.dataset)
        for size, file in missing.items():
            first_steps(episodes, size).save(file)
    return files


def train(task: Task, data: Path, steps: int) -> tuple[Path, float]:
    """Train a local policy, or take the one that is there; return its checkpoint and the minutes that it took."""
    folder = data.with_name(f"{data.stem}-{steps}")
    if not (folder / "final").is_dir():
        given = (f"env={task.env}", f"dataset={data}", f"run_dir={folder}", f"local_policy.steps={steps}")
        app.run("train", [*given, *ALONE, *task.options])
    return folder / "final", saved_steps(folder / "local_policy")[-1].seconds / 60


def row_of(name: str, size: int, steps: int, data: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train, evaluate, and return what was measured."""
    task = TASKS[name]
    checkpoint, minutes = train(task, data, steps)
    goal = make(GoalSpec, load_checkpoint(str(checkpoint)).config["goal"])
    policy = DiffusionForcingPolicy.from_pretrained(str(checkpoint), device="cpu", precision="fp32")
    label = f"{task.title}, {size:,} steps of data, {steps} of training"
    records = run(policy, task.env, label, options, keep_paths=False, goal_spec=goal)
    found = measured(records)
    interval = [float(bound) for bound in bootstrap_interval(np.array(found["steps_to_goal"], np.float64))]
    case = {"env": name, "policy": "local_policy", "data_steps": size, "training_steps": steps, "minutes": minutes}
    return {**case, "seed": options.seed, **found, "time_to_goal_ci95": interval}


def over_data(rows: Sequence[dict[str, Any]], steps: int) -> list[dict[str, Any]]:
    """Return the rows in which the data varies, by its size."""
    return sorted((row for row in rows if row["training_steps"] == steps), key=lambda row: row["data_steps"])


def over_training(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows in which the training varies, by its length."""
    return sorted((row for row in rows if row["data_steps"] == BASE), key=lambda row: row["training_steps"])


def speed(rows: Sequence[dict[str, Any]]) -> float:
    """Return the steps of training a minute, the median of all rows: a step costs the same in each, if left alone."""
    return float(np.median([row["training_steps"] / row["minutes"] for row in rows]))


def draw(rows: Sequence[dict[str, Any]], steps: int) -> Figure:
    """Draw success and the steps to the goal over the data and over the training, in minutes at the median speed."""
    tasks = [name for name in TASKS if any(row["env"] == name for row in rows)]
    figure = new_figure(5.6 * len(tasks), 5.2)
    axes = figure.subplots(2, 2 * len(tasks), sharex="col", squeeze=False)
    for column, name in enumerate(tasks):
        own, (left, right) = [row for row in rows if row["env"] == name], axes[:, 2 * column : 2 * column + 2].T
        curve(left, over_data(own, steps), "data_steps", TASKS[name].colour)
        timed = [{**row, "minutes": row["training_steps"] / speed(own)} for row in over_training(own)]
        curve(right, timed, "minutes", TASKS[name].colour)
        left[0].set_title(f"{TASKS[name].title}: data")
        right[0].set_title(f"{TASKS[name].title}: training")
        slowest = max(row["time_to_goal_ci95"][1] for row in own)
        for axis in (left[1], right[1]):
            axis.set_ylim(0, 1.05 * slowest)
        left[1].set_xlabel("steps of data")
        left[1].xaxis.set_major_formatter(EngFormatter(sep=""))
        right[1].set_xlabel("minutes of training")
        right[1].margins(x=0.1)
        right[1].xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        right[1].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        for row in timed:
            where = row["minutes"], row["time_to_goal_ci95"][0]
            below: dict[str, Any] = {"textcoords": "offset points", "va": "top", "ha": "center", "fontsize": 8}
            right[1].annotate(f"{row['training_steps']}", where, (0, -4), **below)
    axes[0, 0].set_ylabel("success")
    axes[1, 0].set_ylabel("mean steps to the goal")
    return figure


def curve(axes: Sequence[Axes], rows: Sequence[dict[str, Any]], key: str, colour: str) -> None:
    """Draw success in the first of two axes, and the steps to the goal in the second; nothing without rows."""
    if not rows:
        return
    for axis, name in zip(axes, ("success_rate", "time_to_goal"), strict=True):
        x = [row[key] for row in rows]
        axis.plot(x, [row[name] for row in rows], "o-", color=colour)
        low, high = ([row[f"{name}_ci95"][k] for row in rows] for k in (0, 1))
        axis.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    axes[0].set_ylim(0, 1.05)


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table of all rows for the terminal."""
    table = Table("environment", "data", "training", "minutes", "success [95 %]", "steps to the goal")
    for row in rows:
        success = with_interval(row["success_rate"], row["success_rate_ci95"])
        size, training = f"{row['data_steps']:,}", f"{row['training_steps']:,}"
        table.add_row(row["env"], size, training, f"{row['minutes']:.1f}", success, f"{row['time_to_goal']:.1f}")
    return table


def place(row: dict[str, Any]) -> tuple[int, int, int]:
    """Return where a row stands in the file: by environment, data and training."""
    return list(TASKS).index(row["env"]), row["data_steps"], row["training_steps"]


def kept(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows that are there already; raises ValueError if they are from other starts."""
    if not options.output.exists():
        return []
    earlier = json.loads(options.output.read_text())
    check_same_starts(options, earlier)
    return list(earlier["rows"])


def missing(rows: Sequence[dict[str, Any]], options: argparse.Namespace) -> Iterator[tuple[str, int, int]]:
    """Yield the environment, data and training of what has no row yet."""
    there = {(row["env"], row["data_steps"], row["training_steps"]) for row in rows}
    for name in options.env:
        for size, steps in cases(TASKS[name], options.steps):
            if (name, size, steps) not in there:
                yield name, size, steps


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("how_much", "success over the size of the data and the length of the training")
    parser.set_defaults(picture=Path("docs", "how-much.png"))
    parser.add_argument(
        "--env",
        nargs="*",
        choices=list(TASKS),
        default=list(TASKS),
        help="whose missing rows are made; none draws only",
    )
    parser.add_argument("--steps", type=at_least_one, default=4000, help="local_policy.steps where the data varies")
    parser.add_argument("--runs", type=Path, default=Path("runs", "how_much"), help="folder of the trainings")
    return parser.parse_args(arguments)


def main() -> None:
    """Train and measure what has no row yet, print the table, write the numbers and the picture."""
    options = read_options()
    try:
        rows = kept(options)
        for name, size, steps in list(missing(rows, options)):
            spec_of(TASKS[name].env)  # imports the module that registers it
            data = packs(TASKS[name], name, options.runs)[size]
            rows = sorted([*rows, row_of(name, size, steps, data, options)], key=place)
            save(options, {"rows": rows, "steps": options.steps})
    except (ValueError, OSError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    write(options, {"rows": rows, "steps": options.steps}, table_of(rows), draw(rows, options.steps))


if __name__ == "__main__":
    main()
