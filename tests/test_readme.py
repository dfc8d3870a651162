"""The README and docs/ say what is so: their commands, options, files and code exist and work."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

import df_agent.checkpoint
from df_agent.agent_model import AgentModel
from df_agent.checkpoint import save_checkpoint
from df_agent.cli.composing import configuration
from df_agent.evaluation.rollout import episode_limit

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXT = "\n".join(page.read_text() for page in PAGES)
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = [body for language, body in BLOCKS if language == "python"]
COMMANDS = list(
    dict.fromkeys(
        line.partition(" #")[0].strip()
        for language, body in BLOCKS
        if language == "bash"
        for line in body.splitlines()
        if line
    )
)


def inline(text: str) -> list[str]:
    """Return what stands between backticks outside of blocks."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))


INLINE = inline(TEXT)
PROGRAMS = ("python", "df-agent", "make", "torchrun")
GUIDES = ["agent", "training", "costs", "original-options", "world-model", "how-it-works", "results", "comparing"]
OPTIONS = [
    text
    for page in PAGES
    if page.stem in GUIDES
    for text in inline(page.read_text())
    if re.fullmatch(r"[a-z_.]+=[^\s\"]*", text)
]
SOURCES = ("df_agent", "planners", "envs", "configs", "scripts", "studies")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

# An untrained agent for any of the mazes; it acts, badly.
TINY = {
    "network": {"token_dim": 4, "max_tokens": 4, "width": 16, "depth": 1, "heads": 2},
    "diffusion": {"levels": 20, "frame_stack": 2},
    "tokenizer": {"config": {"frame_skip": 8, "frame_stack": 2}, "mean": [0.0, 0.0], "std": [2.0, 2.0]},
    "windows": {"max_tokens": 4},
    "statistics": {"step": [0.4, 0.4], "turn": [0.2, 0.2], "speed": [0.05, 0.05]},
    "policy": {"velocity_indices": [2, 3]},
}


@cache
def imported(script: str) -> ModuleType:
    """Import a study."""
    spec = importlib.util.spec_from_file_location(Path(script).stem, ROOT / script)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def behind(script: str) -> tuple[str, list[str]]:
    """Return the command that a script stands for, and what it is told before the user's own words."""
    (call,) = re.findall(r"^    main\((.*)\)$", (ROOT / script).read_text(), re.MULTILINE)
    name, *defaults = ast.literal_eval(f"({call},)")
    return name, defaults


def composed(script: str, words: list[str]) -> DictConfig:
    """The configuration that a script, or `df-agent NAME`, would see."""
    name, defaults = behind(script) if script.endswith(".py") else (script, [])
    words = [word.replace("=ENV", "=maze2d-large").replace("=SEED", "=0") for word in words]
    words = [word for word in words if not re.match(r"policy\.planner(=mine:|_options)", word)]  # the reader's own
    config = configuration(name, [*defaults, *words])
    # The reader's own environment is not here to be asked for its limit.
    OmegaConf.register_new_resolver("limit", lambda env_id, max_steps: max_steps or 1, replace=True)
    try:
        OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    finally:
        OmegaConf.register_new_resolver("limit", episode_limit, replace=True)
    return config


def takes(name: str, *words: str) -> bool:
    try:
        composed(name, list(words))
    except Exception:  # Hydra has many
        return False
    return True


def check_make(words: list[str]) -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE).group(1).split()
    assert words[0] in targets
    if words[1:]:
        name, _, value = words[1].partition("=")
        assert (words[0], name) == ("evaluate", "ARGS")
        composed("scripts/evaluate.py", ["env=maze2d-large", *value.split()])


def check_flags(words: list[str]) -> None:
    """Fail unless a command with flags names existing options; those of a sweep are looked at one value at a time."""
    name, *rest = [word for word in words if word not in ("--help", "-m")]
    if "--config-dir" in rest:
        del rest[rest.index("--config-dir") : rest.index("--config-dir") + 2]
        rest = [word for word in rest if not word.startswith("policy=")]  # a file of the reader's
    if "-m" in words:
        rest = [word.partition(",")[0] for word in rest if not word.startswith("hydra")]
    composed(name, rest)


