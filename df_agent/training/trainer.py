"""The training loop: one step is a batch, its loss, an optimiser step and an EMA update."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from torch import Tensor, nn

from df_agent.checkpoint import save_checkpoint
from df_agent.runtime import check_precision, keep_freed_memory, own_modes
from df_agent.training.config import TrainConfig
from df_agent.training.device import autocast, can_compile, choose_precision, make_accelerator
from df_agent.training.optimizer import EMA, adamw, gradient_statistics, learning_rate_at
from df_agent.training.progress import Meter, Progress
from df_agent.training.run_folder import RunFolder, record
from df_agent.training.state import prune, restore_newest, save_state, saved_steps
from df_agent.training.stopping import Stopped, StopRequest, stop_requests
from df_agent.training.trackers import Tracker, Trackers, make_tracker
from df_agent.types import TrainingBatch

M = TypeVar("M", bound=nn.Module)
SampleBatch = Callable[[int, torch.Generator], TrainingBatch]
Measured = Mapping[str, "float | NDArray[np.uint8]"]
Validate = Callable[[nn.Module, int], Measured]
Look = Callable[[nn.Module], "tuple[str, Mapping[str, float]]"]  # EMA model -> a line for the terminal, and its numbers
# (EMA model, steps done, checkpoint config) -> numbers and pictures
Validation = Callable[[nn.Module, int, Mapping[str, Any]], Measured]
# (EMA model, checkpoint config) -> a line for the terminal, and its numbers
FirstLook = Callable[[nn.Module, Mapping[str, Any]], "tuple[str, Mapping[str, float]]"]


class TrainingError(RuntimeError):
    """Training cannot go on: a loss or gradient is not finite."""


class Trainer(Generic[M]):
    """Trains any module with `loss(batch, generator) -> (scalar, metrics)`.

    What step s does follows from (seed, s, rank) alone, so a run that was killed and started again ends in
    the same weights. Runs on one process or, under `accelerate launch` or `torchrun`, on many.

    Args:
        model: the module; a submodule `network`, where there is one, is what `compile` compiles.
        sample_batch: (batch_size, CPU generator) -> what the model's loss takes.
        config: how to train.
        run_dir: folder of the run; a run that is there is continued.
        checkpoint_config: goes into each checkpoint's `config.json`; a run cannot be continued under another,
            except for its keys "provenance" and "policy".
        tracker: where the numbers go.
        validate: (EMA model, steps done) -> numbers, and pictures (H, W, 3) uint8. On the first process only.
        look: called before the first step, likewise on the first process only; not when a run is continued.
    """

    def __init__(
        self,
        model: M,
        sample_batch: SampleBatch,
        config: TrainConfig,
        run_dir: str | Path,
        checkpoint_config: Mapping[str, Any],
        tracker: Tracker | None = None,
        validate: Validate | None = None,
        look: Look | None = None,
    ) -> None:
        self.accelerator = make_accelerator()
        self.device: torch.device = self.accelerator.device
        self.model: M = model.to(self.device)
        self.sample_batch, self.config = sample_batch, config
        self.run_dir, self.checkpoint_config = Path(run_dir), dict(checkpoint_config)
        self.main = bool(self.accelerator.is_main_process)
        self.tracker: Tracker = tracker if tracker is not None and self.main else Trackers([])
        self.validate, self.look = validate, look
        self.ema = EMA(self.model, config.ema_decay)
        self.optimizer = adamw(self.model, config, self.device)

    @own_modes(gradients=True)
    def fit(self) -> M:
        """Train to the last step, continuing a run that is there already; return the EMA model.

        Raises:
            TrainingError: a loss or gradient was not finite; the newest checkpoint is kept.
            RunError: another process trains in the folder, or it holds a run with another configuration.
            Stopped: SIGTERM or Ctrl-C came; the steps until then are saved.
        """
        if self.device.type == "cpu":
            keep_freed_memory()
        folder = RunFolder(self.run_dir, self.main)
        with folder.locked():
            folder.check(self.config, self.checkpoint_config, self.accelerator.num_processes)
            self.accelerator.wait_for_everyone()
            saved = restore_newest(self.run_dir, self.model, self.ema.module, self.optimizer)
            start, self._seconds = (saved.step, saved.seconds) if saved else (0, 0.0)
            if saved and self.main:  # a kill may have left half of a deleted checkpoint
                prune(self.run_dir, start, self.config.keep, self.config.best_metric, self.config.best_mode)
            self.precision = self._precision(folder)
            progress = Progress(start, self.config.steps, self.config.log_every, quiet=not self.main)
            progress.note(self._headline(start))
            self._prepare(progress)
            self.tracker.start(start)
            try:
                if start == 0 and self.look is not None and self.main:
                    line, numbers = self.look(self.ema.module)
                    self.tracker.log(0, numbers)
                    progress.note(line)
                with stop_requests() as stop:
                    self._loop(start, progress, stop)
            except KeyboardInterrupt:
                saved_last = saved_steps(self.run_dir)[-1:]
                where = f"from step {saved_last[0].step}, which is saved" if saved_last else "from the beginning"
                progress.note(f"stopped; the same command continues {where}")
                raise
            finally:
                progress.close()
                self.tracker.close()
        return self.ema.module

    def _loop(self, start: int, progress: Progress, stop: StopRequest) -> None:
        c = self.config
        meter = Meter(self.device)
        began = time.perf_counter()
        for step in range(start, c.steps):
            with stop.postponed():
                meter.add(step, self._step(step))
            done = step + 1
            last = done == c.steps
            validates = self.validate is not None and c.validate_every > 0 and (done % c.validate_every == 0 or last)
            saves = validates or last or done % c.checkpoint_every == 0 or bool(stop)
            logs = last or done % c.log_every == 0
            if logs or saves or self.device.type == "cpu":
                self._check_finite(meter)
            if logs:
                metrics = self._gather(meter.means())
                metrics["learning_rate"] = learning_rate_at(c, step)
                metrics["steps_per_second"] = meter.rate()
                self.tracker.log(done, metrics)
                progress.update(done, metrics)
                meter.restart()
            else:
                progress.update(done)
            if saves:
                self._seconds += time.perf_counter() - began
                try:
                    measured = self._validate(done, progress) if validates and not stop else {}
                except Stopped:
                    measured = {}  # of a step that is saved without
                with stop.postponed():
                    self._save(done, measured, progress)
                if stop.number is not None and not last:
                    raise Stopped(stop.number)  # without waiting for other processes, which may be anywhere
                self.accelerator.wait_for_everyone()
                began = time.perf_counter()
                meter.restart_clock()

    def _step(self, step: int) -> dict[str, Any]:
        """One optimiser step; return the loss, the gradient's norm and what the model measured."""
        batch = self.sample_batch(self.config.batch_size, self._generator("batch", step)).to(self.device)
        torch.manual_seed(self._seed("global", step))  # for layers such as dropout, which know no generator
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.config, step)
        with torch.autograd.set_detect_anomaly(self.config.debug):
            with autocast(self.precision, self.device):
                loss, metrics = self._loss(batch, self._generator("noise", step))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # accelerate's would divide by the steps to accumulate that its environment may name
        if self.config.debug:
            metrics = {**metrics, **gradient_statistics(self.model)}
            names = [n for n, p in self.model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
            if names:  # anomaly detection stops at NaN, not at infinity
                raise TrainingError(f"the gradients of {', '.join(names[:5])} are not finite in step {step + 1}")
        limit = math.inf if self.config.grad_clip is None else self.config.grad_clip
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.optimizer.step()
        self.ema.update(step)
        return {**metrics, "loss": loss.detach(), "grad_norm": norm.detach()}

    def _prepare(self, progress: Progress) -> None:
        if self.config.compile and not can_compile(self.device):
            progress.note(f"training without torch.compile, for which {self.device.type} lacks a compiler here")
        elif self.config.compile and not self.config.debug:
            progress.note("compiling the network, which takes a minute; train.compile=false leaves it out")
            getattr(self.model, "network", self.model).compile()
        wrapped = _Loss(self.model)
        self._loss = self.accelerator.prepare(wrapped) if self.accelerator.num_processes > 1 else wrapped

    def _seed(self, purpose: str, step: int) -> int:
        text = f"{self.config.seed}/{step}/{self.accelerator.process_index}/{purpose}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1

    def _generator(self, purpose: str, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(purpose, step))

    def _precision(self, folder: RunFolder) -> str:
        """The configured precision; "auto" is decided once per run and kept in its folder."""
        if self.config.precision != "auto":
            check_precision(self.config.precision, self.device)
            return self.config.precision
        chosen = folder.read_precision() if self.main else None
        if self.main and chosen is None:
            batch = self.sample_batch(self.config.batch_size, self._generator("timing", 0)).to(self.device)

            def forward(model: nn.Module) -> Tensor:
                loss: Tensor = model.loss(batch, self._generator("timing", 1))[0]  # type: ignore[operator]
                return loss

            chosen, seconds = choose_precision(self.model, forward, self.device)
            folder.write_precision(chosen, seconds)
        shared = [chosen]
        broadcast_object_list(shared)
        return str(shared[0])

    def _headline(self, start: int) -> str:
        count = sum(parameter.numel() for parameter in self.model.parameters())
        where = f"{self.device.type} x {self.accelerator.num_processes}, {self.precision}"
        begin = f"continues at step {start} of {self.config.steps}" if start else "starts"
        return f"{self.run_dir}: {begin}; {count / 1e6:.2f} M parameters, {where}"

    def _check_finite(self, meter: Meter) -> None:
        if (bad := meter.first_bad()) is not None:
            step, loss = bad
            newest = saved_steps(self.run_dir)[-1:]
            kept = f"the run stands at {newest[0].folder}" if newest else "nothing was saved yet"
            raise TrainingError(
                f"the loss or its gradient is not finite in step {step + 1} (loss {loss:.4g}); {kept}. Starting "
                f"again repeats this step: lower learning_rate, set grad_clip, or use precision=fp32, each in another "
                f"run_dir, since this one holds a run with the present options"
            )

    def _gather(self, means: dict[str, float]) -> dict[str, float]:
        values = torch.tensor(list(means.values()), device=self.device)
        values = self.accelerator.reduce(values, reduction="mean")
        return dict(zip(means, values.tolist(), strict=True))

    def _validate(self, done: int, progress: Progress) -> dict[str, float]:
        """Numbers of the validation callback that are finite; on the first process only."""
        if not self.main or self.validate is None:
            return {}
        results = self.validate(self.ema.module, done)
        numbers = {name: float(value) for name, value in results.items() if not isinstance(value, np.ndarray)}
        best = self.config.best_metric
        if best not in numbers:
            raise ValueError(f"best_metric={best!r} is not among the validation metrics: {sorted(numbers)}")
        minutes = {"training_minutes": self._seconds / 60}  # without what validation takes
        self.tracker.log(done, {f"validation/{name}": value for name, value in {**numbers, **minutes}.items()})
        for name, value in results.items():
            if isinstance(value, np.ndarray):
                self.tracker.image(done, f"validation/{name}", value)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        progress.note(f"validation at step {done}: {shown}")
        # A mean over no successful episode is NaN, which JSON does not know and which is never the best.
        return {name: value for name, value in numbers.items() if math.isfinite(value)}

    def _save(self, done: int, metrics: dict[str, float], progress: Progress) -> None:
        if self.main:
            facts = {"step": done, "seconds": round(self._seconds, 1), "validation": metrics, **self._where()}
            config = dict(self.checkpoint_config)
            config["provenance"] = {**config.get("provenance", {}), **facts}
            c, average = self.config, self.ema.module
            folder = save_state(self.run_dir, done, self.model, average, self.optimizer, config, metrics, self._seconds)
            prune(self.run_dir, done, c.keep, c.best_metric, c.best_mode)
            if done == c.steps:
                progress.note(f"saved {folder}")

    def _where(self) -> dict[str, Any]:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        processes = self.accelerator.num_processes
        return {"device": name, "processes": processes, "precision": self.precision, "torch": torch.__version__}


class _Loss(nn.Module):
    """The model's loss as a forward pass, which is what data-parallel wrappers hook into."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: TrainingBatch, generator: torch.Generator) -> tuple[Tensor, dict[str, Any]]:
        result: tuple[Tensor, dict[str, Any]] = self.model.loss(batch, generator)  # type: ignore[operator]
        return result


def run_tracker(config: Mapping[str, Any]) -> Tracker | None:
    """Return the tracker that config["tracker"] names, on the process that writes; raises ValueError for others."""
    if not make_accelerator().is_main_process:
        return None
    return make_tracker(config.get("tracker", "tensorboard"), config["run_dir"], config)


def run_training(
    model: M,
    sample_batch: SampleBatch,
    options: TrainConfig,
    config: Mapping[str, Any],
    checkpoint_config: dict[str, Any],
    tracker: Tracker | None,
    validate: Validation | None = None,
    look: FirstLook | None = None,
) -> M:
    """Train a module with a loss in config["run_dir"], or continue; leave the EMA model in `final` and return it.

    Args:
        model: the module.
        sample_batch: (batch_size, CPU generator) -> what its loss takes.
        options: how to train.
        config: of the run, recorded in its folder.
        checkpoint_config: what is stored beside the weights.
        tracker: where metrics go; see `run_tracker`.
        validate: called every validate_every steps; see `Validation`.
        look: called before the first step; see `FirstLook`.
    """
    run_dir, main = Path(config["run_dir"]), make_accelerator().is_main_process
    if main:
        record(run_dir, config)
    measure = None if validate is None else lambda average, step: validate(average, step, checkpoint_config)
    first = None if look is None else lambda average: look(average, checkpoint_config)
    average = Trainer(model, sample_batch, options, run_dir, checkpoint_config, tracker, measure, first).fit()
    if main:
        save_checkpoint(run_dir / "final", average.state_dict(), checkpoint_config)
    return average
