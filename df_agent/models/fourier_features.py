"""Sines and cosines of coordinates, by which a network tells places apart that are close to each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def fourier_features(x: Tensor, bands: int) -> tuple[Tensor, Tensor]:
    """Return sines and cosines, each (..., D * bands), of x (..., D).

    The slowest has a wavelength of 4, every other one half that of the one before.
    """
    rate = math.pi / 2 * 2.0 ** torch.arange(bands, device=x.device)
    angle = (x.float()[..., None] * rate).flatten(-2)
    return angle.sin().to(x.dtype), angle.cos().to(x.dtype)
