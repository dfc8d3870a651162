"""OGBench's long mazes: `python studies/long_mazes.py [env ...] [--episodes 50] [--seed 0]`.

Five tasks with so many episodes each, the same for every policy: the tree search as it ships, the best of N composed
plans, one composed plan, Diffuser with our controller, and the walker of the data, which sees the map. Writes
results/long_mazes.json and docs/long_mazes.png, or wherever --output and --picture say; rows of other environments or
policies from the same episodes stay there. --budgets searches with less and more instead, to show what thinking buys.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import df_envs  # noqa: F401 - registers the mazes
import numpy as np
from df_envs.ogbench_mazes import OGBENCH_IDS, TASKS, shortest_steps
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter
from rich.table import Table

from df_agent.checkpoint import CheckpointError
from df_agent.cli.measuring import console, new_figure, parser_of, rate, run, save, with_interval, write
from df_agent.cli.policies import checkpoint_folder, make_policy, policy_config
from df_agent.evaluation.metrics import bootstrap_interval
from df_agent.evaluation.provenance import provenance
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.rollout import PolicyError, rollout
from df_agent.types import Policy

SINGLE = 1  # episodes of each task that are run alone, for the time that planning takes
# Windows come to agree over many passes, and with new noise in each.
COMPOSED: dict[str, Any] = {
    "planner": "shortest_feasible",
    "sampling": {"overlap": 3, "steps": 40, "eta": 1.0, "temperature": 1.0},
}
LIMIT = {
    "feasibility": {"shortcut_limit": 1.1}
}  # the tree's is tighter, and charges what exceeds it; here that would be refused
ONE = {**COMPOSED, **LIMIT, "shortest_feasible": {"samples": 1, "horizon_multipliers": [1.1]}}
# What each is in df_configs/policy, and what is changed of it.
POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "tree_search": ("diffusion_forcing", {}),
    "best_of_n": ("diffusion_forcing", {**COMPOSED, **LIMIT, "shortest_feasible": {"samples": 1}}),
    "one_plan": ("diffusion_forcing", ONE),
    "diffuser": ("diffuser_long", {}),
    "wanderer": ("wanderer", {}),
}


def in_passes(changes: dict[str, Any], passes: int) -> dict[str, Any]:
    """Return what is changed of a policy, with so many denoising passes instead."""
    return {**changes, "sampling": {**changes["sampling"], "steps": passes}}


BUDGETS: dict[str, list[dict[str, Any]]] = {
    "tree_search": [{"tree_search": {"rounds": rounds}} for rounds in (5, 10, 20, 40)],
    "best_of_n": [in_passes(POLICIES["best_of_n"][1], passes) for passes in (10, 40)],
    "one_plan": [in_passes(ONE, passes) for passes in (10, 40)],
}
COLOURS = {"tree_search": "#1f6fe5", "best_of_n": "#e07b39", "one_plan": "#777777", "diffuser": "#7b3fa0"}


class Passes:
    """Counts the windows that went through a policy's network; Diffuser's are whole segments, up to 128 transitions."""

    def __init__(self, policy: Policy) -> None:
        self.windows = 0
        if hasattr(policy, "model"):
            getattr(policy.model, "diffusion", policy.model).network.register_forward_hook(self._count)

    def _count(self, module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        self.windows += len(output)


def row_of(env_id: str, name: str, options: argparse.Namespace, changes: dict[str, Any]) -> dict[str, Any]:
    """Run a policy on all tasks and return what was measured."""
    config = policy_config(POLICIES[name][0], env_id, changes={"policy": changes})
    policy = make_policy(config)
    passes, records, alone = Passes(policy), [], []
    for task in range(1, TASKS + 1):
        chosen = {"task": task}
        records += [run(policy, env_id, f"{env_id}, {name}, task {task}", options, env_options=chosen)]
    windows = passes.windows
    for task in range(1, TASKS + 1):
        alone += rollout(policy, env_id, episodes=SINGLE, seed=options.seed, num_envs=1, env_options={"task": task})
    origin = {"provenance": provenance(changes, checkpoint_folder(config.policy))}
    return {"env": env_id, "policy": name, "changes": changes, **measured(env_id, records, windows, alone), **origin}


def measured(
    env_id: str, records: Sequence[Sequence[EpisodeRecord]], windows: int, alone: Sequence[EpisodeRecord]
) -> dict[str, Any]:
    """Return success, steps, their ratio to the shortest way, and what the planning cost."""
    every = [record for of_task in records for record in of_task]
    steps = np.array([record.time_to_goal for record in every], dtype=np.float64)
    success, interval = rate([record.success for record in every])
    ratio = None
    if "teleport" not in env_id:
        bound = shortest_steps(
            env_id, np.array([record.start for record in every]), np.array([record.goal for record in every])
        )
        ratio = float(steps.sum() / bound.sum())
    return {
        "episodes": len(every),
        "success_rate": success,
        "success_rate_ci95": interval,
        "success_by_task": [float(np.mean([record.success for record in of_task])) for of_task in records],
        "time_to_goal": float(steps.mean()),
        "time_to_goal_ci95": list(bootstrap_interval(steps)),
        "ratio_to_shortest": ratio,
        "steps_to_goal": [int(each) for each in steps],
        "plans": float(np.mean([len(record.plans_to_goal) for record in every])),
        "windows_per_episode": windows / len(every),
        "seconds_alone": float(np.mean([record.policy_seconds_to_goal for record in alone])),
        "slowest_plan_alone": max((plan.seconds for record in alone for plan in record.plans), default=0.0),
    }


def draw(rows: Sequence[dict[str, Any]], budgets: Sequence[dict[str, Any]]) -> Figure:
    """Draw success and steps over the windows that were denoised per episode; without budgets, those of the table."""
    shown = list(budgets) or list(rows)
    mazes = sorted({row["env"] for row in shown}, key=OGBENCH_IDS.index)
    figure = new_figure(4.2 * len(mazes), 5.5)
    axes = figure.subplots(2, len(mazes), sharex="col", squeeze=False)
    for column, maze in enumerate(mazes):
        above, below = axes[:, column]
        for policy, colour in COLOURS.items():
            own = sorted(
                (row for row in shown if row["env"] == maze and row["policy"] == policy),
                key=lambda row: float(row["windows_per_episode"]),
            )
            if not own:
                continue
            cost = [row["windows_per_episode"] for row in own]
            low, high = ([row["success_rate_ci95"][k] for row in own] for k in (0, 1))
            above.plot(cost, [row["success_rate"] for row in own], "o-", color=colour, label=policy.replace("_", " "))
            above.vlines(cost, low, high, color=colour, alpha=0.4)
            below.plot(cost, [row["time_to_goal"] for row in own], "o-", color=colour)
        above.set(title=maze, ylim=(0, 1.03), ylabel="success", xscale="log")
        below.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        below.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        below.xaxis.set_minor_formatter(NullFormatter())
        below.set(ylim=(0, 1000), ylabel="mean steps (timeouts: 1000)", xlabel="windows denoised per episode")
    axes[1, 0].legend(*axes[0, 0].get_legend_handles_labels(), loc="center right")
    return figure


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the rows as a table."""
    table = Table("env", "policy", "success [95 %]", "by task", "steps", "of the shortest", "plans", "s per episode")
    for row in rows:
        ratio = row["ratio_to_shortest"]
        table.add_row(
            row["env"],
            row["policy"],
            with_interval(row["success_rate"], row["success_rate_ci95"]),
            " ".join(f"{share:.2f}" for share in row["success_by_task"]),
            f"{row['time_to_goal']:.0f}",
            "–" if ratio is None else f"{ratio:.2f}",
            f"{row['plans']:.1f}",
            f"{row['seconds_alone']:.1f}",
        )
    return table


def kept(options: argparse.Namespace, part: str) -> list[dict[str, Any]]:
    """Return rows from the same episodes that are there already, but those that are to be made anew."""
    if not options.output.exists():
        return []
    earlier = json.loads(options.output.read_text())
    rows: list[dict[str, Any]] = earlier.get(part, [])
    if options.report_only:
        options.seed = earlier["seed"]
        return rows
    if earlier["seed"] != options.seed:
        raise SystemExit(f"{options.output} holds rows of seed {earlier['seed']}: give another --output and --picture")
    if part != options.part:
        return rows
    anew = [(env_id, name) for env_id in options.mazes for name in options.policies]
    replaced = [row for row in rows if (row["env"], row["policy"]) in anew]
    if any(row["episodes"] != options.episodes * TASKS for row in replaced):
        raise SystemExit(f"{options.output} holds these rows of other --episodes: give another --output and --picture")
    return [row for row in rows if (row["env"], row["policy"]) not in anew]


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    about = (
        "tree search, the best of N composed plans, one of them, Diffuser and a walker with the map in OGBench's mazes"
    )
    parser = parser_of("long_mazes", about)
    parser.set_defaults(episodes=50)
    parser.add_argument("mazes", nargs="*", metavar="ENV", help=f"of {', '.join(OGBENCH_IDS)}")
    parser.add_argument("--policies", nargs="+", choices=list(POLICIES), help="all of them, unless told otherwise")
    parser.add_argument("--budgets", action="store_true", help="search with less and more, instead of as it ships")
    parser.add_argument("--report-only", action="store_true", help="draw what has been run, run nothing")
    options = parser.parse_args(arguments)
    for maze in options.mazes:
        if maze not in OGBENCH_IDS:
            parser.error(f"there is no {maze!r}; there are {', '.join(OGBENCH_IDS)}")
    options.mazes = options.mazes or [name for name in OGBENCH_IDS if "giant" in name]
    options.part = "budgets" if options.budgets else "rows"
    options.policies = options.policies or list(BUDGETS if options.budgets else POLICIES)
    if options.budgets and (lacking := [name for name in options.policies if name not in BUDGETS]):
        parser.error(f"only {', '.join(BUDGETS)} can search with less and more, not {', '.join(lacking)}")
    return options


def main() -> None:
    """Run all, print the table, write the numbers and the picture."""
    options = read_options()
    parts = {part: kept(options, part) for part in ("rows", "budgets")}
    made = parts[options.part]
    try:
        for env_id in [] if options.report_only else options.mazes:
            for name in options.policies:  # hours are not to be lost for want of the last one's weights
                checkpoint_folder(policy_config(POLICIES[name][0], env_id).policy)
        for env_id in [] if options.report_only else options.mazes:
            for name in options.policies:
                for changes in BUDGETS[name] if options.budgets else [POLICIES[name][1]]:
                    made.append(row_of(env_id, name, options, changes))
                    console.print(table_of(made[-1:]))
                    save(options, parts)  # what has been run is kept, whatever comes
    except (CheckpointError, PolicyError, ImportError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    if not parts["rows"] and not parts["budgets"]:
        raise SystemExit(f"there are no rows in {options.output} to report")
    made.sort(key=lambda row: (OGBENCH_IDS.index(row["env"]), list(POLICIES).index(row["policy"])))
    write(options, parts, table_of(made), draw(parts["rows"], parts["budgets"]))


if __name__ == "__main__":
    main()
