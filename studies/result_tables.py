"""The tables of the README and of docs/, each made from files of results/."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from df_agent.benchmark.rows import EnvComparison
from df_agent.benchmark.tables import make_tables
from df_agent.cli.policies import described, policy_names
from df_agent.evaluation.failures import counted, stored_kinds
from df_agent.evaluation.metrics import time_to_goal, wilson_interval
from df_agent.evaluation.records import read_records, stored_file
from df_agent.migrations import policy_entry
from studies.ablation import markdown, read_options, stored, table_of
from studies.how_much import TASKS, over_data, over_training

RESULTS = Path(__file__).parents[1] / "results"
COLUMNS = (
    "env", "planner", "seed", "episodes", "success", "at goal at end", "steps to goal [95 %]", "oracle", "ratio",
    "plan ms, one env (p50 / p95)",
)  # fmt: skip

# In outputs/own_environment, folders ENVIRONMENT-NAME
FRONT = {
    "diffusion_forcing": "df-agent",
    "diffuser": "Diffuser",
    "diffuser_ddim": "Diffuser, DDIM, replanning and our controller",
    "diffusion_forcing_v15": "Diffusion Forcing v1.5's settings",
    "gciql": "implicit Q-learning",
    "gcbc": "behaviour cloning",
    "oracle": "oracle: shortest path and PD control †",
    "random": "random actions",
}
OWN_STARTS = 200
OWN_POLICIES = {
    "ours": "ours",
    "direct": "ours, aimed at the goal itself",
    "fixed": "ours, always as far ahead as plans reach",
    "half": "ours, always as far ahead as the mean way takes",
    "unsupported": "ours, plans not judged by the data's support",
    "far": "ours, aimed 30 steps ahead on plans",
    "gcbc": "gcbc",
    "demonstrator": "demonstrator, clumsy, whose data it is",
    "reference": "reference, in haste and without noise",
}


def success(row: dict[str, Any]) -> str:
    """Return a success rate with its interval."""
    low, high = row["success_rate_ci95"]
    return f"{row['success_rate']:.2f} [{low:.2f}, {high:.2f}]"


def sanity_table() -> str:
    """Return the Markdown table of what is left of our agent without goals or training."""
    result = json.loads((RESULTS / "sanity" / "maze2d-large-diffusion_forcing-seed0.json").read_text())
    lines = ["| shown to the agent | success [95 %] | mean steps, timeouts as 800 |", "|---|---|---|"]
    lines += [f"| {row['policy']} | {success(row)} | {row['time_to_goal_mean']:.0f} |" for row in result["rows"]]
    lines.append(f"| trajectories in the data that touch the goal by chance | {result['wandering_rate']:.2f} | |")
    return "\n".join(lines)


def shuffled_table() -> str:
    """Return the Markdown table of every policy with its own goals and with those of other episodes."""
    lines = ["| policy | env | episodes | success [95 %] | with other episodes' goals |", "|---|---|---|---|---|"]
    for path in sorted((RESULTS / "sanity").glob("*.json")):
        result = json.loads(path.read_text())
        rows = {row["policy"]: row for row in result["rows"]}
        own, other = rows["true goals"], rows["shuffled goals"]
        name = result["provenance"]["config"]["policy"]["name"]
        lines.append(f"| {name} | {result['env']} | {own['episodes']} | {success(own)} | {success(other)} |")
    return "\n".join(lines)


def policies_table(comparisons: list[EnvComparison]) -> str:
    """Return the Markdown table of what the policies of a comparison are."""
    found = {
        rows.policy: rows for part in comparisons for rows in part.policies if rows.what and "@" not in rows.policy
    }
    lines = ["| policy | what it is | knows besides the observation |", "|---|---|---|"]
    names = policy_names()
    texts = {name: described(name).description if name in names else rows.what for name, rows in found.items()}
    lines += [f"| `{name}` | {texts[name]} | {rows.sees} |" for name, rows in found.items()]
    return "\n".join(lines)


def front_table(comparison: str) -> str:
    """Return the first page's few rows of the comparison's Markdown table, without differences."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in comparison.splitlines() if line[:1] == "|"]
    found = {cells[0].rstrip("†"): cells for cells in lines}
    rows = ["| policy | " + " | ".join(lines[0][2:-1]) + " |", "|---|" + "---:|" * (len(lines[0]) - 3)]
    for name, what in FRONT.items():
        cells = [" · ".join(re.sub(r" / .*", "", part) for part in cell.split(" · ")[:2]) for cell in found[name][2:-1]]
        rows.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(rows)


