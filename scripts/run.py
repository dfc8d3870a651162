"""Collect, train and evaluate by one command: `python scripts/run.py env=maze2d-medium tasks=[collect,train,evaluate]`.

Each task is the script of its name; `train.train.seed=1` hands `train.seed=1` to scripts/train.py. What is there is
kept: a dataset is not collected again, and a training goes on where it stopped.
"""

from __future__ import annotations

import difflib
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from policies import demonstrations
from yardsticks import check_env

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
            env_id = value
        elif key == "tasks" and equals:
            tasks = [name.strip() for name in value.strip("[] ").split(",") if name.strip()]
        elif key == "debug" and equals:
            given["train"].append(argument)
        elif dot and task in given and equals:
            given[task].append(f"{rest}={value}")
        else:
            close = difflib.get_close_matches(task, ("env", "tasks", "debug", *TASKS), n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            options = ", ".join(f"{name}.KEY=" for name in TASKS)
            raise ValueError(f"{argument!r} is none of env=, tasks=, debug=, {options}{hint}")
    unknown = [task for task in tasks if task not in TASKS]
    if unknown or not tasks:
        raise ValueError(f"tasks must be among {list(TASKS)}, got {tasks}")
    return env_id, tasks, given


def option(arguments: Sequence[str], key: str) -> str | None:
    """Return the value of the last `key=value`."""
    values = [argument.partition("=")[2] for argument in arguments if argument.partition("=")[0] == key]
    return values[-1] if values else None


def command_of(task: str, env_id: str, given: dict[str, list[str]]) -> list[str]:
    """Return a task's arguments: what it is given, and what follows from the other tasks."""
    dataset = option(given["collect"], "dataset")
    method = option(given["train"], "method") or "diffusion_forcing"
    suffix = "" if method == "diffusion_forcing" else f"-{method}"  # as configs/train/method has it
    run_dir = option(given["train"], "run_dir") or f"runs/{env_id}{suffix}"
    follows = {"train": ("dataset", dataset), "evaluate": ("checkpoint", f"{run_dir}/final")}
    key, value = follows.get(task, ("", None))
    more = [f"{key}={value}"] if value is not None and option(given[task], key) is None else []
    return [str(SCRIPTS / f"{task}.py"), f"env={env_id}", *more, *given[task]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the tasks; stop at the first that fails, with its exit status."""
    try:
        env_id, tasks, given = read_arguments(sys.argv[1:] if arguments is None else arguments)
        check_env(env_id)
    except ValueError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    for task in tasks:
        name = option(given["collect"], "dataset") or demonstrations(env_id)
        if task == "collect" and option(given["collect"], "overwrite") != "true" and is_collected(name):
            print(f"collect: {name} is there already", flush=True)
            continue
        print(f"{task}: {' '.join(command_of(task, env_id, given)[1:])}", flush=True)
        status = subprocess.run([sys.executable, *command_of(task, env_id, given)], check=False).returncode
        if status:
            raise SystemExit(status)


if __name__ == "__main__":
    main()
