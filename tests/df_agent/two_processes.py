"""Train the toy model in two processes as torchrun would, twice; run by test_resume.py.

The second time continues from the middle, the last checkpoint having been deleted. Prints each process's rank and
a hash of its weights and their average.
"""

import hashlib
import os
import shutil
import socket
import sys
from pathlib import Path

import torch
import torch._dynamo
import toy_training

from df_agent.training.trackers import JsonlTracker


def train(run_dir):
    torch.set_num_threads(1)
    model = toy_training.Toy(dropout=0.1)
    trainer = toy_training.make_trainer(run_dir, model, JsonlTracker(run_dir), steps=20, log_every=1, grad_clip=None)
    trainer.fit()
    states = [*model.state_dict().values(), *trainer.ema.module.state_dict().values()]
    weights = b"".join(value.numpy().tobytes() for value in states)
    line = f"{trainer.accelerator.process_index} {hashlib.sha256(weights).hexdigest()}\n"
    os.write(1, line.encode())


def launch(run_dir):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = []
    for rank in range(2):
        pid = os.fork()
        if pid == 0:
            shared = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update({key: str(value) for key, value in {"RANK": rank, "LOCAL_RANK": rank, **shared}.items()})
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            try:
                train(run_dir)
            except BaseException as error:
                print(f"rank {rank}: {type(error).__name__}: {error}", file=sys.stderr)
                os._exit(1)
            os._exit(0)
        children.append(pid)
    if any(os.waitpid(pid, 0)[1] for pid in children):
        raise SystemExit("a process failed")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    launch(folder)
    shutil.rmtree(folder / "checkpoints" / "step_000000020")
    launch(folder)
