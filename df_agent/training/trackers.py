"""Where the numbers of a run go: a JSONL file always, TensorBoard by default, Weights & Biases on request."""

from __future__ import annotations

import json
import math
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from df_agent.files import naming, replace_file

TRACKERS = ("tensorboard", "wandb", "none")


class Tracker(Protocol):
    """What the trainer writes to."""

    def start(self, step: int) -> None:
        """Begin at optimiser step `step`; what an interrupted run logged after it is dropped, and at 0 all of it."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of one step."""

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """A picture, (H, W, 3) uint8."""

    def close(self) -> None:
        """Flush and release."""


class JsonlTracker:
    """`metrics.jsonl`: one JSON object per line, with its "step"."""

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "metrics.jsonl"

    def start(self, step: int) -> None:
        """Drop the lines after `step`, at 0 all, and a line cut short by a kill."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = []
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if step and row["step"] <= step:
                kept.append(line + "\n")
        replace_file(self.path, "".join(kept).encode())

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line; NaN and infinity are written as null."""
        with naming(self.path), self.path.open("a") as file:
            numbers = {key: float(value) if math.isfinite(value) else None for key, value in metrics.items()}
            file.write(json.dumps({"step": step, **numbers}, allow_nan=False) + "\n")

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Pictures are not for this file."""

    def close(self) -> None:
        """Nothing is held open."""


class TensorBoardTracker:
    """Event files in the run folder: `tensorboard --logdir runs`."""

    def __init__(self, run_dir: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._make = SummaryWriter
        self._folder = str(run_dir / "tensorboard")
        self._writer: Any = None

    def start(self, step: int) -> None:
        """Open the writer; later steps of an interrupted run are hidden."""
        self._writer = self._make(self._folder, purge_step=step + 1 if step else 0)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Scalars."""
        for key, value in metrics.items():
            self._writer.add_scalar(key, value, step)

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """A picture."""
        self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close the event file."""
        if self._writer is not None:
            self._writer.close()


class WandbTracker:
    """Weights & Biases; the run id is kept in the run folder, so that a resumed run continues its page."""

    def __init__(self, run_dir: Path, config: Mapping[str, Any], project: str = "df-agent") -> None:
        try:
            import wandb
        except ImportError as error:
            raise ImportError("tracker=wandb needs Weights & Biases: pip install 'df-agent[tracking]'") from error
        self._wandb: Any = wandb
        self._run_dir, self._config, self._project = run_dir, dict(config), project
        self._run: Any = None

    def start(self, step: int) -> None:
        """Open the run, or continue it."""
        id_file = self._run_dir / "wandb_id.txt"
        if not id_file.exists():
            id_file.write_text(uuid.uuid4().hex[:12])
        self._run = self._wandb.init(
            project=self._project,
            name=self._run_dir.name,
            id=id_file.read_text(),
            resume="allow",
            dir=str(self._run_dir),
            config=self._config,
        )

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of one step."""
        self._run.log(dict(metrics), step=step)

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """A picture."""
        self._run.log({name: self._wandb.Image(image)}, step=step)

    def close(self) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish()


class Trackers:
    """Several trackers as one."""

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = list(trackers)

    def start(self, step: int) -> None:
        """Start each."""
        for tracker in self.trackers:
            tracker.start(step)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log to each."""
        for tracker in self.trackers:
            tracker.log(step, metrics)

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Send a picture to each."""
        for tracker in self.trackers:
            tracker.image(step, name, image)

    def close(self) -> None:
        """Close each."""
        for tracker in self.trackers:
            tracker.close()


def make_tracker(name: str, run_dir: str | Path, config: Mapping[str, Any]) -> Tracker:
    """The JSONL file plus what `name` asks for: "tensorboard", "wandb" or "none".

    TensorBoard is the default and therefore optional: where it is not installed, a warning says so.
    """
    if name not in TRACKERS:
        raise ValueError(f"tracker must be one of {', '.join(TRACKERS)}, got {name!r}")
    run_dir = Path(run_dir)
    trackers: list[Tracker] = [JsonlTracker(run_dir)]
    if name == "wandb":
        trackers.append(WandbTracker(run_dir, config))
    elif name == "tensorboard":
        try:
            trackers.append(TensorBoardTracker(run_dir))
        except ImportError:
            warnings.warn("tensorboard is not installed: numbers go to metrics.jsonl only", stacklevel=2)
    return Trackers(trackers)
