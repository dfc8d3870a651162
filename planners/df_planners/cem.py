"""The cross-entropy method over action sequences: refit a Gaussian to the best samples, a few times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from df_planners.plan import Plan
from df_planners.shooting import ActionSampler, Array, Cost, Dynamics, Noise, evaluate, predicted


@dataclass(frozen=True)
class CEM(ActionSampler):
    """Cross-entropy method (Rubinstein 1999), with noise that is correlated in time (iCEM, Pinneri et al. 2020).

    Mean and deviation of each step and channel are refitted to the elites; the mean is among the samples. For the
    other attributes see `df_planners.shooting.ActionSampler`; every plan begins with the deviation `sigma`.

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

    def plan(
        self, states: Array, goals: Array, mean: Array, noise: Noise, dynamics: Dynamics, cost: Cost
    ) -> tuple[Plan, Array]:
        """Plan for B rows; see `df_planners.shooting.ShootingPlanner`."""
        sigma = np.full_like(mean, self.sigma)
        for iteration in range(self.iterations):
            actions = self.around(mean, sigma, noise, iteration)
            costs = evaluate(states, actions, goals, dynamics, cost)
            best = np.argsort(costs, axis=1, kind="stable")[:, : self.elites]
            elites = np.take_along_axis(actions, best[:, :, None, None], axis=1)
            mean = self.keep * mean + (1 - self.keep) * elites.mean(1)
            sigma = np.maximum(self.keep * sigma + (1 - self.keep) * elites.std(1), self.least_sigma)
        return predicted(states, mean, dynamics), mean
