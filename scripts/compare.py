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

import hydra
from extras import extras, film
from omegaconf import DictConfig
from policies import check_name, checkpoint_folder, identity, make_policy, policy_config, policy_names, use_checkpoint
from rich.console import Console
from yardsticks import check_env, fastest_steps, maze_yardsticks

from df_agent.evaluation.comparison.progress import ComparisonProgress, Work, comparison_progress
from df_agent.evaluation.comparison.raw_rows import read_raw_rows, write_raw_rows
from df_agent.evaluation.comparison.report import write_comparison
from df_agent.evaluation.comparison.store import PolicyStore, StoreError, file_name, locked, stored
from df_agent.evaluation.comparison.types import EnvComparison, PolicyRows
from df_agent.evaluation.provenance import provenance
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.rollout import PolicyError, episode_limit
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
        error: why it has no rows, or not all of them.
    """

    config: DictConfig
    store: PolicyStore
    seeds: list[int]
    episodes: int
    timing: int
    identity: dict[str, Any] | None = None
    error: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """The environment and the name."""
        return self.store.env_id, self.store.policy

    @property
    def applies(self) -> bool:
        """Whether the policy is made for this environment."""
        return fnmatch.fnmatch(self.store.env_id.removeprefix("envs:"), self.config.policy.get("only") or "*")


def environments(config: DictConfig) -> list[str]:
    """Return the ids asked for."""
    return [config.env] if isinstance(config.env, str) else list(config.env)


def entries(config: DictConfig, folder: Path) -> list[Entry]:
    """Return all that was asked for; raises ValueError for environments or policies that there are not."""
    if config.precision not in ("bf16", "fp32"):
        raise ValueError(
            f"precision must be bf16 or fp32, so that no timing decides about rows, got {config.precision}"
        )
    names, runs, changes = list(config.policies or policy_names()), config.runs or {}, config.changes or {}
    for name in [*names, *runs, *changes]:
        check_name(name)
    strange = sorted(set(runs) - set(names))
    if strange:
        raise ValueError(f"runs names {strange}, which are not among the policies {names}")
    found = []
    for env_id in environments(config):
        check_env(env_id)
        for name in names:
            for run, checkpoint in enumerate([None, *runs.get(name, [])]):
                own = policy_config(name, env_id, config.max_steps, config.precision, changes.get(name))
                if checkpoint is not None:
                    use_checkpoint(own.policy, checkpoint)
                slow = bool(own.policy.get("slow"))
                store = PolicyStore(folder, env_id, f"{name}@{run}" if run else name)
                seeds = list(config.seeds)[: config.slow_seeds if slow else None]
                episodes = min(config.episodes, config.slow_episodes) if slow else config.episodes
                timing = config.slow_timing_episodes if slow else config.timing_episodes
                found.append(Entry(own, store, seeds, episodes, timing))
    return found


def chosen(option: Any, entry: Entry) -> bool:
    """Whether an option, true or a list of policies, means this one."""
    name = entry.store.policy
    return bool(option) if isinstance(option, bool) else {name, name.partition("@")[0]} & set(option) != set()


def prepare(config: DictConfig, found: list[Entry]) -> None:
    """Find out what every entry's rows are made with; raises StoreError if rows of another making are there."""
    conflicts = []
    for entry in found:
        if not entry.applies:
            entry.error = f"left out: it is made for {entry.config.policy.only}"
            continue
        try:
            entry.identity = identity(entry.config, config.num_envs)
        except PolicyError as error:
            entry.error = str(error)
            continue
        changes = [] if chosen(config.refresh, entry) else entry.store.changes(entry.identity)
        code = all(change.startswith(("code.", "versions.")) for change in changes)
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
    for entry in found:
        if entry.identity is not None and chosen(config.refresh, entry):
            entry.store.drop()
        elif chosen(config.refresh_timing, entry):
            entry.store.drop_timing()


def work_of(config: DictConfig, entry: Entry) -> Work:
    """Return how many control steps are still to be run, and how long one took so far."""
    if entry.error:
        return Work(0)
    store, limit = entry.store, episode_limit(entry.store.env_id, config.max_steps)
    waves = [wave for seed in entry.seeds for wave in store.waves(seed, entry.episodes, config.num_envs)]
    episodes = sum(map(len, waves)) + len(store.untimed(entry.timing))
    rows = [record for seed in store.seeds() for record in store.rows(seed)]
    steps = sum(record.length for record in rows)
    return Work(episodes * limit, sum(record.wall_seconds for record in rows) / steps if steps else None)


