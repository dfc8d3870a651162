"""The limit: how fast the fixed-goal mazes can be crossed, by a dynamic program over position and velocity.

A numerical solution, not a proof: the true bound is `df_envs.oracle.lower_bound_steps`.
"""

from df_envs.time_optimal.policy import TimeOptimalPolicy, time_optimal_steps
from df_envs.time_optimal.solver import solve
from df_envs.time_optimal.table import ValueTable, load_table

__all__ = ["TimeOptimalPolicy", "ValueTable", "load_table", "solve", "time_optimal_steps"]
