"""What each part is worth: `python studies/ablation.py [--episodes 100]`, in maze2d-medium.

Runs the rows of studies/ablation.yaml on the same starts and goals, each a change of its group's base, and writes
results/ablation.json, docs/ablation.png and docs/ablation.md. Rows that are there already are kept, unless their model
has been trained anew; new ones whose model is not there are left out, with a line that says how to train it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import df_envs  # noqa: F401 - registers the mazes
import numpy as np
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from rich.table import Table

from df_agent.checkpoint import CheckpointError, load_checkpoint
from df_agent.cli.environments import trained
from df_agent.cli.measuring import console, measured, new_figure, parser_of, run, with_interval, write
from df_agent.evaluation.metrics import bootstrap_interval
from df_agent.evaluation.provenance import content_hash
from df_agent.evaluation.rollout import episode_limit
from df_agent.files import json_bytes, replace_file
from df_agent.migrations import policy_options
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.config import merge
from studies.timing import first_plan, seconds, starts

CONFIG = Path(__file__).with_suffix(".yaml")
MARKDOWN = """# What each part is worth

`{command}`: {episodes} starts of seed {seed} in `{env}`
and its goal, the same for all rows; time to the goal is censored at {limit} steps. Rows of a group differ in what their
label says, but models differ in their sizes and options, too: their commands below tell all. Intervals are bootstraps
over episodes, those of differences over episodes of the same start and goal: of some forty of them about two will miss.
Every model is of one training, so what another seed of it would do is not in them. The sentences were written for these
numbers. First plans are those of one environment, on two CPU cores;
rows that plan alike differ by up to a quarter.

![Steps to the goal of all rows](ablation.png)

"""
COLUMNS = (
    "",
    "success [95 %]",
    "at goal at end",
    "steps to goal [95 %]",
    "later than the first row [95 %]",
    "first plan [ms]",
    "finding",
)


def rows_of(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows: group, label, model, whole options and what they teach."""
    return [
        {
            "group": group["name"],
            "label": str(row["label"]),
            "model": row.get("model", ""),
            "options": merge(dict(group["base"]), dict(row["options"])),
            "teaches": row.get("teaches", ""),
        }
        for group in config["groups"]
        for row in group["rows"]
    ]


def command_of(row: Mapping[str, Any], env_id: str, options: argparse.Namespace) -> str:
    """Return the command that runs a row alone."""

    def flat(values: Mapping[str, Any], prefix: str) -> list[str]:
        out = []
        for key, value in values.items():
            out += flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [f"{prefix}{key}={value}"]
        return out

    words = [f"env={env_id}", f"episodes={options.episodes}", f"seed={options.seed}"]
    words += [f"policy.precision={options.precision}"] if options.precision != "auto" else []
    words += [f"checkpoint=runs/{env_id}-{row['model']}/final"] if row["model"] else []
    return " ".join(["df-agent evaluate", *words, *flat(row["options"], "policy.")])


def agent(row: Mapping[str, Any], env_id: str, options: argparse.Namespace) -> DiffusionForcingPolicy:
    """Return the agent of a row; raises CheckpointError if its model is not there."""
    return DiffusionForcingPolicy.from_pretrained(
        trained(env_id, row["model"]),
        max_steps=episode_limit(env_id, None),
        precision=options.precision,
        **row["options"],
    )


