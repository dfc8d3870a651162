"""Compare policies on the same starts: `df-agent compare env=maze2d-large policies=diffuser,oracle`.

Runs the episodes that are missing, then writes one report about all rows in the folder: report.md, report.html, CSV
and pictures. Rows are stored as episodes end, so a call that was killed continues when it is rerun.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import gymnasium as gym
from omegaconf import DictConfig
from rich.console import Console

from df_agent.benchmark.compare import ComparisonResult
from df_agent.benchmark.progress import ComparisonProgress, Work, comparison_progress
from df_agent.benchmark.raw_rows import read_raw_rows, restore_rows
from df_agent.benchmark.report import write_comparison
from df_agent.benchmark.rows import EnvComparison, PolicyRows
from df_agent.benchmark.store import PolicyStore, file_name, locked, stored
from df_agent.cli.compare_options import environments, policy_of, reference_of
from df_agent.cli.comparing import Entry, entries, precision_asked, prepare
from df_agent.cli.environments import references_by_name
from df_agent.cli.errors import errors_in_one_line
from df_agent.cli.extras import extras, film
from df_agent.cli.folders import check_writable
from df_agent.cli.policies import as_json, checkpoint_folder, described, goal_spec_of, make_policy, policy_names
from df_agent.cli.retrace import retrace
from df_agent.evaluation.active_rows import PolicyError
from df_agent.evaluation.provenance import provenance
from df_agent.evaluation.references import references_of
from df_agent.evaluation.rollout import episode_limit
from df_agent.runtime import keep_freed_memory, settle

console = Console()


def work_of(config: DictConfig, entry: Entry) -> Work:
    """Return how many control steps are still to be run, and how long one took so far."""
    if entry.error or entry.left_out:
        return Work(0)
    store, limit = entry.store, episode_limit(entry.store.env_id, config.max_steps)
    waves = [wave for seed in entry.seeds for wave in store.waves(seed, entry.episodes, config.num_envs)]
    episodes = sum(map(len, waves)) + len(store.untimed(entry.timing))
    rows = store.all_rows()
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
        origin = provenance(checkpoint=checkpoint_folder(entry.config.policy))
        changed = (config.changes or {}).get(policy_of(name))
        computed = settle(entry.config.policy.get("device", "auto"), precision_asked(config), config.threads)
        about = {
            "computation": asdict(computed),
            "sees": entry.config.policy.privileged,
            "changes": None if changed is None else as_json(changed),
            **origin,
        }
        entry.store.begin(entry.identity, about)
        entry.store.complete(
            policy,
            seeds=entry.seeds,
            episodes=entry.episodes,
            timing_episodes=entry.timing,
            num_envs=config.num_envs,
            max_steps=config.max_steps,
            goal_spec=goal_spec_of(entry.config),
            about=origin,
            watch=lambda what: progress.watch(entry.key, f"{label} · {what}"),
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
    rows = entry.store.all_rows()
    mean = sum(record.time_to_goal for record in rows) / len(rows)
    return f"{sum(record.success for record in rows)} of {len(rows)} reached the goal, mean {mean:.1f} steps"


def collect(config: DictConfig, folder: Path, found: list[Entry]) -> list[EnvComparison]:
    """Return all rows in the folder, those of earlier calls too."""
    errors = {entry.key: f"left out: {entry.left_out}" if entry.left_out else entry.error for entry in found}
    runs = [json.loads(path.read_text())["identity"]["env"] for path in sorted(folder.glob("rows/*/*/run.json"))]
    comparisons: list[EnvComparison] = []
    for env_id in dict.fromkeys([*environments(config), *runs]):
        asked = [name for env, name in errors if env == env_id]
        names = dict.fromkeys([*asked, *stored(folder, env_id)])
        policies, seeds = [], dict[int, int]()
        reference = reference_of(config, env_id)
        for name in sorted(names, key=partial(is_other, reference)):
            store = PolicyStore(folder, env_id, name)
            seeds |= store.seed_of_starts()
            about = store.run()
            sees = about.get("about", {}).get("sees", "") or sees_of(name, found)
            error = errors.get((env_id, name)) or store.error
            policies.append(PolicyRows(name, sees, store.all_rows(), store.timing(), error, about, what_is(name)))
        if any(rows.records for rows in policies):
            policies.sort(key=lambda rows: not rows.records)
            known = extras(config, env_id)
            if config.film:
                store = PolicyStore(folder, env_id, reference)
                known["videos"] |= film(config, store, make=not config.report_only)
            references = references_of(env_id)
            optimal = references.time_optimal_steps
            comparisons.append(EnvComparison(env_id, policies, references, optimal, seeds=seeds, **known))
    return comparisons


def is_other(reference: str, name: str) -> bool:
    """Whether a policy is none of the reference's training runs; to sort these before all others."""
    return policy_of(name) != reference


def sees_of(name: str, found: list[Entry]) -> str:
    """Return what a policy without rows would see."""
    return next((str(entry.config.policy.privileged) for entry in found if entry.store.policy == name), "")


def what_is(name: str) -> str:
    """Return what a policy is, in words; nothing for one that has no file any more."""
    policy = policy_of(name)
    return str(described(policy).get("description", "")) if policy in policy_names() else ""


def run_comparison(config: DictConfig, folder: Path) -> bool:
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
            ComparisonResult(comparisons).write(folder)
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
    for part in read_raw_rows(Path(config.report_from), references_by_name):
        reference = reference_of(config, part.env)
        policies = sorted(part.policies, key=lambda rows: is_other(reference, rows.policy))
        comparisons.append(replace(part, policies=policies, **extras(config, part.env)))
    with locked(folder):
        write_comparison(folder, comparisons)
    return True


def folder_of(config: DictConfig) -> Path:
    """Return where a comparison lies."""
    name = config.name or "+".join(file_name(env_id) for env_id in environments(config))
    if config.report_from and not config.name:
        name = f"from-{Path(config.report_from).resolve().name}"
    return Path(config.output_dir or Path("outputs", "compare", name))


def written(config: DictConfig) -> dict[str, str]:
    """Return the options that say where results go, with where that is."""
    return {"output_dir": str(folder_of(config))}


def main(config: DictConfig) -> None:
    """Compare as the config says."""
    keep_freed_memory()
    folder = folder_of(config)
    with errors_in_one_line():
        check_writable(folder)
        complete = run_comparison(config, folder)
    console.print(f"Written to {folder}", markup=False, highlight=False, soft_wrap=True)
    if not complete:
        raise SystemExit(1)
