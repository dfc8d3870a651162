"""A planner, a controller and a policy from outside the package plug in by name, as docs/plug-in.md says."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from df_agent import DiffusionForcingPolicy
from df_agent.checkpoint import CheckpointError

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "plug-in.md").read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A folder with the page's module, from which commands are run."""
    (tmp_path / "mine.py").write_text("\n\n".join(BLOCKS))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


def evaluate(folder, *arguments):
    command = [
        sys.executable,
        str(ROOT / "scripts" / "evaluate.py"),
        "env=maze2d-umaze",
        "episodes=3",
        "pictures=false",
    ]
    command += ["pictures=false", "timing_episodes=1", "max_steps=120", "output_dir=out", *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_planner_and_a_controller_of_ones_own(outside):
    done = evaluate(
        outside,
        "policy.planner=mine:Smoothest",
        "policy.planner_options={horizons: [5, 7]}",
        "policy.controller=mine:Cautious",
        "policy.precision=fp32",
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((outside / "out" / "summary.json").read_text())
    assert summary["success_rate"] > 0
    made = summary["provenance"]["config"]["policy"]["policy"]
    assert (made["planner"], made["controller"]) == ("mine:Smoothest", "mine:Cautious")


def test_a_policy_of_ones_own(outside):
    done = evaluate(outside, "policy=mine:Straight")
    assert done.returncode == 0, done.stderr
    assert json.loads((outside / "out" / "summary.json").read_text())["policy"] == "mine:Straight"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"planner": "shortest_feasibel"}, r"unknown planner 'shortest_feasibel', .*'module:Class'.*Did you mean"),
        ({"planner": "no_such_module:Planner"}, "planner=no_such_module:Planner: No module.*PYTHONPATH"),
        ({"planner": "mine:Nothing"}, "the module mine has no Nothing"),
        ({"planner": "mine:Straight"}, "must be a class derived from df_planners.model_planner.ModelPlanner"),
        ({"planner": "mppi"}, "unknown planner 'mppi', available here: best_of_n"),
        ({"planner": "mine:Smoothest", "planner_options": {"horizon": 3}}, "unknown options .*did you mean horizons"),
        ({"controller": "pathh"}, "unknown controller 'pathh'.*Did you mean 'path'"),
    ],
)
def test_what_does_not_plug_in_is_said(outside, options, says):
    with pytest.raises(ValueError, match=says):
        DiffusionForcingPolicy.from_pretrained("maze2d-umaze", device="cpu", precision="fp32", **options)


def test_a_name_that_stands_in_a_checkpoint_is_not_imported(outside):
    options = {"device": "cpu", "precision": "fp32"}
    own = DiffusionForcingPolicy.from_pretrained("maze2d-umaze", planner="mine:Smoothest", **options)
    own.save_pretrained(outside / "saved")
    sys.modules.pop("mine")
    with pytest.raises(ValueError, match="pass planner='mine:Smoothest' if you trust it"):
        DiffusionForcingPolicy.from_pretrained(outside / "saved", **options)
    assert "mine" not in sys.modules
    again = DiffusionForcingPolicy.from_pretrained(outside / "saved", planner="mine:Smoothest", **options)
    assert type(again.planner).__name__ == "Smoothest"
    with pytest.raises(CheckpointError):
        DiffusionForcingPolicy.from_pretrained(outside / "nothing", **options)
