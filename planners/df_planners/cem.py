"""The cross-entropy method over action sequences: refit a Gaussian to the best samples, a few times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from df_planners.plan import Array
from df_planners.shooting import ActionSamplingConfig, ActionSequencePlanner


@dataclass(frozen=True)
class CEMConfig(ActionSamplingConfig):
    """Options of CEM.

    Mean and deviation of each step and channel are refitted to the elites; the mean is among the samples. For the
    other attributes see `df_planners.shooting.ActionSamplingConfig`; every plan begins with the deviation `sigma`.

    Attributes:
        elites: samples that the Gaussian is refitted to.
        least_sigma: the deviation never falls below this [action].
        keep: share of the old mean and deviation in the new ones, in [0, 1).
    """

    iterations: int = 3
    elites: int = 12
    least_sigma: float = 0.05
    keep: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.elites <= self.samples:
            raise ValueError(f"elites must be among the {self.samples} samples, got {self.elites}")
        if self.least_sigma < 0 or not 0 <= self.keep < 1:
            raise ValueError(
                f"least_sigma must not be negative and keep in [0, 1), got {self.least_sigma} and {self.keep}"
            )


class CEM(ActionSequencePlanner):
    """Cross-entropy method (Rubinstein 1999), with noise that is correlated in time (iCEM, Pinneri et al. 2020)."""

    Config = CEMConfig

    def improve(self, states: Array, goals: Array, mean: Array, seeds: Sequence[Sequence[int]]) -> Array:
        """Return better action sequences; see `ActionSequencePlanner`."""
        c, sigma = self.config, np.full_like(mean, self.config.sigma)
        for iteration in range(c.iterations):
            actions = self.around(mean, sigma, seeds, iteration)
            costs = self.costs(states, actions, goals)
            best = np.argsort(costs, axis=1, kind="stable")[:, : c.elites]
            elites = np.take_along_axis(actions, best[:, :, None, None], axis=1)
            mean = c.keep * mean + (1 - c.keep) * elites.mean(1)
            sigma = np.maximum(c.keep * sigma + (1 - c.keep) * elites.std(1), c.least_sigma)
        return mean
