"""Errors of writing name what was written; what was being written when a process was killed is restored or goes."""

import errno
import os
from contextlib import nullcontext

import pytest
from omegaconf import OmegaConf

from df_agent.cli import evaluate
from df_agent.evaluation.records import write_records
from df_agent.files import folder_lock, naming, remove_leftovers, replace_file


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("write", [replace_file, lambda path, data: write_records(path, [])])
def test_a_full_disk_names_the_file_and_leaves_the_old_one(tmp_path, monkeypatch, write):
    (path := tmp_path / "kept.jsonl").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as raised:
        write(path, b"new")
    assert path.name in raised.value.filename
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EPIPE, None])
def test_errors_without_a_file_get_one_and_others_keep_theirs(tmp_path, code):
    error = OSError("the encoder stopped") if code is None else OSError(code, "it")
    with pytest.raises(OSError, match=r".") as raised, naming(tmp_path / "film.mp4"):
        raise error
    assert raised.value.filename == str(tmp_path / "film.mp4")
    assert not isinstance(raised.value, BrokenPipeError), "who reads our output has not gone"
    with pytest.raises(FileNotFoundError) as raised, naming(tmp_path / "film.mp4"):
        (tmp_path / "other").read_text()
    assert raised.value.filename == str(tmp_path / "other")


def test_an_old_folder_that_was_set_aside_comes_back_unless_the_new_one_is_there(tmp_path):
    for name in (".tmp-12-best.old", ".tmp-12-best", ".tmp-12-final.old", "final"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    (tmp_path / ".tmp-12-curve.jsonl").touch()
    remove_leftovers(tmp_path)
    assert {path.name: (path / "name").read_text() for path in tmp_path.iterdir()} == {
        "best": ".tmp-12-best.old",
        "final": "final",
    }


@pytest.mark.parametrize("busy", [True, False])
def test_two_evaluations_into_one_folder_are_refused(tmp_path, monkeypatch, busy):
    monkeypatch.setattr(evaluate, "prepare", lambda config, kind: tmp_path)
    monkeypatch.setattr(evaluate, "run_evaluation", lambda config, folder: None)
    config = OmegaConf.create({"render": None})
    refused = pytest.raises(SystemExit, match="another process is evaluating into") if busy else nullcontext()
    with folder_lock(tmp_path) if busy else nullcontext(), refused:
        evaluate.main(config)
