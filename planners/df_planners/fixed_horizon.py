"""Planning to the goal at a fixed horizon: the goal is a clean token, always equally far ahead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from df_planners.model_planner import ModelPlanner
from df_planners.plan import Plan, PlanRequest


@dataclass(frozen=True)
class FixedHorizonConfig:
    """How far ahead the goal is put.

    Attributes:
        horizon: [tokens]; 0 is as far as the model sees.
    """

    horizon: int = 0

    def __post_init__(self) -> None:
        if self.horizon < 0 or self.horizon == 1:
            raise ValueError(f"horizon must be at least 2 tokens, or 0 for the longest, got {self.horizon}")


class FixedHorizon(ModelPlanner):
    """Takes the one plan that is sampled."""

    Config = FixedHorizonConfig
    ends_at_goal = True

    def plan(self, request: PlanRequest) -> Plan:
        """Return plans that are at the goal `config.horizon` tokens ahead."""
        rows, longest = np.arange(len(request)), self.sampler.longest
        horizons = np.full(len(rows), min(self.config.horizon or longest, longest))
        return self.sampler.sample_plans(request, rows, horizons)
