import json
import sys
import types

import numpy as np
import pytest

from df_agent.training.trackers import JsonlTracker, make_tracker


def test_jsonl_drops_what_an_interrupted_run_logged_later(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10, "loss": 1.0}\n{"step": 20, "loss": 0.5}\n{"step": 30, "loss": 0.4}\n{"step": 3')
    tracker = JsonlTracker(tmp_path)
    tracker.start(20)
    tracker.log(30, {"loss": 0.25, "score": float("nan")})
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 10, "loss": 1.0},
        {"step": 20, "loss": 0.5},
        {"step": 30, "loss": 0.25, "score": None},
    ]


def test_of_a_run_that_begins_again_nothing_is_kept(tmp_path):
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 0, "local_policy/success_rate": 1.0}\n{"step": 10, "loss": 1.0}\n'
    )
    JsonlTracker(tmp_path).start(0)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_tensorboard_gets_scalars_and_pictures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = make_tracker("tensorboard", tmp_path, {})
    tracker.start(0)
    tracker.log(5, {"loss": 0.25})
    tracker.image(5, "validation/paths", np.full((4, 6, 3), 200, np.uint8))
    tracker.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(5, 0.25)]
    picture = events.Images("validation/paths")[0]
    assert (picture.step, picture.height, picture.width) == (5, 4, 6)
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 5, "loss": 0.25}


def test_without_tensorboard_a_warning_and_the_file(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.warns(UserWarning, match=r"tensorboard is not installed.*metrics.jsonl"):
        tracker = make_tracker("tensorboard", tmp_path, {})
    tracker.start(0)
    tracker.log(1, {"loss": 1.0})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": 1.0}\n'


def test_wandb_that_is_not_installed_says_how_to(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ImportError, match=r"pip install 'df-agent\[tracking\]'"):
        make_tracker("wandb", tmp_path, {})


def test_wandb_continues_its_run(tmp_path, monkeypatch):
    calls = []
    run = types.SimpleNamespace(log=lambda row, step: calls.append((row, step)), finish=lambda: calls.append("end"))
    stub = types.ModuleType("wandb")
    stub.init = lambda **options: calls.append(options) or run
    stub.Image = lambda image: ("picture", image.shape)
    monkeypatch.setitem(sys.modules, "wandb", stub)
    for step in (0, 10):
        tracker = make_tracker("wandb", tmp_path, {"seed": 3})
        tracker.start(step)
        tracker.log(step + 1, {"loss": 0.5})
        tracker.image(step + 1, "paths", np.zeros((2, 2, 3), np.uint8))
        tracker.close()
    first, second = calls[0], calls[4]
    assert first["id"] == second["id"]
    assert (first["resume"], first["config"]) == ("allow", {"seed": 3})
    assert calls[1:4] == [({"loss": 0.5}, 1), ({"paths": ("picture", (2, 2, 3))}, 1), "end"]


def test_an_unknown_tracker_lists_the_known(tmp_path):
    with pytest.raises(ValueError, match="tracker must be one of tensorboard, wandb, none, got 'mlflow'"):
        make_tracker("mlflow", tmp_path, {})
