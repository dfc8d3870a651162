"""Where and in which precision networks run, and how this process takes memory."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's malloc.h
AUTOCAST = ("cpu", "cuda", "mps")  # kinds of devices
EMULATED = 3.0  # a processor without bf16 arithmetic takes 30 times as long and more


class _Float32:
    """Makes float32 torch's default while anything here computes. The default is all threads', so they are counted."""

    def __init__(self) -> None:
        self._begin()
        if hasattr(os, "register_at_fork"):  # the other threads, and what they hold, stay in the parent
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._lock, self._inside, self._callers = threading.Lock(), 0, torch.float32

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._callers = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                torch.set_default_dtype(self._callers)


_FLOAT32 = _Float32()


@contextmanager
def own_modes(gradients: bool = False) -> Iterator[None]:
    """Compute as this package does, whatever modes of torch the caller has set; they are the caller's again after it.

    Numbers are float32 and on the CPU unless said otherwise, nothing is cast by itself, and no inference tensors are
    made, of which guidance could take no gradient. Deterministic algorithms stay as the caller has them.

    Args:
        gradients: whether they are recorded.
    """
    with ExitStack() as stack:
        stack.enter_context(_FLOAT32)
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for kind in AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        stack.enter_context(torch.set_grad_enabled(gradients))
        yield


def check_default_dtype(what: str) -> None:
    """Raise ValueError unless torch's default is float32: `what` computes beside the caller, and shares its default."""
    if (dtype := torch.get_default_dtype()) != torch.float32:
        raise ValueError(f"{what} computes in float32 in a thread of its own, and torch's default is {dtype} in all")


@contextmanager
def building() -> Iterator[None]:
    """Build networks whose weights are loaded: in `own_modes`, and drawing nothing from torch's global generator."""
    with own_modes(), torch.random.fork_rng(devices=[]):
        yield


def choose_device(name: str | torch.device | None = "auto") -> torch.device:
    """Return the named device; "auto", or None, is CUDA if there is one, then Apple's MPS, then the CPU."""
    if name is not None and name != "auto":
        try:
            device = torch.device(name)
        except (RuntimeError, TypeError):
            raise ValueError(f"unknown device {name!r}, available: 'auto', 'cpu', 'cuda' or 'mps'") from None
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if device.type == "cuda" and count == 0:
            raise ValueError(f"device {str(device)!r}: this PyTorch sees no CUDA device; use 'auto' or 'cpu'")
        if device.type == "cuda" and (device.index or 0) >= count:
            raise ValueError(f"device {str(device)!r}: there are {count} CUDA devices, counted from 0")
        if device.type == "mps" and not torch.backends.mps.is_available():
            raise ValueError(f"device {str(device)!r}: this PyTorch sees no MPS device; use 'auto' or 'cpu'")
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ValueError unless it is one of "auto", "bf16" and "fp32"; warn of bf16 where it is emulated."""
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"unknown precision {precision!r}, available: ['auto', 'bf16', 'fp32']")
    if precision == "bf16" and not computes_in_bf16(device):
        warnings.warn(
            f"this {device.type} has no arithmetic for bf16 and emulates it, many times slower than fp32; "
            "precision='auto' takes fp32 here",
            stacklevel=3,
        )


@functools.cache
@torch.no_grad()
def computes_in_bf16(device: torch.device, size: int = 128, repeats: int = 5) -> bool:
    """Whether the device has arithmetic for bf16; many processors emulate it, at a small part of their speed.

    One thread is timed: on a busy machine several wait for each other, which hides what the arithmetic takes.
    """
    seconds, threads = {}, torch.get_num_threads()
    torch.set_num_threads(1)
    for dtype in (torch.float32, torch.bfloat16):
        times = []
        for _ in range(repeats):
            factor = torch.ones(size, size, device=device, dtype=dtype)
            began = time.perf_counter()
            float((factor @ factor).sum())
            times.append(time.perf_counter() - began)
        seconds[dtype] = min(times)
    torch.set_num_threads(threads)
    return seconds[torch.bfloat16] < EMULATED * seconds[torch.float32]


@dataclass(frozen=True)
class Computation:
    """What numbers may depend on beside code, weights and seed; the same again is asked for by these.

    Attributes:
        backend: "cpu", "cuda" or "mps".
        precision: of networks that leave the choice, "fp32" or "bf16".
        threads: of the computation on the CPU.
    """

    backend: str
    precision: str
    threads: int


def settle(device: str = "auto", precision: str = "auto", threads: int | None = None) -> Computation:
    """Settle what is computed how in this process, by what the machine has and not by a timing, and return it.

    Args:
        device: "auto", "cpu", "cuda" or "mps".
        precision: "fp32", "bf16", or "auto": bf16 where the device has arithmetic for it.
        threads: of the CPU; None leaves them as they are.

    Raises:
        ValueError: there is no such device or precision, or a number of threads below 1.
    """
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads must be at least 1, or null for as many as torch takes, got {threads}")
        torch.set_num_threads(threads)
    place = choose_device(device)
    check_precision(precision, place)
    if precision == "auto":
        precision = "bf16" if computes_in_bf16(place) else "fp32"
    return Computation(place.type, precision, torch.get_num_threads())


def keep_freed_memory() -> bool:
    """Keep freed memory for the next allocation and return whether that can be asked for; it can with glibc only.

    PyTorch's tensors on the CPU are malloc's blocks. As it comes, glibc maps each large one anew and the kernel clears
    its pages one by one as they are touched, which in a U-Net with large batches is 12 % of a training step and 30 %
    of a pass. The price is that the process stays as large as it once was, so it is for programs and not for libraries.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, Windows
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, -1))
