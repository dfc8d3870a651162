"""What the networks share: attention, embeddings by sines and cosines, perceptrons."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Return scaled dot-product attention, (B, heads, T, d).

    Gradients of PyTorch's own take ten times as long as the rest of it where bfloat16 runs on a CPU (2.13); there it is
    written out.

    Args:
        q: (B, heads, T, d).
        k, v: (B, heads, S, d).
        mask: bool, broadcast to (B, heads, T, S); True where a query sees a key. Every query must see one.
        causal: query i sees keys up to the i-th; instead of a mask.
    """
    if not (q.device.type == "cpu" and q.dtype == torch.bfloat16 and torch.is_grad_enabled()):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    scores = (q @ k.transpose(-2, -1)).float() * q.shape[-1] ** -0.5
    if causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    mixed: Tensor = scores.softmax(-1).to(v.dtype) @ v
    return mixed


def sinusoidal(position: Tensor, dim: int, max_period: float = 1e4) -> Tensor:
    """Embed positions (...) as (..., dim) sines and cosines."""
    rate = torch.exp(-math.log(max_period) * torch.arange(dim // 2, device=position.device) / (dim // 2))
    angle = position[..., None].float() * rate
    return torch.cat([angle.sin(), angle.cos()], -1)


def fourier_features(x: Tensor, bands: int) -> tuple[Tensor, Tensor]:
    """Return sines and cosines, each (..., D * bands), of x (..., D), which tell near places apart.

    The slowest has a wavelength of 4, every other one half that of the one before.
    """
    rate = math.pi / 2 * 2.0 ** torch.arange(bands, device=x.device)
    angle = (x.float()[..., None] * rate).flatten(-2)
    return angle.sin().to(x.dtype), angle.cos().to(x.dtype)


def perceptron(
    inputs: int,
    width: int,
    depth: int,
    outputs: int,
    activation: Callable[[], nn.Module] = nn.GELU,
    bias: bool = True,
) -> nn.Sequential:
    """Return `depth` hidden layers of `width` channels with an activation each, and a last one, with a bias or not."""
    layers: list[nn.Module] = []
    for k in range(depth):
        layers += [nn.Linear(width if k else inputs, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, outputs, bias))


def check_condition(cond: Tensor | None, cond_dim: int) -> None:
    """Raise ValueError if a condition is missing or not expected; a network with `cond_dim` 0 takes none."""
    if (cond is None) != (cond_dim == 0):
        raise ValueError(f"network with cond_dim={cond_dim} got cond={'none' if cond is None else 'one'}")
