"""The hash of code follows what it does and what it imports."""

import sys

import pytest

from df_agent.evaluation.provenance import code_hashes

FILES = {
    "__init__.py": "from toycode import unused\n",
    "policy.py": '"""Mine."""\nfrom typing import TYPE_CHECKING\nfrom toycode.parts import helper\nfrom . import late\n'
    "if TYPE_CHECKING:\n    from toycode import types_only\n\ndef act():\n    return helper()\n",
    "parts/__init__.py": "from toycode.parts.inner import helper\n",
    "parts/inner.py": "import json\n\ndef helper():\n    # one\n    return 1\n",
    "late.py": "def lazy():\n    from toycode import found\n    return found\n",
    "found.py": "",
    "types_only.py": "",
    "unused.py": "",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "toycode"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_all_that_is_imported_counts_and_nothing_is_executed(package):
    names = ["found", "late", "parts", "parts.inner", "policy"]
    # `from . import late` runs the package itself, and so what that imports.
    assert set(code_hashes(["toycode.policy"])) == {f"toycode.{name}" for name in names} | {"toycode", "toycode.unused"}
    assert "toycode.parts.inner" not in sys.modules


def test_tables_in_a_package_count(package):
    before = code_hashes(["toycode.policy"])
    (package / "parts" / "values.npz").write_bytes(b"1")
    after = code_hashes(["toycode.policy"])
    assert [name for name in before if before[name] != after[name]] == ["toycode.parts"]


def test_layout_and_comments_do_not_count_but_code_does(package):
    before = code_hashes(["toycode.policy"])
    inner = package / "parts" / "inner.py"
    inner.write_text('import json\ndef helper():\n    """Return it."""\n    return (1)  # the same\n')
    assert code_hashes(["toycode.policy"]) == before
    inner.write_text("def helper():\n    return 2\n")
    after = code_hashes(["toycode.policy"])
    assert [name for name in before if before[name] != after[name]] == ["toycode.parts.inner"]


def test_our_agent_follows_from_its_planner_but_not_from_its_training():
    found = code_hashes(["df_agent.policies.diffusion_forcing"])
    assert {"df_planners.shortest_feasible", "df_agent.policies.plan_sampler", "df_agent.models.transformer"} <= set(
        found
    )
    assert not [name for name in found if name.startswith(("df_agent.training", "df_envs", "torch"))]


def test_a_module_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match=r"df_agent\.polcy"):
        code_hashes(["df_agent.polcy"])
