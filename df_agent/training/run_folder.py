"""The folder of a run: who may write to it, and whether it belongs to this configuration."""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from df_agent import migrations
from df_agent.files import folder_lock, json_bytes, replace_file
from df_agent.migrations import FORMAT_VERSION, VERSION_KEY
from df_agent.training.config import FREE_KEYS, TrainConfig

RUN_FILE = "run.json"
RESOLVED_FILE = "resolved.json"
PRECISION_FILE = "precision.json"
FREE_PARTS = ("provenance", "policy")  # of a checkpoint's config: the weights do not depend on them


class RunError(RuntimeError):
    """The run folder is in use, or holds a run that this one cannot continue."""


class RunFolder:
    """Guards a run folder. Every process makes one; only the main process locks and writes."""

    def __init__(self, path: Path, main: bool) -> None:
        self.path, self._main = path, main
        if main:
            path.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock. The system releases it when the process ends, however it ends."""
        if not self._main:
            yield
            return
        with lock_folder(self.path, f"another process is training in {self.path}; choose another run_dir"):
            yield

    def check(self, train: TrainConfig, checkpoint_config: Mapping[str, Any], processes: int) -> None:
        """Record the configuration of a new run; refuse to continue an old one under a different one."""
        if not self._main:
            return
        kept = {key: value for key, value in asdict(train).items() if key not in FREE_KEYS}
        rest = {key: value for key, value in checkpoint_config.items() if key not in FREE_PARTS}
        now = {VERSION_KEY: FORMAT_VERSION, "train": kept, "config": rest, "processes": processes}
        new = json.loads(json_bytes(now))
        path = self.path / RUN_FILE
        if not path.exists():
            if any((self.path / "checkpoints").glob("step_*")):
                raise RunError(f"{self.path} holds checkpoints but no {RUN_FILE}; choose another run_dir")
            replace_file(path, json_bytes(new))
            return
        old = json.loads(path.read_text())
        old["config"] = migrations.config(old["config"], migrations.version_of(old))
        changes = differences({**old, VERSION_KEY: FORMAT_VERSION}, new)
        if changes:
            raise RunError(
                f"{self.path} holds a run with another configuration, which cannot be continued "
                f"({'; '.join(changes[:8])}). "
                f"Choose another run_dir; `df-agent train` can start a new run from an agent's weights with load="
            )

    def read_precision(self) -> str | None:
        """What "auto" was decided to be; None if it was not yet."""
        path = self.path / PRECISION_FILE
        return str(json.loads(path.read_text())["precision"]) if path.exists() else None

    def write_precision(self, precision: str, seconds: Mapping[str, float]) -> None:
        """Keep the decision, so that a resumed run repeats it, and the timing behind it."""
        content = {"precision": precision, "seconds_per_pass": dict(seconds)}
        replace_file(self.path / PRECISION_FILE, json_bytes(content))


@contextmanager
def lock_folder(folder: Path, refusal: str) -> Iterator[None]:
    """Hold a folder's lock, or raise RunError(refusal). The system releases it when the process ends, however."""
    with folder_lock(folder) as held:
        if not held:
            raise RunError(refusal)
        yield


def record(run_dir: Path, config: Mapping[str, Any]) -> None:
    """Keep the resolved configuration and the exact command, one line per start, in the run folder."""
    run_dir.mkdir(parents=True, exist_ok=True)
    if not (run_dir / RESOLVED_FILE).exists():
        replace_file(run_dir / RESOLVED_FILE, json_bytes({**config, VERSION_KEY: FORMAT_VERSION}))
    with (run_dir / "commands.txt").open("a") as file:
        file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {command()}\n")


def command() -> str:
    """The command line of this process, as it can be typed again."""
    words = sys.orig_argv[1:]
    installed = bool(words) and Path(words[0]).stem == "df-agent"  # the command that pip leaves, wherever that is
    return shlex.join(["df-agent", *words[1:]] if installed else ["python", *words])


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two JSON values, as "key: old there, new now"; floats may differ by rounding."""
    old, new = _flatten(before), _flatten(after)
    keys = sorted(k for k in old.keys() | new.keys() if not _same(old.get(k), new.get(k)))
    return [f"{key}: {_show(old, key)} there, {_show(new, key)} now" for key in keys]


def _same(before: Any, after: Any) -> bool:
    # Sums over the data depend in the last digits on the number of threads.
    if isinstance(before, float) and isinstance(after, float):
        return math.isclose(before, after, rel_tol=1e-5, abs_tol=1e-12)
    return bool(before == after)


def _flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, list):
        value = {str(index): inner for index, inner in enumerate(value)}
    if isinstance(value, dict):
        pairs = [_flatten(inner, f"{prefix}{key}.") for key, inner in value.items()]
        return {key: inner for pair in pairs for key, inner in pair.items()} or {prefix.rstrip("."): {}}
    return {prefix.rstrip("."): value}


def _show(values: Mapping[str, Any], key: str) -> str:
    text = repr(values[key]) if key in values else "absent"
    return text if len(text) <= 60 else text[:57] + "..."
