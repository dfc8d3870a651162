"""Where and in which precision a trained network runs."""

from __future__ import annotations

import functools
import time
import warnings

import torch

from df_agent.diffusion.diffusion_forcing import DiffusionForcing

GAIN = 1.25  # bf16 must be this much faster in a short timing to be worth its rounding
EMULATED = 3.0  # a processor without bf16 arithmetic takes 30 times as long and more
FULL = "weights_before_rounding"  # attribute of a model whose network was rounded, so that it can be saved exactly


def choose_device(name: str = "auto") -> torch.device:
    """Return the named device; "auto" is CUDA if there is one, then Apple's MPS, then the CPU."""
    if name != "auto":
        if name.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device {name!r}: this PyTorch sees no CUDA device; use 'auto' or 'cpu'")
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def prepare_for_inference(model: DiffusionForcing, device: torch.device, precision: str = "auto") -> None:
    """Freeze `model`, move it to `device` and set its network's precision: "fp32", "bf16" or "auto"."""
    check_precision(precision, device)
    model.requires_grad_(False).eval().to(device)
    if precision == "bf16" or (precision == "auto" and bf16_pays(model)):
        setattr(model, FULL, {f"network.{k}": v.cpu().clone() for k, v in model.network.state_dict().items()})
        model.network.to(torch.bfloat16)


def full_precision(model: DiffusionForcing) -> dict[str, torch.Tensor]:
    """Return the weights that were rounded when `model` was prepared, as they were; nothing if none were."""
    return dict(getattr(model, FULL, {}))


def forget_full_precision(model: DiffusionForcing) -> None:
    """Let the weights be what they are now."""
    setattr(model, FULL, {})


def check_precision(precision: str, device: torch.device) -> None:
    """Raise ValueError unless it is one of "auto", "bf16" and "fp32"; warn of bf16 where it is emulated."""
    if precision not in ("auto", "fp32", "bf16"):
        raise ValueError(f"unknown precision {precision!r}, available: ['auto', 'bf16', 'fp32']")
    if precision == "bf16" and not computes_in_bf16(device):
        warnings.warn(
            f"this {device.type} has no arithmetic for bf16 and emulates it, many times slower than fp32; "
            "precision='auto' takes fp32 here",
            stacklevel=3,
        )


@functools.cache
@torch.no_grad()
def computes_in_bf16(device: torch.device, size: int = 128, repeats: int = 5) -> bool:
    """Whether the device has arithmetic for bf16; many processors emulate it, at a small part of their speed."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        times = []
        for _ in range(repeats):
            factor = torch.ones(size, size, device=device, dtype=dtype)
            began = time.perf_counter()
            float((factor @ factor).sum())
            times.append(time.perf_counter() - began)
        seconds[dtype] = min(times)
    return seconds[torch.bfloat16] < EMULATED * seconds[torch.float32]


@torch.no_grad()
def bf16_pays(model: DiffusionForcing, batch: int = 16, repeats: int = 5) -> bool:
    """Time the network in fp32 and bf16 on a batch like a planner's; leaves it in fp32."""
    if not computes_in_bf16(model.alpha_bar.device):
        return False  # a single pass would take minutes
    config = model.network.config
    tokens, dim = int(config.max_tokens), int(config.token_dim)  # type: ignore[union-attr,arg-type]
    device = model.alpha_bar.device
    x = torch.zeros(batch, tokens, dim, device=device)
    level = torch.ones(batch, tokens, dtype=torch.long, device=device)

    def best() -> float:
        times = []
        for _ in range(repeats):
            began = time.perf_counter()
            float(model.network(x, level, None).float().sum())
            times.append(time.perf_counter() - began)
        return min(times)

    full = {k: v.clone() for k, v in model.network.state_dict().items()}
    slow = best()
    model.network.to(torch.bfloat16)
    fast = best()
    model.network.to(torch.float32).load_state_dict(full)
    return slow > GAIN * fast
