"""The diffusion model and what travels with it: how a checkpoint's model is built and made ready to act."""

from __future__ import annotations

import time
from typing import Any

import torch

from df_agent.diffusion.diffusion_forcing import DiffusionForcing, DiffusionForcingConfig
from df_agent.models.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from df_agent.models.recurrent import Recurrent, RecurrentConfig
from df_agent.models.space_time import SpaceTimeConfig, SpaceTimeTransformer
from df_agent.models.time_to_goal import TimeToGoal, TimeToGoalConfig
from df_agent.models.transformer import Transformer, TransformerConfig
from df_agent.models.transformer_v15 import TransformerV15, TransformerV15Config
from df_agent.options import make
from df_agent.runtime import check_precision, computes_in_bf16

GAIN = 1.25  # bf16 must be this much faster in a short timing to be worth its rounding
FULL = "weights_before_rounding"  # attribute of a model whose network was rounded, so that it can be saved exactly

NETWORKS: dict[str, tuple[Any, Any]] = {
    "transformer": (Transformer, TransformerConfig),
    "transformer_v15": (TransformerV15, TransformerV15Config),
    "cached_transformer": (SpaceTimeTransformer, SpaceTimeConfig),
    "recurrent": (Recurrent, RecurrentConfig),
}


def build_model(config: dict[str, Any]) -> DiffusionForcing:
    """Build the untrained model of a checkpoint's config.

    Its entries "network", "diffusion" and, where it has them, "time_to_goal" and "inverse_dynamics".
    """
    options = dict(config["network"])
    name = options.pop("name", "transformer")
    if name not in NETWORKS:
        raise ValueError(f"unknown network {name!r}, available: {sorted(NETWORKS)}")
    network, network_config = NETWORKS[name]
    if network_config is SpaceTimeConfig:
        if "window" in options and "max_tokens" in options:
            raise ValueError("network.window is the length of the training windows: give windows.max_tokens instead")
        options["window"] = options.pop("max_tokens")
    diffusion = make(DiffusionForcingConfig, config["diffusion"])
    options.setdefault("level_scale", diffusion.levels)
    estimator, inverse = config.get("time_to_goal"), config.get("inverse_dynamics")
    return DiffusionForcing(
        network(make(network_config, options)),
        diffusion,
        TimeToGoal(make(TimeToGoalConfig, estimator)) if estimator else None,
        InverseDynamics(make(InverseDynamicsConfig, inverse)) if inverse else None,
    )


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
