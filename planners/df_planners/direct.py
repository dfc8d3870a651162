"""No plan at all: the goal itself is the next place. For controllers that find the way there by themselves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from df_planners.model_planner import ModelPlanner
from df_planners.plan import Plan, PlanRequest


@dataclass(frozen=True)
class DirectConfig:
    """There is nothing to choose."""


class Direct(ModelPlanner):
    """Takes the goal for the plan; the model is not asked."""

    Config = DirectConfig
    plans_actions = False

    def plan(self, request: PlanRequest) -> Plan:
        """Return plans of two frames: the present, and the same with the goal reached."""
        frames = np.repeat(request.history[:, -1:], 2, axis=1)
        frames[:, 1, list(self.sampler.goal_channels)] = request.goal
        return Plan(frames, np.full(len(request), 2), self.sampler.frame_skip)
