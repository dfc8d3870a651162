"""Transitions with goals chosen in hindsight, for goal-conditioned imitation and value learning."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from df_agent.data.channels import changing
from df_agent.data.config import HindsightConfig

if TYPE_CHECKING:
    from df_agent.data.episodes import Episodes


@dataclass(frozen=True)
class Normalizer:
    """Mean and standard deviation of observations and goals, as plain numbers, so that they fit into JSON.

    Attributes:
        observation_mean, observation_std: (Do,).
        goal_mean, goal_std: (G,).
    """

    observation_mean: tuple[float, ...]
    observation_std: tuple[float, ...]
    goal_mean: tuple[float, ...]
    goal_std: tuple[float, ...]

    def __post_init__(self) -> None:
        for key, values in asdict(self).items():
            object.__setattr__(self, key, tuple(float(value) for value in values))

    @classmethod
    def fit(cls, observations: Tensor, goals: Tensor, starts: NDArray[np.int64] | None = None) -> Normalizer:
        """Fit to rows (N, Do) and (N, G); channels that never change get unit scale, see `changing`.

        Args:
            observations: rows of one trajectory after the other.
            goals: likewise.
            starts: (E + 1,) first row of each trajectory, and the end; None for a single one.
        """
        bounds = np.array([0, len(observations)]) if starts is None else starts

        def moments(rows: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
            std, mean = torch.std_mean(rows.double(), 0)
            scaled = (std > 1e-6) | torch.as_tensor(changing(rows.numpy(), bounds))
            return tuple(mean.tolist()), tuple(torch.where(scaled, std, 1.0).tolist())

        return cls(*moments(observations), *moments(goals))

    def observation(self, values: Tensor) -> Tensor:
        """Normalise observations (..., Do)."""
        return (values - values.new_tensor(self.observation_mean)) / values.new_tensor(self.observation_std)

    def goal(self, values: Tensor) -> Tensor:
        """Normalise goals (..., G)."""
        return (values - values.new_tensor(self.goal_mean)) / values.new_tensor(self.goal_std)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict; the normaliser is made again by passing it as arguments."""
        return {key: list(values) for key, values in asdict(self).items()}


@dataclass
class Transitions:
    """Transitions of K control steps with hindsight goals.

    Attributes:
        observation: (B, Do) normalised.
        actions: (B, K, Da) as they were taken.
        next_observation: (B, Do) normalised, K steps later.
        value_goal: (B, G) normalised.
        reward: (B,) the discounted sum of -1 per step until `value_goal` is reached; 0 at the goal.
        bootstrap: (B,) discount of the value of `next_observation`; 0 if the goal is reached by then.
        actor_goal: (B, G) normalised.
    """

    observation: Tensor
    actions: Tensor
    next_observation: Tensor
    value_goal: Tensor
    reward: Tensor
    bootstrap: Tensor
    actor_goal: Tensor

    def to(self, device: torch.device | str) -> Transitions:
        """Return the transitions on another device."""
        return Transitions(**{key: value.to(device) for key, value in vars(self).items()})


class HindsightSampler:
    """Draws batches of transitions, with goals of the same trajectory or of the whole data.

    Args:
        episodes: the data, kept in memory; it must have achieved goals.
        config: which goals.

    Raises:
        ValueError: no achieved goals, `segments` without desired goals, or only trajectories of fewer than
            `chunk` steps.
    """

    def __init__(self, episodes: Episodes, config: HindsightConfig) -> None:
        if episodes.achieved_goals is None:
            raise ValueError("goals in hindsight are achieved goals, which these episodes do not have")
        self.config = config
        observations = torch.as_tensor(episodes.observations).float()
        places = torch.as_tensor(episodes.achieved_goals).float()
        self.normalizer = Normalizer.fit(observations, places, episodes.starts)
        self.observations, self.places = self.normalizer.observation(observations), places
        self.goals = self.normalizer.goal(places)
        self.actions = torch.as_tensor(episodes.actions).float()
        starts = torch.as_tensor(_segment_starts(episodes) if config.segments else episodes.starts)
        self.last = torch.repeat_interleave(starts[1:] - 1, starts.diff())  # (N,) last step of each step's trajectory
        step = torch.arange(len(self.last))
        self.anchors = step[step + config.chunk <= self.last]
        if not len(self.anchors):
            raise ValueError(f"every trajectory is shorter than a chunk of {config.chunk} steps")

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of channels, as the learners name them."""
        arrays = {"observation_dim": self.observations, "goal_dim": self.goals, "action_dim": self.actions}
        return {key: array.shape[1] for key, array in arrays.items()}

    def __call__(self, batch_size: int, generator: torch.Generator) -> Transitions:
        """Draw `batch_size` transitions with a CPU generator; the same generator gives the same ones."""
        c = self.config
        step = self.anchors[torch.randint(len(self.anchors), (batch_size,), generator=generator)]
        value_goal = self.goal_steps(step, c.value_current, c.value_future, c.value_geometric, generator)
        actor_goal = self.goal_steps(step, 0.0, c.actor_future, c.actor_geometric, generator)
        return self.transitions(step, value_goal, actor_goal)

    def goal_steps(
        self, step: Tensor, current: float, future: float, geometric: bool, generator: torch.Generator
    ) -> Tensor:
        """Draw the steps (B,) whose states are the goals of the states at `step` (B,), in the given shares."""
        c, n = self.config, len(step)
        share, kind = torch.rand(2, n, generator=generator, dtype=torch.float64)
        left = self.last[step] - step
        if geometric:
            ahead = 1 + ((1 - share).log() / math.log(c.discount)).long()
        else:
            left = left.clamp_max(c.horizon)
            ahead = 1 + (share * left).long()
        later = step + torch.minimum(ahead, left)
        anywhere = torch.randint(len(self.last), (n,), generator=generator)
        return torch.where(kind < current, step, torch.where(kind < current + future, later, anywhere))

    def transitions(self, step: Tensor, value_goal: Tensor, actor_goal: Tensor) -> Transitions:
        """Return the transitions that begin at `step` (B,), with the states at these steps as their goals."""
        c = self.config
        window = step[:, None] + torch.arange(c.chunk + 1)  # (B, K + 1)
        distance = (self.places[window] - self.places[value_goal][:, None]).norm(dim=-1)
        inside = distance <= c.radius if c.radius else window == value_goal[:, None]
        reached = inside.any(1)
        steps = torch.where(reached, inside.int().argmax(1), c.chunk)  # argmax: the first
        return Transitions(
            observation=self.observations[step],
            actions=self.actions[window[:, :-1]],
            next_observation=self.observations[window[:, -1]],
            value_goal=self.goals[value_goal],
            reward=(c.discount**steps - 1) / (1 - c.discount),
            bootstrap=torch.where(reached, 0.0, c.discount**c.chunk),
            actor_goal=self.goals[actor_goal],
        )


def _segment_starts(episodes: Episodes) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Starts of the trajectories and of what follows each change of the pursued goal, and the end."""
    if episodes.desired_goals is None:
        raise ValueError("segments=True needs the goals that the behaviour pursued, which these episodes do not have")
    changes = 1 + np.flatnonzero((np.diff(episodes.desired_goals, axis=0) != 0).any(axis=1))
    return np.union1d(changes, episodes.starts).astype(np.int64)
