"""Where a result comes from: versions, commit, checkpoint, machine, command, and a hash of the code behind it."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from df_agent.training.run_folder import command

PACKAGES = ("df-agent", "torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco", "minari")
# How weights were trained is in the weights, which are hashed themselves; a report only reads what was measured.
LEFT_OUT = ("df_agent.training", "df_agent.evaluation.report")


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
        "command": command(),
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


def code_hashes(modules: Iterable[str]) -> dict[str, str]:
    """Return module -> hash for modules and all they import from their own top-level packages and from ours.

    The hash is of the syntax tree without docstrings: comments and layout do not count. Tables (.npz) in a package's
    folder count as its code. Imports under `if TYPE_CHECKING` are not followed.

    Args:
        modules: importable names, e.g. "df_agent.policies.diffusion_forcing".

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    queue = sorted(set(modules))
    unknown = [name for name in queue if _source(name) is None]
    if unknown:
        raise ModuleNotFoundError(f"no Python source of {unknown}")
    packages = {"df_agent", "df_envs", "df_planners", *(name.partition(".")[0] for name in queue)}
    found: dict[str, str] = {}
    while queue:
        name = queue.pop()
        if name in found or name.startswith(LEFT_OUT) or name.partition(".")[0] not in packages:
            continue
        source = _source(name)
        if source is None:  # a class or function in a module that is in the queue itself
            continue
        tree = ast.parse(source.read_bytes())
        queue += _imported(tree, name, source)
        digest = hashlib.sha256(ast.dump(_bare(tree)).encode())
        for table in sorted(source.parent.glob("*.npz")) if source.name == "__init__.py" else ():
            digest.update(table.read_bytes())
        found[name] = digest.hexdigest()[:12]
    return dict(sorted(found.items()))


def _source(name: str) -> Path | None:
    """Return the file of a module, without importing it; None if there is none."""
    top, *inside = name.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None or (inside and not spec.submodule_search_locations):
        return None
    path = Path(spec.origin) if not inside else Path(spec.origin).parent.joinpath(*inside)
    candidates = [path] if not inside else [path.with_name(f"{path.name}.py"), path / "__init__.py"]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _imported(tree: ast.Module, name: str, source: Path) -> Iterator[str]:
    """Yield the names that a module imports, of modules and of what is in them."""
    package = name if source.name == "__init__.py" else name.rpartition(".")[0]
    guarded = {id(inner) for node in ast.walk(tree) if _for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _bare(tree: ast.Module) -> ast.Module:
    """Take the docstrings out."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree
