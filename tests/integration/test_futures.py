"""studies/futures.py on the shipped agent of the U-maze."""

import json
import sys

import pytest

from studies import futures


def test_more_futures_vary_less(tmp_path, monkeypatch):
    monkeypatch.setattr(futures, "NUMBERS", (1, 4))
    where = [f"--output={tmp_path / 'f.json'}", f"--picture={tmp_path / 'f.png'}"]
    monkeypatch.setattr(sys, "argv", ["futures.py", "--env=maze2d-umaze", "--episodes=4", "--draws=200", *where])
    futures.main()
    one, four = json.loads((tmp_path / "f.json").read_text())["rows"]
    assert one["variance"] / four["variance"] == pytest.approx(4, rel=0.4)
    assert one["mean_square"] == pytest.approx(four["mean_square"], rel=0.5)  # more futures change no mean
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["futures.py", "--env=maze2d-huge"])
    with pytest.raises(SystemExit, match="maze2d-huge"):
        futures.main()
    monkeypatch.setattr(sys, "argv", ["futures.py", "--draws=1"])
    with pytest.raises(SystemExit, match="--draws of at least 2, got 1"):
        futures.main()
