"""Measure the code: `python studies/house.py --before c454e21`.

Prints, for a commit and the present tree side by side: files and lines, the longest ones, what stands twice, import
circles, and how deep the first denoising pass lies. How each is counted stands in docs/studies/house.md.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
LONG_FILE, LONG_FUNCTION, WINDOW = 300, 50, 6
PACKAGES = ("df_agent", "df_envs", "df_planners", "envs", "planners")  # the last two were packages before
RENAMED = ("guidance.py",)  # a study that has another name now
BELOW = ("df_agent/diffusion/", "df_agent/models/")  # the sampler and what it calls
EVALUATE = ("env=maze2d-umaze", "episodes=1", "num_envs=1", "pictures=false", "timing_episodes=1")
ROWS = {
    "files": "Python files, without tests and studies",
    "lines": "their lines",
    "files_studies": "Python files, with studies",
    "lines_studies": "their lines",
    "yaml_files": "YAML files",
    "yaml_lines": "their lines",
    "longest_file": "longest file",
    "longest_function": "longest function",
    "long_files": f"files of more than {LONG_FILE} lines",
    "long_functions": f"functions of more than {LONG_FUNCTION} lines",
    "duplicated": f"lines that stand twice ({WINDOW}-line windows)",
    "circles": "import circles",
    "from_command": "frames above the first pass, from scripts/evaluate.py",
    "from_evaluate": "frames above the first pass, from evaluate()",
    "from_predict": "frames above the first pass, from predict()",
    "walk": "files entered in one predict()",
}
Row = list[Any]


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description="measures of the code, before and after a change")
    parser.add_argument("--before", default="c454e21", help="commit to compare with")
    parser.add_argument("--json", type=Path, help="where all that was measured is written")
    parser.add_argument("--probe", nargs=2, metavar=("TREE", "FILE"), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure both trees, print the table, and the lists of the present one."""
    options = read_options()
    if options.probe:
        probe(Path(options.probe[0]), Path(options.probe[1]))
    with checked_out(options.before) as tree:
        result = {"before": measure(tree), "after": measure(ROOT)}
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    console = Console(highlight=False, width=130)
    table = Table("", options.before, "present tree")
    for key, label in ROWS.items():
        table.add_row(label, *(shown(key, result[side][key]) for side in ("before", "after")))
    console.print(table)
    for key in ("long_files", "long_functions", "duplicated", "circles", "from_command"):
        console.print(
            f"\n{ROWS[key]}, present tree:",
            *(f"\n  {'  '.join(map(str, line))}" for line in result["after"][key]),
            markup=False,
        )


def shown(key: str, value: Any) -> str:
    """Return a cell: a number, or what a list amounts to."""
    if key.startswith("longest"):
        return f"{value[0]} ({value[1]})"
    if key.startswith("from_"):
        return f"{len(value)} in {len({frame[0] for frame in value})} files"
    if key == "duplicated":
        return str(sum(last - first + 1 for _, first, last, _ in value))
    if key == "walk":
        return f"{len(value)}, {len(value) - len(set(value))} of them again, {value.count(value[0])} times the first"
    return str(len(value) if isinstance(value, list) else value)


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """Check a commit out in a folder of its own while the context lasts."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder).resolve() / "tree"
        git(ROOT, "worktree", "add", "--detach", str(tree), commit)
        try:
            yield tree
        finally:
            git(ROOT, "worktree", "remove", "--force", str(tree))


def git(tree: Path, *arguments: str) -> str:
    """Return what git prints; raises SystemExit with its complaint."""
    done = subprocess.run(["git", "-C", str(tree), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def measure(tree: Path) -> dict[str, Any]:
    """Return all that is measured of a tree, under the keys of `ROWS`."""
    names = set(git(tree, "ls-files", "--cached", "--others", "--exclude-standard").splitlines())
    texts = {name: (tree / name).read_text() for name in sorted(names) if (tree / name).is_file() and code(name)}
    python = {name: text for name, text in texts.items() if name.endswith(".py") and not name.startswith("tests/")}
    product = {name: text for name, text in python.items() if not is_study(name)}
    yaml = [text for name, text in texts.items() if not name.endswith(".py") and not name.startswith("tests/")]
    files: list[Row] = sorted(([length(text), name] for name, text in product.items()), reverse=True)
    functions = sorted((row for item in product.items() for row in functions_of(*item)), reverse=True)
    return {
        "files": len(product),
        "lines": sum(map(length, product.values())),
        "files_studies": len(python),
        "lines_studies": sum(map(length, python.values())),
        "yaml_files": len(yaml),
        "yaml_lines": sum(map(length, yaml)),
        "longest_file": files[0],
        "longest_function": functions[0],
        "long_files": [row for row in files if row[0] > LONG_FILE],
        "long_functions": [row for row in functions if row[0] > LONG_FUNCTION],
        "duplicated": duplicated(product),
        **probed(tree),
    }


def code(name: str) -> bool:
    """Whether a file is Python or YAML."""
    return name.endswith((".py", ".yaml", ".yml"))


def length(text: str) -> int:
    """Return the number of lines."""
    return len(text.splitlines())


def is_study(name: str) -> bool:
    """Whether a file is a study; before they had a folder of their own, they lay in scripts/ under the same names."""
    folder, _, base = name.rpartition("/")
    return folder == "studies" or (folder == "scripts" and (base in RENAMED or (ROOT / "studies" / base).is_file()))


def functions_of(name: str, text: str) -> Iterator[Row]:
    """Yield [lines from `def` to the end, where] of every function, docstrings counted."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield [(node.end_lineno or node.lineno) - node.lineno + 1, f"{name}:{node.lineno} {node.name}"]


