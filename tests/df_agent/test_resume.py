"""A run that was killed with -9 ends in the same bytes as one that was not."""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from df_agent.checkpoint import load_checkpoint

SPEC = importlib.util.spec_from_file_location("toy_training", Path(__file__).with_name("toy_training.py"))
toy = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(toy)

SCRIPT = Path(__file__).with_name("kill_and_restart.py")
# The moments of the kills differ from run to run on purpose: any of them must be survived.
SEED = int.from_bytes(os.urandom(2), "little")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}
    command = [sys.executable, str(SCRIPT), str(folder), str(SEED)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, f"seed {SEED}: {result.stderr}"
    counts = dict(pair.split("=") for pair in result.stdout.split())
    return folder, {key: int(value) for key, value in counts.items()}


def test_processes_were_really_killed(runs):
    _, counts = runs
    assert counts["random_kills"] >= 2
    assert counts["operation_kills"] >= 11  # each operation on a file that a checkpoint takes


@pytest.mark.parametrize("name", ["killed", "killed_writing"])
def test_the_final_files_have_the_same_hash(runs, name):
    folder, _ = runs
    for file in ("model.safetensors", "trainer.safetensors"):
        hashes = [
            hashlib.sha256((folder / run / "checkpoints" / "step_000000300" / file).read_bytes()).hexdigest()
            for run in ("whole", name)
        ]
        assert hashes[0] == hashes[1], f"{file}, seed {SEED}"


@pytest.mark.parametrize("name", ["killed", "killed_writing"])
def test_nothing_half_written_stays(runs, name):
    folder, _ = runs
    assert sorted(os.listdir(folder / name / "checkpoints")) == ["step_000000280", "step_000000300"]
    assert load_checkpoint(folder / name / "checkpoints" / "step_000000280").config["provenance"]["step"] == 280


@pytest.mark.parametrize("name", ["killed", "killed_writing"])
def test_the_metrics_are_those_of_the_whole_run(runs, name):
    folder, _ = runs

    def rows(run):
        lines = (folder / run / "metrics.jsonl").read_text().splitlines()
        return [(row["step"], row["loss"], row["error"], row["grad_norm"]) for row in map(json.loads, lines)]

    assert [row[0] for row in rows(name)] == list(range(10, 301, 10))
    assert rows(name) == rows("whole")


def test_two_processes_share_gradients_and_resume_alike(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[2])}
    command = [sys.executable, str(SCRIPT.with_name("two_processes.py")), str(tmp_path)]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert sorted(rank for rank, _ in lines) == ["0", "0", "1", "1"]
    assert len({digest for _, digest in lines}) == 1  # both ranks, before and after the restart
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert rows[0]["grad_norm"] == pytest.approx(norm_of_mean_gradient(tmp_path), rel=1e-5)


def norm_of_mean_gradient(folder):
    """What two processes should see in their first step, computed in one."""
    total = {}
    for rank in range(2):
        model = toy.Toy(dropout=0.1)
        trainer = toy.make_trainer(folder / "unused", model, steps=20)
        trainer.accelerator = SimpleNamespace(process_index=rank)
        batch = toy.sample_batch(16, trainer._generator("batch", 0))
        torch.manual_seed(trainer._seed("global", 0))
        model.loss(batch, trainer._generator("noise", 0))[0].backward()
        for name, parameter in model.named_parameters():
            total[name] = total.get(name, 0) + parameter.grad / 2
    return float(torch.cat([gradient.flatten() for gradient in total.values()]).norm())
