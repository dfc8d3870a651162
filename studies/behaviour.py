"""Whether agents do what they did before: `python studies/behaviour.py [--before COMMIT] [--only REGEX] [--list]`.

Every agent that ships, every file of df_configs/policy and every option of the agent acts in short episodes in which
goals jump, tremble and drift, episodes begin anew and agents are shoved aside: once with the code of a commit, in a git
worktree of its own, and once with that of this tree. On one thread, in fp32 and with the same seeds all actions, and
all plans that are told of, must be the same to the last bit, and together may take at most 1.05 times as long. The
trees take turns case by case, so that whatever else the machine does meets both.

Ends with status 1 and a table of what differs. `--output` writes all of it as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from studies.behaviour_cases import Case, baselines, shipped
from studies.behaviour_compare import Recording, Verdict, missing_cases, runtime_ratio, slowest, verdict
from studies.behaviour_models import MODELS, untrained
from studies.behaviour_options import options

ROOT = Path(__file__).resolve().parents[1]
RECORDER = Path(__file__).with_name("behaviour_recorder.py")
CACHE = ROOT / "outputs" / "behaviour"
BEFORE = "c454e21"
MOST_TIME = 1.05  # runtime after over before that is let pass
PACKAGES = (".", "envs", "planners", "scripts")  # folders of a tree that hold packages or modules, if it has them
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
console = Console()


def all_cases(only: str = "") -> list[Case]:
    """Return the cases whose "group: name" a regular expression is found in."""
    cases = [*shipped(), *baselines(), *options(), *untrained()]
    return [case for case in cases if re.search(only, case.title)]


def worktree(commit: str) -> Path:
    """Return a git worktree of a commit beside this tree's outputs; made at first, and kept.

    Raises:
        RuntimeError: git knows no such commit, or somebody has changed something in the worktree.
    """
    full = git(ROOT, "rev-parse", "--verify", f"{commit}^{{commit}}")
    folder = CACHE / full[:12]
    if not (folder / ".git").exists():
        git(ROOT, "worktree", "prune")
        git(ROOT, "worktree", "add", "--detach", str(folder), full)
    if git(folder, "rev-parse", "HEAD") != full or git(folder, "status", "--porcelain"):
        raise RuntimeError(f"{folder} is no clean worktree of {commit}; remove it with `git worktree remove --force`")
    return folder


def git(folder: Path, *arguments: str) -> str:
    """Return what git says; raises RuntimeError with its complaint if it fails."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def surroundings(root: Path) -> dict[str, str]:
    """Return the environment of a recorder: one thread, no accelerator, a tree's own packages first on the path."""
    folders = [str((root / name).resolve()) for name in PACKAGES if (root / name).is_dir()]
    fixed = {"PYTHONPATH": os.pathsep.join(folders), "PYTHONHASHSEED": "0", "CUDA_VISIBLE_DEVICES": ""}
    return {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), **fixed}


class Recorder:
    """A recorder that runs in a tree, started when it is first asked and again if it dies.

    Args:
        root: of the tree.
        models: folder of the checkpoints of untrained models.
        log: file for whatever it prints.
    """

    def __init__(self, root: Path, models: Path, log: Path) -> None:
        self.root, self.models, self.log = root, models, log
        self._process: subprocess.Popen[str] | None = None
        self._written: IO[str] | None = None

    def __enter__(self) -> Recorder:
        self._written = self.log.open("w")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.communicate()  # closes its input, on which it ends
        if self._written is not None:
            self._written.close()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return its answer, which has an "error" if it raised or died."""
        if self._process is None or self._process.poll() is not None:
            # -P: nothing beside the recorder may hide a module of the tree.
            command = [sys.executable, "-P", str(RECORDER), str(self.root), str(self.models)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                command,
                cwd=self.root,
                env=surroundings(self.root),
                stdin=pipe,
                stdout=pipe,
                stderr=self._written,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # there is no answer either
        if line := self._process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            return answer
        last = (self.log.read_text().strip() or "it said nothing").splitlines()[-1]
        return {"error": f"the recorder ended with status {self._process.wait()}: {last}"}

    def record(self, case: Case) -> Recording:
        """Return what the tree does in a case."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "arrays.npz")
            answer = self.ask({"case": case.request, "output": str(file)})
            if "error" in answer:
                return Recording(error=answer["error"])
            with np.load(file) as arrays:
                return Recording({name: arrays[name] for name in arrays.files}, answer["seconds"])


