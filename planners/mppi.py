"""Model predictive path integral control: average random action sequences by how well they do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planners.plan import Plan
from planners.shooting import Array, Cost, Dynamics, Noise, evaluate, predicted, smooth


@dataclass(frozen=True)
class MPPI:
    """Information-theoretic MPPI (Williams et al. 2017, "Information Theoretic MPC", algorithm 2).

    The noise is correlated in time, and the unchanged mean is among the samples.

    Attributes:
        samples: action sequences K per iteration.
        horizon: control steps in a sequence, H.
        iterations: of sampling and averaging per plan; the paper's 1.
        temperature: lambda; by how much a sample's cost may exceed the best one's to weigh 1/e of it [cost].
        sigma: standard deviation of the noise [action].
        smoothing: correlation of the noise of consecutive steps, in [0, 1).
        control_cost: gamma = lambda (1 - alpha), how much actions away from zero cost by the paper's u v / sigma^2.
        action_limit: actions are clipped to this absolute value.
    """

    samples: int = 128
    horizon: int = 40
    iterations: int = 1
    temperature: float = 1.0
    sigma: float = 1.0
    smoothing: float = 0.9
    control_cost: float = 0.0
    action_limit: float = 1.0

    def __post_init__(self) -> None:
        if min(self.samples, self.horizon, self.iterations) < 1:
            raise ValueError(
                f"samples, horizon and iterations must be at least 1, got {self.samples}, {self.horizon} and "
                f"{self.iterations}"
            )
        if min(self.temperature, self.sigma, self.action_limit) <= 0 or not 0 <= self.smoothing < 1:
            raise ValueError(
                f"temperature, sigma and action_limit must be positive and smoothing in [0, 1), got "
                f"{self.temperature}, {self.sigma}, {self.action_limit} and {self.smoothing}"
            )

    def plan(
        self, states: Array, goals: Array, mean: Array, noise: Noise, dynamics: Dynamics, cost: Cost
    ) -> tuple[Plan, Array]:
        """Plan for B rows; see `planners.shooting.ShootingPlanner`."""
        shape = (self.samples, self.horizon, mean.shape[-1])
        for iteration in range(self.iterations):
            spread = self.sigma * smooth(noise(iteration, shape), self.smoothing)
            spread[:, 0] = 0.0
            actions = np.clip(mean[:, None] + spread, -self.action_limit, self.action_limit)  # (B, K, H, Da)
            costs = evaluate(states, actions, goals, dynamics, cost)
            costs = costs + self.control_cost / self.sigma**2 * (mean[:, None] * actions).sum((2, 3))
            weights = np.exp(-(costs - costs.min(1, keepdims=True)) / self.temperature)
            weights /= weights.sum(1, keepdims=True)
            mean = (weights[:, :, None, None] * actions).sum(1)
        return predicted(states, mean, dynamics), mean
