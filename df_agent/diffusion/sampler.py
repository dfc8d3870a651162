"""Sampling with a level per token (Diffusion Forcing, Chen et al. 2024, algorithm 2)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from df_agent.diffusion.noise_schedule import add_noise

GuidanceObjective = Callable[[Tensor], Tensor]
"""Maps estimated clean tokens (B, T, D) to (B,) values to maximise; rows must not depend on each other."""


LEAST_SIGNAL = 0.01  # the linear schedule ends at 0.006, the cosine one at 0.00005


class Denoiser(Protocol):
    """What the sampler needs of a model."""

    alpha_bar: Tensor

    def denoise(self, x: Tensor, level: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return estimates of x0 and eps, each (B, T, D), at noisy x with levels (B, T)."""
        ...


def ddim_step(
    x: Tensor, x0: Tensor, eps: Tensor, now: Tensor, then: Tensor, eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """Move every token from alpha_bar `now` to `then`, both (B, T); DDIM (Song et al. 2021, eq. 12).

    `eta` = 0 is deterministic; `eta` = 1 is the ancestral DDPM step, for jumps of any size. A token whose
    alpha_bar does not change waits: it is returned as it came, bit for bit.
    """
    now, then = now[..., None], then[..., None]
    sigma2 = eta**2 * (1 - now / then) * (1 - then) / (1 - now).clamp_min(1e-12)
    moved = then.sqrt() * x0 + (1 - then - sigma2).clamp_min(0).sqrt() * eps
    if eta > 0:
        if noise is None:
            raise ValueError("eta > 0 needs `noise`, a tensor shaped like x")
        moved = moved + sigma2.clamp_min(0).sqrt() * noise
    return torch.where(now == then, x, moved)


def guided(
    model: Denoiser,
    x: Tensor,
    level: Tensor,
    cond: Tensor | None,
    objective: GuidanceObjective,
    scale: float,
    futures: Sequence[Tensor] = (),
    later: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Denoise with classifier-style guidance (Dhariwal & Nichol 2021, algorithm 2).

    eps' = eps - sqrt(1 - alpha_bar) * scale * d objective(x0(x)) / dx, and x0' follows from eps'. The
    gradient is taken of the sum over rows of values that depend on their own row only, so the strength
    for one row depends neither on the batch size nor on the other rows.

    x0' divides by the signal sqrt(alpha_bar). For a perfect model the gradient vanishes with the signal; a
    trained one's stops at its own error, so below `LEAST_SIGNAL` the division goes no further.

    With noises (B, T, D) for `futures`, the gradient is the mean over that many further futures, too (Monte-Carlo
    guidance, Chen et al. 2024): the tokens that are `later`, (B, T), are drawn anew, together, at their levels from
    what they are estimated to be.
    """
    if scale == 0:
        return model.denoise(x, level, cond)
    x0, eps, gradient = _climb(model, x, level, cond, objective)
    if futures and later is not None:
        alpha_bar = model.alpha_bar[level]
        for noise in futures:
            drawn = torch.where(later[..., None], add_noise(x0, noise.to(x), alpha_bar), x)
            gradient = gradient + _climb(model, drawn, level, cond, objective)[2]
        gradient = gradient / (1 + len(futures))
    alpha_bar = model.alpha_bar[level][..., None]
    shift = (1 - alpha_bar).sqrt() * scale * gradient
    return x0 + shift * (1 - alpha_bar).sqrt() / alpha_bar.sqrt().clamp_min(LEAST_SIGNAL), eps - shift


def _climb(
    model: Denoiser, x: Tensor, level: Tensor, cond: Tensor | None, objective: GuidanceObjective
) -> tuple[Tensor, Tensor, Tensor]:
    """Return estimates of x0 and eps, and the gradient of the objective at them with respect to x."""
    with torch.enable_grad():
        x_in = x.detach().requires_grad_(True)
        x0, eps = model.denoise(x_in, level, cond)
        (gradient,) = torch.autograd.grad(objective(x0).sum(), x_in)
    return x0.detach(), eps.detach(), gradient


def sample(
    model: Denoiser,
    x: Tensor,
    levels: Tensor,
    *,
    cond: Tensor | None = None,
    eta: float = 0.0,
    objective: GuidanceObjective | None = None,
    guidance_scale: float = 0.0,
    futures: int = 1,
    stabilization_level: int = 0,
    generator: torch.Generator | None = None,
    noise: Callable[[int], Tensor] | None = None,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Tensor:
    """Denoise x (B, T, D) along `levels`, (M, T) or (M, B, T) integers from noise to clean.

    Row m to row m + 1 is one pass of the network; a token whose level stays is not touched. Tokens that
    are given (the present, a goal) sit at level 0 throughout, padding at the top level throughout.

    Args:
        model: gives x0 and eps estimates and owns the alpha_bar table.
        x: tokens at the levels of row 0.
        levels: training levels per row and token.
        cond: extra conditions handed to the network.
        eta: 0 for DDIM, 1 for DDPM.
        objective: what guidance climbs, on estimated clean tokens; see `guided`.
        guidance_scale: strength of that gradient; 0 leaves the samples bitwise unguided.
        futures: N of Monte-Carlo guidance, see `guided`; 1 is plain guidance.
        stabilization_level: at which clean tokens are shown to the network, scaled, which keeps long roll-outs stable.
        generator: source of the noise for eta > 0 and for futures.
        noise: gives that noise, (B, T, D), in place of the generator: of pass m first, of futures behind all passes.
        callback: called with (row, x, x0 estimate) after every pass.
        stop: asked after every pass whether to end; tokens on their way to clean are then returned as estimated.
    """
    levels = (levels[:, None] if levels.ndim == 2 else levels).to(x.device).expand(-1, x.shape[0], -1)
    draw = _drawing(x, generator, noise)
    further = futures - 1 if objective is not None and guidance_scale else 0
    for row, (now, then) in enumerate(pairwise(levels)):
        shown, x_in = _stabilized(model, x, now, stabilization_level)
        others = [draw(len(levels) + row * further + n) for n in range(further)]
        later = _later(levels, row, len(model.alpha_bar) - 1) if others else None
        if objective is None:
            x0, eps = model.denoise(x_in, shown, cond)
        else:
            x0, eps = guided(model, x_in, shown, cond, objective, guidance_scale, others, later)
        x = ddim_step(x, x0, eps, model.alpha_bar[now], model.alpha_bar[then], eta, draw(row) if eta > 0 else None)
        if callback is not None:
            callback(row, x, x0)
        if stop is not None and stop():
            return torch.where(((levels[-1] == 0) & (then > 0))[..., None], x0, x)
    return x


def _drawing(
    x: Tensor, generator: torch.Generator | None, noise: Callable[[int], Tensor] | None
) -> Callable[[int], Tensor]:
    """Return what gives the k-th noise shaped like x, from `noise` if there is one."""

    def draw(k: int) -> Tensor:
        fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype) if noise is None else noise(k)
        return fresh.to(x.device)

    return draw


def _stabilized(model: Denoiser, x: Tensor, level: Tensor, stabilization_level: int) -> tuple[Tensor, Tensor]:
    """Return levels and tokens as the network sees them: clean tokens as if at the stabilisation level, scaled so."""
    if stabilization_level == 0:
        return level, x
    shown = torch.where(level == 0, stabilization_level, level)
    return shown, torch.where((level == 0)[..., None], model.alpha_bar[shown][..., None].sqrt() * x, x)


def _later(levels: Tensor, row: int, top: int) -> Tensor:
    """Return which tokens, (B, T), are noisier in a row than the noisy ones that come next, and not given."""
    now = levels[row]
    given = (levels[0] == levels[-1]) & (levels[0] < top)  # what was observed may be noisy; it stays as it is
    noisy = torch.where((now > 0) & ~given, now, top + 1)
    return (now > noisy.amin(1, keepdim=True)) & ~given
