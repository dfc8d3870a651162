"""Planning by guidance, as in Diffusion Forcing v1.5: no clean goal, but a gradient at every planned time.

The horizon is what is left of the episode, as far as the model sees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from df_planners.model_planner import ModelPlanner
from df_planners.plan import Plan, PlanRequest


@dataclass(frozen=True)
class GuidanceConfig:
    """How strongly plans are guided.

    Attributes:
        guidance_scale: strength of the gradient.
    """

    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.guidance_scale < math.inf:
            raise ValueError(f"guidance_scale must be finite and not negative, got {self.guidance_scale}")


class GoalGuidance(ModelPlanner):
    """Guides plans towards the goal at every time (Chen et al. 2024; the planner of v1.5)."""

    Config = GuidanceConfig
    plans_whole_episode = True
    guide: ClassVar[str] = "goal"

    def plan(self, request: PlanRequest) -> Plan:
        """Return guided plans for what is left of the episode."""
        return self.sampler.sample_plans(
            request,
            np.arange(len(request)),
            self.horizons_left(request),
            to_goal=False,
            guide=self.guide,
            strength=self.config.guidance_scale,
        )


class RewardGuidance(GoalGuidance):
    """Guides plans towards the reward that the model expects, learned with tokenizer.include_rewards."""

    needs_rewards = True
    guide = "reward"


@dataclass(frozen=True)
class UnconditionalConfig:
    """There is nothing to choose."""


class Unconditional(ModelPlanner):
    """Plans without a goal, as the data goes on: for tasks that history decides, and to show what a goal is worth."""

    Config = UnconditionalConfig
    joins_pieces = True  # it takes over options of planners that do, and plans as far as the model sees

    def plan(self, request: PlanRequest) -> Plan:
        """Return plans for what is left of the episode."""
        rows, horizons = np.arange(len(request)), self.horizons_left(request)
        return self.sampler.sample_plans(request, rows, horizons, to_goal=False)
