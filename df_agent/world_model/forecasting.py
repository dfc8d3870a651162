"""Probabilistic forecasts of multivariate time series: the same loss and sampler, a token per time step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from df_agent.agent_model import AgentModel
from df_agent.checkpoint import KINDS, load_checkpoint
from df_agent.diffusion.conditioning import Continued, remembers
from df_agent.diffusion.diffusion_forcing import DiffusionForcing
from df_agent.diffusion.sampler import Denoiser, sample
from df_agent.diffusion.scheduling_matrix import scheduling_matrix, to_levels
from df_agent.runtime import building, choose_device, own_modes
from df_agent.training.config import TrainConfig
from df_agent.training.run_folder import command
from df_agent.training.trainer import run_training
from df_agent.types import Batch
from df_agent.world_model.series import Array, Series

QUANTILES = np.arange(1, 20) / 20  # of the published protocol


class SeriesSampler:
    """Draws batches of windows, with normalised values."""

    def __init__(self, series: Series, mean: Array, std: Array) -> None:
        self.values = torch.as_tensor((series.values - mean) / std, dtype=torch.float32)
        self.covariates = torch.as_tensor(series.covariates, dtype=torch.float32)
        self.window = 2 * series.length

    def __call__(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw `batch_size` windows with a CPU generator."""
        first = torch.randint(len(self.values) - self.window + 1, (batch_size, 1), generator=generator)
        rows = first + torch.arange(self.window)
        cond = self.covariates[rows] if self.covariates.shape[1] else None
        return Batch(self.values[rows], torch.ones(rows.shape, dtype=torch.bool), cond)


class Forecaster:
    """Samples futures of a series.

    Args:
        model: the trained model.
        config: of its checkpoint: "length", "mean", "std" and "sampling" (steps, matrix, eta).
        device: "auto", "cpu", "cuda", ...
    """

    def __init__(
        self, model: DiffusionForcing, config: Mapping[str, Any], device: str | torch.device | None = "auto"
    ) -> None:
        self.device = choose_device(device)
        self.model = model.eval().requires_grad_(False).to(self.device)
        given = config["forecast"]
        self.length, self.sampling = int(given["length"]), dict(given["sampling"])
        self.mean, self.std = np.array(given["mean"]), np.array(given["std"])
        self.covariates = int(config["network"].get("cond_dim", 0))

    @classmethod
    @building()
    def from_pretrained(cls, name: str | Path, device: str | torch.device | None = "auto") -> Forecaster:
        """Load one; raises CheckpointError where there is none, or something else."""
        checkpoint = load_checkpoint(name)
        sections = ("forecast", "network", "diffusion")
        model = checkpoint.build(lambda: AgentModel.from_config(checkpoint.config), KINDS["forecast"], *sections)
        return cls(model.diffusion, checkpoint.config, device)

    @torch.no_grad()
    @own_modes()
    def predict(
        self,
        shown: Array,
        covariates: Array | None = None,
        samples: int = 100,
        seed: int = 0,
        batch: int = 256,
        on_progress: Callable[[float], None] | None = None,
    ) -> Array:
        """Return samples (S, N, length, D) of what follows.

        Args:
            shown: (N, length, D) the last values.
            covariates: (N, 2 length, C) of these and of the steps to come; None where the model knows none.
            samples: S.
            seed: of the noise.
            batch: rows that are sampled at once.
            on_progress: told the share that is done, after every batch.

        Raises:
            ValueError: values or covariates of another shape than the model's, or not finite.
        """
        n, h, d = len(shown), self.length, len(self.mean)
        if shown.shape != (n, h, d) or not np.isfinite(shown).all():
            raise ValueError(f"the values shown must be finite, of shape (N, {h}, {d}), got {shown.shape}")
        known = (n, 2 * h, self.covariates)
        if self.covariates and (covariates is None or covariates.shape != known or not np.isfinite(covariates).all()):
            got = None if covariates is None else covariates.shape
            raise ValueError(f"covariates must be finite, of shape {known}, got {got}")
        past = torch.as_tensor((shown - self.mean) / self.std, dtype=torch.float32).repeat(samples, 1, 1)
        cond = None
        if self.covariates:
            cond = torch.as_tensor(covariates, dtype=torch.float32).repeat(samples, 1, 1).to(self.device)
        generator = torch.Generator().manual_seed(seed)
        matrix = self._matrix()
        levels = torch.cat([torch.zeros(len(matrix), h, dtype=torch.long), matrix], 1)
        parts = []
        for start in range(0, len(past), batch):
            rows = slice(start, start + batch)
            x = torch.cat([past[rows], torch.randn(past[rows].shape, generator=generator)], 1).to(self.device)
            model: Denoiser = Continued(self.model, h) if remembers(self.model.network) else self.model
            eta, given = float(self.sampling["eta"]), None if cond is None else cond[rows]
            parts.append(sample(model, x, levels, cond=given, eta=eta, generator=generator)[:, h:].cpu())
            if on_progress is not None:
                on_progress(min(1.0, (start + batch) / len(past)))
        found = torch.cat(parts).double().numpy() * self.std + self.mean
        return np.asarray(found.reshape(samples, n, h, d))

    def _matrix(self) -> Tensor:
        steps = int(self.sampling["steps"])
        matrix = scheduling_matrix(str(self.sampling["matrix"]), self.length, steps)
        return torch.as_tensor(to_levels(matrix, steps, self.model.config.levels))


@own_modes(gradients=True)
def train_forecaster(series: Series, config: Mapping[str, Any]) -> Forecaster:
    """Train, or continue, in config["run_dir"].

    Args:
        series: what to learn.
        config: plain values: "run_dir", "network" (with its "name"), "diffusion", "sampling" and "train".
    """
    mean, std = series.values.mean(0), series.values.std(0)
    std = np.where(std > 1e-9, std, 1.0)
    sizes = {"token_dim": series.values.shape[1], "max_tokens": 2 * series.length}
    # Times are alike: nothing ends, and of the part that is shown nothing is known for sure in training.
    own = {"terminal": 0.0, "clean_goal": 0.0, "repeat_first": 0.0, "context": series.length, "goal_channels": ()}
    forecast = {"length": series.length, "mean": mean.tolist(), "std": std.tolist()}
    described = {
        "forecast": {**forecast, "sampling": dict(config["sampling"])},
        "network": {**config["network"], **sizes, "cond_dim": series.covariates.shape[1]},
        "diffusion": {**own, **config["diffusion"]},
        "provenance": {"command": command(), "train": dict(config["train"])},
    }
    options = TrainConfig.from_dict(config["train"])
    torch.manual_seed(options.seed)
    model = AgentModel.from_config(described)
    average = run_training(model, SeriesSampler(series, mean, std), options, config, described, None)
    return Forecaster(average.diffusion, described)


def crps_sum(samples: Array, truth: Array) -> float:
    """Return CRPS-sum: of the sum over dimensions, the mean quantile loss over the sum of absolute values.

    By the published protocol (Salinas et al. 2019): 19 quantiles of the samples, each loss weighted by 2.

    Args:
        samples: (S, N, H, D).
        truth: (N, H, D).
    """
    totals, target = samples.sum(-1), truth.sum(-1)
    found = np.quantile(totals, QUANTILES, axis=0)  # (19, N, H)
    below = target[None] <= found
    losses = 2 * np.abs((found - target[None]) * (below - QUANTILES[:, None, None])).sum((1, 2))
    return float(np.mean(losses / np.abs(target).sum()))
