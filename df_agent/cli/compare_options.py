"""What `scripts/compare.py` is asked for, checked before anything runs: a typo costs no hours."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from df_agent.benchmark.training_runs import policy_of
from df_agent.cli.environments import check_env, own_maze
from df_agent.cli.policies import FOLDER, check_name, policy_names
from df_agent.runtime import check_precision, choose_device, computes_in_bf16

OPTIONAL = ("slow", "only", "trained_by")  # keys that a file in configs/policy may lack
AT_LEAST = {
    "episodes": 1, "slow_episodes": 1, "slow_seeds": 1, "num_envs": 1, "timing_episodes": 0, "slow_timing_episodes": 0,
}  # fmt: skip


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, and anything else as the only one."""
    return list(value) if isinstance(value, list | ListConfig) else [value]


def environments(config: DictConfig) -> list[str]:
    """Return the ids asked for."""
    return [own_maze(str(env_id), config.get("maze")) for env_id in as_list(config.env)]


def policies_asked(config: DictConfig) -> list[str]:
    """Return the names asked for, all of them by default."""
    return policy_names() if config.policies is None else list(dict.fromkeys(map(str, as_list(config.policies))))


def seeds_asked(config: DictConfig) -> list[int]:
    """Return the seeds of the rollouts."""
    return as_list(config.seeds)


def precision_asked(config: DictConfig) -> str:
    """Return "bf16" or "fp32", of which rows are made, so that it does not hang on a timing for each policy."""
    if config.precision != "auto":
        return str(config.precision)
    return "bf16" if computes_in_bf16(choose_device()) else "fp32"


def check_options(config: DictConfig) -> None:
    """Raise ValueError, naming the option and what was probably meant, for one that makes no sense."""
    for name, least in AT_LEAST.items():
        if not _whole(config[name]) or config[name] < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {config[name]!r}")
    if config.max_steps is not None and (not _whole(config.max_steps) or config.max_steps < 1):
        raise ValueError(f"max_steps must be a whole number of at least 1, or null, got {config.max_steps!r}")
    seeds = seeds_asked(config)
    if not seeds or not all(_whole(seed) and seed >= 0 for seed in seeds) or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different whole numbers, at least one, e.g. seeds=[0,1]; got {config.seeds!r}")
    check_precision(config.precision, choose_device())
    for env_id in environments(config):
        check_env(env_id)
    _check_names(config)


def _check_names(config: DictConfig) -> None:
    names = policies_asked(config)
    if not names:
        raise ValueError("policies=[] asks for none; leave it out for all of them")
    for name in [*names, policy_of(str(config.reference))]:
        check_name(name)
    for option in ("runs", "changes"):
        if not isinstance(config[option] or {}, DictConfig | dict):
            raise ValueError(f"{option} must be given by policy, {option}={{POLICY: ...}}, got {config[option]!r}")
        _among(option, config[option] or {}, names)
    for option in ("refresh", "refresh_timing", "adopt"):
        if not isinstance(config[option], bool):
            _among(option, [policy_of(str(name)) for name in as_list(config[option])], names)
    for name, paths in (config.runs or {}).items():
        if not isinstance(paths, list | ListConfig):
            raise ValueError(f"runs.{name} must be a list of checkpoints, runs={{{name}: [PATH, ...]}}, got {paths!r}")
    for name, changed in (config.changes or {}).items():
        known = [*OmegaConf.load(FOLDER / f"{name}.yaml"), *OPTIONAL]
        if not isinstance(changed, Mapping | DictConfig):
            raise ValueError(f"changes.{name} must be options by name, got {changed!r}")
        for key in changed:
            if key not in known:
                raise ValueError(f"changes.{name}.{key}: configs/policy/{name}.yaml has no {key!r}.{_hint(key, known)}")


def _among(option: str, given: Iterable[Any], names: list[str]) -> None:
    for name in map(str, given):
        check_name(name)
        if name not in names:
            raise ValueError(f"{option} names {name}, which is not among the policies {', '.join(names)}")


def _hint(name: Any, known: Iterable[Any]) -> str:
    texts = [str(one) for one in known]
    close = difflib.get_close_matches(str(name), texts, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" There are {', '.join(texts)}; its options are under policy."


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
