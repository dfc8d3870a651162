"""The study of OGBench's mazes, with a model of random weights and hardly any episodes."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("ogbench")

ROOT = Path(__file__).parents[2]
ENV = "pointmaze-medium-stitch"


@pytest.fixture
def study():
    spec = importlib.util.spec_from_file_location("long_mazes", ROOT / "studies" / "long_mazes.py")
    module = sys.modules["long_mazes"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def trained(tmp_path, study, monkeypatch):
    """A folder with the agent after two steps on two short walks."""
    import numpy as np
    from omegaconf import OmegaConf

    from df_agent.cli.composing import configuration
    from df_agent.data.episodes import from_segments
    from df_agent.training.run import train

    def walk(way):
        places = np.linspace(0, 30, 200)[:, None] * way
        return {"observations": places, "actions": np.zeros((199, 2)), "rewards": np.zeros(199)}

    from_segments([walk([1.0, 0.0]), walk([0.0, 1.0])]).save(tmp_path / "walks.npz")
    config = configuration(
        "train",
        [
            f"env={ENV}",
            f"dataset={tmp_path / 'walks.npz'}",
            f"run_dir={tmp_path / 'run'}",
            "train.steps=2",
            "train.warmup_steps=0",
            "train.batch_size=4",
            "train.compile=false",
            "train.validate_every=0",
            "time_to_goal.steps=2",
            "network.width=16",
            "network.depth=1",
            "network.heads=2",
            "tracker=none",
        ],
    )
    given = OmegaConf.to_container(config, resolve=True)
    from df_agent import AgentTrainingConfig

    options = {key: value for key, value in given.items() if key in AgentTrainingConfig.__dataclass_fields__}
    train({**options, "env": ENV})
    original, weights = study.policy_config, str(tmp_path / "run" / "final")

    def with_weights(name, env_id, changes=None):
        given = {} if name == "wanderer" else {"checkpoint": weights}
        return original(name, env_id, changes={**given, **(changes or {})})

    monkeypatch.setattr(study, "policy_config", with_weights)
    return tmp_path


def call(study, monkeypatch, folder, *arguments):
    output = ["--output", str(folder / "rows.json"), "--picture", str(folder / "rows.png"), "--episodes", "1"]
    monkeypatch.setattr(sys, "argv", ["long_mazes.py", ENV, *output, *arguments])
    study.main()
    return json.loads((folder / "rows.json").read_text())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_rows_of_all_tasks_are_written_and_kept(study, trained, monkeypatch):
    monkeypatch.setattr(study, "rollout", short(study.rollout))
    monkeypatch.setattr(study, "run", short(study.run))
    monkeypatch.setitem(study.POLICIES, "best_of_n", study.POLICIES["one_plan"])
    found = call(study, monkeypatch, trained, "--policies", "tree_search", "one_plan")
    assert [(row["policy"], row["episodes"]) for row in found["rows"]] == [("tree_search", 5), ("one_plan", 5)]
    for row in found["rows"]:
        assert len(row["success_by_task"]) == 5
        assert len(row["steps_to_goal"]) == 5
        assert row["ratio_to_shortest"] > 0
        assert row["windows_per_episode"] > 0
        assert row["seconds_alone"] > 0
    assert (trained / "rows.png").stat().st_size > 1000
    again = call(study, monkeypatch, trained, "--policies", "best_of_n")
    assert [row["policy"] for row in again["rows"]] == ["tree_search", "best_of_n", "one_plan"]
    assert again["rows"][0] == found["rows"][0]
    monkeypatch.setitem(study.BUDGETS, "tree_search", [{"tree_search": {"rounds": 1}}, {"tree_search": {"rounds": 2}}])
    budgets = call(study, monkeypatch, trained, "--policies", "tree_search", "--budgets")
    assert [row["changes"]["tree_search"]["rounds"] for row in budgets["budgets"]] == [1, 2]
    assert budgets["rows"] == again["rows"]
    walked = call(study, monkeypatch, trained, "--policies", "wanderer")
    assert [row["policy"] for row in walked["rows"]] == ["tree_search", "best_of_n", "one_plan", "wanderer"]
    with pytest.raises(SystemExit, match="other --episodes"):
        call(study, monkeypatch, trained, "--policies", "wanderer", "--episodes", "2")
    with pytest.raises(SystemExit):
        call(study, monkeypatch, trained, "--policies", "wanderer", "--budgets")
    monkeypatch.setitem(study.POLICIES, "diffuser", ("gcbc", {}))  # which is not trained there
    monkeypatch.setattr(study, "row_of", None)  # nothing runs before all weights are there
    monkeypatch.setattr(study, "policy_config", sys.modules["df_agent.cli.policies"].policy_config)
    with pytest.raises(SystemExit, match="no checkpoint"):
        call(study, monkeypatch, trained, "--policies", "wanderer", "diffuser")


def short(function):
    """The same with episodes of 30 steps."""

    def limited(*args, **options):
        return function(*args, **{**options, "max_steps": 30})

    return limited


def test_every_maze_has_its_options_for_diffuser(study):
    from omegaconf import OmegaConf

    from df_agent.cli.composing import configuration

    for env_id in study.OGBENCH_IDS:
        made = OmegaConf.to_container(study.policy_config("diffuser_long", env_id).policy.policy, resolve=True)
        trained = configuration("train", ["algorithm=diffuser_long", f"env={env_id}"])
        learner = OmegaConf.to_container(trained.learner, resolve=True)
        seen = learner["horizon"] * learner["frame_skip"]
        assert seen <= (200 if "stitch" in env_id else 1000 if "giant" not in env_id else 2000)
        assert made["longest"] >= 300  # what the longest way of the smallest maze takes


def test_the_longest_part_of_a_name_decides(study):
    from df_agent.cli.environments import by_name

    assert by_name("pointmaze-giant-navigate", {"navigate": 1, "giant-navigate": 2, "stitch": 3}) == 2
    assert by_name("df_envs:pointmaze-large-navigate", {"navigate": 1, "giant-navigate": 2}) == 1
    assert by_name("FetchPush-v4", {"giant": 1, "elsewhere": 2}) == 2
    with pytest.raises(ValueError, match="nothing is known for FetchPush-v4, only for giant, large"):
        by_name("FetchPush-v4", {"giant": 1, "large": 2})


def test_unknown_mazes_are_named(study, capsys):
    with pytest.raises(SystemExit):
        study.read_options(["pointmaze-giant-nowhere"])
    assert "pointmaze-giant-navigate" in capsys.readouterr().err