def compare(before: Path, after: Path, cases: Sequence[Case], repeats: int, tolerance: float) -> list[Verdict]:
    """Record all cases in both trees, by turns, and return what each came to."""
    CACHE.mkdir(parents=True, exist_ok=True)
    verdicts = []
    with ExitStack() as stack:
        models = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        named = (("before", before), ("after", after))
        one, two = (stack.enter_context(Recorder(root, models, CACHE / f"{side}.log")) for side, root in named)
        for name in sorted({case.checkpoint.removeprefix("made:") for case in cases} & set(MODELS)):
            answer = one.ask({"model": name, "config": MODELS[name]})
            if "error" in answer:
                raise RuntimeError(f"the model {name} cannot be made: {answer['error']}")
        progress = stack.enter_context(Progress(console=console, transient=True))
        task = progress.add_task("", total=len(cases))
        for case in cases:
            progress.update(task, description=case.title)
            recorded: dict[Recorder, list[Recording]] = {one: [], two: []}
            for repeat in range(repeats):
                for recorder in (one, two) if repeat % 2 == 0 else (two, one):
                    recorded[recorder].append(recorder.record(case))
            verdicts.append(verdict(case.group, case.name, recorded[one], recorded[two], tolerance))
            progress.advance(task)
    return verdicts


def print_groups(verdicts: Sequence[Verdict]) -> None:
    """Print a line per group, all that differs, and what became slower."""
    table = Table("group", "cases", "actions", "differ", "before [s]", "after [s]", "ratio")
    for group in dict.fromkeys(each.group for each in verdicts):
        own = [each for each in verdicts if each.group == group]
        differ = sum(bool(each.problems) for each in own)
        seconds = [f"{sum(getattr(each, side) for each in own):.2f}" for side in ("before", "after")]
        counts = str(len(own)), f"{sum(each.actions for each in own):,}"
        table.add_row(group, *counts, f"[red]{differ}" if differ else "0", *seconds, f"{runtime_ratio(own):.3f}")
    console.print(table)
    if slow := [f"{each.group}: {each.name} {each.ratio:.2f}" for each in slowest(verdicts) if each.ratio > MOST_TIME]:
        console.print(f"slowest by comparison: {'; '.join(slow)}", markup=False, highlight=False)
    wrong = [each for each in verdicts if each.problems]
    if wrong:
        differences = Table("case", "what differs", show_lines=True)
        for each in wrong:
            differences.add_row(f"{each.group}: {each.name}", "\n".join(each.problems))
        console.print(differences, markup=False)


def conclude(cases: Sequence[Case], verdicts: Sequence[Verdict], output: Path | None, most_time: float) -> int:
    """Print the last line, write the JSON, and return the exit status."""
    ratio, lost = runtime_ratio(verdicts), missing_cases([(case.group, case.name) for case in cases], verdicts)
    differ = sum(bool(each.problems) for each in verdicts) + len(lost)
    alike = "all equal" if not differ else f"{differ} cases differ"
    actions = sum(each.actions for each in verdicts)
    console.print(f"{len(verdicts)} cases, {actions:,} actions compared, {alike}; runtime ratio {ratio:.3f}")
    if lost:
        console.print(f"not recorded: {', '.join(lost)}", markup=False)
    slow = ratio > most_time
    if slow:
        console.print(f"[red]the runtime may be at most {most_time} times that of before")
    if output is not None:
        rows = [{**asdict(each), "ratio": None if math.isnan(each.ratio) else each.ratio} for each in verdicts]
        said = {"cases": len(verdicts), "actions": actions, "differ": differ, "missing": lost, "ratio": ratio}
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps({**said, "rows": rows}, indent=2) + "\n")
    return int(bool(differ) or slow or not verdicts)


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description="compare what all agents do with what they did at a commit")
    parser.add_argument("--before", default=BEFORE, help=f"commit to compare with ({BEFORE})")
    parser.add_argument("--after", type=Path, default=ROOT, help="root of the tree to compare (this one)")
    parser.add_argument("--only", default="", metavar="REGEX", help="cases whose 'group: name' it is found in")
    parser.add_argument("--repeats", type=int, default=2, help="of each case; the least time counts (2)")
    parser.add_argument("--tolerance", type=float, default=0.0, help="by how much numbers may differ (0)")
    parser.add_argument("--most-time", type=float, default=MOST_TIME, help=f"ratio that is let pass ({MOST_TIME})")
    parser.add_argument("--output", type=Path, help="JSON file for all of it")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    options = parser.parse_args(arguments)
    if options.repeats < 1 or not options.tolerance >= 0:
        parser.error("repeats must be at least 1, tolerance not negative")
    return options


def main() -> int:
    """Compare, print and write; return the exit status."""
    asked = read_options()
    cases = all_cases(asked.only)
    if not cases:
        raise SystemExit(f"no case is called {asked.only!r}; see --list")
    if asked.list:
        for case in cases:
            console.print(case.title, markup=False, highlight=False)
        return 0
    try:
        verdicts = compare(worktree(asked.before), asked.after.resolve(), cases, asked.repeats, asked.tolerance)
    except RuntimeError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    print_groups(verdicts)
    return conclude(cases, verdicts, asked.output, asked.most_time)


if __name__ == "__main__":
    raise SystemExit(main())
