"""How policies plan and act: dataclasses that are made from the plain dicts of configs and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

from df_planners import PLANNERS
from df_planners.best_of_n import BestOfNConfig
from df_planners.feasibility import FeasibilityConfig
from df_planners.fixed_horizon import FixedHorizonConfig
from df_planners.guidance import GuidanceConfig
from df_planners.shortest_feasible import ShortestFeasibleConfig
from df_planners.tracking import PathTrackerConfig
from df_planners.tree_search import TreeSearchConfig

from df_agent.diffusion.scheduling_matrix import scheduling_matrix
from df_agent.options import make
from df_agent.options.kinds import check_fields
from df_agent.options.ranges import Range
from df_agent.policies.getting_on import DetourConfig

HORIZONS = ("fixed", "shrinking")
HOTTEST = 100.0  # initial noise of more standard deviations is none that a network makes a plan of
GOAL_CHANGES = ("since_plan", "since_step")


@dataclass(frozen=True)
class MPCConfig:
    """When a policy plans again, and how it follows plans.

    Attributes:
        open_loop_horizon: control steps between replans [steps]; None plans once for a goal.
        deviation: distance to the path beyond which a new plan is made at once [position units].
        hold_distance: what is left of a path when replanning stops and the agent settles [position units].
        switch_ratio: a new plan replaces the one being followed if it takes at most this share of the time that one
            still needs; inf always replaces it.
        patience: steps after which a plan that does not get on is given up [steps]; None never gives one up.
        shortcut_penalty: factor by which shortcuts are believed less each time that happens, and horizons are longer.
        max_plan_ms: when the best plan so far is taken [ms]; two passes of the network are made in any case. None
            takes all the time it needs. Plans made under a deadline depend on the machine and do not repeat.
        background: plan in a thread while the plan before is followed, from where the agent will be by then; only the
            first plan of an episode is waited for. For loops that run in real time.
        control_period: seconds per control step, for velocities where they are not observed.
        goal_change: "since_plan" or "since_step", which are one by now: where a goal is, is compared with the goal that
            the last plan was made for, so that none drifts away. Kept for checkpoints that name it.
        tracker: gains.
    """

    open_loop_horizon: int | None = None
    deviation: float = math.inf
    hold_distance: float = 0.5
    switch_ratio: float = math.inf
    patience: int | None = None
    shortcut_penalty: float = 1.0
    max_plan_ms: float | None = None
    background: bool = False
    control_period: float = 0.01
    goal_change: str = "since_plan"
    tracker: PathTrackerConfig = field(default_factory=PathTrackerConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        if self.max_plan_ms is not None and not self.max_plan_ms > 0:
            raise ValueError(f"max_plan_ms must be positive, or null for no deadline, got {self.max_plan_ms}")
        if self.open_loop_horizon is not None and self.open_loop_horizon < 1:
            raise ValueError(f"open_loop_horizon must be at least 1, got {self.open_loop_horizon}")
        if (self.patience is not None and self.patience < 1) or self.shortcut_penalty < 1:
            raise ValueError(
                f"patience and shortcut_penalty must be at least 1, got {self.patience} and {self.shortcut_penalty}"
            )
        if not self.control_period > 0:
            raise ValueError(f"control_period is in seconds and must be positive, got {self.control_period}")
        if self.goal_change not in GOAL_CHANGES:
            raise ValueError(f"unknown goal_change {self.goal_change!r}, available: {list(GOAL_CHANGES)}")


@dataclass(frozen=True)
class SamplingConfig:
    """How plans are sampled.

    Attributes:
        steps: denoising passes for a token.
        matrix: name of the scheduling matrix.
        uncertainty: of the pyramid, trapezoid and near_first matrices.
        near: tokens that near_first makes first; 0 for half of them.
        eta: 0 for DDIM, 1 for DDPM.
        stabilization_level: see `df_agent.diffusion.sampler.sample`.
        temperature: scale of the initial noise.
        futures: N of Monte-Carlo guidance.
        goal_weight: how strongly the clean goal token counts, see `Weighted`; 1 is as it is.
        history_weight: how strongly the observed tokens count, likewise.
        overlap: tokens that neighbouring windows share in plans that are longer than a window, see `Composed`; 0 for
            no such plans.
    """

    steps: int = 5
    matrix: str = "full_sequence"
    uncertainty: float = 1.0
    near: int = 0
    eta: float = 0.0
    stabilization_level: int = 0
    temperature: Annotated[float, Range(0, HOTTEST)] = 1.0
    futures: int = 1
    goal_weight: float = 1.0
    history_weight: float = 1.0
    overlap: int = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.steps < 1 or self.stabilization_level < 0:
            raise ValueError(
                f"need sampling steps of at least 1 and a stabilization_level of at least 0, got {self.steps} and "
                f"{self.stabilization_level}"
            )
        if self.futures < 1 or self.near < 0 or self.overlap < 0:
            raise ValueError(
                f"futures must be at least 1, near and overlap not negative, got futures={self.futures}, "
                f"near={self.near}, overlap={self.overlap}"
            )
        together = self.matrix == "full_sequence" or (self.uncertainty == 0 and self.matrix != "autoregressive")
        if self.futures > 1 and together:
            raise ValueError(
                f"futures={self.futures} needs a matrix in which some tokens are made later than others: with "
                f"{self.matrix} and uncertainty={self.uncertainty} there is no future to draw"
            )
        for name in ("eta", "temperature", "uncertainty"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")
        for name in ("goal_weight", "history_weight"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} must be a finite number, got {getattr(self, name)}")
        scheduling_matrix(self.matrix, 2, self.steps, self.uncertainty, self.near)  # names what there is instead


@dataclass(frozen=True)
class LocalControlConfig:
    """How the learned local policy is asked to act.

    Attributes:
        pace: asked for, as a share of the control steps that the data takes to a place where it is quick.
        reach: how far ahead on a plan the place lies that it goes for [control steps of the plan].
        hold: control steps in which it is asked to be at the goal once it was there: in few it hurries and overshoots,
            in many it wanders off and comes back.
        detour: what it does where it does not get on.
    """

    pace: float = 0.7
    reach: int = 30
    hold: int = 8
    detour: DetourConfig = field(default_factory=DetourConfig)

    def __post_init__(self) -> None:
        check_fields(self)
        if not 0 < self.pace < math.inf or min(self.reach, self.hold) < 1:
            raise ValueError(
                f"need a positive pace, reach >= 1 and hold >= 1, got {self.pace}, {self.reach} and {self.hold}"
            )
        if isinstance(self.detour, Mapping):
            object.__setattr__(self, "detour", make(DetourConfig, dict(self.detour)))


@dataclass(frozen=True)
class PolicyConfig(MPCConfig):
    """How `DiffusionForcingPolicy` plans and acts; see `MPCConfig` for the options that are not here.

    Attributes:
        planner: name of a planner in `df_planners.PLANNERS`, or "module:Class" of one of your own. Each has its options
            below, under its name: "shortest_feasible" (the goal as a clean token at many horizons, the fastest feasible
            plan), "tree_search" (plans grown piece by piece), "fixed_horizon" (the goal as a clean token, always
            equally far ahead), "direct" (no plan: the goal is the next place), "goal_guidance" (the original's: the
            horizon is what is left of the episode, a window at most, guided towards the goal at every time),
            "reward_guidance" (likewise, towards the reward that the model expects, learned with
            tokenizer.include_rewards), "best_of_n" (plans that know no goal; of these the one that is nearest to it
            over time) or "unconditional" (plans that know no goal).
        planner_options: options of a planner of your own.
        controller: name of a controller in `df_agent.policies.controllers.CONTROLLERS`, or "module:Class" of one of
            your own: "path" follows a plan as fast as the actuators can, "waypoints" at its own pace, as the original
            does; "planned_states" steers to one planned position and velocity per control step, as Diffuser does;
            "inverse_dynamics" acts by the actions that lead to the plan's places in the data; "actions" executes the
            actions that the model plans, whatever they do; "local_policy" goes for the plan's places, or for the goal
            once it is near, by a learned policy.
        window: tokens that plans may run over, the observed ones among them; 0 for as many as in training. More
            need a network without a window of its own (recurrent), or plans composed of several (sampling.overlap).
        present_only: show the present in place of all observed frames, as the original does.
        cost_scale: strength of the gradient of costs, per control step; see `df_agent.policies.costs`.
        observation_noise: standard deviation of the noise on observations, in the data's own standard deviations:
            they are shown to the model at the level where it has seen as much, instead of as the truth.
        missing: observations that are NaN are taken as missing and shown at the top level; otherwise they are an error.
        velocity_indices: where the observation holds the goal channels' velocities; empty if nowhere.
        sampling: how plans are sampled.
        feasibility: when a plan is taken to be feasible.
        local_policy: how the learned local policy is asked.
    """

    open_loop_horizon: int | None = 50
    deviation: float = 0.6
    switch_ratio: float = 1.0
    patience: int | None = 20
    shortcut_penalty: float = 1.25
    planner: str = "shortest_feasible"
    planner_options: Mapping[str, Any] = field(default_factory=dict)
    controller: str = "path"
    window: int = 0
    present_only: bool = False
    cost_scale: float = 0.01
    observation_noise: float = 0.0
    missing: bool = False
    velocity_indices: tuple[int, ...] = ()
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    feasibility: FeasibilityConfig = field(default_factory=FeasibilityConfig)
    shortest_feasible: ShortestFeasibleConfig = field(default_factory=ShortestFeasibleConfig)
    tree_search: TreeSearchConfig = field(default_factory=TreeSearchConfig)
    fixed_horizon: FixedHorizonConfig = field(default_factory=FixedHorizonConfig)
    goal_guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    reward_guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    best_of_n: BestOfNConfig = field(default_factory=BestOfNConfig)
    local_policy: LocalControlConfig = field(default_factory=LocalControlConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window < 0:
            raise ValueError(f"window is in tokens, or 0 for that of training, got {self.window}")
        for name in ("cost_scale", "observation_noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")
        object.__setattr__(self, "velocity_indices", tuple(self.velocity_indices))

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> PolicyConfig:
        """Make the config from nested plain dicts, naming unknown options."""
        given, parts = dict(options), cls()
        for part in fields(cls):
            default = getattr(parts, part.name)
            if hasattr(default, "__dataclass_fields__") and part.name in given:
                given[part.name] = make(type(default), dict(given[part.name]))
        return make(cls, given)

    def options_of(self, planner: type[Any]) -> Any:
        """Return the options of a planner: its own section, or `planner_options` for one that has none here.

        Raises:
            ValueError: `planner_options` for a planner that has a section.
        """
        section = getattr(self, self.planner, None) if PLANNERS.get(self.planner) is planner else None
        if section is not None and self.planner_options:
            options = ", ".join(f"{self.planner}.{name}" for name in self.planner_options)
            raise ValueError(f"planner={self.planner} has options of its own: give {options}, not planner_options")
        return make(planner.Config, dict(self.planner_options)) if section is None else section


def merge(base: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `overrides` over it, nested dicts merged."""
    out = dict(base)
    for key, value in overrides.items():
        both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


