"""The cross-entropy method over action sequences: refit a Gaussian to the best samples, a few times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planners.plan import Plan
from planners.shooting import Array, Cost, Dynamics, Noise, evaluate, predicted, smooth


@dataclass(frozen=True)
class CEM:
    """Cross-entropy method (Rubinstein 1999), with noise that is correlated in time (iCEM, Pinneri et al. 2020).

    Mean and deviation of each step and channel are refitted to the elites; the mean is among the samples.

    Attributes:
        samples: action sequences K per iteration.
        horizon: control steps in a sequence, H.
        iterations: of sampling and refitting per plan.
        elites: samples that the Gaussian is refitted to.
        sigma: standard deviation to begin every plan with [action].
        least_sigma: the deviation never falls below this [action].
        smoothing: correlation of the noise of consecutive steps, in [0, 1).
        keep: share of the old mean and deviation in the new ones, in [0, 1).
        action_limit: actions are clipped to this absolute value.
    """

    samples: int = 128
    horizon: int = 40
    iterations: int = 3
    elites: int = 12
    sigma: float = 1.0
    least_sigma: float = 0.05
    smoothing: float = 0.9
    keep: float = 0.1
    action_limit: float = 1.0

    def __post_init__(self) -> None:
        if min(self.samples, self.horizon, self.iterations) < 1 or not 1 <= self.elites <= self.samples:
            raise ValueError(
                f"samples, horizon and iterations must be at least 1 and elites among the samples, got "
                f"{self.samples}, {self.horizon}, {self.iterations} and {self.elites}"
            )
        if min(self.sigma, self.action_limit) <= 0 or self.least_sigma < 0:
            raise ValueError(
                f"sigma and action_limit must be positive and least_sigma not negative, got {self.sigma}, "
                f"{self.action_limit} and {self.least_sigma}"
            )
        if not (0 <= self.smoothing < 1 and 0 <= self.keep < 1):
            raise ValueError(f"smoothing and keep must be in [0, 1), got {self.smoothing} and {self.keep}")

    def plan(
        self, states: Array, goals: Array, mean: Array, noise: Noise, dynamics: Dynamics, cost: Cost
    ) -> tuple[Plan, Array]:
        """Plan for B rows; see `planners.shooting.ShootingPlanner`."""
        shape = (self.samples, self.horizon, mean.shape[-1])
        sigma = np.full_like(mean, self.sigma)
        for iteration in range(self.iterations):
            spread = sigma[:, None] * smooth(noise(iteration, shape), self.smoothing)
            spread[:, 0] = 0.0
            actions = np.clip(mean[:, None] + spread, -self.action_limit, self.action_limit)  # (B, K, H, Da)
            costs = evaluate(states, actions, goals, dynamics, cost)
            best = np.argsort(costs, axis=1, kind="stable")[:, : self.elites]
            elites = np.take_along_axis(actions, best[:, :, None, None], axis=1)
            mean = self.keep * mean + (1 - self.keep) * elites.mean(1)
            sigma = np.maximum(self.keep * sigma + (1 - self.keep) * elites.std(1), self.least_sigma)
        return predicted(states, mean, dynamics), mean