def measure(row: Mapping[str, Any], env_id: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one row."""
    policy = agent(row, env_id, options)
    records = run(policy, env_id, f"{row['group']}: {row['label']}", options, keep_paths=False)
    found = measured(records)
    interval = bootstrap_interval(np.array(found["steps_to_goal"], float))
    return {**row, **found, "interval": [float(v) for v in interval], "weights": weights_of(row, env_id)}


def same(kept: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether a row that was kept is what is asked for."""
    return all(kept[key] == row[key] for key in ("group", "label", "model", "options"))


def stored(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows that were kept, with today's names of options and the sentences of studies/ablation.yaml."""
    wanted = rows_of(OmegaConf.to_container(OmegaConf.load(CONFIG)))  # type: ignore[arg-type]
    found = []
    for row in rows:
        options = policy_options(row["options"])
        for planner in {"goal_guidance", "reward_guidance"} - {options.get("planner")}:
            options.pop(planner, None)  # what was one option for both
        kept = {**row, "options": options}
        found.append({**kept, **next((asked for asked in wanted if same(kept, asked)), {})})
    return found


def weights_of(row: Mapping[str, Any], env_id: str) -> str | None:
    """Return what tells a row's checkpoint from others; None if it is not there."""
    try:
        return content_hash(load_checkpoint(trained(env_id, row["model"])).folder)
    except CheckpointError:
        return None


def time_plans(rows: Sequence[dict[str, Any]], env_id: str, options: argparse.Namespace) -> None:
    """Time the first plan of one environment [ms] where it is not known, once for rows that plan alike."""
    known: dict[str, float] = {}
    for row in rows:
        alike = json.dumps([row["model"], row["options"]], sort_keys=True)
        if (options.retime or "plan_ms" not in row) and weights_of(row, env_id) is not None:
            if alike not in known:
                plan = first_plan(agent(row, env_id, options), starts(env_id, 1, options.seed))
                known[alike] = 1000 * float(np.median(seconds(plan, 5)))
            row["plan_ms"] = known[alike]


def keep(
    rows: Sequence[Mapping[str, Any]], earlier: Sequence[Mapping[str, Any]], env_id: str, options: argparse.Namespace
) -> None:
    """Write what there is, so that a run that is stopped goes on from here."""
    others = [old for old in earlier if not any(same(old, row) for row in rows)]
    found = {"env": env_id, "episodes": options.episodes, "seed": options.seed, "rows": [*rows, *others]}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    replace_file(options.output, json_bytes(found))


def draw(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the steps to the goal of all rows, group by group."""
    figure = new_figure(8, 0.24 * len(rows) + 1)
    axis = figure.subplots()
    groups = list(dict.fromkeys(row["group"] for row in rows))
    for k, row in enumerate(rows):
        low, high = row["interval"]
        colour = f"C{groups.index(row['group']) % 10}"
        axis.plot([low, high], [k, k], color=colour)
        axis.plot(row["time_to_goal"], k, "o", color=colour, ms=4)
        axis.text(high, k, f"  {row['success_rate']:.2f}", va="center", fontsize=7)
    axis.set_yticks(range(len(rows)), [f"{row['group']}: {row['label']}" for row in rows], fontsize=7)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.margins(x=0.1)
    axis.set(xlabel="steps to goal, with the success rate")
    return figure


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the Markdown table of a group's rows."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    first = np.array(rows[0]["steps_to_goal"], float)
    for k, row in enumerate(rows):
        later = np.array(row["steps_to_goal"], float) - first
        cells = [row["label"], with_interval(row["success_rate"], row["success_rate_ci95"])]
        cells += [f"{row['at_goal_at_end']:.2f}", around(row["time_to_goal"], row["interval"])]
        cells += [around(float(later.mean()), bootstrap_interval(later)) if k else ""]
        cells += [f"{row['plan_ms']:.0f}" if "plan_ms" in row else "", row["teaches"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def around(value: float, interval: Sequence[float]) -> str:
    """Return steps with their interval, as text."""
    return f"{value:.1f} [{interval[0]:.1f}, {interval[1]:.1f}]"


def markdown(rows: Sequence[Mapping[str, Any]], env_id: str, options: argparse.Namespace) -> str:
    """Return docs/ablation.md."""
    text = MARKDOWN.format(
        command=f"python studies/ablation.py --episodes {options.episodes} --seed {options.seed}",
        episodes=options.episodes,
        seed=options.seed,
        env=env_id,
        limit=episode_limit(env_id, None),
    )
    for group in dict.fromkeys(row["group"] for row in rows):
        own = [row for row in rows if row["group"] == group]
        commands = "\n".join(command_of(row, env_id, options) for row in own)
        text += f"## {group[0].upper()}{group[1:]}\n\n{table_of(own)}\n\n```bash\n{commands}\n```\n\n"
    return text.rstrip() + "\n"


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("ablation", "what each part is worth")
    parser.add_argument("--groups", nargs="*", default=None, help="of studies/ablation.yaml; all by default")
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "fp32"])
    parser.add_argument("--refresh", action="store_true", help="run rows again that are there")
    parser.add_argument("--retime", action="store_true", help="only time their first plans again")
    return parser.parse_args(arguments)


def main() -> None:
    """Run all rows that are not there; write after each."""
    options = read_options()
    try:
        ablate(options)
    except ValueError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


def ablate(options: argparse.Namespace) -> None:
    """Do what the options say."""
    config: Any = OmegaConf.to_container(OmegaConf.load(CONFIG))
    wanted, env_id = rows_of(config), config["env"]
    names = list(dict.fromkeys(row["group"] for row in wanted))
    if unknown := sorted(set(options.groups or []) - set(names)):
        raise ValueError(f"there are no groups {unknown}; there are {', '.join(names)}")
    earlier: list[dict[str, Any]] = []
    if options.output.exists():
        found = json.loads(options.output.read_text())
        if (found["seed"], found["episodes"]) != (options.seed, options.episodes):
            raise ValueError(
                f"{options.output} holds {found['episodes']} episodes of seed {found['seed']}: delete it, or give "
                f"another --output and --picture for {options.episodes} of seed {options.seed}"
            )
        earlier = stored(found["rows"])
    rows = []
    for row in wanted:
        kept = next((old for old in earlier if same(old, row)), None)
        asked = options.groups is None or row["group"] in options.groups
        if kept is not None and asked and weights_of(row, env_id) not in (None, kept["weights"]):
            console.print(f"{row['group']}: {row['label']} again, for its weights are others", highlight=False)
            kept = None
        if kept is not None and not (asked and options.refresh):
            rows.append(kept)
        elif asked:
            try:
                rows.append(measure(row, env_id, options))
                keep(rows, earlier, env_id, options)
            except CheckpointError as error:
                told = config.get("training", {}).get(row["model"], "")
                how = f"df-agent train env={env_id} method={row['model']} {told}".rstrip()
                console.print(f"{row['group']}: {row['label']} left out, train it by `{how}`: {error}", highlight=False)
    if not rows:
        raise ValueError("no row could be run")
    with console.status("timing"):
        time_plans(rows, env_id, options)
    table = Table("group", "row", "success [95 %]", "steps to goal [95 %]")
    for row in rows:
        success = with_interval(row["success_rate"], row["success_rate_ci95"])
        table.add_row(row["group"], row["label"], success, around(row["time_to_goal"], row["interval"]))
    write(options, {"env": env_id, "episodes": options.episodes, "rows": rows}, table, draw(rows))
    options.picture.with_suffix(".md").write_text(markdown(rows, env_id, options))


if __name__ == "__main__":
    main()
