"""Collect evaluations into results/ and put their tables into the README: `python studies/results.py`.

Takes every folder of outputs/evaluate with 200 episodes of the shipped agent, with no option of it changed, in a maze
under seed 0 or 1, keeps its summary and its episodes (without the paths, which are large), the sanity checks of
policies as configs/policy has them, the validations of the trainings in runs/ and the reports of the comparisons named
main and robots with their rows as CSV, and writes the tables of the README and of docs/methods from what results/ holds
then; results/published.yaml says what others reported.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path
from typing import Any

from df_agent.benchmark.raw_rows import read_raw_rows
from df_agent.benchmark.report import readme_table
from df_agent.cli.environments import MAZE_IDS
from df_agent.cli.policies import is_usual
from df_agent.evaluation.references import references_of
from studies.result_tables import RESULTS, TABLES, method_table, policies_table, published_table

ROOT = Path(__file__).parents[1]
README, METHODS = ROOT / "README.md", ROOT / "docs" / "methods"
SANITY = RESULTS / "sanity"
COMPARED = ROOT / "outputs" / "compare"
COMPARISONS = {"comparison": "main", "robots": "robots"}  # in results/ and the README: as compare.py calls it
TRAINING = RESULTS / "training"
CURVE = ("step", "success_rate", "time_to_goal", "at_goal_at_end", "training_minutes")


def collect() -> None:
    """Copy summaries and episode rows into results/."""
    for source in sorted((ROOT / "outputs" / "evaluate").glob("*-seed[01]")):
        if not (source / "summary.json").exists():
            continue
        summary = json.loads((source / "summary.json").read_text())
        if not reported(summary):
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

    for sanity in sorted((ROOT / "outputs" / "sanity").glob("*-seed[01]/sanity.json")):
        if not is_usual(json.loads(sanity.read_text())["provenance"]["config"]):
            continue
        SANITY.mkdir(parents=True, exist_ok=True)
        (SANITY / f"{sanity.parent.name}.json").write_bytes(sanity.read_bytes())

    for run in sorted(run for kind in ("maze2d-*", "Fetch*", "pointmaze-*") for run in (ROOT / "runs").glob(kind)):
        finished = any((run / name).is_dir() for name in ("final", "best"))
        if finished and (lines := validations(run)):
            TRAINING.mkdir(parents=True, exist_ok=True)
            (TRAINING / f"{run.name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    for kept, made in COMPARISONS.items():
        if (COMPARED / made / "report.md").exists():
            keep_comparison(COMPARED / made, RESULTS / kept)


def keep_comparison(made: Path, kept: Path) -> None:
    """Replace the report in `kept` by the one in `made`; exit if that lacks rows which the other has."""
    names = {path.name for path in kept.glob("rows-*.csv")}
    lacking = sorted(name for name in names if not (made / name).exists())
    for name in sorted(names.difference(lacking)):
        had, has = (len((folder / name).read_text().splitlines()) for folder in (kept, made))
        lacking += [f"{had - has} rows of {name}"] if has < had else []
    if lacking:
        raise SystemExit(f"{made} lacks {', '.join(lacking)} that {kept} has; run it to its end, or delete one")
    temporary = kept.with_name(f".tmp-{kept.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(made, temporary, ignore=shutil.ignore_patterns("rows", "failures", ".*"))
    shutil.rmtree(kept, ignore_errors=True)
    temporary.rename(kept)


def reported(summary: dict[str, Any]) -> bool:
    """Whether the README shows an evaluation: 200 episodes of a maze by our agent that ships, or 100 by pictures."""
    config = summary["provenance"]["config"]
    if not is_usual(config):
        return False
    if summary["env"].endswith("-pixels"):
        return bool(summary["episodes"] >= 100)
    ours = config["policy"]["name"] == "diffusion_forcing"
    return ours and summary["env"] in MAZE_IDS and summary["episodes"] == 200


def validations(run: Path) -> list[dict[str, float]]:
    """Return what a training's validations said, by step."""
    found = []
    for name in ("metrics.jsonl", "curve.jsonl"):
        for text in (run / name).read_text().splitlines() if (run / name).exists() else []:
            line = {key.removeprefix("validation/"): value for key, value in json.loads(text).items()}
            line.setdefault("step", line.get("steps"))  # SAC counts environment steps
            if "success_rate" in line:
                found.append({key: value for key, value in line.items() if key in CURVE})
    return found


def main() -> None:
    """Collect, then write the tables between the README's markers."""
    collect()
    tables = {name: make() for name, (needs, make) in TABLES.items() if list(RESULTS.glob(needs))}
    for name in COMPARISONS:
        if (RESULTS / name).exists():
            comparisons = read_raw_rows(RESULTS / name, references_of)
            tables[name] = readme_table(comparisons)
            if name == "comparison":
                tables["published"] = published_table(comparisons)
                tables["policies"] = policies_table(comparisons)
    text = README.read_text()
    for name, lines in tables.items():
        text = filled(text, name, lines, "the README")
        print(lines, end="\n\n")
    README.write_text(text)
    for page in sorted(METHODS.glob("*.md")):
        text = page.read_text()
        for name in re.findall(r"<!-- (.+):start -->", text):
            text = filled(text, name, method_table(name), page.name)
        page.write_text(text)


def filled(text: str, name: str, lines: str, where: str) -> str:
    """Return the text with a table between its markers."""
    begin, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if begin not in text or end not in text:
        raise SystemExit(f"{where} has no {begin} ... {end} to write to")
    before, after = text.split(begin)[0], text.split(end)[1]
    return f"{before}{begin}\n{lines}\n{end}{after}"


if __name__ == "__main__":
    # It takes no options, but whoever asks for help must not have results/ written over.
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