def run(config: DictConfig, entry: Entry, progress: ComparisonProgress) -> None:
    """Run what is missing of a policy; an error of the policy's is kept in the entry."""
    env_id, name = entry.key
    assert entry.identity is not None
    label = f"{env_id} · {name}"
    if not progress.work[entry.key].steps:
        console.print(f"{label}: {summary(entry)}, as stored", markup=False, highlight=False)
        return
    progress.show(label, "being made")
    try:
        policy = make_policy(entry.config)
        origin = provenance(checkpoint=checkpoint_folder(entry.config.policy))
        entry.store.begin(entry.identity, {"sees": entry.config.policy.sees, **origin})
        for seed in entry.seeds:
            entry.store.fill(
                policy,
                seed=seed,
                episodes=entry.episodes,
                num_envs=config.num_envs,
                max_steps=config.max_steps,
                on_progress=progress.watch(entry.key, f"{label} · seed {seed}"),
            )
        watch = progress.watch(entry.key, f"{label} · latencies")
        entry.store.time(
            policy, seed=entry.seeds[0], episodes=entry.timing, max_steps=config.max_steps, on_progress=watch
        )
    except PolicyError as error:
        entry.error = str(error)
    finally:
        progress.finish(entry.key)
    seconds = progress.work[entry.key].seconds
    console.print(f"{label}: {entry.error or summary(entry)}, {seconds:.0f} s", markup=False, highlight=False)


def summary(entry: Entry) -> str:
    """Return in a line what came out."""
    rows = [record for seed in entry.store.seeds() for record in entry.store.rows(seed)]
    mean = sum(record.time_to_goal for record in rows) / len(rows)
    return f"{sum(record.success for record in rows)} of {len(rows)} arrived, mean {mean:.1f} steps"


def collect(config: DictConfig, folder: Path, found: list[Entry]) -> list[EnvComparison]:
    """Return all rows in the folder, those of earlier calls too, and write them as CSV."""
    errors = {entry.key: entry.error for entry in found}
    runs = [json.loads(path.read_text())["identity"]["env"] for path in sorted(folder.glob("rows/*/*/run.json"))]
    comparisons = []
    for env_id in dict.fromkeys([*environments(config), *runs]):
        asked = [name for env, name in errors if env == env_id]
        names = dict.fromkeys([*asked, *stored(folder, env_id)])
        policies, seeds = [], {}
        for name in sorted(names, key=lambda name: name.partition("@")[0] != config.reference):
            store = PolicyStore(folder, env_id, name)
            records: list[EpisodeRecord] = []
            for seed in store.seeds():
                records += store.rows(seed)
                seeds.update({record.seed: seed for record in store.rows(seed)})
            about = store.run()
            sees = about.get("about", {}).get("sees", "") or sees_of(name, found)
            policies.append(PolicyRows(name, sees, records, store.timing(), errors.get((env_id, name)), about))
        if any(rows.records for rows in policies):
            policies.sort(key=lambda rows: not rows.records)
            known = extras(config, env_id)
            if config.film and not config.report_only:
                known["videos"] |= film(config, PolicyStore(folder, env_id, config.reference))
            comparison = EnvComparison(env_id, policies, maze_yardsticks(env_id), fastest_steps(env_id), **known)
            write_raw_rows(folder, comparison, seeds)
            comparisons.append(comparison)
    return comparisons


def sees_of(name: str, found: list[Entry]) -> str:
    """Return what a policy without rows would see."""
    return next((str(entry.config.policy.sees) for entry in found if entry.store.policy == name), "")


def compare(config: DictConfig, folder: Path) -> bool:
    """Run and report; return whether everything that was asked for is there."""
    if config.report_from:
        read = read_raw_rows(Path(config.report_from), maze_yardsticks)
        write_comparison(folder, [replace(part, **extras(config, part.env)) for part in read])
        return True
    found = entries(config, folder)
    with locked(folder):
        if not config.report_only:
            prepare(config, found)
            work = {entry.key: work_of(config, entry) for entry in found}
            with comparison_progress(work, console) as progress:
                for entry in found:
                    if entry.error is None:
                        run(config, entry, progress)
        comparisons = collect(config, folder, [] if config.report_only else found)
        if comparisons:
            console.print("Writing the report", style="dim")
            write_comparison(folder, comparisons)
    for entry in found:
        if entry.error:
            console.print(f"{entry.store.policy} in {entry.store.env_id}: {entry.error}", markup=False, style="yellow")
    return bool(comparisons) and not any(entry.error and entry.applies for entry in found)


@hydra.main(version_base=None, config_path="../configs", config_name="compare")
def main(config: DictConfig) -> None:
    """Compare as the config says."""
    name = config.name or "+".join(file_name(env_id) for env_id in environments(config))
    folder = Path(config.output_dir or Path("outputs", "compare", name))
    try:
        complete = compare(config, folder)
    except (ValueError, OSError, RunError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    console.print(f"Written to {folder}", markup=False, highlight=False)
    if not complete:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