def published_table(comparisons: list[EnvComparison]) -> str:
    """Return the Markdown table of what others report of the baselines and what ours do in the same measure."""
    lines = [
        "| policy | measure | published, U / M / L | here, U / M / L | source | why they differ |",
        "|---|" + "---|" * 5,
    ]
    ours = {
        (part.comparison.env, line.policy): line for part in map(make_tables, comparisons) for line in part.policies
    }
    published: Any = OmegaConf.load(RESULTS / "published.yaml")
    for entry in published:
        found = [ours.get((f"maze2d-{maze}", entry.policy)) for maze in ("umaze", "medium", "large")]
        if entry.measure == "success":
            here, digits = [line and line.success.value for line in found], 2
        else:
            here, digits = [line and getattr(line, entry.measure) for line in found], 1
        texts = [
            " / ".join("–" if value is None else f"{value:.{digits}f}" for value in values)
            for values in (entry["values"], here)
        ]
        cells = [f"`{entry.policy}`", entry.measure.replace("score_", ""), *texts, entry.source, entry.why]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table() -> str:
    """Return the Markdown table of all summaries in results/ but those of agents that see pictures."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for path in sorted(RESULTS.glob("*/summary.json")):
        s = json.loads(path.read_text())
        if s["env"].endswith("-pixels"):
            continue
        time, plan = s["time_to_goal"], s["plan_ms_single"]
        low, high = time["ci95"]
        speed = f"{plan['p50']:.0f} / {plan['p95']:.0f}" if plan and plan["p50"] is not None else ""
        policy = policy_entry(s["provenance"]["config"]["policy"])
        planner = (policy.get("policy") or policy.get("options") or {}).get("planner", "shortest_feasible")
        lines.append(
            f"| {s['env']} | {planner} | {s['seed']} | {s['episodes']} | {s['success_rate']:.3f} "
            f"| {s['at_goal_at_end']:.3f} | {time['mean']:.1f} [{low:.1f}, {high:.1f}] "
            f"| {s['oracle_time_to_goal_mean']:.1f} | {s['time_ratio_to_oracle']:.3f} | {speed} |"
        )
    return "\n".join(lines)


def pixels_table() -> str:
    """Return the Markdown table of the agents that see pictures."""
    columns = ("env", "policy", "episodes", "success [95 %]", "at goal at end", "steps to goal", "over the oracle's")
    lines = [f"| {' | '.join(columns)} | plan, p50 / p95 [ms] |", "|" + "---|" * (len(columns) + 1)]
    for path in sorted(RESULTS.glob("*-pixels-*/summary.json")):
        s = json.loads(path.read_text())
        low, high = s["success_rate_ci95"]
        first, last = s["time_to_goal"]["ci95"]
        cells = [s["env"], f"`{s['provenance']['config']['policy']['name']}`", str(s["episodes"])]
        cells += [f"{s['success_rate']:.2f} [{low:.2f}, {high:.2f}]", f"{s['at_goal_at_end']:.2f}"]
        cells += [f"{s['time_to_goal']['mean']:.1f} [{first:.1f}, {last:.1f}]", f"{s['time_ratio_to_oracle']:.3f}"]
        plan = s["plan_ms_single"]
        lines.append(f"| {' | '.join(cells)} | {plan['p50']:.0f} / {plan['p95']:.0f} |")
    return "\n".join(lines)


def video_table() -> str:
    """Return the Markdown table of scripts/evaluate_video.py's predictions, of all environments."""
    columns = ["env", "prediction", "agent off by, 1 / 16 / last ahead [m]", "on average [m]", "no agent"]
    columns += ["SSIM around it", "SSIM"]
    columns += ["PSNR [dB]", "effect of actions", "one agent at the end of 1000", "pictures/s"]
    lines = [f"| {' | '.join(columns)} |", "|---|---|" + "---:|" * (len(columns) - 2)]
    for path in sorted(RESULTS.glob("video-*.json")):
        result = json.loads(path.read_text())
        for label, row in result["rows"].items():
            off = row.get("position", {}).get("mean", [None])
            where = " / ".join(number(off[min(t, len(off)) - 1], 2) for t in (1, 16, len(off)))
            cells = [result["env"], label, where, mean_of(row.get("position"), 2), number(row.get("no_ball"), 3)]
            cells += [mean_of(row.get(name), digits) for name, digits in (("ssim_ball", 3), ("ssim", 3), ("psnr", 1))]
            one_ball = row.get("long", {}).get("one_ball")
            cells += [number(row.get("actions", {}).get("correlation"), 2), number(one_ball and one_ball[1], 2)]
            cells.append(number(row.get("frames_per_second"), 0))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def number(value: float | None, digits: int) -> str:
    """Return a number as text, and a dash for none."""
    return "–" if value is None else f"{value:.{digits}f}"


