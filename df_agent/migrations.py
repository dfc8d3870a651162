"""How files of earlier versions are read: one table of what changed with each format version.

Checkpoints, run folders, resolved configurations and datasets hold the version they were written in; one without was
written in version 1. `CHANGES[n]` leads from version n - 1 to version n. What is written is always of `FORMAT_VERSION`.

To change a name that stands in files: raise `FORMAT_VERSION` and give the new version an entry.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

FORMAT_VERSION = 2
VERSION_KEY = "format_version"

T = TypeVar("T")


@dataclass(frozen=True)
class Changes:
    """What changed with a version. Options are dotted paths, and several new ones for one that was split.

    Attributes:
        config: options of a checkpoint's configuration, or a training's.
        policy: options under its "policy".
        policy_values: options under "policy" that are gone: for each of their values the options that stand for it.
        weights: beginnings of names of weights, by the kind of model as `kind_of` says.
        modules: modules, packages with all that is in them, or classes; of several that fit, the longest counts.
    """

    config: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    policy: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    policy_values: Mapping[str, Mapping[Any, Mapping[str, Any]]] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    modules: Mapping[str, str] = field(default_factory=dict)


CHANGES = {
    2: Changes(
        config={"diffusion.objective": ("diffusion.prediction_type",)},
        policy={
            "search.stretch": ("shortest_feasible.horizon_multipliers",),
            "search.horizons": ("shortest_feasible.horizons",),
            "search.whole_windows": ("shortest_feasible.whole_windows",),
            "search.samples": ("shortest_feasible.samples",),
            "search.retries": ("shortest_feasible.retries",),
            "search.hopeless": ("shortest_feasible.reject_above",),
            "search.roughness_limit": ("feasibility.roughness_limit",),
            "search.shortcut_limit": ("feasibility.shortcut_limit",),
            "search.shortcut_pace": ("feasibility.shortcut_pace",),
            "search.gaps": ("feasibility.gaps",),
            "tree.segment": ("tree_search.segment",),
            "tree.strengths": ("tree_search.strengths",),
            "tree.jump": ("tree_search.jump",),
            "tree.width": ("tree_search.width",),
            "tree.rounds": ("tree_search.rounds",),
            "tree.stretch": ("tree_search.horizon_multipliers",),
            "tree.apart": ("tree_search.min_separation",),
            "tree.hopeless": ("tree_search.reject_above",),
            "tree.greed": ("tree_search.heuristic_weight",),
            "tree.enough": ("tree_search.stop_ratio",),
            "horizon": ("fixed_horizon.horizon",),
            "guidance_scale": ("goal_guidance.guidance_scale", "reward_guidance.guidance_scale"),
            "candidates": ("best_of_n.candidates",),
            "keep_share": ("switch_ratio",),
            "doubt": ("shortcut_penalty",),
        },
        policy_values={"goal_conditioned": {True: {}, False: {"planner": "unconditional"}}},
        weights={"agent": {"network.": "diffusion.network."}},
        modules={
            "envs": "df_envs",
            "planners": "df_planners",
            "planners.controllers": "df_planners.tracking",
            "planners.diffusion_forcing": "df_planners.shortest_feasible",
            "df_agent.acting": "df_agent.policies.observations",
            "df_agent.baselines.diffuser_policy": "df_agent.policies.diffuser",
            "df_agent.baselines.gcbc.GCBCPolicy": "df_agent.policies.learned_actors.GCBCPolicy",
            "df_agent.baselines.gciql.GCIQLPolicy": "df_agent.policies.learned_actors.GCIQLPolicy",
            "df_agent.baselines.path_following": "df_agent.policies.path_following",
            "df_agent.baselines.random": "df_agent.policies.random",
            "df_agent.baselines.sac_her.SACHERPolicy": "df_agent.policies.learned_actors.SACHERPolicy",
            "df_agent.baselines.sac_her_training": "df_agent.training.sac_her",
            "df_agent.baselines.shooting": "df_agent.policies.shooting",
            "df_agent.baselines.training": "df_agent.training.baseline",
            "df_agent.build": "df_agent.agent_model",
            "df_agent.convert": "df_agent.training.convert_v15",
            "df_agent.data.goal_view": "df_agent.data.goal_spec",
            "df_agent.data.hindsight": "df_agent.data.samplers.hindsight",
            "df_agent.data.moves": "df_agent.data.samplers.side_models",
            "df_agent.data.pairs": "df_agent.data.samplers.side_models",
            "df_agent.data.segments": "df_agent.data.samplers.segments",
            "df_agent.data.windows": "df_agent.data.samplers.windows",
            "df_agent.diffusion.guidance": "df_agent.diffusion.objectives",
            "df_agent.evaluation.asking": "df_agent.evaluation.active_rows",
            "df_agent.evaluation.comparison": "df_agent.benchmark",
            "df_agent.forecasting": "df_agent.world_model.forecasting",
            "df_agent.guidance": "df_agent.policies.costs",
            "df_agent.inference": "df_agent.agent_model",
            "df_agent.memory": "df_agent.runtime",
            "df_agent.models.waves": "df_agent.models.layers",
            "df_agent.policy": "df_agent.policies",
            "df_agent.policy.agent": "df_agent.policies.diffusion_forcing",
            "df_agent.policy.background": "df_agent.policies.async_planner",
            "df_agent.policy.following": "df_agent.policies.controllers",
            "df_agent.policy.planning": "df_planners.shortest_feasible",
            "df_agent.policy.searching": "df_planners.tree_search",
            "df_agent.proposals": "df_agent.policies.plan_sampler",
        },
    ),
}
GOAL_FUNCTIONS = ("achieved", "desired", "success")  # of a configuration's "goal"


def version_of(saved: Mapping[str, Any]) -> int:
    """Return the format version that something was written in; raises ValueError where this is none we know."""
    version = saved.get(VERSION_KEY, 1)
    if not isinstance(version, int) or not 1 <= version <= FORMAT_VERSION:
        raise ValueError(f"format version {version}, this df-agent reads up to {FORMAT_VERSION}: update it")
    return version


def config(saved: Mapping[str, Any], version: int | None = None) -> dict[str, Any]:
    """Return the configuration of a checkpoint or a training as it is written today.

    Args:
        saved: as it was written; left as it is. What it does not hold stays absent.
        version: in which version; by default as it says itself.
    """
    found = dict(saved)
    for changes in _since(version_of(saved) if version is None else version):
        found = renamed(found, changes.config)
        if isinstance(found.get("policy"), Mapping):
            found["policy"] = _policy(found["policy"], changes)
        if isinstance(found.get("goal"), Mapping):
            functions = {k: v for k, v in found["goal"].items() if k in GOAL_FUNCTIONS and isinstance(v, str)}
            moved = {k: _moved(v, changes.modules) for k, v in functions.items() if ":" in v}
            found["goal"] = {**found["goal"], **moved}
    return {**found, VERSION_KEY: FORMAT_VERSION} if VERSION_KEY in found else found


def policy_options(old: Mapping[str, Any], version: int = 1) -> dict[str, Any]:
    """Return a policy's options, nested as in a checkpoint, of a version under today's names."""
    found = dict(old)
    for changes in _since(version):
        found = _policy(found, changes)
    return found


def policy_entry(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a policy beside results, under today's names: in version 1 `policy` was called `make`."""
    found = dict(saved)
    if "make" in found:
        found["policy"] = _made_with(found.pop("make"))
    return found


