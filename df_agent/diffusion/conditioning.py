"""Models as the sampler asks them: behind a past that is computed once, or with a weight on what is given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from df_agent.diffusion.diffusion_forcing import DiffusionForcing
from df_agent.diffusion.noise_schedule import to_x0_eps
from df_agent.diffusion.sampler import LEAST_SIGNAL


class Continued:
    """A causal model that goes over the first tokens once, when it is first asked, and later over those behind them.

    The first tokens and their levels must stay as they are. Outputs equal those of going over all tokens each time.

    Args:
        model: one whose network keeps a memory, see `SpaceTimeTransformer` and `Recurrent`.
        seen: how many tokens come first.
    """

    def __init__(self, model: DiffusionForcing, seen: int) -> None:
        self.model, self.seen, self.alpha_bar = model, seen, model.alpha_bar
        self._memory: Any = None

    def denoise(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return estimates of x0 and eps, each (B, T, D); the first tokens' are what they say themselves."""
        first, then = slice(None, self.seen), slice(self.seen, None)
        network: Any = self.model.network
        past, future = (None, None) if cond is None else (cond[:, first], cond[:, then])
        if self._memory is None:
            self._memory = network.memory()
            with torch.no_grad():
                network(x[:, first].detach(), level[:, first], past, cache=self._memory, write=True)
        output = network(x[:, then], level[:, then], future, cache=self._memory).to(x.dtype)
        x0, eps = to_x0_eps(self.model.objective, output, x[:, then], self.alpha_bar[level[:, then]])
        own = x[:, first] / self.alpha_bar[level[:, first]][..., None].sqrt().clamp_min(LEAST_SIGNAL)
        return torch.cat([own, x0], 1), torch.cat([torch.zeros_like(own), eps], 1)


class Weighted:
    """A model on which some given tokens count more, or less, than they do by themselves.

    Classifier-free guidance (Ho & Salimans 2022) with clean tokens as the condition, as history guidance does (Song et
    al. 2025): the unconditional estimate is the one at which these tokens are pure noise, so no other model is needed.

    Args:
        model: the trained one.
        given: (B, T) which tokens.
        weight: 1 counts them as they are, 0 not at all, more than 1 exaggerates.
        noise: (B, T, D) what is shown in their places.
    """

    def __init__(self, model: DiffusionForcing, given: Tensor, weight: float, noise: Tensor) -> None:
        self.model, self.given, self.weight, self.noise = model, given, weight, noise
        self.alpha_bar = model.alpha_bar

    def denoise(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return estimates of x0 and eps, each (B, T, D); both passes run as one batch."""
        hidden = torch.where(self.given[..., None], self.noise, x)
        top = torch.where(self.given, self.model.config.levels, level)
        both = None if cond is None else torch.cat([cond, cond])
        x0, eps = self.model.denoise(torch.cat([x, hidden]), torch.cat([level, top]), both)
        (x0, x0_without), (eps, eps_without) = x0.chunk(2), eps.chunk(2)
        return torch.lerp(x0_without, x0, self.weight), torch.lerp(eps_without, eps, self.weight)