def mean_of(by_step: dict[str, list[float | None]] | None, digits: int) -> str:
    """Return the mean over all steps ahead as text."""
    values = [value for value in (by_step or {}).get("mean", []) if value is not None]
    return number(sum(values) / len(values) if values else None, digits)


def guidance_table() -> str:
    """Return the Markdown table of studies/costs.py's examples."""
    result = json.loads((RESULTS / "guidance.json").read_text())
    lines = ["| example | its cost | violated [95 %] | success | steps to goal |", "|---|---|---|---|---|"]
    for name, variants in result["examples"].items():
        for variant, row in variants.items():
            low, high = row["interval"]
            rate = f"{row['violation_rate']:.2f} [{low:.2f}, {high:.2f}] of {row['episodes']}"
            cells = f"{name} | {variant} | {rate} | {row['success_rate']:.2f} | {row['steps_to_goal']:.0f}"
            lines.append(f"| {cells} |")
    return "\n".join(lines)


def sensors_table() -> str:
    """Return the Markdown table of studies/sensors.py."""
    rows = json.loads((RESULTS / "sensors.json").read_text())["rows"]
    columns = {"told": "told which are bad", "not told": "told nothing", "gcbc": "`gcbc`"}
    lines = [f"| corrupted | | {' | '.join(columns.values())} |", "|---|---|" + "---|" * len(columns)]
    for kind, share in dict.fromkeys((row["kind"], row["share"]) for row in rows):
        cells = [
            success(row)
            for name in columns
            for row in rows
            if (row["policy"], row["kind"], row["share"]) == (name, kind, share)
        ]
        lines.append(f"| {share:.0%} | {kind if share else ''} | {' | '.join(cells)} |")
    return "\n".join(lines)


def actions_table() -> str:
    """Return the Markdown table of studies/actions.py."""
    columns = ("maze", "acts by", "plans every", "success [95 %]", "at goal at end", "steps to goal")
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for row in json.loads((RESULTS / "actions.json").read_text())["rows"]:
        lines.append(
            f"| {row['env']} | `{row['controller']}` | {row['interval']} steps | {success(row)} "
            f"| {row['at_goal_at_end']:.2f} | {row['time_to_goal']:.0f} |"
        )
    return "\n".join(lines)


def recall_table() -> str:
    """Return the Markdown table of studies/recall.py."""
    lines = ["| the goal | success [95 %] | at goal at end | steps to goal |", "|---|---|---|---|"]
    for row in json.loads((RESULTS / "recall.json").read_text())["rows"]:
        lines.append(f"| {row['case']} | {success(row)} | {row['at_goal_at_end']:.2f} | {row['time_to_goal']:.1f} |")
    return "\n".join(lines)


def long_table() -> str:
    """Return the Markdown table of studies/long_mazes.py, with what others report."""
    published: Any = OmegaConf.to_container(OmegaConf.load(RESULTS / "published_ogbench.yaml"))
    columns = ("maze and data", "policy", "episodes", "success [95 %]", "steps [95 %]", "of the shortest", "plans")
    lines = [f"| {' | '.join(columns)} | seconds of planning |", "|" + "---|" * (len(columns) + 1)]
    rows = json.loads((RESULTS / "long_mazes.json").read_text())["rows"]
    for row in rows:
        low, high = row["time_to_goal_ci95"]
        steps = f"{row['time_to_goal']:.0f} [{low:.0f}, {high:.0f}]"
        ratio = "–" if row["ratio_to_shortest"] is None else f"{row['ratio_to_shortest']:.2f}"
        cost = f"{row['plans']:.1f} | {row['seconds_alone']:.1f}"
        who = f"{row['env']} | `{row['policy']}` | {row['episodes']}"
        lines.append(f"| {who} | {success(row)} | {steps} | {ratio} | {cost} |")
    lines += ["", "| maze and data | success that others report |", "|---|---|"]
    for env_id in dict.fromkeys(row["env"] for row in rows):
        reports = []
        for source, found in published.get(env_id, {}).items():
            shares = [f"{share / 100:.2f}" for share in (found if isinstance(found, list) else [found])]
            reports.append(f"{source} {' / '.join(shares)}")
        lines.append(f"| {env_id} | {'; '.join(reports)} |")
    return "\n".join(lines)


