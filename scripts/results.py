"""Collect evaluations into results/ and put their table into the README: `python scripts/results.py`.

Takes every folder of outputs/evaluate whose seed is 0 or 1, keeps its summary and its episodes (without the paths,
which are large), and writes the README's table from what results/ holds then.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS, README = ROOT / "results", ROOT / "README.md"
COLUMNS = (
    "env", "planner", "seed", "episodes", "success", "at goal at end", "steps to goal [95 %]", "oracle", "ratio",
    "plan ms, one env (p50 / p95)",
)  # fmt: skip


def collect() -> None:
    """Copy summaries and episode rows into results/."""
    for source in sorted((ROOT / "outputs" / "evaluate").glob("*-seed[01]")):
        if not (source / "summary.json").exists():
            continue
        target = RESULTS / source.name
        target.mkdir(parents=True, exist_ok=True)
        (target / "summary.json").write_bytes((source / "summary.json").read_bytes())
        rows = []
        for line in (source / "episodes.jsonl").read_text().splitlines():
            row = json.loads(line)
            row["path"] = []
            row["plans"] = [{**plan, "path": []} for plan in row["plans"]]
            rows.append(json.dumps(row))
        (target / "episodes.jsonl").write_text("\n".join(rows) + "\n")


def table() -> str:
    """Return the Markdown table of all summaries in results/."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    for path in sorted(RESULTS.glob("*/summary.json")):
        s = json.loads(path.read_text())
        time, plan = s["time_to_goal"], s["plan_ms_single"]
        low, high = time["ci95"]
        speed = f"{plan['p50']:.0f} / {plan['p95']:.0f}" if plan and plan["p50"] is not None else ""
        planner = s["provenance"]["config"]["policy"].get("options", {}).get("planner", "shortest_feasible")
        lines.append(
            f"| {s['env']} | {planner} | {s['seed']} | {s['episodes']} | {s['success_rate']:.3f} "
            f"| {s['at_goal_at_end']:.3f} | {time['mean']:.1f} [{low:.1f}, {high:.1f}] "
            f"| {s['oracle_time_to_goal_mean']:.1f} | {s['time_ratio_to_oracle']:.3f} | {speed} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Collect, then write the table between the README's markers."""
    collect()
    text = README.read_text()
    block = f"<!-- table:start -->\n{table()}\n<!-- table:end -->"
    if "<!-- table:start -->" not in text:
        raise SystemExit("the README has no <!-- table:start --> ... <!-- table:end --> to write to")
    README.write_text(re.sub(r"<!-- table:start -->.*?<!-- table:end -->", lambda _: block, text, flags=re.DOTALL))
    print(table())


if __name__ == "__main__":
    main()
