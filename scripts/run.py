"""Collect, train and evaluate by one command: `python scripts/run.py env=maze2d-medium tasks=[collect,train,evaluate]`.

Each task is the script of its name; `train.train.seed=1` hands `train.seed=1` to scripts/train.py. A maze of your own
is `env=maze2d maze=my_maze.txt`, see docs/own-maze.md. What is there is kept: a dataset is not collected again, and a
training goes on where it stopped.
"""

from __future__ import annotations

import difflib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from df_agent.cli.environments import check_env, demonstrations, file_name, is_maze, maze2d, maze_option, own_maze
from df_agent.cli.errors import errors_in_one_line
from df_agent.data.collect import is_collected

TASKS = ("collect", "train", "evaluate")
SCRIPTS = Path(__file__).parent


def read_arguments(arguments: Sequence[str]) -> tuple[str, list[str], dict[str, list[str]]]:
    """Return the environment, the tasks in order, and what each is given.

    Raises:
        ValueError: an argument that is none of these.
    """
    env_id, tasks, given = "maze2d-large", list(TASKS), {task: list[str]() for task in TASKS}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        task, dot, rest = key.partition(".")
        if key == "env" and value:
            env_id = value.removeprefix("df_envs:")  # ours are registered already
        elif key == "tasks" and equals:
            tasks = [name.strip() for name in value.strip("[] ").split(",") if name.strip()]
        elif key == "maze" and value:
            for words in given.values():
                words.append(argument)
        elif key == "debug" and equals:
            given["train"].append(argument)
        elif dot and task in given and equals:
            given[task].append(f"{rest}={value}")
        else:
            close = difflib.get_close_matches(task, ("env", "maze", "tasks", "debug", *TASKS), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            options = ", ".join(f"{name}.KEY=" for name in TASKS)
            raise ValueError(f"{argument!r} is none of env=, maze=, tasks=, debug=, {options}{hint}")
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        raise ValueError(f"tasks must be among {list(TASKS)}, got {tasks}")
    return env_id, tasks, given


def option(arguments: Sequence[str], key: str) -> str | None:
    """Return the value of the last `key=value`."""
    values = [argument.partition("=")[2] for argument in arguments if argument.partition("=")[0] == key]
    return values[-1] if values else None


def command_of(task: str, env_id: str, given: dict[str, list[str]], tasks: Sequence[str] = TASKS) -> list[str]:
    """Return a task's arguments: what it is given, and what follows from the other tasks.

    The mazes whose goals are drawn at random share the data and the models of those with a fixed one.
    """
    dataset = option(given["collect"], "dataset")
    method = option(given["train"], "method") or "diffusion_forcing"
    suffix = "" if method == "diffusion_forcing" else f"-{method}"  # as configs/train/method has it
    home = maze2d(env_id) if is_maze(env_id) else file_name(env_id)
    final = Path(option(given["train"], "run_dir") or f"runs/{home}{suffix}", "final")
    own = "train" in tasks or given["train"] or final.exists()  # otherwise what ships
    follows = {"train": ("dataset", dataset), "evaluate": ("checkpoint", str(final) if own else None)}
    key, value = follows.get(task, ("", None))
    more = [f"{key}={value}"] if value is not None and option(given[task], key) is None else []
    env = env_id if task == "evaluate" or not is_maze(env_id) else home
    if option(given[task], "maze") is not None:
        env = env.partition("-")[0]
    return [str(SCRIPTS / f"{task}.py"), f"env={env}", *more, *given[task]]


def dataset_of(env_id: str, given: Sequence[str]) -> str:
    """Return the dataset that scripts/collect.py writes.

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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tasks; stop at the first that fails, with its exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    with errors_in_one_line():
        env_id, tasks, given = read_arguments(words)
        env_id = own_maze(env_id, maze_option(words))
        check_env(env_id)
        name = dataset_of(env_id, given["collect"])
    overwrite = (option(given["collect"], "overwrite") or "").lower() in ("true", "1", "yes", "on")
    for task in tasks:
        if task == "collect" and not overwrite and is_collected(name):
            print(f"collect: {name} is there already", flush=True)
            continue
        command = command_of(task, env_id, given, tasks)
        print(f"{task}: {' '.join(command[1:])}", flush=True)
        status = subprocess.run([sys.executable, *command], check=False).returncode
        if status:
            raise SystemExit(status)


if __name__ == "__main__":
    main()
