"""Acting with a Diffuser: plan once and follow, as published, or replan, with our controller, in fewer passes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from df_planners.plan import Plan, Planner, PlanRequest
from df_planners.tracking import PathTrackerConfig

from df_agent.baselines import load_as
from df_agent.baselines.diffuser import Diffuser
from df_agent.data.goal_spec import GoalSpec, validated
from df_agent.options import find_class, make
from df_agent.policies.config import DiffuserPlannerConfig, DiffuserPolicyConfig
from df_agent.policies.controller import Controller, Robot
from df_agent.policies.controllers import CONTROLLERS, PlannedStatesController
from df_agent.policies.goals import goal_precision
from df_agent.policies.mpc import MPCPolicy
from df_agent.policies.state import IntArray, Seen
from df_agent.runtime import building, check_precision, choose_device, computes_in_bf16
from df_agent.types import Observation

# The published Maze2D controller: the next waypoint's position and velocity, gains 1 and 1.
PUBLISHED_GAINS = PathTrackerConfig(position_gain=1.0, velocity_gain=1.0)


class DiffuserPlanner(Planner):
    """Samples a segment from the present to the goal, where the agent is to stand still.

    Args:
        config: how to plan.
        model: the trained model.
    """

    Config = DiffuserPlannerConfig
    ends_at_goal = settles = True

    def __init__(self, config: DiffuserPlannerConfig, model: Diffuser) -> None:
        if (config.steps or 0) > model.options.levels:
            raise ValueError(f"there are {model.options.levels} levels, which steps={config.steps} exceeds")
        self.config, self.model, self._frame_skip = config, model, model.options.frame_skip
        longest = config.longest
        self.max_frames = self._transitions(np.array(longest)).item() if longest else model.options.horizon

    def plan(self, request: PlanRequest) -> Plan:
        """Return plans whose frames are whole observations, `frame_skip` control steps apart."""
        start, horizons = request.history[:, -1], self._horizons(request)
        target = np.zeros_like(start)  # be at the goal and stand still, as in the published evaluation
        target[:, : request.goal.shape[1]] = request.goal
        frames = np.empty((len(start), self.max_frames, start.shape[1]))
        for horizon in np.unique(horizons):
            pick = np.flatnonzero(horizons == horizon)
            here, there = (torch.as_tensor(v[pick], dtype=torch.float32) for v in (start, target))
            noise = _Noise([request.seeds[row] for row in pick], int(horizon), self.model.network.config.token_dim)
            path = self.model.sample(here, there, int(horizon), noise, self.config.steps).cpu().double().numpy()
            frames[pick] = path[:, np.minimum(np.arange(self.max_frames), horizon - 1)]
        return Plan(frames, horizons, self._frame_skip)

    def _transitions(self, steps: IntArray) -> IntArray:
        """Return so many control steps as transitions: at least as many, and what the network can take."""
        multiple = self.model.network.config.stride
        return np.asarray(-(-steps // (self._frame_skip * multiple)) * multiple)

    def _horizons(self, request: PlanRequest) -> IntArray:
        """Return how many transitions the plans have, (n,) multiples of what the network can take."""
        if self.config.horizon == "fixed":
            return np.full(len(request), self.max_frames)
        steps = np.maximum(request.frames_left * self._frame_skip, self.config.shortest)
        left = np.minimum(self._transitions(steps), self.max_frames)
        return np.asarray(np.where(request.fresh, self.max_frames, left))


class DiffuserPolicy(MPCPolicy):
    """A Diffuser over (x, y, vx, vy), or (x, y), and forces as a policy with Stable-Baselines3's `predict`.

    Args:
        model: the trained model.
        device: where it runs; "auto" takes CUDA, then Apple's MPS, then the CPU.
        precision: of the network, "fp32", "bf16", or "auto": bf16 where the device has arithmetic for it.
        goal_spec: what the model saw of the observations; None for all of a `GoalEnv`'s.
        **options: of `DiffuserPolicyConfig`.
    """

    def __init__(
        self,
        model: Diffuser,
        *,
        device: str | torch.device | None = "auto",
        precision: str = "auto",
        goal_spec: GoalSpec | None = None,
        **options: Any,
    ) -> None:
        if isinstance(options.get("tracker"), dict):
            options["tracker"] = make(PathTrackerConfig, options["tracker"])
        config = make(DiffuserPolicyConfig, options)
        controller = find_class("controller", config.controller, CONTROLLERS, Controller)  # type: ignore[type-abstract]
        if controller is PlannedStatesController:
            if model.options.frame_skip > 1 or model.options.observation_dim < 4:
                raise ValueError(
                    "controller='planned_states' needs a place and a velocity for every control step, and this "
                    f"Diffuser has {model.options.observation_dim} values for every {model.options.frame_skip}; use "
                    "controller='path'"
                )
            options["tracker"] = PUBLISHED_GAINS
            config = make(DiffuserPolicyConfig, options)
        if controller.executes_actions or controller.needs_inverse_dynamics or controller.needs_local_policy:
            raise ValueError(f"a Diffuser plans places, which controller={config.controller!r} does not follow")
        place = choose_device(device)
        check_precision(precision, place)
        self.goal_spec = goal_spec or GoalSpec()
        self.model = copy.deepcopy(model).to(place).eval()
        if precision == "bf16" or (precision == "auto" and computes_in_bf16(place)):
            self.model.network.to(torch.bfloat16)
        robot = Robot(frame_skip=model.options.frame_skip)
        super().__init__(
            DiffuserPlanner(config, self.model),
            controller(config, robot),
            config,
            goal_precision=goal_precision(self._smallest_span() / 4),  # some four deviations lie between limits
        )

    def _smallest_span(self) -> float:
        """Return the least width of what varies in the data, for a place's channels are not known beforehand."""
        span = np.subtract(self.model.options.high, self.model.options.low)
        return float(span[span > 0].min()) if (span > 0).any() else 0.0

    @classmethod
    @building()
    def from_pretrained(cls, name: str | Path, **options: Any) -> DiffuserPolicy:
        """Load a policy by the name of a shipped checkpoint, a folder, or a Hub id; options as in the constructor."""
        checkpoint = load_as(name, "diffuser")
        model = checkpoint.build(lambda: Diffuser.from_config(checkpoint.config["learner"]), "a baseline", "learner")
        goal_spec = make(GoalSpec, validated(checkpoint.config.get("goal")))
        return cls(model.requires_grad_(False).eval(), **{"goal_spec": goal_spec, **options})

    def read(self, observation: Observation) -> Seen:
        """Check an observation; raises ValueError where it has another width than those that are planned."""
        seen = super().read(self.goal_spec.model_observation(observation))
        if seen.values.shape[1] != (width := self.model.options.observation_dim):
            raise ValueError(f"this Diffuser plans observations of {width} values, got {seen.values.shape[1]}")
        return seen


class _Noise:
    """Standard normal noise of each pass k, (n, H, C); every row's follows from seeds of its own."""

    def __init__(self, seeds: list[list[int]], horizon: int, channels: int) -> None:
        self.seeds, self.shape = seeds, (horizon, channels)

    def __call__(self, k: int) -> torch.Tensor:
        drawn = [np.random.default_rng([*seed, k]).standard_normal(self.shape, np.float32) for seed in self.seeds]
        return torch.from_numpy(np.stack(drawn))
