"""Training windows cut from episodes, and the step statistics of the same data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from df_agent.data.tokens import Tokenizer, check_indices
from df_agent.types import Batch

if TYPE_CHECKING:
    from df_agent.data.episodes import Episodes


class WindowSampler:
    """Draws batches of windows; every step of every episode may be the present.

    Windows stay inside their episode: before its start the first frame is repeated, as the policy does
    when it has no history yet; behind its end tokens are masked.

    Args:
        episodes: the data, kept in memory on `device`.
        tokenizer: what a frame and a token hold.
        max_tokens: T, the length of a window.
        short_tokens: lengths to which some batches are cut, which makes training cheaper and lets the
            model plan for a near goal without running the pads behind it.
        short_share: share of the batches that are cut.
        device: where the data lives.
    """

    def __init__(
        self,
        episodes: Episodes,
        tokenizer: Tokenizer,
        max_tokens: int,
        short_tokens: tuple[int, ...] = (),
        short_share: float = 0.5,
        device: torch.device | str = "cpu",
    ) -> None:
        c = tokenizer.config
        self.tokenizer, self.max_tokens, self.short_tokens = tokenizer, max_tokens, tuple(short_tokens)
        self.short_share = short_share
        least = c.context + 1
        if max_tokens < least:
            raise ValueError(
                f"a window needs what was observed and something to plan: max_tokens >= {least}, got {max_tokens}"
            )
        if any(not least <= t <= max_tokens for t in self.short_tokens):
            raise ValueError(f"short_tokens must lie in {least}..{max_tokens}, got {self.short_tokens}")
        if not 0 <= short_share <= 1:
            raise ValueError(f"short_share must lie in [0, 1], got {short_share}")
        observations = torch.as_tensor(episodes.observations)
        check_indices(c, observations.shape[1])
        self.whole = observations  # for models that see more than plans are about
        self.observations = observations[:, list(c.observation_indices)].float().to(device)
        self.actions = torch.as_tensor(episodes.actions).float().to(device)
        self.rewards = torch.as_tensor(episodes.rewards).float().to(device)
        starts = torch.as_tensor(episodes.starts)
        lengths = starts.diff()
        if int(lengths.max()) <= c.span:
            raise ValueError(
                f"every episode is shorter than two tokens of {c.span} steps; the longest has {int(lengths.max())}"
            )
        owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        self.first = starts[:-1][owner].to(device)  # (N,) first step of each step's episode
        self.last = (starts[1:] - 1)[owner].to(device)
        step = torch.arange(len(owner), device=device)
        self.anchors = step[step + c.span <= self.last]  # at least one full token lies ahead

    def __call__(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw `batch_size` windows with a CPU generator; the same generator gives the same windows."""
        tokens = self.max_tokens
        if self.short_tokens and torch.rand((), generator=generator) < self.short_share:
            tokens = self.short_tokens[int(torch.randint(len(self.short_tokens), (), generator=generator))]
        pick = torch.randint(len(self.anchors), (batch_size,), generator=generator)
        return self.windows(self.anchors[pick.to(self.anchors.device)], tokens)

    def windows(self, anchor: Tensor, tokens: int) -> Batch:
        """Cut windows of `tokens` tokens whose observed ones end at the steps `anchor` (B,)."""
        c = self.tokenizer.config
        frame = torch.arange(tokens * c.frame_stack, device=anchor.device) - (c.context_frames - 1)
        step = anchor[:, None] + frame * c.frame_skip  # (B, T * fs)
        first, last = self.first[anchor][:, None], self.last[anchor][:, None]
        mask = (step <= last)[:, c.frame_stack - 1 :: c.frame_stack]
        step = torch.minimum(torch.maximum(step, first), last)
        parts = [self.observations[step]]
        if c.include_actions or c.include_rewards:
            # The frame_skip steps that led to each frame: (B, T * fs, frame_skip)
            inner = step[..., None] + torch.arange(-c.frame_skip, 0, device=anchor.device)
            inner = torch.maximum(inner, first[..., None])
            if c.include_actions:
                parts.append(self.actions[inner].flatten(-2))
            if c.include_rewards:
                parts.append(self.rewards[inner].sum(-1, keepdim=True))
        packed = self.tokenizer.pack(torch.cat(parts, -1))
        # Of the past only observations are known in use.
        known = torch.arange(c.token_dim, device=anchor.device) % c.frame_dim < c.observation_dim
        packed[:, : c.context] = torch.where(known, packed[:, : c.context], 0.0)
        return Batch(packed, mask)


def step_statistics(sampler: WindowSampler, quantile: float = 0.999, samples: int = 100_000) -> dict[str, Any]:
    """Measure how far the goal channels move between frames, and how sharply, in the data.

    Returns:
        Per goal channel, in environment units: "step", the `quantile` of |x[k+1] - x[k]| over frames, and
        "turn", that of |x[k+2] - 2 x[k+1] + x[k]|; and "speed", the `quantile` of the change per control step.
        Of the actions, the "least" and the "most" value of each.

    Raises:
        ValueError: every episode is shorter than two frames.
    """
    c = sampler.tokenizer.config
    generator = torch.Generator().manual_seed(0)
    channels = list(c.goal_channels)
    reach = 2 * c.frame_skip
    step = torch.arange(len(sampler.first), device=sampler.first.device)
    pool = step[step + reach <= sampler.last]
    if not len(pool):
        raise ValueError(
            f"every episode is shorter than two frames of {c.frame_skip} steps, over which the data's motion is "
            f"measured; lower frame_skip"
        )
    pick = pool[torch.randint(len(pool), (min(samples, len(pool)),), generator=generator).to(pool.device)]
    x = [sampler.observations[pick + k * c.frame_skip][:, channels] for k in range(3)]
    near = sampler.observations[pick + 1][:, channels]

    def measure(values: Tensor) -> list[float]:
        return [float(q) for q in torch.quantile(values.abs().cpu().double(), quantile, dim=0)]  # MPS has no float64

    statistics = {
        "step": measure(x[1] - x[0]),
        "turn": measure(x[2] - 2 * x[1] + x[0]),
        "speed": measure(near - x[0]),
    }
    actions = sampler.actions[step < sampler.last]  # in the last row of a trajectory none was taken
    statistics["least"], statistics["most"] = actions.amin(0).tolist(), actions.amax(0).tolist()
    return statistics
