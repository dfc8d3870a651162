"""Training of `sac_her`, online, in one goal environment.

A run may be killed at any time: the model and the replay buffer are saved every so often, by Stable-Baselines3's own
means, which pickle, and the run goes on from there; so go on with runs of your own only. What it leaves behind for
others is a checkpoint of the actor, without pickle.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from df_agent.baselines.sac_her import ALGORITHM, Actor
from df_agent.baselines.sac_her_model import ALGORITHMS, actor_of, make_model
from df_agent.checkpoint import load_checkpoint, save_checkpoint
from df_agent.files import atomic_folder, json_bytes, remove_leftovers, replace_file
from df_agent.options.baselines import SACHERConfig
from df_agent.runtime import own_modes
from df_agent.training.run_folder import RunError, RunFolder, command
from df_agent.training.stopping import Stopped, stop_requests

CURVE_FILE = "curve.jsonl"
# (actor, environment steps done) -> numbers, among them "time_to_goal"
Validation = Callable[[Actor, int], Mapping[str, float]]


@own_modes(gradients=True)
def train_sac_her(
    env_id: str,
    run_dir: str | Path,
    config: SACHERConfig,
    *,
    steps: int,
    save_every: int = 25_000,
    validate: Validation | None = None,
    on_row: Callable[[dict[str, float]], None] | None = None,
) -> Actor:
    """Train, or go on with a run that is there.

    Each `save_every` steps leave a row in `run_dir`/curve.jsonl (steps, wall seconds, what `validate` measured) and
    the actor in `run_dir`/final; `run_dir`/best is the actor whose validated "time_to_goal" was smallest. When a run
    goes on, its environments begin new episodes, so it does not repeat what an unbroken run would have done.

    Args:
        env_id: gymnasium id of a goal environment.
        run_dir: folder of the run.
        config: how to train.
        steps: environment steps in all.
        save_every: environment steps from one saved state to the next.
        validate: measures the actor.
        on_row: called with each new row of the curve.

    Raises:
        RunError: another process trains in the folder, or it holds a run with another configuration.
        ValueError: steps or save_every below 1.
        Stopped: SIGTERM or Ctrl-C came; the steps until then are saved.
    """
    if min(steps, save_every) < 1:
        raise ValueError(f"steps and save_every must be at least 1, got {steps} and {save_every}")
    run = _Run(Path(run_dir), env_id, config)
    with RunFolder(run.folder, main=True).locked():
        run.check()
        model, seconds = run.restore()
        with stop_requests() as stop:
            while model.num_timesteps < steps:
                began = time.perf_counter()
                with stop.postponed():
                    left = steps - model.num_timesteps
                    model.learn(min(save_every, left), lambda *_: not stop, reset_num_timesteps=False)
                seconds += time.perf_counter() - began
                actor = actor_of(model).to("cpu")
                try:
                    numbers = {} if validate is None or stop else dict(validate(actor, model.num_timesteps))
                except Stopped:
                    numbers = {}  # of a state that is saved without
                row = {"steps": model.num_timesteps, "seconds": round(seconds, 1), **numbers}
                with stop.postponed():
                    run.save(model, row)
                if on_row is not None:
                    on_row(row)
                if stop.number is not None and model.num_timesteps < steps:
                    print(f"stopped; the same command continues from step {model.num_timesteps}, which is saved")
                    raise Stopped(stop.number)
        return actor_of(model).to("cpu")


def read_curve(run_dir: str | Path) -> list[dict[str, float]]:
    """Return the rows of a run's learning curve."""
    path = Path(run_dir, CURVE_FILE)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class _Run:
    """What a run keeps on disk: `state` (the newest model and replay buffer), the curve, `final` and `best`."""

    def __init__(self, folder: Path, env_id: str, config: SACHERConfig) -> None:
        self.folder, self.env_id, self.config = folder, env_id, config

    def check(self) -> None:
        """Record the configuration of a new run; refuse to go on with an old one under another."""
        path = self.folder / "run.json"
        new = json.loads(json_bytes({"env": self.env_id, **asdict(self.config)}))
        if not path.exists():
            replace_file(path, json_bytes(new))
            return
        old = json.loads(path.read_text())
        changes = [f"{k}: {old.get(k)} there, {new.get(k)} now" for k in new if k != "device" and old.get(k) != new[k]]
        if changes:
            raise RunError(
                f"{self.folder} holds a run with another configuration ({'; '.join(changes)}); choose another run_dir"
            )

    def states(self) -> list[Path]:
        """Complete saved states, oldest first."""
        return sorted((self.folder / "states").glob("step_*"))

    def restore(self) -> tuple[Any, float]:
        """Return the newest saved model with its buffer, or an untrained one, and the seconds spent so far."""
        model = make_model(self.env_id, self.config)
        remove_leftovers(self.folder)
        saved = self.states()
        if not saved:
            self._write_curve([])
            return model, 0.0
        model = ALGORITHMS[self.config.algorithm].load(
            saved[-1] / "model.zip", env=model.env, device=self.config.device
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The last trajectory in the replay buffer will be truncated")
            model.load_replay_buffer(saved[-1] / "replay.pkl", truncate_last_traj=True)
        model.set_random_seed(self.config.seed + model.num_timesteps)
        # A row is written before the state that it belongs to.
        rows = [row for row in read_curve(self.folder) if row["steps"] <= model.num_timesteps]
        self._write_curve(rows)
        return model, float(rows[-1]["seconds"]) if rows else 0.0

    def save(self, model: Any, row: dict[str, float]) -> None:
        """Write the curve, the actor and the state; older states go."""
        self._write_curve([*read_curve(self.folder), row])
        actor = actor_of(model)
        config = {
            "algorithm": ALGORITHM,
            "env": self.env_id,
            "learner": actor.config,
            "provenance": {"train": asdict(self.config), "curve": row, "command": command()},
        }
        weights = actor.state_dict()
        save_checkpoint(self.folder / "final", weights, config)
        if float(row.get("time_to_goal", np.inf)) < self.best():
            save_checkpoint(self.folder / "best", weights, config)
        with atomic_folder(self.folder / "states" / f"step_{model.num_timesteps:09d}") as folder:
            model.save(folder / "model.zip")
            model.save_replay_buffer(folder / "replay.pkl")
            for path in folder.iterdir():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        for old in self.states()[:-1]:
            shutil.rmtree(old)

    def best(self) -> float:
        """Return the smallest validated time to goal so far; its row is lost if the process was killed behind it."""
        if not (self.folder / "best").exists():
            return float(np.inf)
        return float(load_checkpoint(self.folder / "best").config["provenance"]["curve"]["time_to_goal"])

    def _write_curve(self, rows: list[dict[str, float]]) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        replace_file(self.folder / CURVE_FILE, text.encode())
