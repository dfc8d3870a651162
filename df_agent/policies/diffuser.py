"""Acting with a Diffuser: plan once and follow, as published, or replan, with our controller, in fewer passes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from df_planners.controllers import PathTrackerConfig, arc_lengths, pd_action, track_path
from df_planners.plan import Plan, PlanEvent
from numpy.typing import NDArray

from df_agent.baselines.diffuser import Diffuser
from df_agent.baselines.learners import load_learner
from df_agent.options import make
from df_agent.policies.observations import EpisodeSeeds, beginning_rows, read_observation
from df_agent.runtime import check_precision, choose_device, computes_in_bf16
from df_agent.types import Observation

Array = NDArray[np.float64]
CONTROLLERS = ("waypoints", "path")
HORIZONS = ("fixed", "shrinking")
# The published Maze2D controller: the next waypoint's position and velocity, gains 1 and 1.
WAYPOINT_GAINS = PathTrackerConfig(position_gain=1.0, velocity_gain=1.0)


@dataclass(frozen=True)
class DiffuserPolicyConfig:
    """How to plan and act; the defaults are the published method.

    Attributes:
        controller: "waypoints" follows the plan at its own pace, one waypoint per control step, and holds the last;
            "path" follows it as fast as the ball can, as `DiffusionForcingPolicy` does, and needs no velocities.
        replan_every: control steps between plans; None plans once.
        horizon: "fixed", or "shrinking": a new plan is as long as what was left of the last one.
        longest: an episode's first plan, and every one of a fixed horizon [control steps]; None for the horizon it was
            trained with. The network is convolutional, so that others are possible (Janner et al. 2022, section 3).
        shortest: lower end of a shrinking horizon [control steps].
        steps: denoising passes by DDIM; None for ancestral sampling through all levels, as published.
        hold_distance: what is left of a path when replanning stops [position units].
        tracker: gains of "path".
    """

    controller: str = "waypoints"
    replan_every: int | None = None
    horizon: str = "fixed"
    longest: int | None = None
    shortest: int = 32
    steps: int | None = None
    hold_distance: float = 0.5
    tracker: PathTrackerConfig = field(default_factory=PathTrackerConfig)

    def __post_init__(self) -> None:
        for name, known in (("controller", CONTROLLERS), ("horizon", HORIZONS)):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}, available: {list(known)}")
        given = {name: getattr(self, name) for name in ("replan_every", "steps", "longest", "shortest")}
        if any(value is not None and value < 1 for value in given.values()):
            raise ValueError(f"replan_every, steps, longest and shortest must be at least 1, got {given}")


@dataclass
class DiffuserState:
    """What the policy remembers of B environments, one row each.

    Attributes:
        goal: (B, 2) goal the plan is for.
        seed: (B,) seed of the episode's noise.
        plans: (B,) plans made in this episode.
        age: (B,) control steps since the last one.
        path: (B, H, Do) planned observations; behind a plan's end its last one is repeated.
        length: (B,) planned observations before that; frame_skip control steps lie between two of them.
        progress: (B,) arc length of the path that is done.
    """

    goal: Array
    seed: NDArray[np.int64]
    plans: NDArray[np.int64]
    age: NDArray[np.int64]
    path: Array
    length: NDArray[np.int64]
    progress: Array


class DiffuserPolicy:
    """A Diffuser over (x, y, vx, vy), or (x, y), and forces as a policy with Stable-Baselines3's `predict`.

    Args:
        model: the trained model.
        device: where it runs; "auto" takes CUDA, then Apple's MPS, then the CPU.
        precision: of the network, "fp32", "bf16", or "auto": bf16 where the device has arithmetic for it.
        **options: of `DiffuserPolicyConfig`.
    """

    def __init__(self, model: Diffuser, *, device: str = "auto", precision: str = "auto", **options: Any) -> None:
        if isinstance(options.get("tracker"), dict):
            options["tracker"] = make(PathTrackerConfig, options["tracker"])
        self.config = make(DiffuserPolicyConfig, options)
        if (self.config.steps or 0) > model.options.levels:
            raise ValueError(f"there are {model.options.levels} levels, which steps={self.config.steps} exceeds")
        place = choose_device(device)
        check_precision(precision, place)
        self.model = copy.deepcopy(model).to(place).eval()
        if precision == "bf16" or (precision == "auto" and computes_in_bf16(place)):
            self.model.network.to(torch.bfloat16)
        self._frame_skip = model.options.frame_skip
        if self.config.controller == "waypoints" and (self._frame_skip > 1 or model.options.observation_dim < 4):
            raise ValueError(
                "controller='waypoints' needs a place and a velocity for every control step, and this Diffuser has "
                f"{model.options.observation_dim} values for every {self._frame_skip}; use controller='path'"
            )
        longest = self.config.longest
        self._longest = self._transitions(np.array(longest)).item() if longest else model.options.horizon
        self.on_plan: Callable[[PlanEvent], None] | None = None
        self.base_seed = 0
        self._seeds = EpisodeSeeds()

    @classmethod
    def from_pretrained(cls, name: str | Path, **options: Any) -> DiffuserPolicy:
        """Load a policy by the name of a shipped checkpoint, a folder, or a Hub id; options as in the constructor."""
        return cls(load_learner(name, "diffuser", Diffuser), **options)

    def set_random_seed(self, seed: int) -> None:
        """Choose another set of noise: with `deterministic=True` it follows from this seed and the episode's start."""
        self.base_seed = seed

    def predict(
        self,
        observation: Observation,
        state: DiffuserState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Array, DiffuserState]:
        """Return actions (B, Da) or (Da,), in [-1, 1], and the next state; see `df_agent.types.Policy`."""
        values, goal, single = read_observation(observation)
        if values.shape[1] != (width := self.model.options.observation_dim):
            raise ValueError(f"this Diffuser plans observations of {width} values, got {values.shape[1]}")
        fresh = beginning_rows(None if state is None else len(state.goal), len(values), episode_start)
        # The caller may keep the old state.
        state = self._empty(values, goal) if state is None else copy.deepcopy(state)
        state.age += 1
        state.plans[fresh] = 0
        state.seed[fresh] = self._seeds(values[fresh], goal[fresh], deterministic)
        moved = (np.abs(state.goal - goal) > 1e-6).any(1)
        state.goal = goal.copy()
        if len(rows := np.flatnonzero(fresh | moved | self._due(state))):
            self._plan(state, rows, values, fresh | moved)
        actions = self._act(state, values)
        return (actions[0] if single else actions), state

    def _empty(self, values: Array, goal: Array) -> DiffuserState:
        rows = len(values)
        zeros = np.zeros(rows, dtype=np.int64)
        path = np.repeat(values[:, None], self._longest, axis=1)
        return DiffuserState(goal, zeros, zeros.copy(), zeros.copy(), path, zeros.copy(), np.zeros(rows))

    def _due(self, state: DiffuserState) -> NDArray[np.bool_]:
        if self.config.replan_every is None:
            return np.zeros(len(state.age), dtype=bool)
        return np.asarray((state.age >= self.config.replan_every) & (self._left(state) > self.config.hold_distance))

    def _transitions(self, steps: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return so many control steps as transitions: at least as many, and what the network can take."""
        multiple = self.model.network.config.stride
        return np.asarray(-(-steps // (self._frame_skip * multiple)) * multiple)

    def _left(self, state: DiffuserState) -> Array:
        """Length (B,) of what is left of the path [position units]."""
        done = state.progress
        arc = arc_lengths(state.path[..., : state.goal.shape[1]])
        if self.config.controller == "waypoints":
            done = arc[np.arange(len(arc)), np.minimum(state.age, arc.shape[1] - 1)]
        return np.asarray(arc[:, -1] - done)

    def _horizons(self, state: DiffuserState, rows: NDArray[np.int64], fresh: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return how many transitions the next plans have, (n,) multiples of what the network can take."""
        if self.config.horizon == "fixed":
            return np.full(len(rows), self._longest)
        left = state.length[rows] - state.age[rows]
        if self.config.controller == "path":  # the ball runs ahead of the plan's pace, or lags behind it
            arc = arc_lengths(state.path[rows][..., : state.goal.shape[1]])
            index = np.arange(arc.shape[1])
            left = ((arc >= state.progress[rows, None]) & (index < state.length[rows, None])).sum(1)
        steps = np.maximum(left * self._frame_skip, self.config.shortest)
        return np.where(fresh[rows], self._longest, np.minimum(self._transitions(steps), self._longest))

    def _plan(self, state: DiffuserState, rows: NDArray[np.int64], values: Array, fresh: NDArray[np.bool_]) -> None:
        began = time.perf_counter()
        horizons = self._horizons(state, rows, fresh)
        channels = self.model.network.config.token_dim
        # Be at the goal and stand still, as in the published evaluation.
        target = np.zeros_like(values)
        target[:, : state.goal.shape[1]] = state.goal
        for horizon in np.unique(horizons):
            pick = rows[horizons == horizon]

            def noise(k: int, pick: NDArray[np.int64] = pick, horizon: int = int(horizon)) -> torch.Tensor:
                seeds = [[self.base_seed, int(state.seed[r]), int(state.plans[r]), k] for r in pick]
                drawn = [np.random.default_rng(s).standard_normal((horizon, channels), np.float32) for s in seeds]
                return torch.from_numpy(np.stack(drawn))

            start, goal = (torch.as_tensor(v[pick], dtype=torch.float32) for v in (values, target))
            path = self.model.sample(start, goal, int(horizon), noise, self.config.steps).cpu().double().numpy()
            fill = np.minimum(np.arange(state.path.shape[1]), horizon - 1)
            state.path[pick] = path[:, fill]
        state.length[rows], state.age[rows], state.progress[rows] = horizons, 0, 0.0
        state.plans[rows] += 1
        if self.on_plan is not None:
            plan = Plan(state.path[rows].copy(), state.length[rows].copy(), self._frame_skip)
            self.on_plan(PlanEvent(rows, plan, time.perf_counter() - began))

    def _act(self, state: DiffuserState, values: Array) -> Array:
        dims = state.goal.shape[1]
        position, velocity = values[:, :dims], values[:, dims : 2 * dims]
        if velocity.shape[1] < dims:  # not observed
            velocity = np.zeros_like(position)
        if self.config.controller == "path":
            path = state.path[..., :dims]
            actions, state.progress, _ = track_path(path, position, velocity, state.progress, self.config.tracker)
            return actions
        following = state.age + 1 < state.length
        step = np.minimum(state.age + 1, state.length - 1)
        waypoint = state.path[np.arange(len(values)), step]
        target_velocity = np.where(following[:, None], waypoint[:, dims : 2 * dims], 0.0)
        return pd_action(position, velocity, waypoint[:, :dims], target_velocity, WAYPOINT_GAINS)
