"""What `df-agent compare` is asked for, checked before it runs, and whether stored rows are of the same making."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from df_envs.maps import maze_of
from omegaconf import DictConfig, ListConfig

from df_agent.benchmark.store import PolicyStore, StoreError, file_name, of_code, stored
from df_agent.benchmark.training_runs import policy_of
from df_agent.checkpoint import CheckpointError
from df_agent.cli.environments import check_env, own_maze
from df_agent.cli.policies import (
    check_name,
    described,
    identity,
    load_weights,
    policy_config,
    policy_names,
    use_checkpoint,
)  # fmt: skip
from df_agent.evaluation.active_rows import PolicyError
from df_agent.evaluation.provenance import content_hash
from df_agent.runtime import settle

OPTIONAL = ("slow", "only", "trained_by")  # keys that the file of a policy may lack
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
    return settle(precision=config.precision, threads=config.threads).precision


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
    settle(precision=config.precision, threads=config.threads)
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
        known = [*described(name), *OPTIONAL]
        if not isinstance(changed, Mapping | DictConfig):
            raise ValueError(f"changes.{name} must be options by name, got {changed!r}")
        for key in changed:
            if key not in known:
                raise ValueError(f"changes.{name}.{key}: {name}.yaml has no {key!r}.{_hint(key, known)}")


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


def path_of(text: str, env_id: str) -> Path:
    """Return a path in which {env} and {maze} are filled in."""
    try:
        maze = maze_of(env_id).name
    except ValueError:
        maze = env_id
    return Path(text.replace("{env}", file_name(env_id)).replace("{maze}", maze))


@dataclass
class Entry:
    """A policy, or another training run of it, in one environment.

    Attributes:
        config: as for `make_policy`.
        store: its rows.
        seeds: of the rollouts.
        episodes: of each seed.
        timing: episodes run one at a time.
        identity: what its rows are made with; None if that cannot be said.
        left_out: why it does not take part.
        error: why it has no rows, or not all of them.
    """

    config: DictConfig
    store: PolicyStore
    seeds: list[int]
    episodes: int
    timing: int
    identity: dict[str, Any] | None = None
    left_out: str | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The environment and the name."""
        return self.store.env_id, self.store.policy


def entries(config: DictConfig, folder: Path) -> list[Entry]:
    """Return all that was asked for; raises ValueError for options that make no sense."""
    check_options(config)
    runs, changes = config.runs or {}, config.changes or {}
    precision = precision_asked(config)
    found = []
    for env_id in environments(config):
        for name in policies_asked(config):
            for run, checkpoint in enumerate([None, *runs.get(name, [])]):
                own = policy_config(name, env_id, config.max_steps, precision, changes.get(name))
                if checkpoint is not None:
                    use_checkpoint(own.policy, str(path_of(checkpoint, env_id)))
                slow = bool(own.policy.get("slow"))
                store = PolicyStore(folder, env_id, f"{name}@{run}" if run else name)
                seeds = seeds_asked(config)[: config.slow_seeds if slow else None]
                episodes = min(config.episodes, config.slow_episodes) if slow else config.episodes
                timing = config.slow_timing_episodes if slow else config.timing_episodes
                found.append(Entry(own, store, seeds, episodes, timing))
                only = own.policy.get("only") or "*"
                if not fnmatch.fnmatch(env_id.removeprefix("df_envs:"), only):
                    found[-1].left_out = f"it is made for {only}"
    return found


def chosen(option: Any, entry: Entry) -> bool:
    """Whether an option, true or a list of policies, means this one."""
    name = entry.store.policy
    return bool(option) if isinstance(option, bool) else {name, policy_of(name)} & set(as_list(option)) != set()


def check_runs(found: list[Entry]) -> None:
    """Leave training runs out that are of another environment; raise ValueError if two are the same weights."""
    first = {entry.key: entry for entry in found if "@" not in entry.store.policy}
    several = {(env_id, policy_of(name)) for env_id, name in (entry.key for entry in found) if "@" in name}
    weights: dict[tuple[str, str, str], str] = {}
    for entry in found:
        (env_id, name), policy = entry.key, entry.config.policy
        key = env_id, policy_of(name)
        if key not in several or entry.identity is None:
            continue
        checkpoint = load_weights(policy)
        made_for = checkpoint.config.get("env")
        if first[key].identity is not None and made_for != load_weights(first[key].config.policy).config.get("env"):
            entry.left_out = f"its weights, {policy.checkpoint}, are of {made_for}"
        other = weights.setdefault((*key, content_hash(checkpoint.folder)), name)
        if other != name:
            raise ValueError(f"{name} and {other} in {env_id} have the same weights, {policy.checkpoint}")


def check_limits(folder: Path, found: list[Entry], refreshed: Any) -> None:
    """Raise StoreError if rows that stay in the folder are of episodes of another length than those asked for."""
    anew = {entry.key for entry in found if chosen(refreshed, entry)}
    limits = {entry.key[0]: entry.identity["limit"] for entry in found if entry.identity is not None}
    for env_id, limit in limits.items():
        for name in stored(folder, env_id):
            there = PolicyStore(folder, env_id, name).run()["identity"]["limit"]
            if there != limit and (env_id, name) not in anew:
                raise StoreError(
                    f"{folder} holds rows of {name} in {env_id} of {there} steps at most, now it would be {limit}: "
                    f"episodes of unequal length cannot be compared. Give max_steps={there}, or another name="
                )


def prepare(config: DictConfig, folder: Path, found: list[Entry]) -> None:
    """Find out what every entry's rows are made with; raises StoreError if rows of another making are there."""
    conflicts = []
    for entry in found:
        if entry.left_out:
            continue
        try:
            entry.identity = identity(entry.config, config.num_envs)
        except PolicyError as error:
            if config.policies is None and isinstance(error.__cause__, CheckpointError):
                entry.left_out = str(error)  # nobody asked for it by name
            else:
                entry.error = str(error)
            continue
    check_runs(found)
    for entry in found:
        if entry.left_out or entry.identity is None:
            continue
        changes = [] if chosen(config.refresh, entry) else entry.store.changes(entry.identity)
        code = all(map(of_code, changes))
        if changes and code and chosen(config.adopt, entry):
            entry.store.adopt(entry.identity)
        elif changes:
            more = f"; and {len(changes) - 4} more" if len(changes) > 4 else ""
            conflicts.append(f"{entry.store.policy} in {entry.store.env_id} ({'; '.join(changes[:4])}{more})")
    if conflicts:
        names = ",".join(dict.fromkeys(conflict.partition(" ")[0] for conflict in conflicts))
        raise StoreError(
            "there are rows that were made with something else:\n  " + "\n  ".join(conflicts) + "\n"
            f"Run them anew with refresh=[{names}], take another name=, keep rows of other code or versions with "
            f"adopt=[{names}], or only write the report about the rows there are with report_only=true"
        )
    check_limits(folder, found, config.refresh)
    for entry in found:
        if entry.identity is None or entry.left_out:
            continue  # what it has could not be made again
        if chosen(config.refresh, entry):
            entry.store.drop()
        elif chosen(config.refresh_timing, entry):
            entry.store.drop_timing()
