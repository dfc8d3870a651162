"""Compare policies on the same starts: `python scripts/compare.py env=maze2d-large policies=[diffuser,oracle]`.

Runs the episodes that are missing, then writes one report about all rows in the folder: report.md, report.html, CSV
and pictures. Rows are stored as episodes end, so a call that was killed goes on when it is given again.
"""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import hydra
from omegaconf import DictConfig
from rich.console import Console

from df_agent.benchmark.progress import ComparisonProgress, Work, comparison_progress
from df_agent.benchmark.raw_rows import read_raw_rows, restore_rows, write_raw_rows
from df_agent.benchmark.report import write_comparison
from df_agent.benchmark.store import PolicyStore, StoreError, file_name, locked, of_code, stored
from df_agent.benchmark.training_runs import policy_of
from df_agent.benchmark.types import EnvComparison, PolicyRows
from df_agent.checkpoint import CheckpointError
from df_agent.cli.compare_options import (
    as_list,
    check_options,
    environments,
    policies_asked,
    precision_asked,
    seeds_asked,
)
from df_agent.cli.extras import extras, film, path_of
from df_agent.cli.policies import (
    as_json,
    checkpoint_folder,
    described,
    goal_spec_of,
    identity,
    load_weights,
    make_policy,
    policy_config,
    policy_names,
    use_checkpoint,
)
from df_agent.cli.retrace import retrace
from df_agent.evaluation.provenance import content_hash, provenance
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import references_of
from df_agent.evaluation.rollout import PolicyError, episode_limit
from df_agent.runtime import keep_freed_memory
from df_agent.training.run_folder import RunError

console = Console()


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


def work_of(config: DictConfig, entry: Entry) -> Work:
    """Return how many control steps are still to be run, and how long one took so far."""
    if entry.error or entry.left_out:
        return Work(0)
    store, limit = entry.store, episode_limit(entry.store.env_id, config.max_steps)
    waves = [wave for seed in entry.seeds for wave in store.waves(seed, entry.episodes, config.num_envs)]
    episodes = sum(map(len, waves)) + len(store.untimed(entry.timing))
    rows = [record for seed in store.seeds() for record in store.rows(seed)]
    steps = sum(record.length for record in rows)
    return Work(episodes * limit, sum(record.wall_seconds for record in rows) / steps if steps else None)


def run(config: DictConfig, entry: Entry, progress: ComparisonProgress) -> None:
    """Run what is missing of a policy; an error of its own, or of its environment's, is kept in the entry."""
    env_id, name = entry.key
    assert entry.identity is not None
    label = f"{env_id} · {name}"
    if not progress.work[entry.key].steps:
        console.print(f"{label}: {summary(entry)}, as stored", markup=False, highlight=False, soft_wrap=True)
        return
    progress.show(label, "being made")
    try:
        policy = make_policy(entry.config)
        options: dict[str, Any] = {"max_steps": config.max_steps, "goal_spec": goal_spec_of(entry.config)}
        origin = provenance(checkpoint=checkpoint_folder(entry.config.policy))
        changed = (config.changes or {}).get(policy_of(name))
        about = {"sees": entry.config.policy.sees, "changes": None if changed is None else as_json(changed), **origin}
        entry.store.begin(entry.identity, about)
        for seed in entry.seeds:
            entry.store.fill(
                policy,
                seed=seed,
                episodes=entry.episodes,
                num_envs=config.num_envs,
                on_progress=progress.watch(entry.key, f"{label} · seed {seed}"),
                **options,
            )
        watch = progress.watch(entry.key, f"{label} · latencies")
        entry.store.time(
            policy,
            seed=entry.seeds[0],
            episodes=entry.timing,
            about=origin,
            on_progress=watch,
            **options,
        )
    except PolicyError as error:
        entry.error = str(error)
    except (ValueError, OSError, ImportError, RuntimeError, gym.error.Error) as error:  # an environment's, say
        entry.error = f"{type(error).__name__}: {error}"
    finally:
        progress.finish(entry.key)
    entry.store.error = entry.error
    seconds = progress.work[entry.key].seconds
    text = f"{label}: {entry.error or summary(entry)}, {seconds:.0f} s"
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def summary(entry: Entry) -> str:
    """Return in a line what came out."""
    rows = [record for seed in entry.store.seeds() for record in entry.store.rows(seed)]
    mean = sum(record.time_to_goal for record in rows) / len(rows)
    return f"{sum(record.success for record in rows)} of {len(rows)} arrived, mean {mean:.1f} steps"


