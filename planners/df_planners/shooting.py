"""What planners that sample action sequences share: what they are handed, and how their noise is made smooth."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from df_planners.plan import Array, Plan, Planner, PlanRequest


class Dynamics(Protocol):
    """Where actions lead: states (N, Ds) and actions (N, H, Da) to the states after each action, (N, H, Ds)."""

    def __call__(self, states: Array, actions: Array, /) -> Array:
        """Return the states."""
        ...


class Cost(Protocol):
    """What K futures of each of B rows, (B, K, H, Ds), cost with its goal, (B, G): (B, K), smaller is better."""

    def __call__(self, states: Array, goals: Array, /) -> Array:
        """Return the costs."""
        ...


@dataclass(frozen=True)
class ActionSamplingConfig:
    """Random action sequences around a mean; the mean itself is the first of them.

    Attributes:
        samples: action sequences K per iteration.
        horizon: control steps in a sequence, H.
        iterations: of sampling and improving per plan.
        sigma: standard deviation of the noise [action].
        smoothing: correlation of the noise of consecutive steps, in [0, 1).
        action_limit: actions are clipped to this absolute value.
    """

    samples: int = 128
    horizon: int = 40
    iterations: int = 1
    sigma: float = 1.0
    smoothing: float = 0.9
    action_limit: float = 1.0

    def __post_init__(self) -> None:
        if min(self.samples, self.horizon, self.iterations) < 1:
            raise ValueError(
                f"samples, horizon and iterations must be at least 1, got {self.samples}, {self.horizon} and "
                f"{self.iterations}"
            )
        if min(self.sigma, self.action_limit) <= 0 or not 0 <= self.smoothing < 1:
            raise ValueError(
                f"sigma and action_limit must be positive and smoothing in [0, 1), got {self.sigma}, "
                f"{self.action_limit} and {self.smoothing}"
            )


class ActionSequencePlanner(Planner):
    """Improves action sequences by simulating random ones around them; `MPPI` and `CEM` do.

    Args:
        config: its options, a `Config`.
        dynamics: the simulator that is rolled out; its states are the observations.
        cost: what is minimised.
        action_dim: Da.
    """

    def __init__(self, config: Any, dynamics: Dynamics, cost: Cost, action_dim: int) -> None:
        self.config, self.dynamics, self.future_cost, self.action_dim = config, dynamics, cost, action_dim

    @abstractmethod
    def improve(self, states: Array, goals: Array, mean: Array, seeds: Sequence[Sequence[int]]) -> Array:
        """Return better action sequences, (B, H, Da).

        Args:
            states: (B, Ds) where the environments are.
            goals: (B, G) handed to the cost.
            mean: (B, H, Da) the actions to begin from: zeros, or the rest of the last plan.
            seeds: B seeds of the noise.
        """

    def plan(self, request: PlanRequest) -> Plan:
        """Return plans that begin from the rest of the last ones; their observations are what the model predicts."""
        mean = np.zeros((len(request), self.config.horizon, self.action_dim))
        if len(going_on := np.flatnonzero(~request.fresh)):  # before the first plan there are no actions to shift
            mean[going_on] = shifted(request.actions[going_on], request.age[going_on])
        states = request.history[:, -1]
        return predicted(states, self.improve(states, request.goal, mean, request.seeds), self.dynamics)

    def around(self, mean: Array, sigma: Array | float, seeds: Sequence[Sequence[int]], iteration: int) -> Array:
        """Return sequences (B, K, H, Da) around means (B, H, Da); sigma is one number or (B, H, Da)."""
        c, shape = self.config, (self.config.samples, self.config.horizon, mean.shape[-1])
        noise = np.stack([np.random.default_rng([*seed, iteration]).standard_normal(shape) for seed in seeds])
        spread = smooth(noise, c.smoothing)
        spread *= np.broadcast_to(sigma, mean.shape)[:, None]
        spread[:, 0] = 0.0
        return np.clip(mean[:, None] + spread, -c.action_limit, c.action_limit)

    def costs(self, states: Array, actions: Array, goals: Array) -> Array:
        """Costs (B, K) of action sequences (B, K, H, Da); what is not a number costs infinitely much."""
        batch, samples, horizon, width = actions.shape
        flat = self.dynamics(np.repeat(states, samples, axis=0), actions.reshape(batch * samples, horizon, width))
        costs = self.future_cost(flat.reshape(batch, samples, horizon, -1), goals)
        if costs.shape != (batch, samples):
            raise ValueError(f"the cost must return shape {(batch, samples)}, got {costs.shape}")
        return np.where(np.isnan(costs), np.inf, costs)


def smooth(noise: Array, share: float) -> Array:
    """Turn white noise (..., H, Da) into a stationary first-order autoregressive one, as strong at every step.

    Args:
        noise: standard normal.
        share: correlation of one step with the next, in [0, 1).
    """
    out = np.empty_like(noise)
    out[..., 0, :] = noise[..., 0, :]
    for step in range(1, noise.shape[-2]):
        out[..., step, :] = share * out[..., step - 1, :] + np.sqrt(1 - share**2) * noise[..., step, :]
    return out


def shifted(mean: Array, steps: NDArray[np.int64]) -> Array:
    """Warm start: the last plans' actions (B, H, Da) without the first `steps` (B,), the last one repeated behind."""
    index = np.minimum(np.arange(mean.shape[1]) + steps[:, None], mean.shape[1] - 1)
    return np.asarray(np.take_along_axis(mean, index[..., None], axis=1))


def predicted(states: Array, actions: Array, dynamics: Dynamics) -> Plan:
    """The plan (B, H) that actions (B, H, Da) make: its frame 0 is the present, where action 0 is taken."""
    future = dynamics(states, actions)
    frames = np.concatenate([states[:, None], future[:, :-1]], axis=1)
    lengths = np.full(len(states), actions.shape[1])
    return Plan(frames, lengths, 1, actions, lengths.copy())
