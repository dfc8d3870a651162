"""The agent."""

from df_agent.policies.config import PolicyConfig
from df_agent.policies.diffusion_forcing import DiffusionForcingPolicy
from df_agent.policies.state import PolicyState

__all__ = ["DiffusionForcingPolicy", "PolicyConfig", "PolicyState"]
