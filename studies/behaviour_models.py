"""Models without training for `behaviour.py`: networks and tokens that no shipped checkpoint has, and cases of them.

What they plan is nonsense, and the same nonsense before and after. The code before writes their checkpoints, so that
the code after has to read what was written before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from studies.behaviour_cases import Case

MEAN, STD = [0.4, 0.0, 0.0, 0.0, 0.0, 0.0], [0.7, 0.9, 1.5, 1.5, 0.7, 0.7]  # of place, velocity and force in the U-maze
TRANSFORMER = {"name": "transformer", "width": 32, "depth": 2, "heads": 2}
ANY_PLAN = {"roughness_limit": 1e9, "shortcut_limit": 1e9, "hopeless": 1e9}
"""A search that is content with what an untrained model proposes."""


def model(
    network: Mapping[str, Any], tokens: Mapping[str, Any], policy: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """Return the config of a checkpoint for the U-maze: tokens of 2 frames of 4 control steps, plans of 16 tokens."""
    sizes = {"observation_indices": [0, 1], "goal_channels": [0, 1], "frame_skip": 4, "frame_stack": 2, **tokens}
    seen, skip = sizes["observation_indices"], sizes["frame_skip"]
    mean, std = MEAN[: len(seen)], STD[: len(seen)]
    if sizes.get("include_actions"):
        mean, std = mean + MEAN[4:] * skip, std + STD[4:] * skip
    if sizes.get("include_rewards"):
        mean, std = [*mean, 0.1], [*std, 0.3]
    shape = {"frame_stack": sizes["frame_stack"], "goal_channels": [0, 1], "context": sizes.get("context", 1)}
    return {
        "env": "maze2d-umaze",
        "network": {**network, "token_dim": len(mean) * sizes["frame_stack"], "max_tokens": 16},
        "diffusion": {"levels": 100, **shape, **more.pop("diffusion", {})},
        "tokenizer": {"config": sizes, "mean": mean, "std": std},
        "windows": {"max_tokens": 16, "short_tokens": [8]},
        "statistics": {
            "step": [0.21, 0.21],
            "turn": [0.1, 0.1],
            "speed": [0.0523, 0.0523],
            "least": [-0.9, -0.9],
            "most": [0.9, 0.8],
        },
        "policy": {"velocity_indices": [2, 3], "search": ANY_PLAN, **policy},
        **more,
    }


ESTIMATOR = {"channels": 2, "width": 32, "depth": 2, "groups": 2, "group_size": 4}
GUIDED = {"planner": "goal_guidance", "sampling": {"steps": 6, "matrix": "pyramid"}}
ACTIONS = {"observation_indices": [0, 1, 2, 3], "include_actions": True, "action_dim": 2}
MODELS: dict[str, dict[str, Any]] = {
    "actions": model(
        TRANSFORMER,
        ACTIONS,
        {"controller": "actions", "open_loop_horizon": 10},
        inverse_dynamics={"observation_dim": 4, "channels": 2, "action_dim": 2, "width": 32},
        time_to_goal=ESTIMATOR,
    ),
    "no_estimate": model(TRANSFORMER, {"frame_stack": 1}, {}, diffusion={"objective": "eps", "schedule": "sigmoid"}),
    "history": model(TRANSFORMER, {"context": 3}, {"open_loop_horizon": 10}, time_to_goal=ESTIMATOR),
    "full_sequence": model(TRANSFORMER, {}, {"search": {**ANY_PLAN, "whole_windows": True}}),
    "rewards": model(
        TRANSFORMER, {"include_rewards": True}, {**GUIDED, "planner": "reward_guidance", "guidance_scale": 0.3}
    ),
    "recurrent": model({"name": "recurrent", "width": 32, "state": 32}, {}, GUIDED),
    "causal": model({"name": "cached_transformer", "width": 32, "depth": 2, "heads": 2}, {"context": 4}, GUIDED),
    "v15": model(
        {"name": "transformer_v15", "width": 32, "depth": 2, "feed_forward": 64},
        {},
        {"planner": "fixed_horizon"},
        diffusion={"objective": "x0", "schedule": "linear"},
    ),
    "flat": model(
        TRANSFORMER, {}, {}, goal={"achieved": [0, 1], "desired": [4, 5], "success": None}, time_to_goal=ESTIMATOR
    ),
    "appended": model(
        TRANSFORMER,
        {"observation_indices": [0, 1, 4, 5], "goal_channels": [2, 3]},
        {},
        goal={"achieved": None, "desired": None, "success": None, "appended": True},
        diffusion={"goal_channels": [2, 3]},
    ),
}


def untrained() -> Iterator[Case]:
    """What these models are for."""

    def case(name: str, what: str = "", make: Mapping[str, Any] | None = None, **more: Any) -> Case:
        title = f"{name}{what and ', '}{what}"
        given = {"make": make or {}, "checkpoint": f"made:{name}", **more}
        return Case("untrained", title, "diffusion_forcing", "maze2d-umaze", **given)

    yield case("actions")
    yield case("actions", "all of them", {"open_loop_horizon": 1000})
    yield case("actions", "fixed horizon", {"planner": "fixed_horizon", "horizon": 4, "open_loop_horizon": 3})
    yield case("actions", "no goal", {"goal_conditioned": False})
    for controller in ("inverse_dynamics", "path", "waypoints"):
        yield case("actions", controller, {"controller": controller})
    yield case("actions", "background", {"background": True, "control_period": 1e6})
    yield case("no_estimate")
    yield case("no_estimate", "horizons", {"search": {"horizons": [4, 9], "samples": 3}})
    yield case("no_estimate", "choosy", {"search": {"roughness_limit": 3.0, "hopeless": 1.5, "retries": 1}})
    for name in ("history", "full_sequence", "rewards", "recurrent", "causal", "v15", "appended"):
        yield case(name)
    yield case("history", "missing", {"missing": True, "open_loop_horizon": 4}, sensors="missing")
    yield case("history", "present only", {"present_only": True})
    yield case("history", "rough", {"observation_noise": 0.3}, sensors="noise")
    yield case("recurrent", "longer window", {"window": 24})
    yield case("recurrent", "history's weight", {"sampling": {"history_weight": 0.5, "matrix": "autoregressive"}})
    yield case("causal", "best of n", {"planner": "best_of_n", "candidates": 6})
    yield case("causal", "futures", {"sampling": {"futures": 2}})
    yield case("v15", "v1.5's controller", {"controller": "waypoints", "deviation": 1e9, "patience": 10**6})
    yield case("flat", sensors="flat")
    yield Case("untrained", "full_sequence, its file", "full_sequence", "maze2d-umaze", checkpoint="made:full_sequence")
