"""Sequences longer than any that a model was trained on: overlapping windows that are denoised together."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from df_agent.diffusion.sampler import Denoiser


class Composed:
    """A model asked about overlapping windows of a sequence, whose estimates are averaged where they overlap.

    Windows share their boundary tokens in every pass, so that they agree on them; compare MultiDiffusion (Bar-Tal et
    al. 2023) and DiffCollage (Zhang et al. 2023). With a level per token the first window may hold what was observed
    and the last one a goal, both clean, and what lies between is made to fit both. A sequence that fits into a window
    is denoised as ever.

    Args:
        model: trained on windows.
        window: their length W in tokens.
        overlap: tokens that neighbouring windows share at least, 1 to W - 1.
        lengths: (B,) tokens of each sequence up to its end; what lies behind is padding.
    """

    def __init__(self, model: Denoiser, window: int, overlap: int, lengths: Tensor) -> None:
        if not 1 <= overlap < window:
            raise ValueError(f"windows of {window} tokens can share 1 to {window - 1} of them, got overlap={overlap}")
        self.model, self.window, self.overlap, self.lengths = model, window, overlap, lengths
        self.alpha_bar = model.alpha_bar

    @cached_property
    def windows(self) -> tuple[Tensor, Tensor]:
        """Which sequence each of M windows is of, and where it begins there; evenly spread, the last one at the end."""
        rows, starts = [], []
        for row, length in enumerate(self.lengths.tolist()):
            free = max(length - self.window, 0)
            number = 1 + -(-free // (self.window - self.overlap))
            rows += [row] * number
            starts += [round(free * k / max(number - 1, 1)) for k in range(number)]
        device = self.alpha_bar.device
        return torch.tensor(rows, device=device), torch.tensor(starts, device=device)

    def denoise(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return estimates of x0 and eps, each (B, T, D), of sequences at least a window long."""
        times = len(x) // len(self.lengths)  # another wrapper asks about several variants at once
        own, starts = self.windows
        row = torch.cat([own + k * len(self.lengths) for k in range(times)])
        place = starts.repeat(times)[:, None] + torch.arange(self.window, device=x.device)  # (M, W)
        at = row[:, None], place
        x0, eps = self.model.denoise(x[at], level[at], None if cond is None else cond[at])
        # A window knows less of what lies near its ends.
        ramp = torch.arange(1, self.window + 1, device=x.device).to(x.dtype)
        share = torch.minimum(ramp, ramp.flip(0)).clamp_max(self.overlap)
        total = torch.zeros(x.shape[:2], dtype=x.dtype, device=x.device)
        total.index_put_(at, share.expand(place.shape), accumulate=True)
        joined = []
        for part in (x0, eps):
            mean = torch.zeros_like(x).index_put_(at, share[:, None] * part.to(x.dtype), accumulate=True)
            joined.append(mean / total.clamp_min(1e-6)[..., None])
        beyond = (total == 0)[..., None]  # padding, which stays as it is
        return torch.where(beyond, x, joined[0]), joined[1]
