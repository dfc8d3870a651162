"""Train the toy model in processes that are killed with -9, over and over; run by test_resume.py.

Each process is forked from this one, which has imported torch but never run it, so a restart costs milliseconds.
Kills come at random moments, and, counted, at each operation on a file: halfway through a write, before and after
a rename, before a deletion.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import torch
import torch._dynamo  # the first optimiser would import it, in every process anew
import toy_training

import df_agent.checkpoint
import df_agent.files
import df_agent.training.state
from df_agent.training.trackers import JsonlTracker

OPERATIONS = 11  # one checkpoint, with its pruning, takes about this many


def train(run_dir):
    torch.set_num_threads(1)
    model = toy_training.Toy(dropout=0.2)
    toy_training.make_trainer(run_dir, model, JsonlTracker(run_dir), steps=300, checkpoint_every=20, keep=2).fit()


def kill_at_operation(number):
    """Make the `number`-th operation on a file of this process its last."""
    count = 0

    def reached():
        nonlocal count
        count += 1
        return count == number

    def wrap(owner, name, also=()):
        original = getattr(owner, name)

        def operation(*args, **kwargs):
            if reached():
                os.kill(os.getpid(), signal.SIGKILL)
            result = original(*args, **kwargs)
            if reached():
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        for place in (owner, *also):
            setattr(place, name, operation)

    def write_file(path, data):
        with open(path, "wb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            if reached():
                os.kill(os.getpid(), signal.SIGKILL)
            file.write(data[len(data) // 2 :])

    df_agent.files.write_file = df_agent.checkpoint.write_file = df_agent.training.state.write_file = write_file
    wrap(os, "replace")
    wrap(Path, "rename")
    wrap(shutil, "rmtree")


def start(run_dir, operation=None):
    pid = os.fork()
    if pid == 0:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        try:
            if operation is not None:
                kill_at_operation(operation)
            train(run_dir)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return pid


def end(pid):
    """Exit status as the shell counts: -9 for a process that was killed."""
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"a training process ended with {status}")
    return status


def main():
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    draw = random.Random(seed)
    began = time.perf_counter()
    end(start(folder / "whole"))
    duration = time.perf_counter() - began
    random_kills = operation_kills = 0
    for _ in range(6):
        pid = start(folder / "killed")
        time.sleep(draw.uniform(0.05, 0.3) * duration)
        os.kill(pid, signal.SIGKILL)
        random_kills += end(pid) != 0
    for operation in range(1, OPERATIONS + 6):
        operation_kills += end(start(folder / "killed_writing", operation)) != 0
    for name in ("killed", "killed_writing"):
        end(start(folder / name))
    print(f"random_kills={random_kills} operation_kills={operation_kills}")


if __name__ == "__main__":
    main()
