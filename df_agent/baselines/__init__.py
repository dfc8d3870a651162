"""Policies to compare with."""

from df_agent.baselines.random import RandomPolicy

__all__ = ["RandomPolicy"]
