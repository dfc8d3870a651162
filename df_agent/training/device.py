"""The processes of a run, and the arithmetic that it takes: bf16 by a short timing, and whether to compile."""

from __future__ import annotations

import copy
import importlib.util
import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from accelerate import Accelerator
from torch import nn

from df_agent.runtime import computes_in_bf16


def make_accelerator() -> Accelerator:
    """Return accelerate's view of this process, one alone or of those that torchrun or `accelerate launch` started.

    Repeated calls share one state.

    Without being told, accelerate does not see that CPU processes belong together: each would think that it
    is alone and write into the same folder.
    """
    # Precision is the trainer's own business, whatever accelerate's environment says.
    return Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision="no")


# bf16 costs accuracy, so it has to save at least this share of the time.
WORTHWHILE = 0.9


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Context in which the forward pass runs: bf16 autocast, or nothing for fp32."""
    if precision == "bf16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile has what it needs here: a C++ compiler for the CPU, Triton for CUDA."""
    if device.type == "cuda":
        return importlib.util.find_spec("triton") is not None
    compilers = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return device.type == "cpu" and any(name and shutil.which(name) for name in compilers)


def choose_precision(
    model: nn.Module, forward: Callable[[nn.Module], torch.Tensor], device: torch.device, repeats: int = 3
) -> tuple[str, dict[str, float]]:
    """Time forward and backward passes on a copy of the model.

    Args:
        model: left untouched.
        forward: computes the loss of a typical batch with the model that it is given.
        device: where the model lies.
        repeats: timed passes; the fastest counts.

    Returns:
        "fp32" or "bf16", and the seconds per pass of each that ran; where bf16 is emulated it is not tried.
    """
    seconds = {}
    for precision in ("fp32", "bf16") if computes_in_bf16(device) else ("fp32",):
        trial = copy.deepcopy(model)
        try:
            times = [_timed_pass(trial, forward, precision, device) for _ in range(repeats + 1)]
        except RuntimeError:  # an operation without a bf16 kernel on this device
            if precision == "fp32":
                raise
            break
        seconds[precision] = min(times[1:])  # the first pass allocates and builds kernels
    pays = seconds.get("bf16", float("inf")) < WORTHWHILE * seconds["fp32"]
    return ("bf16" if pays else "fp32"), seconds


def _timed_pass(
    model: nn.Module, forward: Callable[[nn.Module], torch.Tensor], precision: str, device: torch.device
) -> float:
    _wait_for(device)
    start = time.perf_counter()
    with autocast(precision, device):
        loss = forward(model)
    loss.backward()  # type: ignore[no-untyped-call]
    _wait_for(device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
