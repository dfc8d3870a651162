"""Segments of consecutive transitions, as Diffuser is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from df_agent.types import Batch

if TYPE_CHECKING:
    from df_agent.data.episodes import Episodes


class SegmentSampler:
    """Draws segments of observations and the actions taken there.

    A segment stays within its trajectory. Diffuser cuts its data where the agent leaves the evaluation's
    goal; all of its way from goal to goal is one trajectory here, whatever is evaluated later.

    Args:
        episodes: the data.
        horizon: transitions in a segment, at least 2.
        frame_skip: control steps from one transition to the next. The action of a transition is the mean of those.
    """

    def __init__(self, episodes: Episodes, horizon: int, frame_skip: int = 1) -> None:
        if horizon < 2:
            raise ValueError(f"a segment has a start and an end: horizon >= 2, got {horizon}")
        if frame_skip < 1:
            raise ValueError(f"frame_skip must be at least 1, got {frame_skip}")
        observations, actions = torch.as_tensor(episodes.observations), torch.as_tensor(episodes.actions)
        starts = torch.as_tensor(episodes.starts)
        step = torch.arange(len(observations))
        # The last row of a trajectory is where it ended: no action was taken there.
        end = torch.repeat_interleave(starts[1:] - 1, starts.diff())
        self.taken = step + frame_skip <= end
        if frame_skip > 1:
            actions = _means_ahead(actions, frame_skip)
        self.transitions = torch.cat([observations, actions], 1).float()  # (N, Do + Da)
        self.horizon, self.frame_skip = horizon, frame_skip
        self.first = step[step + horizon * frame_skip <= end]
        if len(self.first) == 0:
            longest = int(starts.diff().max()) - 1
            raise ValueError(
                f"no trajectory has {horizon * frame_skip} steps, the longest has {longest}; choose a shorter horizon"
            )

    def limits(self) -> tuple[list[float], list[float]]:
        """Return the smallest and largest value of every channel over all steps, (Do + Da,) each."""
        taken = self.transitions[self.taken]
        return taken.amin(0).tolist(), taken.amax(0).tolist()

    def __call__(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw `batch_size` segments (B, H, Do + Da), not normalised; the same generator gives the same ones."""
        first = self.first[torch.randint(len(self.first), (batch_size,), generator=generator)]
        tokens = self.transitions[first[:, None] + self.frame_skip * torch.arange(self.horizon)]
        return Batch(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool))


def _means_ahead(values: torch.Tensor, count: int) -> torch.Tensor:
    """Return the mean of every row of (N, D) and the count - 1 rows after it; behind the end are zeros."""
    sums = torch.cat([values.new_zeros(1, values.shape[1], dtype=torch.float64), values.double().cumsum(0)])
    ends = (torch.arange(len(values)) + count).clamp(max=len(values))
    return (sums[ends] - sums[:-1]) / count
