"""The harness on the mazes, and the script as a user starts it."""

import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from df_envs.oracle import OraclePolicy, lower_bound_steps, oracle_steps
from omegaconf import OmegaConf

from df_agent.checkpoint import save_checkpoint
from df_agent.cli.composing import configuration
from df_agent.cli.measuring import output_folder
from df_agent.cli.policies import goal_spec_of, is_usual
from df_agent.data.episodes import Episodes
from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.metrics import reference_steps
from df_agent.evaluation.references import References
from df_agent.evaluation.rollout import PLAIN, evaluate, rollout
from studies import results as results_script
from studies import ship as ship_script
from studies.sanity import data_wandering

ROOT = Path(__file__).parents[2]

TIMED = {"plan_ms", "plan_ms_single", "real_time_factor", "env_steps_per_second", "provenance"}


def run_script(*arguments, folder, script="scripts/evaluate.py"):
    command = [sys.executable, str(ROOT / script), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("env_id", ["maze2d-umaze", "multi2d-large"])
def test_the_oracle_in_the_harness_is_the_oracle_of_the_references(env_id):
    records = rollout(OraclePolicy(env_id), env_id, episodes=6, seed=1000)
    steps = reference_steps(records, lambda starts, goals: oracle_steps(env_id, starts, goals))
    bound = reference_steps(records, lambda starts, goals: lower_bound_steps(env_id, starts, goals))
    assert [record.time_to_goal for record in records] == steps.tolist()
    assert (bound <= steps).all()
    assert all(record.success and record.at_goal_at_end for record in records)
    assert all(record.first_reach == record.max_episode_steps - record.episode_reward_if_stay for record in records)


def test_maze_episodes_do_not_depend_on_how_many_run_side_by_side():
    def run(num_envs):
        records = rollout(OraclePolicy("multi2d-umaze"), "multi2d-umaze", episodes=5, seed=0, num_envs=num_envs)
        return [(record.start, record.goal, record.time_to_goal, record.path) for record in records]

    assert run(5) == run(2) == run(1)


def test_the_script_writes_a_report_that_another_process_repeats(tmp_path):
    result = run_script("env=maze2d-umaze", "policy=oracle", "episodes=5", "seed=1", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "outputs" / "evaluate" / "maze2d-umaze-oracle-seed1"
    assert f"Written to {folder.relative_to(tmp_path)}" in result.stdout
    files = {path.name for path in folder.iterdir() if path.name != ".lock"}
    assert files == {"episodes.jsonl", "summary.json", "plans.png", "time_to_goal.png", "rollout.mp4"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"], "no stray logs"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["success_rate"], summary["time_ratio_to_oracle"], summary["max_episode_steps"]) == (1.0, 1.0, 300)
    assert summary["score_occupancy"] == pytest.approx(100 * (summary["episode_reward"] - 23.85) / (161.86 - 23.85))
    assert summary["provenance"]["config"]["env"] == "maze2d-umaze"

    references = References(
        oracle_steps=partial(oracle_steps, "maze2d-umaze"),
        lower_bound_steps=partial(lower_bound_steps, "maze2d-umaze"),
        score_references=(23.85, 161.86),
    )
    policy, options = OraclePolicy("maze2d-umaze"), {"episodes": 5, "seed": 1, "num_envs": 2, "policy_name": "oracle"}
    again = evaluate(policy, "maze2d-umaze", references=references, **options).summary
    assert {key: again[key] for key in again if key not in TIMED} == {
        key: summary[key] for key in summary if key not in TIMED
    }


def test_the_script_names_what_was_probably_meant(tmp_path):
    result = run_script("env=maze2d-larg", "policy=oracle", folder=tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("df-agent evaluate: there is no environment 'maze2d-larg'; ours are maze2d-umaze")
    assert "Did you mean 'maze2d-large'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_sanity_study_takes_the_goal_away(tmp_path):
    # Data that stands still: 3 of 4 walks at the goal, 1 of 4 far from it.
    places = np.repeat([[-1.0, 1.0], [-1.0, 1.0], [-1.0, 1.0], [0.0, -1.0]], 301, axis=0).astype(np.float32)
    walks = Episodes(
        observations=np.concatenate([places, np.zeros_like(places)], axis=1),
        actions=np.zeros((len(places), 2), np.float32),
        rewards=np.zeros(len(places), np.float32),
        desired_goals=None,
        achieved_goals=places,
        starts=np.arange(0, 5 * 301, 301),
    )
    walks.save(tmp_path / "walks.npz")
    arguments = ("env=maze2d-umaze", "policy=oracle", "episodes=12", "dataset=walks.npz")
    result = run_script(*arguments, "output_dir=sane", folder=tmp_path, script="studies/sanity.py")
    assert result.returncode == 0, result.stderr
    table = json.loads((tmp_path / "sane" / "sanity.json").read_text())
    rates = {row["policy"]: row["success_rate"] for row in table["rows"]}
    assert set(rates) == {"true goals", "shuffled goals", "random actions"}
    assert rates["true goals"] == 1.0
    assert rates["shuffled goals"] < 1.0
    assert table["wandering_rate"] == pytest.approx(0.75, abs=4 * np.sqrt(0.75 * 0.25 / 2000))


def test_watching_on_the_screen_needs_one(tmp_path):
    bare = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "env=maze2d-umaze", "policy=oracle"]
    for render, said in (("human", "needs a display"), ("robot", "render must be human or null")):
        result = subprocess.run(
            [*command, f"render={render}"], cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=120
        )
        assert result.returncode != 0
        assert said in result.stderr
    assert not list(tmp_path.iterdir())


def evaluation(*options):
    return configuration("evaluate", list(options))


def test_runs_with_changed_options_have_a_folder_of_their_own():
    def folder(*options):
        return output_folder(evaluation("env=maze2d-medium", *options), "evaluate").name

    usual = folder()
    assert usual == "maze2d-medium-diffusion_forcing-seed0"
    for same in ("max_steps=600", "policy.precision=bf16", "policy.device=cpu", "episodes=7"):
        assert folder(same) == usual
    others = {
        folder("max_steps=599"),
        folder("max_steps=100"),
        folder("policy.open_loop_horizon=25"),
        folder("+policy.policy.shortest_feasible.samples=4"),
        folder("policy.checkpoint=maze2d-large"),
    }
    assert len(others) == 5
    assert all(name.startswith(f"{usual}-") for name in others)
    assert folder("checkpoint=maze2d-large") == "maze2d-medium-diffusion_forcing-maze2d-large-seed0"
    assert folder("policy=gcbc", "policy.make.execute=3") == folder("policy=gcbc", "policy.execute=3")
    assert folder("policy=gcbc", "policy.execute=3").startswith("maze2d-medium-gcbc-seed0-")


def test_only_results_without_changed_options_are_published(tmp_path, monkeypatch):
    kept = sorted((ROOT / "results").glob("*/summary.json"))
    assert kept
    for path in kept:
        assert is_usual(json.loads(path.read_text())["provenance"]["config"]), path
    monkeypatch.setattr(results_script, "ROOT", tmp_path)
    monkeypatch.setattr(results_script, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(results_script, "SANITY", tmp_path / "results" / "sanity")
    monkeypatch.setattr(results_script, "COMPARED", tmp_path / "outputs" / "compare")
    monkeypatch.setattr(ship_script, "ROOT", tmp_path)
    name = "maze2d-large-diffusion_forcing-seed0"
    made, sane = (tmp_path / "outputs" / kind / name for kind in ("evaluate", "sanity"))
    summary = json.loads((ROOT / "results" / name / "summary.json").read_text())
    for folder in (made, sane):
        folder.mkdir(parents=True)
    (made / "episodes.jsonl").write_text("")

    def published(make=(), **changes):
        config = {**summary["provenance"]["config"], **changes}
        config["policy"] = {**config["policy"], "make": {**config["policy"]["make"], **dict(make)}}
        text = json.dumps({**summary, "provenance": {"config": config}})
        for file in (made / "summary.json", sane / "sanity.json"):
            file.write_text(text)
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        results_script.collect()
        shown = ship_script.results("maze2d-large").count("| maze2d-large |")
        found = [len(list((tmp_path / "results").glob(kind))) for kind in ("*/summary.json", "sanity/*.json")]
        return [*found, shown]

    assert published() == [1, 1, 1]
    assert published({"open_loop_horizon": 25}) == [0, 0, 0]
    assert published(max_steps=100) == [0, 0, 0]
    assert published(checkpoint="runs/other/final") == [0, 0, 0]


def test_goals_are_found_where_it_is_said_and_else_where_the_checkpoint_says(tmp_path):
    save_checkpoint(tmp_path, {"w": torch.zeros(1)}, {"goal": {"achieved": [0, 1], "success": "nowhere_yet:there"}})
    goal = {"achieved": None, "desired": None, "success": None, "appended": None}

    def view(said, checkpoint):
        policy = {"name": "mine", "checkpoint": checkpoint}
        return goal_spec_of(OmegaConf.create({"env": "maze2d-umaze", "goal": {**goal, **said}, "policy": policy}))

    assert view({}, None).is_plain
    assert view({"achieved": [2]}, None) == GoalSpec(achieved=(2,))
    with pytest.raises(ValueError, match=r"repeat goal\.success="):
        view({}, str(tmp_path))
    assert view({"success": "terminated"}, str(tmp_path)) == GoalSpec(achieved=(0, 1), success="terminated")


def walks(path, places, **columns):
    """Save walks of two steps that stand still at these places."""
    places = np.repeat(np.asarray(places, np.float32), 3, axis=0)
    n = len(places)
    columns = {"desired_goals": None, "achieved_goals": None, "observations": places, **columns}
    starts = np.arange(0, n + 1, 3)
    Episodes(actions=np.zeros((n, 1), np.float32), rewards=np.zeros(n, np.float32), starts=starts, **columns).save(path)
    return str(path)


def test_how_often_walks_touch_the_goal_is_asked_of_the_environments_reward(tmp_path, capsys):
    def wandering(env, dataset, goal_spec=PLAIN):
        goals = np.zeros((2, 3))
        return data_wandering(OmegaConf.create({"env": env, "dataset": dataset}), goal_spec, goals, 2)

    places = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
    seen = np.concatenate([places + 5, places], axis=1)  # the gripper first, then the object
    flat = walks(tmp_path / "flat.npz", seen)
    told = walks(tmp_path / "told.npz", seen, achieved_goals=np.repeat(places, 3, axis=0))
    assert wandering("FetchPush-v4", told) == pytest.approx(0.5, abs=0.05)  # its rewards are -1 and 0
    assert wandering("FetchPush-v4", flat, GoalSpec(achieved=(3, 4, 5))) == pytest.approx(0.5, abs=0.05)
    assert wandering("FetchPush-v4", flat) is None
    assert wandering("Pendulum-v1", told) is None
    said = " ".join(capsys.readouterr().out.split())
    assert "name their channels with goal.achieved" in said
    assert "Pendulum-v1 has no compute_reward" in said
