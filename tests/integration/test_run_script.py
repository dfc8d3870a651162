"""`df-agent run` hands each task its own options and what follows from the others."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from df_agent.cli import run as run_script
from df_agent.cli.app import main

ROOT = Path(__file__).parents[2]


def run(words):
    main("run", arguments=words)


@pytest.fixture
def ran(monkeypatch):
    """What would be run; the task named in `fails` fails."""
    calls, fails = [], set()

    def fake(command, check):
        assert command[:4] == [sys.executable, "-P", "-m", "df_agent.cli"]
        calls.append(command[4:])
        return subprocess.CompletedProcess(command, 3 if command[4] in fails else 0)

    monkeypatch.setattr(run_script.subprocess, "run", fake)
    monkeypatch.setattr(run_script, "is_collected", lambda name: name == "df-agent/maze2d-umaze-dfs-v0")
    return calls, fails


def test_tasks_run_in_order_with_their_options(ran):
    calls, _ = ran
    given = ["env=maze2d-medium", "collect.steps=1000", "collect.dataset=mine-v0", "train.run_dir=runs/x", "debug=true"]
    run([*given, "train.train.seed=1", "evaluate.episodes=5"])
    assert calls == [
        ["collect", "env=maze2d-medium", "steps=1000", "dataset=mine-v0"],
        ["train", "env=maze2d-medium", "dataset=mine-v0", "run_dir=runs/x", "debug=true", "train.seed=1"],
        ["evaluate", "env=maze2d-medium", "checkpoint=runs/x/final", "episodes=5"],
    ]


def test_what_is_collected_is_not_collected_again(ran, capsys):
    calls, _ = ran
    run(["env=maze2d-umaze", "tasks=[collect,train]"])
    assert calls == [["train", "env=maze2d-umaze"]]
    assert "df-agent/maze2d-umaze-dfs-v0 is there already" in capsys.readouterr().out
    run(["env=maze2d-umaze", "tasks=[collect]", "collect.overwrite=true"])
    assert calls[1:] == [["collect", "env=maze2d-umaze", "overwrite=true"]]


def test_a_task_that_fails_ends_it(ran):
    calls, fails = ran
    fails.add("train")
    with pytest.raises(SystemExit) as error:
        run(["env=maze2d-umaze"])
    assert error.value.code == 3
    assert [call[0] for call in calls] == ["train"]


def test_each_methods_own_run_is_evaluated(ran):
    for path in sorted((ROOT / "configs" / "df_configs" / "train" / "method").glob("*.yaml")):
        found = re.search(r"run_dir: runs/\$\{file_name:\$\{env_id\}\}(\S*)", path.read_text())
        if found or path.stem == "diffusion_forcing":
            ran[0].clear()
            run(["env=maze2d-umaze", "tasks=[evaluate]", f"train.method={path.stem}"])
            run_dir = f"runs/maze2d-umaze{found.group(1) if found else ''}"
            assert ran[0] == [["evaluate", "env=maze2d-umaze", f"checkpoint={run_dir}/final"]]


def test_a_maze_with_goals_drawn_anew_uses_the_model_of_the_one_with_a_fixed_goal(ran):
    run(["env=multi2d-medium", "collect.steps=10"])
    assert [call[1:] for call in ran[0]] == [
        ["env=maze2d-medium", "steps=10"],
        ["env=maze2d-medium"],
        ["env=multi2d-medium", "checkpoint=runs/maze2d-medium/final"],
    ]


def test_our_module_may_be_named_before_the_environment(ran):
    for env in ("maze2d-medium", "multi2d-medium"):
        ran[0].clear()
        run([f"env=df_envs:{env}", "collect.steps=10"])
        named = [*ran[0]]
        ran[0].clear()
        run([f"env={env}", "collect.steps=10"])
        assert named == ran[0]


def test_without_training_what_ships_is_evaluated(ran, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(["env=maze2d-medium", "tasks=[evaluate]"])
    (tmp_path / "runs" / "maze2d-medium" / "final").mkdir(parents=True)
    run(["env=maze2d-medium", "tasks=[evaluate]"])
    assert [call[2:] for call in ran[0]] == [[], ["checkpoint=runs/maze2d-medium/final"]]


def test_a_name_with_a_slash_or_a_module_is_found_where_training_leaves_it(ran):
    for task, method, suffix in (("diffusion_forcing", "", ""), ("causal", "train.method=causal", "-causal")):
        ran[0].clear()
        run([each for each in ("env=gymnasium:CartPole-v1", "tasks=[train,evaluate]", method) if each])
        assert ran[0][1][2] == f"checkpoint=runs/CartPole-v1{suffix}/final", task
    assert run_script.file_name("mypackage:space/Mine-v0") == "space_Mine-v0"


def test_help_is_given(ran, capsys):
    run(["--help"])
    assert "tasks=collect,train,evaluate" in capsys.readouterr().out
    assert ran[0] == []


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("collect.pixels=64", "name it, collect.dataset="),
        (
            "tasks=[collect,trian]",
            r"each one of collect, train, evaluate, .*mean train\?",
        ),
        ("tasks=[]", "tasks= asks for none"),
        ("evalute.seed=1", "there is no option 'evalute.seed'"),
        ("steps", "options are written key=value"),
        ("evaluate.episods=3", "Did you mean evaluate.episodes"),
        ("tasks=train evaluate.episodes=a", "evaluate.episodes must be a whole number"),
        ("env=maze2d-mediun", "maze2d-medium"),
    ],
)
def test_mistakes_are_named(ran, argument, message):
    with pytest.raises(SystemExit, match=message.replace("[", r"\[")):
        run(argument.split())
    assert not ran[0]
