"""What `df-agent compare` is asked for, checked before it runs, and whether stored rows are of the same making."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from df_envs.maps import maze_of
from omegaconf import DictConfig

from df_agent.benchmark.store import PolicyStore, StoreError, file_name, of_code, stored
from df_agent.checkpoint import CheckpointError
from df_agent.cli.compare_options import as_list, check_options, environments, policies_asked, policy_of, seeds_asked
from df_agent.cli.policies import identity, load_weights, policy_config, use_checkpoint
from df_agent.evaluation.active_rows import PolicyError
from df_agent.evaluation.provenance import content_hash
from df_agent.runtime import settle


def precision_asked(config: DictConfig) -> str:
    """Return "bf16" or "fp32", of which rows are made, so that it does not hang on a timing for each policy."""
    return settle(precision=config.precision, threads=config.threads).precision


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