@dataclass(frozen=True)
class DiffuserPlannerConfig:
    """How a Diffuser plans; the defaults are the published method.

    Attributes:
        horizon: "fixed", or "shrinking": a new plan is as long as what was left of the last one.
        longest: an episode's first plan, and every one of a fixed horizon [control steps]; None for the horizon it was
            trained with. The network is convolutional, so that others are possible (Janner et al. 2022, section 3).
        shortest: lower end of a shrinking horizon [control steps].
        steps: denoising passes by DDIM; None for ancestral sampling through all levels, as published.
    """

    horizon: str = "fixed"
    longest: int | None = None
    shortest: int = 32
    steps: int | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.horizon not in HORIZONS:
            raise ValueError(f"unknown horizon {self.horizon!r}, available: {list(HORIZONS)}")
        given = {name: getattr(self, name) for name in ("steps", "longest", "shortest")}
        if any(value is not None and value < 1 for value in given.values()):
            raise ValueError(f"steps, longest and shortest must be at least 1, got {given}")


@dataclass(frozen=True)
class DiffuserPolicyConfig(MPCConfig, DiffuserPlannerConfig):
    """How to plan and act; the defaults are the published method. See `MPCConfig` and `DiffuserPlannerConfig`.

    Attributes:
        controller: "planned_states" follows the plan at its own pace, one planned position and velocity per control
            step, and holds the last; "path" follows it as fast as the agent can, as `DiffusionForcingPolicy` does, and
            needs no velocities. Or any other, see `CONTROLLERS`.
    """

    controller: str = "planned_states"
    tracker: PathTrackerConfig = field(default_factory=PathTrackerConfig)

    def __post_init__(self) -> None:
        MPCConfig.__post_init__(self)
        DiffuserPlannerConfig.__post_init__(self)
