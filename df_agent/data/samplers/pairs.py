"""Pairs of moments of one episode, for what is learned in hindsight about the time between places."""

from __future__ import annotations

import math

import torch

from df_agent.data.samplers.windows import WindowSampler
from df_agent.types import Pairs


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
