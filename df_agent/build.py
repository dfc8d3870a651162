"""From the plain dicts of a config or a checkpoint to the objects they describe."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

from df_agent.diffusion.diffusion_forcing import DiffusionForcing, DiffusionForcingConfig
from df_agent.models.inverse_dynamics import InverseDynamics, InverseDynamicsConfig
from df_agent.models.recurrent import Recurrent, RecurrentConfig
from df_agent.models.space_time import SpaceTimeConfig, SpaceTimeTransformer
from df_agent.models.time_to_goal import TimeToGoal, TimeToGoalConfig
from df_agent.models.transformer import Transformer, TransformerConfig
from df_agent.models.transformer_v15 import TransformerV15, TransformerV15Config

T = TypeVar("T")

NETWORKS: dict[str, tuple[Any, Any]] = {
    "transformer": (Transformer, TransformerConfig),
    "transformer_v15": (TransformerV15, TransformerV15Config),
    "cached_transformer": (SpaceTimeTransformer, SpaceTimeConfig),
    "recurrent": (Recurrent, RecurrentConfig),
}


def make(cls: type[T], options: dict[str, Any], **given: Any) -> T:
    """Make the dataclass `cls` from options, naming those it does not know."""
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"unknown options {unknown} for {cls.__name__}, available: {sorted(known)}")
    return cls(**{**options, **given})


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