def _made_with(old: Mapping[str, Any]) -> dict[str, Any]:
    names = {"replan_every": "open_loop_horizon", "eyes": "encoder"}
    found: dict[str, Any] = {}
    for name, value in old.items():
        value = module_path(value) if name in ("_target_", "path") else value
        found[names.get(name, name)] = _made_with(value) if isinstance(value, Mapping) else value
    if str(found.get("_target_", "")).endswith("DiffusionForcingPolicy.from_pretrained"):
        return policy_options(found)
    if isinstance(planner := found.get("planner"), Mapping):  # MPPI or CEM, which had a class of its own here
        options = {name: value for name, value in planner.items() if name != "_target_"}
        found |= {"planner": str(planner["_target_"]).rpartition(".")[2].lower(), "options": options}
    return found


def weights(named: Mapping[str, T], saved_config: Mapping[str, Any], version: int) -> dict[str, T]:
    """Return what is kept per weight (values, an optimiser's moments) under today's names of the weights.

    Args:
        named: name -> whatever belongs to it.
        saved_config: the configuration beside them, old or new, which says what kind of model it is.
        version: in which they were written.
    """
    found, kind = dict(named), kind_of(saved_config)
    for changes in _since(version):
        for old, new in changes.weights.get(kind, {}).items():
            found = {new + name.removeprefix(old) if name.startswith(old) else name: v for name, v in found.items()}
    return found


