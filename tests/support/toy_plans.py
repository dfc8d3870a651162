"""What a planner is asked, and a model that it may ask in turn, both made by hand."""

import numpy as np
from df_planners.feasibility import FeasibilityConfig, MotionLimits
from df_planners.plan import PlanRequest


def plan_request(observed, goal, **changes):
    """Return what is asked for environments that have just begun, at observations (B, Do) with goals (B, G)."""
    observed, goal = np.asarray(observed, dtype=float), np.asarray(goal, dtype=float)
    b = len(goal)
    usual = {
        "history": observed[:, None],
        "level": np.zeros((b, 1), np.int64),
        "goal": goal,
        "seeds": [[row] for row in range(b)],
        "fresh": np.ones(b, bool),
        "steps_left": None,
        "shortcut_penalty": np.ones(b),
        "age": np.zeros(b, np.int64),
        "frames_left": np.zeros(b, np.int64),
        "actions": np.zeros((b, 0, 0)),
    }
    return PlanRequest(**{**usual, **changes})


class ToySampler:
    """A `PlanSampler` without a model; tests add `sample_plans` and, if they have one, `time_along`."""

    steps, least_steps = 5, 2
    time_along = support = None

    def __init__(self, *, limits, goal_channels=(0, 1), frame_skip=1, span=1, longest=20, window=10_000, **feasibility):
        self.limits, self.goal_channels, self.frame_skip, self.span = limits, goal_channels, frame_skip, span
        self.longest, self.window, self.horizons = longest, window, [window]
        self.feasibility = FeasibilityConfig(**feasibility)

    def cost(self, plan):
        return np.zeros(len(plan))


def motion_limits(step, turn, speed):
    """Return limits from one number for each of two channels, or two."""
    return MotionLimits(*(np.broadcast_to(np.asarray(value, dtype=float), 2) for value in (step, turn, speed)))
