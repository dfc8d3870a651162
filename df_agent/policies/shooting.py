"""Planning by shooting with a known simulator: MPPI or CEM as a policy.

The planner, the simulator and the cost are handed over, so this knows no environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from df_planners import PLANNERS
from df_planners.shooting import ActionSequencePlanner, Cost, Dynamics

from df_agent.options import find_class, make
from df_agent.policies.config import MPCConfig
from df_agent.policies.controller import Robot
from df_agent.policies.controllers import ActionController
from df_agent.policies.mpc import MPCPolicy


class ShootingPolicy(MPCPolicy):
    """Plans with the simulator, takes a few of the planned actions, and plans again from what is left of them.

    Args:
        planner: "mppi", "cem", or "module:Class" of one of your own.
        dynamics: the simulator, whose states are the observations: (N, Do), (N, H, Da) -> (N, H, Do).
        cost: (B, K, H, Do), (B, G) -> (B, K).
        options: of the planner, see its `Config`.
        action_dim: Da.
        open_loop_horizon: control steps between plans.
    """

    def __init__(
        self,
        planner: str,
        dynamics: Dynamics,
        cost: Cost,
        *,
        options: Mapping[str, Any] | None = None,
        action_dim: int = 2,
        open_loop_horizon: int = 5,
    ) -> None:
        cls = find_class("planner", planner, PLANNERS, ActionSequencePlanner)  # type: ignore[type-abstract]
        config = make(cls.Config, dict(options or {}))
        if not 1 <= open_loop_horizon <= config.horizon:
            raise ValueError(
                f"open_loop_horizon must be in 1 ... {config.horizon}, the planner's horizon, got {open_loop_horizon}"
            )
        control = MPCConfig(open_loop_horizon=open_loop_horizon)
        made = cls(config, dynamics, cost, action_dim)
        super().__init__(made, ActionController(control, Robot()), control)
