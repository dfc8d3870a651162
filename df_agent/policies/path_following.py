"""Following ways that somebody else knows, with the controller that all planners here share.

It shows what the controller makes of a perfect plan: what is left to the time-optimal solution is the controller's,
what a learned planner takes longer is the plan's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from df_planners.plan import Plan, Planner, PlanRequest
from df_planners.tracking import PathTrackerConfig

from df_agent.options import make
from df_agent.policies.config import MPCConfig
from df_agent.policies.controller import Robot
from df_agent.policies.controllers import PathController
from df_agent.policies.mpc import MPCPolicy
from df_agent.policies.state import Array, Seen
from df_agent.types import Observation

# Places (B, G) and goals (B, G) -> ways (B, H, G); shorter ones repeat their end
Paths = Callable[[Array, Array], Array]


@dataclass(frozen=True)
class KnownPathConfig:
    """There is nothing to choose."""


class KnownPathPlanner(Planner):
    """Asks for the way to the goal.

    Args:
        paths: ways from places to goals.
    """

    Config = KnownPathConfig
    ends_at_goal = settles = True

    def __init__(self, paths: Paths) -> None:
        self.paths = paths

    def plan(self, request: PlanRequest) -> Plan:
        """Return the ways, a frame per place."""
        places = request.history[:, -1, : request.goal.shape[1]]
        ways = np.asarray(self.paths(places, request.goal), dtype=np.float64)
        return Plan(ways, np.full(len(ways), ways.shape[1]), 1)


class PathFollowingPolicy(MPCPolicy):
    """Asks for the way once, and again for a new goal, and follows it as fast as the agent can.

    Observations begin with the place that goals are about, (G,), and its velocity. Nothing is drawn at random, so
    `deterministic` makes no difference.

    Args:
        paths: ways from places to goals.
        tracker: options of `PathTrackerConfig`.
    """

    def __init__(self, paths: Paths, tracker: Mapping[str, Any] | None = None) -> None:
        config = MPCConfig(tracker=make(PathTrackerConfig, dict(tracker or {})))
        super().__init__(KnownPathPlanner(paths), PathController(config, Robot()), config)

    def read(self, observation: Observation) -> Seen:
        """Check an observation; raises ValueError where it holds no velocity."""
        seen = super().read(observation)
        width = 2 * seen.goal.shape[1]
        if seen.values.shape[1] < width:
            raise ValueError(f"observations begin with place and velocity, {width} values, got {seen.values.shape[1]}")
        return seen
