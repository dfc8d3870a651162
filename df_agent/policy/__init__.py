"""The agent."""

from df_agent.policy.agent import DiffusionForcingPolicy
from df_agent.policy.config import PolicyConfig
from df_agent.policy.state import PolicyState

__all__ = ["DiffusionForcingPolicy", "PolicyConfig", "PolicyState"]
