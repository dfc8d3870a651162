"""Model predictive path integral control: average random action sequences by how well they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from df_planners.plan import Array
from df_planners.shooting import ActionSamplingConfig, ActionSequencePlanner


@dataclass(frozen=True)
class MPPIConfig(ActionSamplingConfig):
    """Options of MPPI.

    The noise is correlated in time, and the unchanged mean is among the samples. For the other attributes see
    `df_planners.shooting.ActionSamplingConfig`; the paper's number of iterations is 1.

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


class MPPI(ActionSequencePlanner):
    """Information-theoretic MPPI (Williams et al. 2017, "Information Theoretic MPC", algorithm 2)."""

    Config = MPPIConfig

    def improve(self, states: Array, goals: Array, mean: Array, seeds: Sequence[Sequence[int]]) -> Array:
        """Return better action sequences; see `ActionSequencePlanner`."""
        c = self.config
        for iteration in range(c.iterations):
            actions = self.around(mean, c.sigma, seeds, iteration)
            costs = self.costs(states, actions, goals)
            costs = costs + c.control_cost / c.sigma**2 * (mean[:, None] * actions).sum((2, 3))
            weights = np.exp(-(costs - costs.min(1, keepdims=True)) / c.temperature)
            weights /= weights.sum(1, keepdims=True)
            mean = (weights[:, :, None, None] * actions).sum(1)
        return mean
