"""How the agent plans and acts: one dataclass, made from the plain dicts of configs and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from df_planners.controllers import PathTrackerConfig
from df_planners.shortest_feasible import ShortestFeasibleConfig
from df_planners.tree_search import TreeSearchConfig

from df_agent.data.tokens import TokenizerConfig
from df_agent.agent_model import AgentModel
from df_agent.options import make
from df_agent.policies.plan_sampler import SamplingConfig

PLANNERS = ("shortest_feasible", "tree_search", "fixed_horizon", "goal_guidance", "reward_guidance", "best_of_n")
ENDS_AT_GOAL = ("shortest_feasible", "tree_search", "fixed_horizon")  # the goal is a clean token at the plan's end
SETTLING = ("shortest_feasible", "tree_search")  # these know whether a plan is feasible
TO_THE_END = ("goal_guidance", "reward_guidance")  # these plan for what is left of the episode
CONTROLLERS = ("path", "waypoints", "inverse_dynamics", "actions")


@dataclass(frozen=True)
class PolicyConfig:
    """How the agent plans and acts.

    Attributes:
        planner: "shortest_feasible" (the goal as a clean token at many horizons, the fastest feasible plan),
            "tree_search" (plans grown piece by piece, see `df_planners.tree_search`),
            "fixed_horizon" (the goal as a clean token, always equally far ahead), "goal_guidance" (the original's:
            the horizon is what is left of the episode, a window at most, guided towards the goal at every time),
            "reward_guidance" (likewise, towards the reward that the model expects, learned with
            tokenizer.include_rewards) or "best_of_n" (plans that know no goal; of these the one that is nearest to it
            over time).
        controller: "path" follows a plan as fast as the actuators can, "waypoints" at its own pace, as the
            original does; "inverse_dynamics" likewise, by the actions that lead to its places in the data;
            "actions" executes the actions that the model plans, whatever they do.
        horizon: of "fixed_horizon" [tokens]; 0 is as far as the model sees.
        open_loop_horizon: control steps between replans [steps].
        deviation: distance to the path beyond which the agent replans at once [position units].
        hold_distance: what is left of a path when replanning stops and the agent settles [position units].
        keep_share: a new plan replaces the one being followed if it takes at most this share of the time
            that one still needs.
        patience: steps after which a plan that does not get on is given up [steps].
        doubt: factor on the agent's doubt each time that happens: longer horizons, fewer shortcuts believed.
        max_plan_ms: when the best plan so far is taken [ms]; two passes of the network are made in any case. None
            takes all the time it needs. Plans made under a deadline depend on the machine and do not repeat.
        background: plan in a thread while the plan before is followed, from where the agent will be by then; only the
            first plan of an episode is waited for. For loops that run in real time.
        window: tokens that plans may run over, the observed ones among them; 0 for as many as in training. More
            need a network without a window of its own (recurrent), or plans composed of several (sampling.overlap).
        present_only: show the present in place of all observed frames, as the original does.
        guidance_scale: strength of "goal_guidance" and "reward_guidance".
        cost_scale: strength of the gradient of costs, per control step; see `df_agent.policies.costs`.
        candidates: N of "best_of_n".
        goal_conditioned: False plans without a goal, to show what the goal is worth.
        observation_noise: standard deviation of the noise on observations, in the data's own standard deviations:
            they are fed to the model at the level where it has seen as much, instead of as the truth.
        missing: observations that are NaN are taken as missing and fed at the top level; otherwise they are an error.
        control_period: seconds per control step, for velocities where they are not observed.
        velocity_indices: where the observation holds the goal channels' velocities; empty if nowhere.
        sampling: how plans are sampled.
        search: which candidates, and how they are judged.
        tree: how "tree_search" searches.
        tracker: how plans are followed.
    """

    planner: str = "shortest_feasible"
    controller: str = "path"
    horizon: int = 0
    open_loop_horizon: int = 50
    deviation: float = 0.6
    hold_distance: float = 0.5
    keep_share: float = 1.0
    patience: int = 20
    doubt: float = 1.25
    max_plan_ms: float | None = None
    background: bool = False
    window: int = 0
    present_only: bool = False
    guidance_scale: float = 1.0
    cost_scale: float = 0.01
    candidates: int = 64
    goal_conditioned: bool = True
    observation_noise: float = 0.0
    missing: bool = False
    control_period: float = 0.01
    velocity_indices: tuple[int, ...] = ()
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    search: ShortestFeasibleConfig = field(default_factory=ShortestFeasibleConfig)
    tree: TreeSearchConfig = field(default_factory=TreeSearchConfig)
    tracker: PathTrackerConfig = field(default_factory=PathTrackerConfig)

    def __post_init__(self) -> None:
        for name, known in (("planner", PLANNERS), ("controller", CONTROLLERS)):
            if getattr(self, name) not in known:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}, available: {list(known)}")
        if self.candidates < 1:
            raise ValueError(f"candidates must be at least 1, got {self.candidates}")
        if self.max_plan_ms is not None and not self.max_plan_ms > 0:
            raise ValueError(f"max_plan_ms must be positive, or null for no deadline, got {self.max_plan_ms}")
        if self.open_loop_horizon < 1:
            raise ValueError(f"open_loop_horizon must be at least 1, got {self.open_loop_horizon}")
        if self.horizon < 0 or self.horizon == 1:
            raise ValueError(f"horizon must be at least 2 tokens, or 0 for the longest, got {self.horizon}")
        if self.patience < 1 or self.doubt < 1:
            raise ValueError(f"patience and doubt must be at least 1, got {self.patience} and {self.doubt}")
        if self.window < 0:
            raise ValueError(f"window is in tokens, or 0 for that of training, got {self.window}")
        for name in ("guidance_scale", "cost_scale"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be finite and not negative, got {getattr(self, name)}")
        if self.sampling.goal_weight != 1 and self.planner not in ENDS_AT_GOAL:
            raise ValueError(
                f"goal_weight={self.sampling.goal_weight} weighs the goal as a clean token, which planner="
                f"{self.planner!r} does not have; {' and '.join(ENDS_AT_GOAL)} do"
            )
        if not 0 <= self.observation_noise < math.inf:
            raise ValueError(f"observation_noise must be finite and not negative, got {self.observation_noise}")
        if not self.control_period > 0:
            raise ValueError(f"control_period is in seconds and must be positive, got {self.control_period}")
        object.__setattr__(self, "velocity_indices", tuple(self.velocity_indices))

    @classmethod
    def from_dict(cls, options: dict[str, Any]) -> PolicyConfig:
        """Make the config from nested plain dicts, naming unknown options."""
        given = dict(options)
        parts: dict[str, Any] = {
            "sampling": SamplingConfig,
            "search": ShortestFeasibleConfig,
            "tree": TreeSearchConfig,
            "tracker": PathTrackerConfig,
        }
        for key, part in parts.items():
            if key in given:
                given[key] = make(part, dict(given[key]))
        return make(cls, given)


def lengths_of(trained: Sequence[int], window: int, any_length: bool, pieced: bool) -> list[int]:
    """Return the sequence lengths that the model is asked about: those of training up to `window` tokens, and it.

    They are those of training where window is 0, or where longer plans are pieced together.

    Raises:
        ValueError: a longer one, of a network that has a window of its own.
    """
    if window == 0 or (pieced and window > max(trained)):
        return list(trained)
    if window > max(trained) and not any_length:
        raise ValueError(
            f"the model sees {max(trained)} tokens at once, window={window} needs sampling.overlap, "
            "planner='tree_search' or a recurrent network"
        )
    return sorted({length for length in trained if length < window} | {window})


def check_model(
    config: PolicyConfig, model: AgentModel, tokens: TokenizerConfig, max_steps: int | None = None
) -> None:
    """Raise ValueError for what this model, of these tokens, cannot be asked in episodes of `max_steps`."""
    planner, controller = config.planner, config.controller
    if planner in TO_THE_END and max_steps is None:
        raise ValueError(f"planner={planner!r} plans for the rest of the episode: give max_steps, its length")
    if planner == "reward_guidance" and not tokens.include_rewards:
        raise ValueError(
            "planner='reward_guidance' needs a model of rewards: train it with tokenizer.include_rewards=true"
        )
    if planner == "tree_search" and controller == "actions":
        raise ValueError("planner='tree_search' plans places without actions; use controller='path'")
    if planner == "tree_search" and model.time_to_goal is None:
        raise ValueError(
            "planner='tree_search' needs an estimate of the time to the goal: train with time_to_goal.steps=8000"
        )
    if planner in ENDS_AT_GOAL and config.goal_conditioned and getattr(model.network, "causal", False):
        raise ValueError(
            f"planner={planner!r} puts the goal behind the plan, where a causal network does not see it; "
            f"available for it: {', '.join(p for p in PLANNERS if p not in ENDS_AT_GOAL)}"
        )
    if len(config.velocity_indices) not in (0, len(tokens.goal_channels)):
        raise ValueError(
            f"velocity_indices must name one channel per goal channel {tokens.goal_channels}, or none, "
            f"got {config.velocity_indices}"
        )
    if controller == "actions" and not tokens.include_actions:
        raise ValueError("controller='actions' needs a model of actions: train it with tokenizer.include_actions")
    if controller == "inverse_dynamics" and model.inverse_dynamics is None:
        raise ValueError(
            "controller='inverse_dynamics' needs an inverse model: train one with inverse_dynamics.steps=5000"
        )


def check_pieces(config: PolicyConfig, window: int, costs: int) -> None:
    """Raise ValueError for pieces of plans that a model which plans `window` tokens at once cannot make."""
    overlap, tree = config.sampling.overlap, config.tree
    if overlap > window:
        raise ValueError(f"windows of {window + 1} tokens can share {window} of them at most, got overlap={overlap}")
    if config.planner != "tree_search":
        return
    if tree.segment > window or (tree.jump > window and not overlap):
        raise ValueError(
            f"the model plans {window} tokens at once, got tree.segment={tree.segment} and tree.jump={tree.jump}; "
            "longer jumps, not longer segments, can be composed with sampling.overlap"
        )
    if costs or config.missing or config.observation_noise:
        raise ValueError("planner='tree_search' knows neither costs nor bad sensors yet; others do, see PLANNERS")


def default_horizons(longest: int) -> tuple[int, ...]:
    """Horizons from 2 to `longest` tokens: every one up to 8, then ever sparser.

    One token would be the goal itself, a straight line without any planning.
    """
    grid = [*range(2, 9), *range(10, 17, 2), *range(19, longest, 3)]
    return (*(h for h in grid if h < longest), longest)


def merge(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `overrides` over it, nested dicts merged."""
    out = dict(base)
    for key, value in overrides.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merge(out[key], value) if both else value
    return out
