"""Training state on disk: one folder per checkpoint, from which a run continues exactly.

`run_dir/checkpoints/step_000012000/` holds `model.safetensors` (the EMA) and `config.json`, so that it loads
as any checkpoint does, and beside them `trainer.safetensors` (raw weights, optimiser moments) and
`trainer.json`.
Folders appear complete or not at all; random states are not needed, since step, seed and rank give them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from df_agent import migrations
from df_agent.checkpoint import CheckpointError, load_checkpoint, save_checkpoint, tensors_from_bytes, tensors_to_bytes
from df_agent.files import atomic_folder, json_bytes, remove_leftovers, write_file

STATE_FILE = "trainer.safetensors"
STATE_INFO = "trainer.json"


@dataclass(frozen=True)
class SavedStep:
    """A complete checkpoint of a run: its folder, step, validation metrics and training seconds."""

    folder: Path
    step: int
    metrics: dict[str, float]
    seconds: float


def saved_steps(run_dir: Path) -> list[SavedStep]:
    """Complete checkpoints of a run, oldest first."""
    found = []
    for folder in sorted((run_dir / "checkpoints").glob("step_*")):
        try:
            info = json.loads((folder / STATE_INFO).read_text())
            found.append(SavedStep(folder, info["step"], info["metrics"], info["seconds"]))
        except (OSError, ValueError, KeyError) as error:
            warnings.warn(f"{folder} is not a complete checkpoint and is passed over: {error!r}", stacklevel=2)
    return sorted(found, key=lambda saved: saved.step)


def best_step(saved: list[SavedStep], metric: str, mode: str) -> SavedStep | None:
    """The checkpoint with the best validation metric; the older one in a tie; None if none was validated."""
    scored = [entry for entry in saved if metric in entry.metrics]
    sign = 1 if mode == "min" else -1
    return min(scored, key=lambda entry: (sign * entry.metrics[metric], entry.step), default=None)


def save_state(
    run_dir: Path,
    step: int,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: Mapping[str, Any],
    metrics: Mapping[str, float],
    seconds: float,
) -> Path:
    """Write the checkpoint of `step`, atomically."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for parameter, moments in optimizer.state.items():
        tensors.update({f"optimizer.{names[parameter]}.{key}": value for key, value in moments.items()})
    data = tensors_to_bytes(tensors)
    info = {
        "step": step,
        "metrics": dict(metrics),
        "seconds": seconds,
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    folder = run_dir / "checkpoints" / f"step_{step:09d}"
    if folder.exists():  # damaged, or the run would have continued from it
        shutil.rmtree(folder)
    with atomic_folder(folder) as temporary:
        save_checkpoint(temporary, average.state_dict(), config)
        write_file(temporary / STATE_FILE, data)
        write_file(temporary / STATE_INFO, json_bytes(info))
    return folder


def restore_newest(
    run_dir: Path, model: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer
) -> SavedStep | None:
    """Load the newest checkpoint that is whole into model, EMA and optimiser; None where there is none."""
    for saved in reversed(saved_steps(run_dir)):
        try:
            tensors = _read_state(saved.folder)
            checkpoint = load_checkpoint(saved.folder)
        except CheckpointError as error:
            warnings.warn(f"passing over a damaged checkpoint: {error}", stacklevel=2)
            continue
        checkpoint.load_into(average)
        weights, moments = (
            migrations.weights(_under(prefix, tensors), checkpoint.config, checkpoint.version)
            for prefix in ("model.", "optimizer.")
        )
        model.load_state_dict(weights)
        _restore_optimizer(optimizer, model, moments)
        return saved
    return None


def prune(run_dir: Path, step: int, keep: int, metric: str, mode: str) -> None:
    """Delete all checkpoints up to `step` but the newest `keep` and the best, and what a kill left half-written."""
    # Later ones are damaged, or the run would have continued from them; they must not count as the newest.
    saved = [entry for entry in saved_steps(run_dir) if entry.step <= step]
    best = best_step(saved, metric, mode)
    for entry in saved[:-keep]:
        if entry != best:
            # Renamed first: a half-deleted folder must not look like a checkpoint.
            doomed = entry.folder.with_name(f".tmp-old-{entry.folder.name}")
            entry.folder.rename(doomed)
            shutil.rmtree(doomed)
    remove_leftovers(run_dir / "checkpoints")


def _read_state(folder: Path) -> dict[str, Tensor]:
    try:
        data = (folder / STATE_FILE).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{folder / STATE_FILE} cannot be read: {error}") from error
    if hashlib.sha256(data).hexdigest() != json.loads((folder / STATE_INFO).read_text())["sha256"]:
        raise CheckpointError(f"{folder / STATE_FILE} does not match the hash in {STATE_INFO}")
    return tensors_from_bytes(data, folder / STATE_FILE)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _restore_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    names = {parameter: name for name, parameter in model.named_parameters()}
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, _, moment = key.rpartition(".")
        moments.setdefault(name, {})[moment] = value
    current = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {i: moments[names[p]] for i, p in enumerate(parameters) if names[p] in moments}
    optimizer.load_state_dict({"state": state, "param_groups": current["param_groups"]})
