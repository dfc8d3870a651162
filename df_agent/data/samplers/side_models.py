"""What the side models learn from: frames' actions and where they led, and pairs of moments of one episode."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from df_agent.data.channels import changing
from df_agent.data.samplers.windows import WindowSampler
from df_agent.types import HindsightBatch, InverseDynamicsBatch, Pairs


def displacement_scale(step: list[float]) -> Tensor:
    """Return the unit, (G,), of displacements within a frame: a third of the most that the data moves, its "step".

    It is 1 where the data does not move.
    """
    most = torch.tensor(step, dtype=torch.float32)
    return torch.where((most > 0) & most.isfinite(), most / 3, 1.0)


class InverseDynamicsSampler:
    """Draws the mean action of a frame with the observation before it and the places after it.

    Where the data's actions are noisy, a single one has little part in where a frame ends; their mean has all.

    Args:
        windows: the sampler of the same data's windows.
        scale: (G,) unit of displacements.

    Raises:
        ValueError: every episode is shorter than a frame.
    """

    def __init__(self, windows: WindowSampler, scale: Tensor) -> None:
        config = windows.tokenizer.config
        self.windows, self.scale, self.ahead = windows, scale.to(windows.observations.device), config.frame_skip
        self.channels = list(config.goal_channels)
        dim = config.observation_dim
        self.mean, self.std = (
            x[:dim].to(windows.observations.device) for x in (windows.tokenizer.mean, windows.tokenizer.std)
        )
        step = torch.arange(len(windows.last), device=windows.last.device)
        self.anchors = step[step + self.ahead <= windows.last]
        if not len(self.anchors):
            raise ValueError(f"every episode is shorter than a frame of {self.ahead} steps")

    def __call__(self, batch_size: int, generator: torch.Generator) -> InverseDynamicsBatch:
        """Draw `batch_size` moves with a CPU generator; the same generator gives the same moves."""
        pick = torch.randint(len(self.anchors), (batch_size,), generator=generator)
        step = self.anchors[pick.to(self.anchors.device)]
        now, later = self.windows.observations[step], self.windows.observations[step + self.ahead]
        displacement = (later - now)[:, self.channels] / self.scale
        actions = self.windows.actions[step[:, None] + torch.arange(self.ahead, device=step.device)].mean(1)
        return InverseDynamicsBatch((now - self.mean) / self.std, displacement, actions)


class PairSampler:
    """Draws two moments of an episode, near and far ones alike.

    The steps between them are log-uniform, up to what is left of the episode. Were they uniform, most pairs would
    be far apart, and few would show a direct way between near places.

    Args:
        windows: the sampler of the same data's windows.
        shortest: fewest steps between the two [control steps].
        longest: most steps between the two, the rest of the episode permitting [control steps].

    Raises:
        ValueError: every episode is shorter than `shortest`, or `shortest` not below `longest`.
    """

    def __init__(self, windows: WindowSampler, shortest: int, longest: int) -> None:
        if not 1 <= shortest < longest:
            raise ValueError(f"need 1 <= shortest < longest, got {shortest} and {longest}")
        tokenizer = windows.tokenizer
        channels = list(tokenizer.config.goal_channels)
        device = windows.observations.device
        mean, std = tokenizer.mean[channels].to(device), tokenizer.std[channels].to(device)
        self.places = (windows.observations[:, channels] - mean) / std
        self.last, self.shortest, self.longest = windows.last, shortest, longest
        step = torch.arange(len(self.last), device=device)
        self.anchors = step[step + shortest <= self.last]
        if not len(self.anchors):
            raise ValueError(f"every episode is shorter than {shortest} steps")

    def __call__(self, batch_size: int, generator: torch.Generator) -> Pairs:
        """Draw `batch_size` pairs with a CPU generator; the same generator gives the same pairs."""
        device = self.places.device
        pick = torch.randint(len(self.anchors), (batch_size,), generator=generator)
        share = torch.rand(batch_size, generator=generator).to(device)
        start = self.anchors[pick.to(device)]
        most = (self.last[start] - start).clamp_max(self.longest).float()
        least = math.log(self.shortest)
        steps = torch.exp(least + share * (most.log() - least)).round().long()
        steps = torch.minimum(steps, most.long())  # rounding must not lead past the end
        return Pairs(self.places[start], self.places[start + steps], steps.float())


class MoveSampler:
    """Draws places with the places a frame later.

    Args:
        windows: the sampler of the same data's windows.
        ahead: control steps of a frame.

    Attributes:
        move_std: (G,) deviation of the moves between the two, in deviations of the places; 1 where nothing moves.

    Raises:
        ValueError: every episode is shorter than a frame.
    """

    def __init__(self, windows: WindowSampler, ahead: int) -> None:
        pairs = PairSampler(windows, ahead, ahead + 1)
        self.places, self.anchors, self.ahead = pairs.places, pairs.anchors, ahead
        self.move_std = _mean_and_deviation(self.places[self.anchors + ahead] - self.places[self.anchors])[1]

    def __call__(self, batch_size: int, generator: torch.Generator) -> Pairs:
        """Draw `batch_size` moves with a CPU generator; the same generator gives the same moves."""
        start = self.anchors[torch.randint(len(self.anchors), (batch_size,), generator=generator)]
        steps = torch.full((batch_size,), float(self.ahead), device=start.device)
        return Pairs(self.places[start], self.places[start + self.ahead], steps)


class LocalPolicySampler:
    """Draws actions with places that were reached after them, near and far ones alike.

    The steps between the two are uniform up to what is left of the episode in one half of a batch, log-uniform in the
    other.

    Args:
        windows: the sampler of the same data's windows.
        longest: most steps between the two, the rest of the episode permitting [control steps].
        observation_indices: channels of the environment's observation that the policy sees; they hold the goal's.

    Attributes:
        goal_channels: where among these the goal lies.
        observation_mean, observation_std: (Do,) of the data in these; the deviation is 1 where there is none.
        action_mean, action_std: (Da,) of the actions that were taken, likewise.
    """

    def __init__(self, windows: WindowSampler, longest: int, observation_indices: Sequence[int]) -> None:
        device = windows.observations.device
        tokens, indices = windows.tokenizer.config, list(observation_indices)
        where = [tokens.observation_indices[channel] for channel in tokens.goal_channels]
        if missing := sorted(set(where) - set(indices)):
            raise ValueError(
                f"the local policy sees the channels {indices}, which lack {missing} of the goal; add them to "
                "local_policy.observation_indices"
            )
        if max(indices) >= windows.whole.shape[1]:
            raise ValueError(
                f"local_policy.observation_indices={indices} reach beyond the {windows.whole.shape[1]} channels"
            )
        self.observations, self.actions = windows.whole[:, indices].float().to(device), windows.actions
        self.goal_channels, self.longest, self.last = [indices.index(c) for c in where], longest, windows.last
        step = torch.arange(len(self.last), device=device)
        self.anchors = step[step < self.last]
        starts = np.append(np.unique(windows.first.cpu().numpy()), len(self.last))
        changes = torch.as_tensor(changing(self.observations.cpu().numpy(), starts), device=device)
        self.observation_mean, self.observation_std = _mean_and_deviation(self.observations, changes)
        self.action_mean, self.action_std = _mean_and_deviation(self.actions[self.anchors])

    def __call__(self, batch_size: int, generator: torch.Generator) -> HindsightBatch:
        """Draw `batch_size` actions with a CPU generator; the same generator gives the same ones."""
        pick = torch.randint(len(self.anchors), (batch_size,), generator=generator)
        share = torch.rand(batch_size, generator=generator).to(self.last.device)
        now = self.anchors[pick.to(self.last.device)]
        most = (self.last[now] - now).clamp_max(self.longest)
        steps = torch.where(
            torch.arange(batch_size, device=now.device) % 2 == 0,
            1 + (share * most).long(),
            torch.exp(share * most.log()).round().long(),
        )
        steps = torch.minimum(steps, most)  # rounding must not lead past the end
        goal = self.observations[now + steps][:, self.goal_channels]
        return HindsightBatch(self.observations[now], goal, steps.float(), self.actions[now])


def _mean_and_deviation(values: Tensor, changes: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return mean and deviation, (D,) each, of values (N, D); the deviation is 1 where there is none.

    One below 1e-6 is none, unless it is said which channels, (D,), change all the same.
    """
    deviation, mean = torch.std_mean(values, 0)
    scaled = deviation > 1e-6 if changes is None else (deviation > 1e-6) | changes
    return mean, torch.where(scaled, deviation, 1.0)