def collect(config: DictConfig, folder: Path, found: list[Entry]) -> list[EnvComparison]:
    """Return all rows in the folder, those of earlier calls too, and write them as CSV."""
    errors = {entry.key: f"left out: {entry.left_out}" if entry.left_out else entry.error for entry in found}
    runs = [json.loads(path.read_text())["identity"]["env"] for path in sorted(folder.glob("rows/*/*/run.json"))]
    comparisons: list[EnvComparison] = []
    for env_id in dict.fromkeys([*environments(config), *runs]):
        asked = [name for env, name in errors if env == env_id]
        names = dict.fromkeys([*asked, *stored(folder, env_id)])
        policies, seeds = [], {}
        for name in sorted(names, key=lambda name: policy_of(name) != config.reference):
            store = PolicyStore(folder, env_id, name)
            records: list[EpisodeRecord] = []
            for seed in store.seeds():
                records += store.rows(seed)
                seeds.update({record.seed: seed for record in store.rows(seed)})
            about = store.run()
            sees = about.get("about", {}).get("sees", "") or sees_of(name, found)
            error = errors.get((env_id, name)) or store.error
            policies.append(PolicyRows(name, sees, records, store.timing(), error, about, what_is(name)))
        if any(rows.records for rows in policies):
            policies.sort(key=lambda rows: not rows.records)
            known = extras(config, env_id)
            if config.film:
                store = PolicyStore(folder, env_id, config.reference)
                known["videos"] |= film(config, store, make=not config.report_only)
            references = references_of(env_id)
            comparison = EnvComparison(env_id, policies, references, references.time_optimal_steps, **known)
            write_raw_rows(folder, comparison, seeds, len(comparisons))
            comparisons.append(comparison)
    return comparisons


def sees_of(name: str, found: list[Entry]) -> str:
    """Return what a policy without rows would see."""
    return next((str(entry.config.policy.sees) for entry in found if entry.store.policy == name), "")


def what_is(name: str) -> str:
    """Return what a policy is, in words; nothing for one that configs/policy does not have any more."""
    policy = policy_of(name)
    return str(described(policy).get("what", "")) if policy in policy_names() else ""


def compare(config: DictConfig, folder: Path) -> bool:
    """Run and report; return whether everything that was asked for is there."""
    if config.report_from:
        if config.retrace:
            raise ValueError("retrace=true adds paths to rows, report_from= keeps none; begin with start_from= instead")
        return report_from(config, folder)
    if config.report_only and not (folder / "rows").is_dir():
        raise FileNotFoundError(f"there are no rows of a comparison in {folder}; give its name= or output_dir=")
    found = entries(config, folder)
    with locked(folder):
        if config.start_from and not (folder / "rows").is_dir():
            restore_rows(Path(config.start_from), folder)
        if not config.report_only:
            prepare(config, folder, found)
            work = {entry.key: work_of(config, entry) for entry in found}
            with comparison_progress(work, console) as progress:
                for entry in found:
                    if entry.error is None and entry.left_out is None:
                        run(config, entry, progress)
        asked = [] if config.report_only else found
        comparisons = collect(config, folder, asked)
        if config.retrace:
            retrace(config, found, comparisons, console)
            comparisons = collect(config, folder, asked)
        if comparisons:
            console.print("Writing the report", style="dim")
            write_comparison(folder, comparisons)
    for entry in found:
        if entry.error or entry.left_out:
            text = f"{entry.store.policy} in {entry.store.env_id}: {entry.error or f'left out: {entry.left_out}'}"
            console.print(text, markup=False, style="yellow", soft_wrap=True)
    return bool(comparisons) and not any(entry.error for entry in found)


def report_from(config: DictConfig, folder: Path) -> bool:
    """Write the report about rows that are there as CSV."""
    if (folder / "rows").exists():
        raise FileExistsError(f"{folder} is a comparison of its own; give another name= or output_dir=")
    comparisons = []
    for part in read_raw_rows(Path(config.report_from), references_of):
        policies = sorted(part.policies, key=lambda rows: policy_of(rows.policy) != config.reference)
        comparisons.append(replace(part, policies=policies, **extras(config, part.env)))
    with locked(folder):
        write_comparison(folder, comparisons)
    return True


@hydra.main(version_base=None, config_path="../configs", config_name="compare")
def main(config: DictConfig) -> None:
    """Compare as the config says."""
    keep_freed_memory()
    name = config.name or "+".join(file_name(env_id) for env_id in environments(config))
    if config.report_from and not config.name:
        name = f"from-{Path(config.report_from).resolve().name}"
    folder = Path(config.output_dir or Path("outputs", "compare", name))
    try:
        complete = compare(config, folder)
    except (ValueError, OSError, RunError, ImportError, gym.error.Error) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    console.print(f"Written to {folder}", markup=False, highlight=False, soft_wrap=True)
    if not complete:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
