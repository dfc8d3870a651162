"""What `df-agent compare` is asked for, checked before anything that it needs is imported."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from df_agent.cli.environments import check_env, own_maze
from df_agent.cli.policy_files import check_name, described, policy_names, usual_policy
from df_agent.cli.policy_options import options_of_policy
from df_agent.cli.schema import Schema

OPTIONAL = ("slow", "only", "trained_by")  # keys that the file of a policy may lack


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


def policy_of(name: str) -> str:
    """Return whose training run "diffuser@1" is."""
    return name.partition("@")[0]


def reference_of(config: DictConfig, env_id: str) -> str:
    """Return the policy that the others are compared with in an environment: the usual one there, unless it is said."""
    return usual_policy(env_id) if config.reference is None else str(config.reference)


def check_options(config: DictConfig) -> None:
    """Raise ValueError, naming the option and what was probably meant, for one that makes no sense."""
    seeds = seeds_asked(config)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different whole numbers, at least one, e.g. seeds=[0,1]; got {config.seeds!r}")
    for env_id in environments(config):
        check_env(env_id)
    _check_names(config)


def _check_names(config: DictConfig) -> None:
    names = policies_asked(config)
    if not names:
        raise ValueError("policies=[] asks for none; leave it out for all of them")
    for name in [*names, *([] if config.reference is None else [policy_of(str(config.reference))])]:
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
        known = [*described(name), *OPTIONAL]
        if not isinstance(changed, Mapping | DictConfig):
            raise ValueError(f"changes.{name} must be options by name, got {changed!r}")
        for key in changed:
            if key not in known:
                raise ValueError(f"changes.{name}.{key}: {name}.yaml has no {key!r}.{_hint(key, known)}")
        schema = Schema(options_of_policy(name))
        for key, value in (changed.get("policy") or {}).items():
            try:
                schema.check(f"policy.{key}", plain(value))
            except ValueError as error:
                raise ValueError(f"changes.{name}: {error}") from None


def plain(value: Any) -> Any:
    """Return a part of a configuration as plain values, unresolved."""
    return OmegaConf.to_container(value, resolve=False) if isinstance(value, DictConfig | ListConfig) else value


def _among(option: str, given: Iterable[Any], names: list[str]) -> None:
    for name in map(str, given):
        check_name(name)
        if name not in names:
            raise ValueError(f"{option} names {name}, which is not among the policies {', '.join(names)}")


def _hint(name: Any, known: Iterable[Any]) -> str:
    texts = [str(one) for one in known]
    close = difflib.get_close_matches(str(name), texts, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" There are {', '.join(texts)}; its options are under policy."
