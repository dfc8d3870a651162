"""OGBench's loader on a stand-in for its server: small files of the same layout."""

import io
import urllib.error
import urllib.request

import numpy as np
import pytest

from df_agent.data.datasets import load_episodes

ogbench = pytest.importorskip("ogbench")

NAME = "ogbench/pointmaze-giant-navigate-v0"
WALKS, ROWS = 3, 6


@pytest.fixture
def files():
    rng = np.random.default_rng(0)
    terminals = np.zeros(WALKS * ROWS, dtype=bool)
    terminals[ROWS - 1 :: ROWS] = True
    return {
        "observations": rng.normal(size=(WALKS * ROWS, 2)).astype(np.float32),
        "actions": rng.uniform(-1, 1, (WALKS * ROWS, 2)).astype(np.float32),
        "terminals": terminals,
        "qpos": rng.normal(size=(WALKS * ROWS, 2)).astype(np.float32),
        "qvel": np.zeros((WALKS * ROWS, 2), np.float32),
    }


@pytest.fixture
def asked(tmp_path, monkeypatch, files):
    monkeypatch.setenv("HOME", str(tmp_path))
    packed, urls = io.BytesIO(), []
    np.savez_compressed(packed, **files)

    def serve(url):
        urls.append(url)
        return io.BytesIO(packed.getvalue())

    monkeypatch.setattr(urllib.request, "urlopen", serve)
    return urls


def test_a_set_is_downloaded_once_and_read_walk_by_walk(asked, files):
    for _ in range(2):
        episodes = load_episodes(NAME)
    assert [url.rpartition("/")[2] for url in asked] == [
        "pointmaze-giant-navigate-v0.npz",
        "pointmaze-giant-navigate-v0-val.npz",
    ]
    assert len(episodes) == WALKS
    assert np.diff(episodes.starts).tolist() == [ROWS] * WALKS
    assert (episodes.observations == files["observations"]).all()
    last = episodes.starts[1:] - 1
    assert (episodes.actions[last] == 0).all()
    assert (np.delete(episodes.actions, last, 0) == np.delete(files["actions"], last, 0)).all()


def test_a_download_that_was_cut_off_leaves_nothing(asked, monkeypatch):
    def cut(url):
        class Broken(io.BytesIO):
            def __iter__(self):
                yield b"PK"
                raise ConnectionResetError("connection reset")

        return Broken()

    served = urllib.request.urlopen
    monkeypatch.setattr(urllib.request, "urlopen", cut)
    with pytest.raises(ConnectionError, match="connection reset"):
        load_episodes(NAME)
    monkeypatch.setattr(urllib.request, "urlopen", served)
    assert len(load_episodes(NAME)) == WALKS


@pytest.mark.parametrize(("code", "error"), [(404, FileNotFoundError), (503, ConnectionError)])
def test_what_the_server_says_is_told(asked, monkeypatch, code, error):
    def refuse(url):
        raise urllib.error.HTTPError(url, code, "no", None, None)

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(error, match="pointmaze-giant-navigate-v0"):
        load_episodes(NAME)


def test_a_damaged_file_is_named(asked, tmp_path):
    load_episodes(NAME)
    file = tmp_path / ".ogbench/data/pointmaze-giant-navigate-v0.npz"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(ValueError, match="delete it"):
        load_episodes(NAME)