def check_command(command: str) -> None:
    """Fail unless the command names existing programs, files and options."""
    program, *words = shlex.split(command)
    if program == "make":
        check_make(words)
    elif program == "torchrun":
        assert words[0] == "--nproc_per_node=8"
        composed(words[1], words[2:])
    elif program == "python" and words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None
    elif program == "df-agent" and words in ([], ["COMMAND", "--help"]):
        pass  # lists the commands
    elif program == "df-agent" and set(words) & {"--help", "-m", "--config-dir"}:
        check_flags(words)
    elif program == "df-agent" or (program == "python" and words[0].startswith("scripts/")):
        composed(words[0], words[1:])
    elif program == "python" and words[0] == "studies/sanity.py":
        assert imported(words[0])
        composed("sanity", words[1:])
    elif program == "python" and (read_options := getattr(imported(words[0]), "read_options", None)):
        read_options(words[1:])  # ends in SystemExit at an option that it does not have
    elif program == "python" and len(words) == 1:
        assert (ROOT / words[0]).is_file()  # a script that takes no options
    elif program == "pip":
        assert [*words[:2], *words[3:]] == ["install", "-e", "-c", "constraints.txt"]
        extra = re.fullmatch(r"\.(?:\[(\w+)\])?", words[2]).group(1)
        assert extra is None or extra in PROJECT["project"]["optional-dependencies"]
        assert (ROOT / "constraints.txt").is_file()
    elif program == "pytest":
        markers = [text.partition(":")[0] for text in PROJECT["tool"]["pytest"]["ini_options"]["markers"]]
        assert words in ([], ["-n", "2"]) or (words[0] == "-m" and words[1] in markers)
    else:
        in_makefile = re.findall(r"\$\(BIN\)/(.+)", (ROOT / "Makefile").read_text())
        assert command in in_makefile, f"`make test` does not run {command!r}"


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command):
    check_command(command)


@pytest.mark.parametrize("text", [text for text in INLINE if text.split()[0] in PROGRAMS])
def test_inline_command(text):
    check_command(text)


@pytest.mark.parametrize("text", OPTIONS)
def test_inline_option(text):
    names = ("collect", "train", "evaluate", "compare", "run", "train algorithm=video")
    assert any(takes(*name.split(), text) for name in names), f"no command takes {text}"


def test_evaluated_checkpoints_are_those_that_training_ends_in():
    named = [re.search(r"checkpoint=(\S+)", command) for command in COMMANDS]
    folders = {match.group(1) for match in named if match}
    ends = set()
    for words in map(shlex.split, COMMANDS):
        trains = words[:2] == ["df-agent", "train"] or words[1:2] == ["scripts/train.py"]
        if trains and not {"-m", "--help"} & set(words):
            ends.add(f"{composed(words[1], words[2:]).run_dir}/final")
        if words[:2] == ["df-agent", "convert"]:
            ends.add(f"runs/{words[3].removeprefix('env=')}-v15/final")
    assert folders
    assert folders <= ends


def test_options_that_do_not_exist_are_noticed():
    with pytest.raises(Exception, match="no_such_option"):
        check_command("python scripts/evaluate.py no_such_option=1")
    with pytest.raises(Exception, match="no-such-method"):
        check_command("df-agent train method=no-such-method")
    with pytest.raises(AssertionError):
        check_command("make nothing")


def test_inline_paths_exist():
    paths = [
        text
        for text in INLINE
        if re.fullmatch(r"(df_agent|planners|envs|scripts|studies|configs|docs|results|tests)/[\w./-]+", text)
        and "NAME" not in text
        and "ENV" not in text
    ]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_link_targets_exist(page):
    targets = re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text())
    assert [target for target in targets if not leads_somewhere(page, target)] == []


def leads_somewhere(page: Path, target: str) -> bool:
    """Whether a link's file exists, and in it the heading that it names."""
    name, _, anchor = target.partition("#")
    file = page.parent / name if name else page
    if not file.is_file() or not anchor:
        return file.is_file()
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_that_lead_nowhere_are_noticed():
    page = ROOT / "README.md"
    assert leads_somewhere(page, "docs/agent.md#real-time-and-deadlines")
    assert not leads_somewhere(page, "docs/agent.md#no-such-heading")
    assert not leads_somewhere(page, "docs/no-such-page.md")


