"""Model predictive path integral control: average random action sequences by how well they do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from df_planners.plan import Plan
from df_planners.shooting import ActionSampler, Array, Cost, Dynamics, Noise, evaluate, predicted


@dataclass(frozen=True)
class MPPI(ActionSampler):
    """Information-theoretic MPPI (Williams et al. 2017, "Information Theoretic MPC", algorithm 2).

    The noise is correlated in time, and the unchanged mean is among the samples. For the other attributes see
    `df_planners.shooting.ActionSampler`; the paper's number of iterations is 1.

    Attributes:
        temperature: lambda; by how much a sample's cost may exceed the best one's to weigh 1/e of it [cost].
        control_cost: gamma = lambda (1 - alpha), how much actions away from zero cost by the paper's u v / sigma^2.
    """

    temperature: float = 1.0
    control_cost: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")

    def plan(
        self, states: Array, goals: Array, mean: Array, noise: Noise, dynamics: Dynamics, cost: Cost
    ) -> tuple[Plan, Array]:
        """Plan for B rows; see `df_planners.shooting.ShootingPlanner`."""
        for iteration in range(self.iterations):
            actions = self.around(mean, self.sigma, noise, iteration)
            costs = evaluate(states, actions, goals, dynamics, cost)
            costs = costs + self.control_cost / self.sigma**2 * (mean[:, None] * actions).sum((2, 3))
            weights = np.exp(-(costs - costs.min(1, keepdims=True)) / self.temperature)
            weights /= weights.sum(1, keepdims=True)
            mean = (weights[:, :, None, None] * actions).sum(1)
        return predicted(states, mean, dynamics), mean