def own_environment_table() -> str:
    """Return who reaches the goal how soon in the environments that nothing is fitted to, from the episodes."""
    rows = [
        "| environment | policy | success | steps to the goal | of the demonstrator's | failures |",
        "|---|---|---:|---:|---:|---|",
    ]
    for env in ("Boat", "Drone", "Payload", "Car"):
        found = {who: RESULTS / "own_environment" / f"{env}-{who}" for who in OWN_POLICIES}
        records = {who: read_records(stored_file(at / "episodes.jsonl")) for who, at in found.items() if at.exists()}
        times = {who: time_to_goal(each) for who, each in records.items()}
        for who, each in records.items():
            success = [record.success for record in each]
            low, high = wilson_interval(sum(success), len(success))
            mean, (least, most) = times[who]["mean"], times[who]["ci95"]
            ratio = mean / times["demonstrator"]["mean"]
            starts = "" if len(each) == OWN_STARTS else f" ({len(each)} starts)"
            kinds = stored_kinds(json.loads((found[who] / "summary.json").read_text()))
            rows.append(
                f"| {env} | {OWN_POLICIES[who]}{starts} | {np.mean(success):.2f} [{low:.2f}, {high:.2f}] | {mean:.1f} "
                f"[{least:.1f}, {most:.1f}] | {ratio:.2f} | {counted(kinds)} |"
            )
    return "\n".join(rows)


