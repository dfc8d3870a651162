"""What an installed df-agent promises: light imports, lazy public names, complete pins."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import df_agent

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# What torch brings on some platforms only.
ACCELERATOR = re.compile(r"(nvidia|cuda)-|triton$")


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_brings_nothing_else():
    code = "import sys; before = set(sys.modules); import df_agent; print(*(set(sys.modules) - before))"
    loaded = {name.partition(".")[0] for name in run_python(code).split()}
    assert "df_agent" in loaded
    assert loaded - set(sys.stdlib_module_names) == {"df_agent"}


@pytest.mark.parametrize("name", df_agent.__all__)
def test_public_name_resolves(name):
    value = getattr(df_agent, name)
    assert value.__name__ == name
    assert value.__module__.startswith("df_agent.")
    assert value.__doc__
    assert name in dir(df_agent)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(df_agent.__file__).read_text())
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in guarded.body for alias in node.names}
    assert seen == df_agent._HOME_OF
    assert sorted(seen) == df_agent.__all__


def test_unknown_name_is_an_error_that_lists_the_known():
    with pytest.raises(AttributeError, match=r"'Polcy'.*DiffusionForcingPolicy"):
        _ = df_agent.Polcy


def test_version_is_the_distributions():
    assert metadata.version("df-agent") == df_agent.__version__


def test_package_data():
    assert (Path(df_agent.__file__).parent / "py.typed").is_file()
    assert (Path(df_agent.__file__).parent / "pretrained" / "maze2d-large" / "config.json").is_file()


def test_every_folder_of_modules_is_a_package():
    folders = {
        path.parent
        for top in ("df_agent", "envs/df_envs", "planners/df_planners")
        for path in (ROOT / top).rglob("*.py")
    }
    assert len(folders) > 5
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_pins_are_plain_versions():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line), line


def test_direct_requirements_accept_their_pins():
    project, pinned = PROJECT["project"], pins()
    extras = project["optional-dependencies"]
    for text in project["dependencies"] + extras["dev"] + extras["ogbench"]:
        requirement = Requirement(text)
        if requirement.name == project["name"]:  # one of its own extras
            assert requirement.extras <= set(extras)
            continue
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), text


def test_everything_required_is_pinned():
    pinned, seen, queue = pins(), set(), [Requirement("df-agent[dev]")]
    while queue:
        wanted = queue.pop()
        key = (canonicalize_name(wanted.name), frozenset(wanted.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in metadata.requires(wanted.name) or ():
            inner = Requirement(text)
            extras = wanted.extras or {""}
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                queue.append(inner)
    names = {name for name, _ in seen if not ACCELERATOR.match(name)} - {"df-agent"}
    assert len(names) > 50
    assert names <= pinned.keys(), f"constraints.txt lacks {sorted(names - pinned.keys())}"


def test_shipped_weights_stay_small():
    weights = list((ROOT / "df_agent" / "pretrained").glob("*/model.safetensors"))
    assert weights
    assert sum(path.stat().st_size for path in weights) < 42e6
