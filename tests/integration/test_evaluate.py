"""The harness on the mazes, and the script as a user starts it."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from df_agent.data.episodes import Episodes
from df_agent.evaluation.harness import evaluate
from df_agent.evaluation.metrics import Yardsticks, yardstick_steps
from df_agent.evaluation.rollout import rollout
from envs.oracle import OraclePolicy, lower_bound_steps, oracle_steps

ROOT = Path(__file__).parents[2]
TIMED = {"plan_ms", "plan_ms_single", "real_time_factor", "env_steps_per_second", "provenance"}


def run_script(*arguments, folder):
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("env_id", ["maze2d-umaze", "multi2d-large"])
def test_the_oracle_in_the_harness_is_the_oracle_of_the_yardstick(env_id):
    records = rollout(OraclePolicy(env_id), env_id, episodes=6, seed=1000)
    steps = yardstick_steps(records, lambda starts, goals: oracle_steps(env_id, starts, goals))
    bound = yardstick_steps(records, lambda starts, goals: lower_bound_steps(env_id, starts, goals))
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
    files = {path.name for path in folder.iterdir()}
    assert files == {"episodes.jsonl", "summary.json", "plans.png", "time_to_goal.png", "rollout.mp4"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs"], "no stray logs"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["success_rate"], summary["time_ratio_to_oracle"], summary["max_episode_steps"]) == (1.0, 1.0, 300)
    assert summary["score_occupancy"] == pytest.approx(100 * (summary["episode_reward"] - 23.85) / (161.86 - 23.85))
    assert summary["provenance"]["config"]["env"] == "maze2d-umaze"

    yardsticks = Yardsticks(
        oracle_steps=partial(oracle_steps, "maze2d-umaze"),
        lower_bound_steps=partial(lower_bound_steps, "maze2d-umaze"),
        score_references=(23.85, 161.86),
    )
    policy, options = OraclePolicy("maze2d-umaze"), {"episodes": 5, "seed": 1, "num_envs": 2, "pictures": False}
    again = evaluate(policy, "maze2d-umaze", tmp_path / "again", policy_name="oracle", yardsticks=yardsticks, **options)
    assert {key: again[key] for key in again if key not in TIMED} == {
        key: summary[key] for key in summary if key not in TIMED
    }


def test_the_script_names_what_was_probably_meant(tmp_path):
    result = run_script("env=maze2d-larg", "policy=oracle", folder=tmp_path)
    assert result.returncode == 1
    assert "there is no environment 'maze2d-larg'; ours are maze2d-umaze" in result.stderr
    assert "Did you mean 'maze2d-large'?" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_sanity_mode_takes_the_goal_away(tmp_path):
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
    arguments = ("env=maze2d-umaze", "policy=oracle", "episodes=12", "sanity=true", "dataset=walks.npz")
    result = run_script(*arguments, "output_dir=sane", folder=tmp_path)
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
    for render, said in (("human", "needs a display"), ("robot", "render must be human, or null")):
        result = subprocess.run(
            [*command, f"render={render}"], cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=120
        )
        assert result.returncode != 0
        assert said in result.stderr
    assert not list(tmp_path.iterdir())
