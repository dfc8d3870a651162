"""Every option of the agent, as cases of `behaviour.py`; models without training stand in for what does not ship."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from studies.behaviour_cases import Case

SAMPLING: dict[str, Mapping[str, Any]] = {
    "one pass": {"steps": 1},
    "many passes": {"steps": 12},
    "pyramid": {"matrix": "pyramid", "uncertainty": 0.5},
    "autoregressive": {"matrix": "autoregressive", "steps": 2},
    "trapezoid": {"matrix": "trapezoid"},
    "near first": {"matrix": "near_first", "near": 3, "uncertainty": 0.5},
    "near first, half": {"matrix": "near_first"},
    "DDPM": {"eta": 1.0},
    "between DDIM and DDPM": {"eta": 0.4, "steps": 5},
    "cold": {"temperature": 0.0},
    "warm": {"temperature": 1.3},
    "stabilised": {"matrix": "pyramid", "stabilization_level": 20},
    "goal's weight": {"goal_weight": 1.5},
    "history's weight": {"history_weight": 0.5},
    "both weights": {"goal_weight": 2.0, "history_weight": 1.5},
}
SEARCH: dict[str, Mapping[str, Any]] = {
    "many samples": {"samples": 6},
    "no retries": {"retries": 0},
    "retries": {"retries": 4, "roughness_limit": 0.05},
    "hopeless": {"roughness_limit": 0.02, "shortcut_limit": 0.7, "hopeless": 1.0},
    "never hopeless": {"roughness_limit": 0.02, "shortcut_limit": 0.7, "hopeless": 1e9},
    "stretch": {"stretch": [1.0, 2.0]},
    "full pace": {"shortcut_pace": "full", "shortcut_limit": 0.8},
    "gaps": {"gaps": [2, 9], "shortcut_limit": 1.1},
    "whole windows": {"whole_windows": True},
}
TREE: dict[str, Mapping[str, Any]] = {
    "": {},
    "wide": {"segment": 3, "width": 8, "rounds": 6, "strengths": [0.0, 0.2, 0.5]},
    "jump": {"jump": 8, "stretch": [1.0, 1.4], "greed": 2.0},
    "picky": {"hopeless": 1.0, "apart": 30.0, "enough": 0.7, "rounds": 5},
}
AGENT: dict[str, Mapping[str, Any]] = {
    "fixed horizon": {"planner": "fixed_horizon"},
    "fixed horizon of 6": {"planner": "fixed_horizon", "horizon": 6},
    "waypoints": {"controller": "waypoints"},
    "no goal": {"goal_conditioned": False},
    "no goal, tree": {"goal_conditioned": False, "planner": "tree_search"},
    "no goal, best of n": {"goal_conditioned": False, "planner": "best_of_n", "candidates": 4},
    "no goal, fixed horizon": {"goal_conditioned": False, "planner": "fixed_horizon"},
    "often": {"open_loop_horizon": 5},
    "seldom": {"open_loop_horizon": 1000},
    "sensitive": {"deviation": 0.1},
    "insensitive": {"deviation": math.inf},
    "holds early": {"hold_distance": 3.0, "open_loop_horizon": 10},
    "never holds": {"hold_distance": 0.0, "open_loop_horizon": 10},
    "keeps its plans": {"keep_share": 0.5, "open_loop_horizon": 8},
    "keeps no plan": {"keep_share": 100.0, "open_loop_horizon": 8},
    "stuck": {"tracker": {"action_limit": 0.03}, "patience": 8, "doubt": 1.3, "open_loop_horizon": 60},
    "stuck, without doubt": {"tracker": {"action_limit": 0.03}, "patience": 8, "doubt": 1.0},
    "patient": {"tracker": {"action_limit": 0.03}, "patience": 1000, "open_loop_horizon": 60},
    "gains": {"tracker": {"position_gain": 4.0, "velocity_gain": 0.3, "lookahead": 0.4}},
    "velocities not observed": {"velocity_indices": []},
    "slower clock": {"velocity_indices": [], "control_period": 0.02},
    "present only": {"present_only": True},
    "shorter window": {"window": 10},
    "endless deadline": {"max_plan_ms": 1e9, "search": {"samples": 3}},
    "no time at all": {"max_plan_ms": 1e-6, "search": {"samples": 3}},
    "background": {"background": True, "control_period": 1e6},
    "background, often": {"background": True, "control_period": 1e6, "open_loop_horizon": 6},
}
GUIDED: dict[str, Mapping[str, Any]] = {
    "goal guidance": {"guidance_scale": 2.0},
    "strong": {"guidance_scale": 6.0, "sampling": {"matrix": "pyramid", "uncertainty": 1.0}},
    "futures": {"sampling": {"matrix": "pyramid", "futures": 3}},
    "futures, near first": {"sampling": {"matrix": "near_first", "futures": 2, "eta": 0.5}},
    "waypoints": {"controller": "waypoints", "sampling": {"stabilization_level": 10, "matrix": "pyramid"}},
    "no goal": {"goal_conditioned": False},
}
COSTS: dict[str, Mapping[str, Any]] = {
    "Avoid": {"centre": [0.5, 0.5], "radius": 1.2, "steps": 400.0},
    "PassBy": {"place": [-1.5, 1.5], "radius": 0.3, "steps": 300.0},
    "KeepSpeed": {"speed": 0.02, "frame_skip": 8, "steps": 50.0},
}


def options() -> Iterator[Case]:
    """Every option of the agent, one or a few at a time."""
    env = "multi2d-medium"

    def case(group: str, name: str, make: Mapping[str, Any], where: str = env, **more: Any) -> Case:
        return Case(group, name, "diffusion_forcing", where, make=make, **more)

    for name, make in SAMPLING.items():
        yield case("sampling", name, {"sampling": make})
    for name, make in SEARCH.items():
        yield case("search", name, {"search": make})
    for name, make in TREE.items():
        yield case("tree search", name or "as it is", {"planner": "tree_search", "tree": make}, steps=50)
    for name, make in AGENT.items():
        yield case("agent", name, make, steps=80)
    for name, make in GUIDED.items():
        given = {"planner": "goal_guidance", **make, "sampling": {"steps": 8, **make.get("sampling", {})}}
        yield case("guidance", name, given, steps=60)
    small = {"planner": "best_of_n", "candidates": 8}
    yield case("guidance", "best of n", small)
    yield case("agent", "untrained", {}, untrained=True, where="maze2d-umaze")
    long = {"window": 28, "sampling": {"overlap": 4}}
    yield case("composition", "overlap", {**long, "search": {"stretch": [1.0, 3.0]}}, "multi2d-umaze")
    yield case("composition", "fixed horizon", {**long, "planner": "fixed_horizon"})
    yield case("composition", "tree", {**long, "planner": "tree_search", "tree": {"rounds": 3}}, steps=40)
    yield from with_costs(case)
    yield from with_sensors(case)
    for policy, where in (("goal_guidance", "multi2d-umaze"), ("goal_guidance", "maze2d-large")):
        yield Case("files", f"{policy}, {where}", policy, where, steps=60)
    for policy, steps in (("best_of_n", 60), ("diffusion_forcing_v15", 56)):
        yield Case("files", policy, policy, "maze2d-umaze", steps=steps)
    yield Case("files", "best_of_n, large", "best_of_n", "multi2d-large", steps=10, num_envs=2)
    yield Case(
        "files", "diffusion_forcing_v15, medium", "diffusion_forcing_v15", "multi2d-medium", steps=10, num_envs=2
    )


def with_costs(case: Callable[..., Case]) -> Iterator[Case]:
    """Costs, one by one and together, judged and as guidance."""
    for name, arguments in COSTS.items():
        yield case("costs", name, {"search": {"samples": 2}}, costs=((name, arguments),))
    every = tuple(COSTS.items())
    yield case("costs", "all", {"keep_share": 0.9, "open_loop_horizon": 10}, costs=every)
    yield case("costs", "strong", {"cost_scale": 0.1}, costs=every[:1])
    yield case("costs", "judged only", {"cost_scale": 0.0, "search": {"samples": 4}}, costs=every[:2])
    yield case("costs", "fixed horizon", {"planner": "fixed_horizon", "horizon": 8}, costs=every[:1])
    yield case("costs", "waypoints", {"controller": "waypoints"}, costs=every[2:])


def with_sensors(case: Callable[..., Case]) -> Iterator[Case]:
    """Observations that are rough or missing."""
    blind: dict[str, Mapping[str, Any]] = {"missing": {}, "missing velocities": {"velocity_indices": []}}
    for name, make in blind.items():
        yield case("sensors", name, {"missing": True, "open_loop_horizon": 5, **make}, sensors="missing")
    yield case("sensors", "missing and rough", {"missing": True, "observation_noise": 0.1}, sensors="missing")
    yield case("sensors", "observation_noise", {"observation_noise": 0.2})
    yield case("sensors", "rows of their own", {"open_loop_horizon": 5}, sensors="noise")
    weighted = {"observation_noise": 0.05, "planner": "goal_guidance", "sampling": {"steps": 6, "history_weight": 2.0}}
    yield case("sensors", "guided", weighted, steps=40)
