"""Paths for rows that were kept without them: episodes that the report draws or lists are run again.

A comparison that goes on from CSV has no paths. Policies are deterministic but for the order of sums, so an episode
that is run again nearly always takes the path it took. One that goes otherwise now is left without, see
`PolicyStore.keep_path`; so are all of a policy whose rows were made with other options or weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.progress import track

from df_agent.benchmark.failures import DRAWN, LISTED
from df_agent.benchmark.path_plots import far_start
from df_agent.benchmark.rows import EnvComparison, Episodes
from df_agent.benchmark.store import PolicyStore, of_code
from df_agent.benchmark.tables import make_tables
from df_agent.cli.comparing import Entry
from df_agent.cli.policies import goal_spec_of, identity, make_policy
from df_agent.evaluation.active_rows import PolicyError
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.rollout import rollout


def retrace(config: DictConfig, found: Sequence[Entry], comparisons: Sequence[EnvComparison], console: Console) -> None:
    """Run the drawn and listed episodes of `found` again that have no path, and store it; of slow ones the drawn."""
    entries = {entry.key: entry for entry in found}
    for tables in map(make_tables, comparisons):
        start = far_start(tables)
        for episodes in tables.episodes:
            if (entry := entries.get((tables.comparison.env, episodes.name))) is None:
                continue
            wanted = without_path(episodes, start, DRAWN if entry.config.policy.get("slow") else LISTED)
            if not wanted:
                continue
            name = episodes.name
            label = f"{tables.comparison.env} · {name} · paths"
            try:
                changes = entry.store.changes(identity(entry.config, config.num_envs))
                if other := [change for change in changes if not of_code(change)]:
                    raise PolicyError(f"its rows were made with something else: {'; '.join(other[:4])}")
                policy = make_policy(entry.config)
                goal_spec = goal_spec_of(entry.config)
                options: dict[str, Any] = {"max_steps": config.max_steps, "policy_name": name, "goal_spec": goal_spec}
                again = 0
                for seed, record in track(
                    _numbered(entry.store, wanted),
                    label,
                    console=console,
                    transient=True,
                    disable=not console.is_terminal,
                ):
                    (traced,) = rollout(
                        policy, entry.store.env_id, episodes=1, first_episode=record.episode, seed=seed, **options
                    )
                    again += entry.store.keep_path(seed, traced)
                text = f"{again} of {len(wanted)} again"
            except PolicyError as error:  # its rows remain
                text = str(error)
            console.print(f"{label}: {text}", markup=False, highlight=False, soft_wrap=True)


def without_path(episodes: Episodes, start: int | None, failures: int) -> Sequence[EpisodeRecord]:
    """Return the episode from `start` and the first `failures` that failed, as far as they have no path."""
    records = episodes.rows.records
    failed = [record for record in records if not record.success][:failures]
    shown = {record.seed: record for record in [*failed, *(record for record in records if record.seed == start)]}
    return [record for record in shown.values() if not record.path]


def _numbered(store: PolicyStore, wanted: Sequence[EpisodeRecord]) -> list[tuple[int, EpisodeRecord]]:
    """Return the wanted episodes, each with the seed of the rollout it belongs to."""
    starts = {record.seed for record in wanted}
    return [(seed, record) for seed in store.seeds() for record in store.rows(seed) if record.seed in starts]
