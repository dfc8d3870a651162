"""Collect, train and evaluate by one command: `df-agent run env=maze2d-medium tasks=[collect,train,evaluate]`.

Each task is the command of its name; `train.train.seed=1` hands `train.seed=1` to `df-agent train`. A maze of your own
is `env=maze2d maze=my_maze.txt`, see docs/own-maze.md. What is there is kept: a dataset is not collected again, and a
training goes on where it stopped.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from df_agent.cli.arguments import value_of as option
from df_agent.cli.composing import configuration, quoted
from df_agent.cli.environments import check_env, demonstrations, file_name, is_maze, maze2d, own_maze
from df_agent.data.collect import is_collected  # without torch

TASKS = ("collect", "train", "evaluate")


def understood(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what the user says with the arguments of each task as a list of texts."""
    out: list[tuple[str, str]] = []
    given: dict[str, list[str]] = {task: [] for task in TASKS}
    for key, text in pairs:
        task, dot, rest = key.partition(".")
        if dot and task in TASKS:
            given[task].append(f"{rest}={text}")
        elif key == "debug":
            given["train"].append(f"{key}={text}")
        else:
            out.append((key, text))
        if key == "maze":
            for words in given.values():
                words.append(f"{key}={text}")
    return [*out, *((task, f"[{','.join(map(quoted, words))}]") for task, words in given.items() if words)]


def run_dir_of(env_id: str, given: Sequence[str]) -> str:
    """Return where `df-agent train` leaves its run."""
    method = option(given, "method") or "diffusion_forcing"
    suffix = "" if method == "diffusion_forcing" else f"-{method}"  # as the file of the method has it
    home = maze2d(env_id) if is_maze(env_id) else file_name(env_id)
    return option(given, "run_dir") or f"runs/{home}{suffix}"


def arguments_of(task: str, env_id: str, given: dict[str, list[str]], tasks: Sequence[str] = TASKS) -> list[str]:
    """Return a task's arguments: what it is given, and what follows from the other tasks.

    The mazes whose goals are drawn at random share the data and the models of those with a fixed one.
    """
    dataset = option(given["collect"], "dataset")
    home = maze2d(env_id) if is_maze(env_id) else file_name(env_id)
    final = Path(run_dir_of(env_id, given["train"]), "final")
    own = "train" in tasks or given["train"] or final.exists()  # otherwise what ships
    follows = {"train": ("dataset", dataset), "evaluate": ("checkpoint", str(final) if own else None)}
    key, value = follows.get(task, ("", None))
    more = [f"{key}={value}"] if value is not None and option(given[task], key) is None else []
    env = env_id if task == "evaluate" or not is_maze(env_id) else home
    if option(given[task], "maze") is not None:
        env = env.partition("-")[0]
    return [f"env={env}", *more, *given[task]]


def dataset_of(env_id: str, given: Sequence[str]) -> str:
    """Return the dataset that `df-agent collect` writes.

    Raises:
        ValueError: options that make another one, which has no name here.
    """
    if (name := option(given, "dataset")) is not None:
        return name
    others = [
        argument
        for argument in given
        if argument.partition("=")[0] not in ("maze", "steps", "seed", "overwrite", "pack")
    ]
    if others:
        raise ValueError(
            f"{' '.join(f'collect.{other}' for other in others)} makes another dataset than "
            f"{demonstrations(env_id)}: name it, collect.dataset=df-agent/NAME-v0"
        )
    return demonstrations(env_id)


def planned(config: DictConfig) -> tuple[dict[str, list[str]], str]:
    """Return what each task is told, in their order, and the dataset that is collected.

    Raises:
        ValueError: a task cannot do what it is told.
    """
    if not config.tasks:
        raise ValueError(f"tasks= asks for none; there are {', '.join(TASKS)}")
    given = {task: list(config[task]) for task in TASKS}
    env_id = own_maze(str(config.env).removeprefix("df_envs:"), config.maze)  # ours are registered already
    check_env(env_id)
    dataset = dataset_of(env_id, given["collect"])
    words = {task: arguments_of(task, env_id, given, config.tasks) for task in config.tasks}
    for task in TASKS:
        if task in words or given[task]:  # what is said to one that is not run shall make sense, too
            configuration(task, words.get(task) or given[task], within=f"{task}.")
    return words, dataset


def written(config: DictConfig) -> dict[str, str]:
    """Return the options that say where data and model go, with where that is."""
    env_id = own_maze(str(config.env).removeprefix("df_envs:"), config.maze)
    collect, train = list(config.collect), list(config.train)
    dataset = option(collect, "dataset") or demonstrations(env_id)
    return {"collect.dataset": dataset, "train.run_dir": run_dir_of(env_id, train)}


def main(config: DictConfig) -> None:
    """Run the tasks; stop at the first that fails, with its exit status. All are checked before one runs."""
    words, dataset = planned(config)
    overwrite = (option(list(config.collect), "overwrite") or "").lower() in ("true", "1", "yes", "on")
    for task in words:
        if task == "collect" and not overwrite and is_collected(dataset):
            print(f"collect: {dataset} is there already", flush=True)
            continue
        print(f"{task}: {' '.join(words[task])}", flush=True)
        status = subprocess.run(
            [sys.executable, "-P", "-m", "df_agent.cli", task, *words[task]], check=False
        ).returncode
        if status:
            raise SystemExit(status)