def test_the_first_page_stays_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def imported_names(body: str) -> list[tuple[str, str | None]]:
    pairs: list[tuple[str, str | None]] = []
    for node in ast.walk(ast.parse(body)):
        if isinstance(node, ast.Import):
            pairs += [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            pairs += [(str(node.module), alias.name) for alias in node.names]
    return pairs


@pytest.mark.parametrize("body", PYTHON)
def test_python_block_runs(body, tmp_path, monkeypatch):
    torch.manual_seed(0)
    for maze in ("umaze", "large"):
        save_checkpoint(tmp_path / "pretrained" / f"maze2d-{maze}", AgentModel.from_config(TINY).state_dict(), TINY)
    for shipped in df_agent.checkpoint.PRETRAINED.iterdir():
        if not (linked := tmp_path / "pretrained" / shipped.name).exists():
            linked.symlink_to(shipped)
    monkeypatch.setattr(df_agent.checkpoint, "PRETRAINED", tmp_path / "pretrained")
    monkeypatch.chdir(tmp_path)
    for module, name in imported_names(body):
        assert name is None or hasattr(importlib.import_module(module), name)
    exec(compile(body, "README.md", "exec"), {"__name__": "__main__"})


def listed_paths() -> dict[str, str | None]:
    """Path -> comment (None for folders without one), from the tree in docs/architecture.md."""
    body = next(body for language, body in BLOCKS if language == "text")
    found: dict[str, str | None] = {}
    parents: list[str] = []
    for line in body.splitlines():
        indent, name, comment = re.fullmatch(r"( *)(\S+)(?: {2,}(\S.*))?", line).groups()
        parents = parents[: len(indent) // 2]
        found["".join(parents) + name] = comment
        if name.endswith("/"):
            parents.append(name)
    return found


def test_tree_is_complete():
    shown = {path.rstrip("/") for path in listed_paths()}
    rooms = {str(path.parent.relative_to(ROOT)) for source in SOURCES for path in (ROOT / source).rglob("*.py")}
    assert rooms <= shown, f"the tree in docs/architecture.md lacks {sorted(rooms - shown)}"


def test_every_study_has_its_page_and_is_listed():
    scripts = {path.stem for path in (ROOT / "studies").glob("*.py") if "__main__" in path.read_text()}
    scripts.remove("behaviour_recorder")  # behaviour.py starts it
    pages = {path.stem for path in (ROOT / "docs" / "studies").glob("*.md")} - {"README"}
    assert scripts <= pages, f"docs/studies lacks {sorted(scripts - pages)}"
    listed = set(re.findall(r"\]\((\w+)\.md\)", (ROOT / "docs" / "studies" / "README.md").read_text()))
    assert listed == pages


@pytest.mark.slow  # a process each
@pytest.mark.parametrize("study", sorted((ROOT / "studies").glob("*.py")), ids=lambda path: path.stem)
def test_a_study_starts_from_anywhere(study, tmp_path):
    """From a folder that is not the repository; the installed packages are found, and so is what studies share."""
    done = subprocess.run([sys.executable, str(study), "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_imports_the_studies():
    files = [path for source in SOURCES if source != "studies" for path in (ROOT / source).rglob("*.py")]
    found = [
        str(path.relative_to(ROOT))
        for path in files
        if any(name.partition(".")[0] == "studies" for name, _ in imported_names(path.read_text()))
    ]
    assert found == []


def test_tree_is_true_and_commented():
    listed = listed_paths()
    assert [path for path in listed if not (ROOT / path).exists()] == []
    assert [path for path, comment in listed.items() if not comment and not path.endswith("/")] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tables_are_filled(page):
    text = page.read_text()
    for name in re.findall(r"<!-- ([^:\n]+):start -->", text):
        _, _, behind = text.partition(f"<!-- {name}:start -->")
        table, end, _ = behind.partition(f"<!-- {name}:end -->")
        assert end
        assert "|" in table, f"{name} is empty"
