"""A maze of the user's own, from a text file to an agent, by the commands of docs/own-maze.md."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BEND = "#######\n#G..#.#\n#.#.#.#\n#.#...#\n#######\n"


@pytest.fixture
def command(tmp_path):
    """Runs a command beside bend.txt, with a store of data of its own."""
    (tmp_path / "bend.txt").write_text(BEND)
    environment = {**os.environ, "MINARI_DATASETS_PATH": str(tmp_path / "minari"), "OMP_NUM_THREADS": "1"}

    def run(script, *arguments):
        words = [sys.executable, str(ROOT / "scripts" / script), *arguments]
        return subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


def test_data_training_and_evaluation_by_the_commands(command, tmp_path):
    own = ("env=maze2d", "maze=bend.txt")
    collected = command("collect.py", *own, "steps=3000")
    assert collected.returncode == 0, collected.stderr
    assert (tmp_path / "minari" / "df-agent" / "maze2d-bend-dfs-v0").is_dir()
    few = ("train.steps=4", "train.warmup_steps=1", "time_to_goal.steps=4", "train.validate_every=0", "tracker=none")
    trained = command("train.py", *own, *few)
    assert trained.returncode == 0, trained.stderr
    asked = ("maze=bend.txt", "episodes=2", "timing_episodes=1")
    untrained = command("evaluate.py", "env=maze2d", *asked, "max_steps=30", "pictures=false", "output_dir=ours")
    assert untrained.returncode == 0, untrained.stderr
    assert json.loads((tmp_path / "ours" / "summary.json").read_text())["env"] == "maze2d-bend"
    oracle = command("evaluate.py", "env=multi2d", *asked, "policy=oracle", "output_dir=oracle")
    assert oracle.returncode == 0, oracle.stderr
    summary = json.loads((tmp_path / "oracle" / "summary.json").read_text())
    assert (summary["env"], summary["success_rate"], summary["time_ratio_to_oracle"]) == ("multi2d-bend", 1.0, 1.0)
    assert 0 < summary["lower_bound_mean"] <= summary["time_to_goal"]["mean"]
    assert (tmp_path / "oracle" / "plans.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("maze", "says"),
    [
        ("nowhere.txt", "nowhere.txt"),
        ("['#####','#G..#','#.#.##','#####']", "row 3 of the maze has 6 columns, row 1 has 5"),
        ("['#####','#GX.#','#####']", "'X'"),
    ],
)
def test_what_is_no_maze_is_said_in_a_line(command, maze, says):
    failed = command("evaluate.py", "env=maze2d", f"maze={maze}", "policy=oracle", "episodes=1")
    assert failed.returncode != 0
    assert says in failed.stderr.strip().splitlines()[-1]
