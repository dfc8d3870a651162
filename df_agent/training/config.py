"""How anything is trained: the options of the trainer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Annotated, Any

from df_agent.options.ranges import Among, Count, Natural, NotNegative, Positive, Range, Share

PRECISIONS = ("auto", "fp32", "bf16")
DECAYS = ("cosine", "linear", "constant")
MODES = ("min", "max")
# Keys that may change between a run and its resumption, because the weights do not depend on them.
FREE_KEYS = ("debug", "checkpoint_every", "validate_every", "log_every", "keep", "best_metric", "best_mode")


@dataclass(frozen=True)
class TrainConfig:
    """How to train; checks itself.

    Attributes:
        steps: optimiser steps in all; 0 leaves the weights as they are.
        batch_size: windows per step and process.
        learning_rate: at its peak, when the warm-up ends.
        weight_decay: that of AdamW, on matrices only (not on biases, norms, and other vectors).
        betas: decay of AdamW's two averages.
        warmup_steps: linear warm-up; the very first step is taken at learning_rate / warmup_steps.
        decay: "cosine" or "linear" down to final_lr_fraction after the last step, or "constant".
        final_lr_fraction: learning rate at the end over the peak.
        grad_clip: largest global gradient norm; None for no clipping.
        ema_decay: decay of the average of the weights; lower at the start, see `ema.decay_at`.
        seed: decides batches and noise (the model is initialised before it comes here).
        precision: "fp32", "bf16" (autocast) or "auto": bf16 where a short timing shows that it pays.
        compile: compile the network with torch.compile.
        debug: stop at the operation whose gradient is not finite (slow), compile nothing, and log how large the
            gradients are and how large over their weights.
        checkpoint_every: steps between checkpoints; one is always written at the end.
        validate_every: steps between validations; 0 for none. Each validated step is a checkpoint too.
        log_every: steps between log lines.
        keep: the newest checkpoints to keep, beside the best.
        best_metric: the validation metric that decides which checkpoint is best.
        best_mode: whether the smallest ("min") or largest ("max") is best.
    """

    steps: Natural
    batch_size: Count = 64
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: Natural = 500
    decay: Annotated[str, Among(*DECAYS)] = "cosine"
    final_lr_fraction: Share = 0.0
    grad_clip: Positive | None = 1.0
    ema_decay: Annotated[float, Range(0, 1, open="right")] = 0.999
    seed: Natural = 0
    precision: Annotated[str, Among(*PRECISIONS)] = "auto"
    compile: bool = False
    debug: bool = False
    checkpoint_every: Count = 1000
    validate_every: Natural = 0
    log_every: Count = 100
    keep: Count = 2
    best_metric: str = "time_to_goal"
    best_mode: Annotated[str, Among(*MODES)] = "min"

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(float(beta) for beta in self.betas))
        for key in ("batch_size", "checkpoint_every", "log_every", "keep"):
            self._require(key, getattr(self, key) >= 1, "at least 1")
        for key in ("steps", "warmup_steps", "validate_every", "seed", "weight_decay"):
            self._require(key, getattr(self, key) >= 0, "at least 0")
        self._require("learning_rate", 0 < self.learning_rate < math.inf, "positive and finite")
        self._require("betas", len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "two numbers in [0, 1)")
        self._require("ema_decay", 0 <= self.ema_decay < 1, "in [0, 1)")
        self._require("final_lr_fraction", 0 <= self.final_lr_fraction <= 1, "in [0, 1]")
        self._require("grad_clip", self.grad_clip is None or self.grad_clip > 0, "positive, or null for none")
        for key, names in (("precision", PRECISIONS), ("decay", DECAYS), ("best_mode", MODES)):
            self._require(key, getattr(self, key) in names, f"one of {', '.join(names)}")
        if self.warmup_steps > self.steps:
            raise ValueError(
                f"warmup_steps must be at most steps, got warmup_steps={self.warmup_steps}, steps={self.steps}; a "
                f"shorter run needs a shorter warm-up, e.g. train.warmup_steps={self.steps // 10}"
            )

    def _require(self, key: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(f"{key} must be {what}, got {key}={getattr(self, key)!r}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """Build from plain values; an unknown key is an error that names the nearest known one."""
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                close = get_close_matches(key, known, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"unknown training option {key!r} (known: {', '.join(known)}){hint}")
        return cls(**values)
