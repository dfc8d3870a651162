"""Policies: what acts, with Stable-Baselines3's `predict`."""

from df_agent.policies.config import PolicyConfig
from df_agent.policies.diffusion_forcing import DiffusionForcingPolicy

__all__ = ["DiffusionForcingPolicy", "PolicyConfig"]
