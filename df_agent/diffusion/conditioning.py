"""Models as the sampler asks them: behind a past computed once, with a weight on what is given, or window by window."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from df_agent.diffusion.diffusion_forcing import DiffusionForcing
from df_agent.diffusion.noise_schedule import add_noise, to_x0_eps
from df_agent.diffusion.sampler import LEAST_SIGNAL, Denoiser


def remembers(network: object) -> bool:
    """Whether a network can go on behind tokens that it has gone over before; one that looks ahead cannot."""
    return hasattr(network, "kv_cache") and bool(getattr(network, "causal", True))


class Continued:
    """A causal model that goes over the first tokens once, when it is first asked, and later over those behind them.

    The first tokens and their levels must stay as they are. Outputs equal those of going over all tokens each time.

    Args:
        model: one whose network has a `kv_cache`, see `SpaceTimeTransformer` and `Recurrent`.
        seen: how many tokens come first.
    """

    def __init__(self, model: DiffusionForcing, seen: int) -> None:
        self.model, self.seen, self.alpha_bar = model, seen, model.alpha_bar
        self._cache: Any = None

    def denoise(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return estimates of x0 and eps, each (B, T, D); the first tokens' are what they say themselves."""
        first, then = slice(None, self.seen), slice(self.seen, None)
        network: Any = self.model.network
        past, future = (None, None) if cond is None else (cond[:, first], cond[:, then])
        if self._cache is None:
            self._cache = network.kv_cache()
            with torch.no_grad():
                network(x[:, first].detach(), level[:, first], past, cache=self._cache, write=True)
        output = network(x[:, then], level[:, then], future, cache=self._cache).to(x.dtype)
        x0, eps = to_x0_eps(self.model.prediction_type, output, x[:, then], self.alpha_bar[level[:, then]])
        own = x[:, first] / self.alpha_bar[level[:, first]][..., None].sqrt().clamp_min(LEAST_SIGNAL)
        return torch.cat([own, x0], 1), torch.cat([torch.zeros_like(own), eps], 1)


class Weighted:
    """A model on which some given tokens count more, or less, than they do by themselves.

    Classifier-free guidance (Ho & Salimans 2022) with clean tokens as the condition: a goal, or what was observed; that
    is history guidance (Song et al. 2025). The unconditional estimate is the one at which these tokens are pure noise
    or, in fractional history guidance, noisy, so no other model is needed.

    Args:
        model: the trained one, or another of this kind.
        given: (B, T) which tokens.
        weight: 1 counts them as they are, 0 not at all, more than 1 exaggerates.
        noise: (B, T, D) what is shown in their places.
        level: how noisy they are then; None is the top level.
    """

    def __init__(self, model: Denoiser, given: Tensor, weight: float, noise: Tensor, level: int | None = None) -> None:
        self.model, self.given, self.weight, self.noise = model, given, weight, noise
        self.alpha_bar = model.alpha_bar
        self.level = level

    def denoise(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return estimates of x0 and eps, each (B, T, D); both passes run as one batch."""
        times = len(x) // len(self.given)  # another of this kind asks about its two passes at once
        given, noise = self.given.repeat(times, 1), self.noise.repeat(times, 1, 1)
        shown = torch.where(given, len(self.alpha_bar) - 1 if self.level is None else self.level, level)
        blurred = noise if self.level is None else add_noise(x, noise, self.alpha_bar[shown])
        hidden = torch.where(given[..., None], blurred, x)
        both = None if cond is None else torch.cat([cond, cond])
        x0, eps = self.model.denoise(torch.cat([x, hidden]), torch.cat([level, shown]), both)
        (x0, x0_without), (eps, eps_without) = x0.chunk(2), eps.chunk(2)
        return torch.lerp(x0_without, x0, self.weight), torch.lerp(eps_without, eps, self.weight)


class Composed:
    """A model asked about overlapping windows of a sequence too long for it; estimates are averaged where they overlap.

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
