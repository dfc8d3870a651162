"""Attention, in the way that is fastest where it runs."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
