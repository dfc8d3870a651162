"""Noise schedules as tables over levels, and the algebra between x0, noise and velocity.

A level is an integer in 0..K: 0 is clean data, K the noisiest. `alpha_bar[level]` is the share of signal
variance, with `alpha_bar[0] == 1`; a noisy token is x = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.
"""

from __future__ import annotations

import math
from difflib import get_close_matches

import torch
from torch import Tensor

from df_agent.diffusion.config import PredictionType as PredictionType
from df_agent.diffusion.config import check_prediction_type as check_prediction_type


def _linear(levels: int) -> Tensor:
    scale = 1000 / levels
    betas = torch.linspace(scale * 1e-4, scale * 0.02, levels, dtype=torch.float64)
    return torch.cumprod(1 - betas.clamp(max=0.999), 0)  # they pass 1 below 20 levels


def _from_curve(curve: Tensor) -> Tensor:
    betas = (1 - curve[1:] / curve[:-1]).clamp(0, 0.999)
    return torch.cumprod(1 - betas, 0)


def _cosine(levels: int, offset: float = 0.008) -> Tensor:
    t = torch.linspace(0, 1, levels + 1, dtype=torch.float64)
    return _from_curve(torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2)


def _sigmoid(levels: int, start: float = -3, end: float = 3) -> Tensor:
    t = torch.linspace(start, end, levels + 1, dtype=torch.float64)
    low, high = torch.sigmoid(t[0]), torch.sigmoid(t[-1])
    return _from_curve((high - torch.sigmoid(t)) / (high - low))


SCHEDULES = {"linear": _linear, "cosine": _cosine, "sigmoid": _sigmoid}


def alpha_bar_table(
    name: str, levels: int = 1000, zero_terminal_snr: bool = False, signal_scale: float = 1.0
) -> Tensor:
    """Return alpha_bar for every level, a float32 tensor of shape (levels + 1,).

    Args:
        name: "linear" (Ho et al. 2020), "cosine" (Nichol & Dhariwal 2021) or "sigmoid" (Jabri et al. 2022).
        levels: K, the number of noisy levels.
        zero_terminal_snr: shift and scale sqrt(alpha_bar) so that level K holds no signal (Lin et al. 2023).
        signal_scale: as if the data were so many times as large beside the noise (Hoogeboom et al. 2023, "simple
            diffusion"); more than 1 spends more levels on what is small in it.

    Raises:
        ValueError: unknown name, fewer than two levels, or a scale that is not positive.
    """
    if name not in SCHEDULES:
        close = get_close_matches(name, SCHEDULES, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown noise schedule {name!r}, available: {sorted(SCHEDULES)}{hint}")
    if levels < 2:
        raise ValueError(f"a noise schedule needs at least 2 levels, got {levels}")
    noisy = SCHEDULES[name](levels)
    if zero_terminal_snr:
        root = noisy.sqrt()
        noisy = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    if not 0 < signal_scale < math.inf:
        raise ValueError(f"signal_scale must be positive, got {signal_scale}")
    noisy = signal_scale**2 * noisy / (signal_scale**2 * noisy + 1 - noisy)
    return torch.cat([torch.ones(1, dtype=torch.float64), noisy]).float()


def _per_token(alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """Return sqrt(alpha_bar) and sqrt(1 - alpha_bar), (B, T, 1), of alpha_bar (B, T)."""
    return alpha_bar.sqrt()[..., None], (1 - alpha_bar).sqrt()[..., None]


def add_noise(x0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """Noise x0 (B, T, D) with eps to the levels whose alpha_bar (B, T) is given."""
    signal, noise = _per_token(alpha_bar)
    return signal * x0 + noise * eps


def target(prediction_type: PredictionType, x0: Tensor, eps: Tensor, alpha_bar: Tensor) -> Tensor:
    """Return what the network should predict, (B, T, D)."""
    if prediction_type == "x0":
        return x0
    if prediction_type == "eps":
        return eps
    signal, noise = _per_token(alpha_bar)
    return signal * eps - noise * x0


def to_x0_eps(prediction_type: PredictionType, output: Tensor, x: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a network output at noisy x (B, T, D) into its estimates of x0 and eps.

    Divisions are floored at 1e-4, which matters only where the other quantity carries no information:
    the noise of a clean token, or the data of a token without signal.
    """
    signal, noise = _per_token(alpha_bar)
    if prediction_type == "x0":
        return output, (x - signal * output) / noise.clamp_min(1e-4)
    if prediction_type == "eps":
        return (x - noise * output) / signal.clamp_min(1e-4), output
    return signal * x - noise * output, noise * x + signal * output


def min_snr_weight(prediction_type: PredictionType, alpha_bar: Tensor, clip: float = 5.0) -> Tensor:
    """Loss weight per token, (B, T): min-SNR-gamma of Hang et al. 2023, in each prediction type's own units."""
    snr = alpha_bar / (1 - alpha_bar).clamp_min(1e-8)
    clipped = snr.clamp_max(clip)
    return _prediction_weight(prediction_type, clipped, snr)


def _prediction_weight(prediction_type: PredictionType, clipped: Tensor, snr: Tensor) -> Tensor:
    if prediction_type == "x0":
        return clipped
    if prediction_type == "eps":  # both floored: the ratio tends to 1 as the signal vanishes
        return clipped.clamp_min(1e-8) / snr.clamp_min(1e-8)
    return clipped / (snr + 1)


def _cumulate(share: Tensor, decay: float) -> Tensor:
    """Exponentially decayed memory of the tokens before each token, (B, T); 0 before the first."""
    memory = torch.zeros_like(share)
    running = share[:, 0]
    for t in range(1, share.shape[1]):
        memory[:, t] = running
        running = decay * running + (1 - decay) * share[:, t]
    return memory


def fused_snr_weight(
    prediction_type: PredictionType,
    alpha_bar: Tensor,
    decay: float,
    clip: float = 5.0,
    bidirectional: bool = False,
    past: Tensor | None = None,
) -> Tensor:
    """Loss weight per token, (B, T): fused SNR of Diffusion Forcing (Chen et al. 2024, appendix).

    A token's own SNR is fused with the decayed SNR of its past, since a clean past makes even a noisy
    token informed. A network that is not causal learns from the future too: `bidirectional` takes the
    mean over both directions, as history-guided Diffusion Forcing does. `past` (B, T) is the alpha-bar of
    another copy of the tokens, if that is what tokens look back at.
    """
    snr, past_snr = (a / (1 - a).clamp_min(1e-8) for a in (alpha_bar, alpha_bar if past is None else past))
    clipped, past_clipped = (x.clamp_max(clip) / clip for x in (snr, past_snr))

    def one_way(clipped: Tensor, snr: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        memory = decay * _cumulate(seen, decay)
        return 1 - (1 - memory) * (1 - clipped), 1 - (1 - memory) * (1 - snr / clip)

    fused_clipped, fused = one_way(clipped, snr, past_clipped)
    if bidirectional:
        backward = [w.flip(1) for w in one_way(clipped.flip(1), snr.flip(1), past_clipped.flip(1))]
        fused_clipped, fused = (fused_clipped + backward[0]) / 2, (fused + backward[1]) / 2
    return _prediction_weight(prediction_type, clip * fused_clipped, clip * fused)
