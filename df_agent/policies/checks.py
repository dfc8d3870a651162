"""What a planner and a controller can be asked of a model: checked here, before anything is planned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from df_planners import PLANNERS
from df_planners.model_planner import ModelPlanner

from df_agent.agent_model import AgentModel
from df_agent.data.config import TokenizerConfig
from df_agent.policies.config import PolicyConfig
from df_agent.policies.controller import Controller


def check_names(saved: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    """Raise ValueError if a checkpoint's options name code, "module:Class", that the caller does not name too.

    What is in a checkpoint is data: loading it must not import what it names.
    """
    for kind in ("planner", "controller"):
        name = str(saved.get(kind, ""))
        if ":" in name and kind not in given:
            raise ValueError(
                f"the checkpoint was saved with {kind}={name}, code that loading it does not import: pass "
                f"{kind}={name!r} if you trust it, or another {kind}"
            )


def check_capabilities(
    planner: type[ModelPlanner],
    controller: type[Controller],
    config: PolicyConfig,
    model: AgentModel,
    tokens: TokenizerConfig,
    max_steps: int | None,
    costs: int,
) -> None:
    """Raise ValueError for what this planner and this controller cannot do with this model.

    Args:
        planner, controller: their classes.
        config: how to plan and act.
        model: the trained model.
        tokens: of the model.
        max_steps: length of an episode; None where it is not known.
        costs: how many costs there are.
    """
    named, followed = f"planner={config.planner!r}", f"controller={config.controller!r}"
    if controller.executes_actions and not planner.plans_actions:
        raise ValueError(f"{named} plans places without actions, which {followed} executes; use controller='path'")
    if planner.plans_whole_episode and max_steps is None:
        raise ValueError(f"{named} plans for the rest of the episode: give max_steps, its length")
    if planner.needs_rewards and not tokens.include_rewards:
        raise ValueError(f"{named} needs a model of rewards: train it with tokenizer.include_rewards=true")
    if planner.needs_time_to_goal and model.time_to_goal is None:
        raise ValueError(f"{named} needs an estimate of the time to the goal: train with time_to_goal.steps=8000")
    if planner.ends_at_goal and getattr(model.diffusion.network, "causal", False):
        others = ", ".join(name for name, other in PLANNERS.items() if _sees_no_end(other))
        raise ValueError(
            f"{named} puts the goal behind the plan, where a causal network does not see it; available for it: {others}"
        )
    if config.sampling.goal_weight != 1 and not planner.ends_at_goal:
        others = " and ".join(name for name, other in PLANNERS.items() if other.ends_at_goal)
        raise ValueError(
            f"goal_weight={config.sampling.goal_weight} weighs the goal as a clean token, which {named} does not have; "
            f"{others} do"
        )
    if not planner.takes_costs and (costs or config.missing or config.observation_noise):
        raise ValueError(f"{named} knows neither costs nor bad sensors yet; shortest_feasible does")
    _check_controller(controller, followed, config, model, tokens)


def _check_controller(
    controller: type[Controller], followed: str, config: PolicyConfig, model: AgentModel, tokens: TokenizerConfig
) -> None:
    """Raise ValueError for what a controller, `followed` in the errors, cannot do with this model."""
    if controller.executes_actions and not tokens.include_actions:
        raise ValueError(f"{followed} needs a model of actions: train it with tokenizer.include_actions")
    if controller.needs_inverse_dynamics and model.inverse_dynamics is None:
        raise ValueError(f"{followed} needs an inverse model: train one with inverse_dynamics.steps=5000")
    g = len(tokens.goal_channels)
    if controller.needs_velocities and (tokens.frame_skip > 1 or tokens.observation_dim < 2 * g):
        raise ValueError(
            f"{followed} needs a place and a velocity for every control step, and this model plans "
            f"{tokens.observation_dim} channels for every {tokens.frame_skip}; use controller='path'"
        )
    if controller.needs_local_policy and model.local_policy is None:
        raise ValueError(f"{followed} needs a local policy: train one with local_policy.steps=8000")
    if len(config.velocity_indices) not in (0, len(tokens.goal_channels)):
        raise ValueError(
            f"velocity_indices must name one channel per goal channel {tokens.goal_channels}, or none, "
            f"got {config.velocity_indices}"
        )


def _sees_no_end(planner: type[Any]) -> bool:
    return issubclass(planner, ModelPlanner) and not planner.ends_at_goal
