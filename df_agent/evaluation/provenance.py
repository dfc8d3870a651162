"""Where a result comes from: versions, commit, checkpoint, machine, command."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("df-agent", "torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "minari")


def provenance(config: dict[str, Any] | None = None, checkpoint: str | Path | None = None) -> dict[str, Any]:
    """Return versions, commit, hardware and command of this process, as plain JSON values.

    Args:
        config: resolved configuration, stored as it is.
        checkpoint: folder (or file) of the weights; its hash is stored.
    """
    return {
        "versions": versions(),
        "commit": commit(),
        "config": config,
        "checkpoint": None if checkpoint is None else Path(checkpoint).name,
        "checkpoint_sha256": None if checkpoint is None else content_hash(checkpoint),
        "hardware": hardware(),
        "command": shlex.join([Path(sys.executable).name, *sys.argv]),
    }


def versions() -> dict[str, str | None]:
    """Return the versions of Python and of the packages that results depend on; None if not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def commit() -> str | None:
    """Return the commit of the source tree, with "+changes" if files differ from it; None outside of git."""
    folder = Path(__file__).parent
    try:
        head = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if changed else "")


def content_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files with their names, in order; Markdown is left out.

    A model card that is written after the evaluation does not make it another checkpoint.
    """
    path = Path(path)
    inside = sorted(file for file in path.rglob("*") if file.is_file() and file.suffix != ".md")
    files = [path] if path.is_file() else inside
    if not files:
        raise FileNotFoundError(f"no checkpoint at {path}")
    digest = hashlib.sha256()
    for file in files:
        if file != path:
            digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(file.read_bytes())
    return digest.hexdigest()


def hardware() -> dict[str, Any]:
    """Return processor, cores, memory [GiB] and accelerator."""
    import torch

    accelerator = None
    if torch.cuda.is_available():
        accelerator = torch.cuda.get_device_name()
    elif torch.backends.mps.is_available():
        accelerator = "Apple MPS"
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory(),
        "accelerator": accelerator,
        "torch_threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None
