"""Collect evaluations into results/ and write their tables into the pages: `python studies/results.py`.

From outputs/evaluate it takes every evaluation of the shipped agent with unchanged options and 200 episodes of a maze
under seed 0 or 1 (its summary, and its episodes without paths), from outputs/sanity the sanity checks of policies as
df_configs/policy has them, from runs/ the validations of the trainings, and from outputs/compare the rows of the
comparisons named main and robots. Rows are kept compressed. Then it writes every table between markers in the README
and in docs/ from what results/ holds; results/published.yaml says what others reported.
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
from df_agent.cli.environments import MAZE_IDS, references_by_name
from df_agent.cli.policies import is_usual
from df_agent.evaluation.records import gzipped, read_text, stored_file
from studies.result_tables import (
    RESULTS,
    TABLES,
    ablation_page,
    front_table,
    method_table,
    policies_table,
    published_table,
)

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
SANITY = RESULTS / "sanity"
COMPARED = ROOT / "outputs" / "compare"
COMPARISONS = {"comparison": "main", "robots": "robots"}  # in results/ and the pages: as compare.py calls it
TRAINING = RESULTS / "training"
OWN = "own_environment"  # in outputs/ and results/: evaluations in the environments that nothing is fitted to
CURVE = ("step", "success_rate", "time_to_goal", "at_goal_at_end", "training_minutes")


def collect() -> None:
    """Copy summaries and episode rows into results/."""
    for source in sorted((ROOT / "outputs" / "evaluate").glob("*-seed[01]")):
        if not (source / "summary.json").exists():
            continue
        summary = json.loads((source / "summary.json").read_text())
        if not reported(summary):
            continue
        keep_evaluation(source, RESULTS / source.name)
    for summary in sorted((ROOT / "outputs" / OWN).glob("*/summary.json")):
        keep_evaluation(summary.parent, RESULTS / OWN / summary.parent.name)

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
        if list((COMPARED / made).glob("policies-*.json")):
            keep_comparison(COMPARED / made, RESULTS / kept)


def keep_evaluation(source: Path, target: Path) -> None:
    """Copy an evaluation's summary, and its rows without paths, compressed."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "summary.json").write_bytes((source / "summary.json").read_bytes())
    rows = []
    for line in read_text(source / "episodes.jsonl").splitlines():
        row = json.loads(line)
        row["path"] = []
        row["plans"] = [{**plan, "path": []} for plan in row["plans"]]
        rows.append(json.dumps(row))
    (target / "episodes.jsonl.gz").write_bytes(gzipped(("\n".join(rows) + "\n").encode()))


def keep_comparison(made: Path, kept: Path) -> None:
    """Replace the rows in `kept` by those in `made`, compressed; exit if `made` lacks rows which `kept` has."""
    names = {path.name.removesuffix(".gz") for path in kept.glob("rows-*.csv*")}
    lacking = sorted(name for name in names if not stored_file(made / name).exists())
    for name in sorted(names.difference(lacking)):
        had, has = (len(read_text(folder / name).splitlines()) for folder in (kept, made))
        lacking += [f"{had - has} rows of {name}"] if has < had else []
    if lacking:
        raise SystemExit(f"{made} lacks {', '.join(lacking)} that {kept} has; run it to its end, or delete one")
    temporary = kept.with_name(f".tmp-{kept.name}")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    for path in sorted(made.glob("policies-*.json")):
        shutil.copy(path, temporary)
    for path in sorted([*made.glob("rows-*.csv"), *made.glob("timing-*.csv")]):
        (temporary / f"{path.name}.gz").write_bytes(gzipped(path.read_bytes()))
    shutil.rmtree(kept, ignore_errors=True)
    temporary.rename(kept)


def reported(summary: dict[str, Any]) -> bool:
    """Whether the pages show an evaluation: 200 episodes of a maze by our agent that ships, or 100 by pictures."""
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
    """Collect, then write the tables between the markers of all pages."""
    collect()
    tables = {name: make() for name, (needs, make) in TABLES.items() if list(RESULTS.glob(needs))}
    for name in COMPARISONS:
        if (RESULTS / name).exists():
            comparisons = read_raw_rows(RESULTS / name, references_by_name)
            tables[name] = readme_table(comparisons)
            if name == "comparison":
                tables["front"] = front_table(tables[name])
                tables["published"] = published_table(comparisons)
                tables["policies"] = policies_table(comparisons)
    if (RESULTS / "ablation.json").exists():
        (ROOT / "docs" / "ablation.md").write_text(ablation_page())
    missing, others = set(tables), {*TABLES, *COMPARISONS, "front", "published", "policies"}
    for page in PAGES:
        before = text = page.read_text()
        for name in re.findall(r"<!-- (.+):start -->", text):
            if name not in others or name in tables:  # a table whose rows are not there stays as it is
                text = filled(text, name, tables.get(name) or method_table(name), page.name)
            missing.discard(name)
        if text != before:
            page.write_text(text)
            print(f"{page.relative_to(ROOT)} has new tables")
    if missing:
        raise SystemExit(f"no page has the markers <!-- NAME:start --> and <!-- NAME:end --> of {sorted(missing)}")


def filled(text: str, name: str, lines: str, where: str) -> str:
    """Return the text with a table between its markers."""
    begin, end = f"<!-- {name}:start -->", f"<!-- {name}:end -->"
    if end not in text:
        raise SystemExit(f"{where} has {begin} but no {end}")
    before, after = text.split(begin)[0], text.split(end)[1]
    return f"{before}{begin}\n{lines}\n{end}{after}"


if __name__ == "__main__":
    # It takes no options, but whoever asks for help must not have results/ written over.
    argparse.ArgumentParser(description=__doc__).parse_args()
    main()