def duplicated(texts: Mapping[str, str]) -> list[Row]:
    """Return [file, first line, last line, where it stands too] of all runs of lines that stand in two places or more.

    Lines are compared without their indentation; blank ones, comments, lone punctuation and imports do not count.
    """
    places: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    kept: dict[str, list[tuple[int, str]]] = {}
    for name, text in texts.items():
        lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
        kept[name] = [
            (n, line) for n, line in lines if re.search(r"\w", line) and not re.match(r"#|import |from ", line)
        ]
        for i in range(len(kept[name]) - WINDOW + 1):
            places[tuple(line for _, line in kept[name][i : i + WINDOW])].append((name, i))
    rows: list[Row] = []
    for name, lines_of in kept.items():
        for i in range(len(lines_of) - WINDOW + 1):
            same = [
                place for place in places[tuple(line for _, line in lines_of[i : i + WINDOW])] if place != (name, i)
            ]
            if not same:
                continue
            first, last = lines_of[i][0], lines_of[i + WINDOW - 1][0]
            if rows and rows[-1][0] == name and first <= rows[-1][2]:
                rows[-1][2] = last
            else:
                rows.append([name, first, last, f"{same[0][0]}:{kept[same[0][0]][same[0][1]][0]}"])
    return rows


def probed(tree: Path) -> dict[str, Any]:
    """Return what only running a tree's code tells, from a Python of its own that sees that tree alone."""
    paths = [tree, tree / "envs", tree / "planners", tree / "scripts"]
    if not (tree / "envs" / "df_envs").is_dir():
        paths = [tree, tree / "scripts"]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "probe.json")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths)), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-P", __file__, "--probe", str(tree), str(out)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if not out.is_file():
            raise SystemExit(f"the probe of {tree} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        result: dict[str, Any] = json.loads(out.read_text())
    return result


def probe(tree: Path, out: Path) -> None:
    """Write the circles, the walk of one observation and the stack at the first pass; ends the process there."""
    import torch

    result: dict[str, Any] = {"circles": circles(tree), "walk": walk(tree)}

    def stop(module: torch.nn.Module, _: Any) -> None:
        frames = ours(tree, traceback.extract_stack())
        sampling = [i for i, frame in enumerate(frames) if frame[0].endswith("diffusion/sampler.py")]
        if not sampling or not type(module).__module__.startswith("df_agent.models."):
            return
        # The pass itself is what the sampler calls; above it are the frames down to the sampler's.
        above = frames[: sampling[-1] + 1]
        names = [frame[2] for frame in above]
        result["from_command"] = above
        result["from_evaluate"] = above[names.index("evaluate") :]
        result["from_predict"] = above[names.index("predict") :]
        out.write_text(json.dumps(result))
        os._exit(0)

    torch.nn.modules.module.register_module_forward_pre_hook(stop)
    sys.argv = ["evaluate.py", *EVALUATE, f"output_dir={out.parent / 'out'}"]
    runpy.run_path(str(tree / "scripts" / "evaluate.py"), run_name="__main__")
    raise SystemExit("evaluate.py came to its end without a denoising pass")


def ours(tree: Path, stack: Sequence[traceback.FrameSummary]) -> list[Row]:
    """Return [file, line, function] of the frames of a tree, outermost first, without this script's."""
    frames = [frame for frame in stack if is_ours(frame.filename, tree) and frame.filename != __file__]
    return [[frame.filename[len(f"{tree}/") :], frame.lineno, frame.name] for frame in frames]


def is_ours(file: str, tree: Path) -> bool:
    """Whether a file is the tree's own; its virtual environment, torch's and hydra's files in it, is not."""
    return file.startswith(f"{tree}/") and "site-packages" not in file


def walk(tree: Path) -> list[str]:
    """Return the files of ours that one `predict` runs in, in order, the sampler and what it calls left out."""
    import gymnasium as gym

    maze = "df_envs:maze2d-umaze" if (tree / "envs" / "df_envs").is_dir() else "envs:maze2d-umaze"
    observation, _ = gym.make(maze).reset(seed=0)
    policy = importlib.import_module("df_agent").DiffusionForcingPolicy.from_pretrained("maze2d-umaze", device="cpu")
    files: list[str] = []

    def note(frame: FrameType | None, event: str, _: Any) -> None:
        if event == "return" and frame is not None:  # back in the caller
            frame = frame.f_back
        name = "" if frame is None else frame.f_code.co_filename
        file = name.removeprefix(f"{tree}/")
        ours = is_ours(name, tree) and name != __file__ and not file.startswith(BELOW)
        if event in ("call", "return") and ours:
            files.extend([file] if files[-1:] != [file] else [])

    sys.setprofile(note)
    policy.predict(observation)
    sys.setprofile(None)
    return files


def circles(tree: Path) -> list[list[str]]:
    """Return the sets of modules that import each other in a circle, imports within functions and for types counted."""
    grimp = importlib.import_module("grimp")
    packages = [p for p in PACKAGES if any((top / p / "__init__.py").is_file() for top in (tree, *tree.glob("*/")))]
    graph = grimp.build_graph(*packages, cache_dir=None)
    found = {frozenset(graph.find_upstream_modules(m) & graph.find_downstream_modules(m)) | {m} for m in graph.modules}
    return sorted(sorted(circle) for circle in found if len(circle) > 1)


if __name__ == "__main__":
    main()
