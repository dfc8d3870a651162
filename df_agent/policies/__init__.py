"""Policies: what acts, with Stable-Baselines3's `predict`.

`DiffusionForcingPolicy` is imported when it is first used, so that the options can be looked at without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from df_agent.policies.config import PolicyConfig

if TYPE_CHECKING:
    from df_agent.policies.diffusion_forcing import DiffusionForcingPolicy

__all__ = ["DiffusionForcingPolicy", "PolicyConfig"]


def __getattr__(name: str) -> Any:
    """Import the policy when it is first asked for (PEP 562)."""
    if name != "DiffusionForcingPolicy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from df_agent.policies.diffusion_forcing import DiffusionForcingPolicy

    return DiffusionForcingPolicy
