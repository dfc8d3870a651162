"""Networks, and the one contract they keep.

A denoising network is an `nn.Module` made from one config dataclass, with

    forward(x (B, T, D), level (B, T), cond (B, T, C) or None) -> (B, T, D), like x

where every token of x carries a noise level of its own, 0 (clean) to K. What comes out is the clean token, the noise
or the velocity, as the loss asks (`prediction_type`); the network need not know which. Loss and sampler know no more of
it than that, and these attributes:

- `config`: the dataclass it was made from, with `token_dim` D and `max_tokens` T (video: `window`);
- `causal`, if no token sees those behind it (absent: it sees all);
- `any_length`, if sequences may be longer than in training (absent: they may not);
- `kv_cache()`, if it can go on behind tokens it has gone over before: forward then takes `cache=` and `write=`.

Shorter sequences than `max_tokens` must work, since near goals are planned for with fewer tokens. The dataclass may
have `cond_dim`, for networks that take a condition, and `level_scale`, which is filled in.

To add one: write its file here and name it in `NETWORKS`; method/NAME.yaml names it with its options, as recurrent.yaml
does, and `method=NAME` trains it. From outside of the package,
`df_agent.models.NETWORKS["mine"] = (MyNetwork, MyConfig)` before training or loading does.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from torch import nn

from df_agent.models.recurrent import Recurrent
from df_agent.models.space_time import SpaceTimeTransformer
from df_agent.models.transformer import Transformer
from df_agent.models.transformer_v15 import TransformerV15
from df_agent.models.unet3d import Unet3d
from df_agent.options import make
from df_agent.options.networks import (
    RecurrentConfig,
    SpaceTimeConfig,
    TransformerConfig,
    TransformerV15Config,
    Unet3dConfig,
)

NETWORKS: dict[str, tuple[Any, Any]] = {
    "transformer": (Transformer, TransformerConfig),
    "transformer_v15": (TransformerV15, TransformerV15Config),
    "cached_transformer": (SpaceTimeTransformer, SpaceTimeConfig),
    "recurrent": (Recurrent, RecurrentConfig),
    "space_time": (SpaceTimeTransformer, SpaceTimeConfig),  # of video
    "unet3d": (Unet3d, Unet3dConfig),  # of video
}


def build_network(options: Mapping[str, Any], levels: int) -> nn.Module:
    """Build an untrained network from its "name" and the fields of its config, for a schedule of `levels` levels.

    Raises:
        ValueError: an unknown name or option; the message names the known ones.
    """
    given = dict(options)
    name = given.pop("name", "transformer")
    if name not in NETWORKS:
        close = get_close_matches(str(name), NETWORKS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown network {name!r}, available: {sorted(NETWORKS)}{hint}")
    network, config = NETWORKS[name]
    if config is SpaceTimeConfig and "max_tokens" in given:
        if "window" in given:
            raise ValueError("network.window is the length of the training windows: give windows.max_tokens instead")
        given["window"] = given.pop("max_tokens")
    given.setdefault("level_scale", levels)
    built: nn.Module = network(make(config, given))
    return built