def how_much_table() -> str:
    """Return the Markdown tables of studies/how_much.py: over the data, and over the training."""
    found = json.loads((RESULTS / "how_much.json").read_text())
    head = ["| environment | steps of data | steps of training | minutes | success [95 %] | steps to the goal [95 %] |"]
    head.append("|---|---:|---:|---:|---:|---:|")
    tables = []
    for rows in (over_data(found["rows"], found["steps"]), over_training(found["rows"])):
        lines = list(head)
        for name, task in TASKS.items():
            for row in (row for row in rows if row["env"] == name):
                low, high = row["time_to_goal_ci95"]
                cells = [task.title, f"{row['data_steps']:,}", f"{row['training_steps']:,}", f"{row['minutes']:.1f}"]
                cells += [success(row), f"{row['time_to_goal']:.1f} [{low:.1f}, {high:.1f}]"]
                lines.append(f"| {' | '.join(cells)} |")
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def robustness_table() -> str:
    """Return the Markdown table of studies/robustness.py."""
    rows = json.loads((RESULTS / "robustness.json").read_text())["rows"]
    lines = ["| disturbance | success [95 %] | at goal at end | steps to goal | the oracle's | ratio [95 %] |"]
    lines.append("|---|---|---|---|---|---|")
    oracle = {row["disturbance"]: row for row in rows if row["policy"] == "oracle"}
    for row in rows:
        if row["policy"] != "oracle":
            low, high = row["ratio_ci95"]
            cells = [row["disturbance"], success(row), f"{row['at_goal_at_end']:.2f}", f"{row['time_to_goal']:.1f}"]
            cells += [
                f"{oracle[row['disturbance']]['time_to_goal']:.1f}",
                f"{row['ratio']:.3f} [{low:.3f}, {high:.3f}]",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def benchmark_table() -> str:
    """Return the Markdown table of studies/benchmark.py's latencies."""
    result = json.loads((RESULTS / "benchmark.json").read_text())
    names = {"ours": "ours, as shipped", "v1.5": "v1.5's settings in our engine", "diffuser": "Diffuser, 256 passes"}
    lines = ["| plan | environments | p50 / p95 / p99 [ms] | per environment | floor | times ours | the original |"]
    lines.append("|---|" + "---:|" * 6)
    for row in result["latency"]["plans"]:
        times = " / ".join(f"{row[key]:.1f}" for key in ("p50", "p95", "p99"))
        cells = [names[row["method"]], str(row["batch"]), times, f"{row['p50'] / row['batch']:.1f}"]
        digits = {"floor": 1, "times_ours": 0, "original": 0}
        cells += [f"{row[key]:,.{places}f}" if key in row else "" for key, places in digits.items()]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def quality_table() -> str:
    """Return the Markdown table of studies/benchmark.py's settings: steps to the goal and the time of a plan."""
    found = json.loads((RESULTS / "benchmark.json").read_text())["quality"]
    lines = [
        "| setting | success | steps to goal | over the oracle's | plan, p50 / p95 [ms] |",
        "|---|---:|---:|---:|---:|",
    ]
    for point in found["points"]:
        ratio = f"{point['steps'] / found['oracle']:.3f}"
        cells = [point["label"], f"{point['success']:.2f}", f"{point['steps']:.1f}", ratio]
        lines.append(f"| {' | '.join(cells)} | {point['p50']:.1f} / {point['p95']:.1f} |")
    return "\n".join(lines)


def realtime_table() -> str:
    """Return the Markdown table of studies/benchmark.py's episodes in real time."""
    found = json.loads((RESULTS / "benchmark.json").read_text())["realtime"]
    lines = ["| acting | episodes | success | steps to goal | steps missed |", "|---|---:|---:|---:|---:|"]
    for label, row in found["modes"].items():
        cells = [label, str(row["episodes"]), f"{row['success']:.2f}", f"{row['steps']:.1f}", f"{row['missed']:.1%}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def method_table(name: str) -> str:
    """Return another Markdown table: of the forecasts, the futures, or a group of the ablation."""
    if name in ("forecast", "futures"):
        return {"forecast": forecast_table, "futures": futures_table}[name]()
    rows = stored(json.loads((RESULTS / "ablation.json").read_text())["rows"])
    own = [row for row in rows if row["group"] == name]
    if not own:
        raise SystemExit(f"results/ablation.json has no group {name!r}")
    return table_of(own)


def ablation_page() -> str:
    """Return docs/ablation.md."""
    found = json.loads((RESULTS / "ablation.json").read_text())
    options = read_options(["--episodes", str(found["episodes"]), "--seed", str(found["seed"])])
    return markdown(stored(found["rows"]), found["env"], options)


def forecast_table() -> str:
    """Return the Markdown table of studies/forecast.py."""
    lines = ["| forecast | CRPS-sum |", "|---|---:|"]
    found = json.loads((RESULTS / "forecast.json").read_text())["crps_sum"]
    lines += [f"| {label} | {value:.4f} |" for label, value in found.items()]
    return "\n".join(lines)


def futures_table() -> str:
    """Return the Markdown table of studies/futures.py."""
    lines = [
        "| futures N | variance of the gradient | N x variance, of one future's | deviation over the mean's size |"
    ]
    lines.append("|---:|---:|---:|---:|")
    rows = json.loads((RESULTS / "futures.json").read_text())["rows"]
    for row in rows:
        share = row["futures"] * row["variance"] / rows[0]["variance"]
        size = (row["variance"] / row["mean_square"]) ** 0.5
        lines.append(f"| {row['futures']} | {row['variance']:.3g} | {share:.2f} | {size:.2f} |")
    return "\n".join(lines)


# name between a page's markers: (what results/ must hold, what makes the table)
TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "table": ("*/summary.json", table),
    "sanity": ("sanity/*.json", sanity_table),
    "shuffled": ("sanity/*.json", shuffled_table),
    "pixels": ("*-pixels-*/summary.json", pixels_table),
    "video": ("video-*.json", video_table),
    "guidance": ("guidance.json", guidance_table),
    "sensors": ("sensors.json", sensors_table),
    "actions": ("actions.json", actions_table),
    "recall": ("recall.json", recall_table),
    "robustness": ("robustness.json", robustness_table),
    "long_mazes": ("long_mazes.json", long_table),
    "own_environment": ("own_environment/*/summary.json", own_environment_table),
    "how_much": ("how_much.json", how_much_table),
    "benchmark": ("benchmark.json", benchmark_table),
    "quality": ("benchmark.json", quality_table),
    "realtime": ("benchmark.json", realtime_table),
}
