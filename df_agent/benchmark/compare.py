"""Policies on the same starts and goals: run what is missing, and say how they compare."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from df_agent.benchmark.raw_rows import write_raw_rows
from df_agent.benchmark.report import readme_table, write_comparison
from df_agent.benchmark.rows import EnvComparison, PolicyRows
from df_agent.benchmark.store import PolicyStore
from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.provenance import provenance
from df_agent.evaluation.references import NO_REFERENCES, References
from df_agent.evaluation.rollout import PLAIN, episode_limit
from df_agent.types import Policy


@dataclass(frozen=True, repr=False)
class ComparisonResult:
    """How policies compare in one or more environments; `repr` is the table.

    Attributes:
        environments: the episodes of all policies, an entry per environment.
    """

    environments: Sequence[EnvComparison]

    def __repr__(self) -> str:
        """Return the table."""
        return self.table()

    def table(self) -> str:
        """Return success rate, mean steps to the goal and the difference to the reference, as Markdown.

        The difference is how many steps later a policy reaches the goal than the reference on the same starts, with
        its 95 % interval. The fastest come first.
        """
        return readme_table(self.environments)

    def write(self, folder: str | Path) -> Path:
        """Write the report with its pictures, and the rows as CSV, of which every number can be made again.

        Args:
            folder: made if needed; files of the same names are replaced.

        Returns:
            The page, report.html.

        Raises:
            ValueError: see `make_tables`.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for position, comparison in enumerate(self.environments):
            write_raw_rows(folder, comparison, comparison.seeds, position)
        return write_comparison(folder, self.environments)


def compare(
    policies: Mapping[str, Policy],
    env_ids: str | Sequence[str],
    *,
    episodes: int = 100,
    seeds: Sequence[int] = (0,),
    reference: str | None = None,
    num_envs: int = 50,
    max_steps: int | None = None,
    timing_episodes: int = 1,
    references: Mapping[str, References] | None = None,
    goal_spec: GoalSpec = PLAIN,
    on_stage: Callable[[str], None] = lambda text: None,
) -> ComparisonResult:
    """Run policies on the same starts and goals.

    Episode i of a seed has the same start and goal whoever acts, so differences are paired; see
    `df_agent.benchmark.paired` for the statistics. `df-agent compare` does the same for the policies of
    df_configs, and keeps what it ran.

    Args:
        policies: name -> anything with Stable-Baselines3's `predict`; all of them act in every environment.
            "diffuser@1" is another training run of "diffuser".
        env_ids: gymnasium ids of goal-conditioned environments, or one.
        episodes: of each seed.
        seeds: of the rollouts, different ones.
        reference: name of the policy that the others are compared with; the first one by default.
        num_envs: environments side by side.
        max_steps: episode limit [control steps]; the environment's own by default.
        timing_episodes: episodes of the first seed run again with a single environment, to measure latencies; 0 for
            none.
        references: environment -> what is known about it.
        goal_spec: see `rollout`.
        on_stage: told what runs, for the terminal.

    Raises:
        ValueError: there is nothing to compare, or no such reference.
        PolicyError: a policy raised, or its actions are invalid.
    """
    names = _checked_names(policies, reference)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds must be different whole numbers, at least one, got {list(seeds)}")
    options: dict[str, Any] = {
        "seeds": seeds,
        "episodes": episodes,
        "timing_episodes": timing_episodes,
        "num_envs": num_envs,
        "max_steps": max_steps,
        "goal_spec": goal_spec,
    }
    found = []
    for env_id in [env_ids] if isinstance(env_ids, str) else env_ids:
        # The rows take the way through files that those of `df-agent compare` take.
        with TemporaryDirectory() as folder:
            stores = [PolicyStore(Path(folder), env_id, name) for name in names]
            for store in stores:
                on_stage(f"{store.policy} in {env_id}")
                _run(store, policies[store.policy], options)
            found.append(_gathered(stores, (references or {}).get(env_id, NO_REFERENCES)))
    if not found:
        raise ValueError("nothing to compare: no environments")
    return ComparisonResult(found)


def _run(store: PolicyStore, policy: Policy, options: Mapping[str, Any]) -> None:
    origin = provenance()
    store.begin({"env": store.env_id, "limit": episode_limit(store.env_id, options["max_steps"])}, origin)
    store.complete(policy, about=origin, **options)


def _gathered(stores: Sequence[PolicyStore], references: References) -> EnvComparison:
    rows = [PolicyRows(s.policy, "", s.all_rows(), s.timing(), provenance=s.run()) for s in stores]
    return EnvComparison(stores[0].env_id, rows, references, seeds=stores[0].seed_of_starts())


def _checked_names(policies: Mapping[str, Policy], reference: str | None) -> list[str]:
    """Return the policies' names, the reference's first."""
    if not policies:
        raise ValueError("nothing to compare: no policies")
    if odd := [name for name in policies if not re.fullmatch(r"\w[\w.+@ -]*", name)]:
        raise ValueError(f"names of policies are part of file names: letters, digits and _.+@-, got {odd[0]!r}")
    if reference is not None and reference not in policies:
        close = difflib.get_close_matches(reference, policies, n=1)
        hint = f". Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"the reference {reference!r} is not among the policies {', '.join(policies)}{hint}")
    return sorted(policies, key=lambda name: name != (reference or next(iter(policies))))