def kind_of(saved_config: Mapping[str, Any]) -> str:
    """Return what a checkpoint holds: "agent" (a model of trajectories or series), a baseline's name, or "other"."""
    if algorithm := saved_config.get("algorithm"):
        return str(algorithm)
    return "agent" if {"network", "diffusion"} <= saved_config.keys() and "video" not in saved_config else "other"


def module_path(name: str, version: int = 1) -> str:
    """Return the present name of a module, of something in it ("package.module.Class"), or "module:function"."""
    for changes in _since(version):
        name = _moved(name, changes.modules)
    return name


def env_spec(text: str, version: int = 1) -> str:
    """Return the JSON of a gymnasium `EnvSpec`, as datasets hold it, with the present names of our modules."""
    spec = json.loads(text)

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        points = {k: module_path(v, version) for k, v in value.items() if isinstance(v, str) and "entry_point" in k}
        return {**{key: walk(inner) for key, inner in value.items()}, **points}

    return json.dumps(walk(spec))


def renamed(options: Mapping[str, Any], table: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return nested options with dotted paths renamed; where the new name is there too, it counts.

    A part that is emptied by that goes.
    """
    found = dict(options)
    for old, targets in table.items():
        *parents, last = old.split(".")
        holder: Any = found
        for part in parents:
            holder = holder.get(part) if isinstance(holder, Mapping) else None
        if not isinstance(holder, Mapping) or last not in holder or isinstance(holder[last], Mapping):
            continue  # an option is a value; what holds options has kept its name or is the new one
        value = holder[last]
        _put(found, [*parents, last], None, remove=True)
        for target in targets:
            _put(found, target.split("."), value)
    new = {target.partition(".")[0] for targets in table.values() for target in targets}
    parts = {old.partition(".")[0] for old in table if "." in old} - new
    return {name: value for name, value in found.items() if name not in parts or value}


def _policy(options: Mapping[str, Any], changes: Changes) -> dict[str, Any]:
    found = renamed(options, changes.policy)
    for name, values in changes.policy_values.items():
        if name in found:
            found |= values[found.pop(name)]
    return found


def _put(options: dict[str, Any], path: list[str], value: Any, remove: bool = False) -> None:
    """Set, unless it is set, or remove the option at a path; copies what it changes."""
    first, *rest = path
    if rest:
        inner = dict(options.get(first) or {})
        _put(inner, rest, value, remove)
        options[first] = inner
        if remove and not inner:
            del options[first]
    elif remove:
        options.pop(first, None)
    else:
        options.setdefault(first, value)


def _moved(name: str, modules: Mapping[str, str]) -> str:
    fits = [old for old in modules if name == old or name.startswith((f"{old}.", f"{old}:"))]
    if not fits:
        return name
    longest = max(fits, key=len)
    return modules[longest] + name.removeprefix(longest)


def _since(version: int) -> list[Changes]:
    return [changes for number, changes in sorted(CHANGES.items()) if number > version]
