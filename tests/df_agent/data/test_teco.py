"""TECO's clips, from a local stand-in of the archive."""

import hashlib
import http.server
import io
import json
import tarfile
import threading

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from df_agent.data import teco
from df_agent.data.teco import DownloadError, TecoSampler, extract, fetch, read_clip


def clip(seed: int, actions: int, length: int = 12, size: int = 16):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (length, size, size, 3)).astype(np.uint8), rng.integers(0, actions, length)


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.fixture
def archive():
    """A server with DMLab's three parts; `server.breaks` cuts an answer short, `server.ranges` notes what is asked."""
    files = {}
    for split in ("train", "test"):
        for i in range(3):
            video, actions = clip(i, 3)
            files[f"dmlab/{split}/0/{i}.npz"] = npz(video=video, actions=actions)
    whole = packed(files)
    third = len(whole) // 3
    parts = {s: whole[i * third : (i + 1) * third if i < 2 else None] for i, s in enumerate(("aa", "ab", "ac"))}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            kind, item = self.path.strip("/").split("/")[:2]
            data = parts[item[-2:]]
            if kind == "metadata":
                checksum = self.server.wrong or hashlib.md5(data).hexdigest()
                about = {"files": [{"name": f"dmlab.tar.part{item[-2:]}", "size": str(len(data)), "md5": checksum}]}
                return self.answer(200, json.dumps(about).encode())
            self.server.ranges.append(self.headers.get("Range"))
            first = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            cut = self.server.breaks
            self.server.breaks = None
            self.answer(206 if first else 200, data[first:], cut)

        def answer(self, status, data, cut=None):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[:cut])

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.ranges, server.breaks, server.wrong = [], None, None
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.address = f"http://127.0.0.1:{server.server_port}"
    yield server
    server.shutdown()


def test_parts_are_fetched_checked_and_unpacked(archive, tmp_path):
    seen = []
    parts = fetch("dmlab", tmp_path, archive=archive.address, on_progress=lambda done, size: seen.append((done, size)))
    assert [path.name for path in parts] == ["dmlab.tar.partaa", "dmlab.tar.partab", "dmlab.tar.partac"]
    assert seen[-1][0] == seen[-1][1]
    extract(parts, tmp_path)
    frames, actions = read_clip(tmp_path / "dmlab" / "train" / "0" / "1.npz", 3)
    video, taken = clip(1, 3)
    assert np.array_equal(frames, video)
    assert np.array_equal(actions.argmax(1), taken)
    archive.ranges.clear()
    fetch("dmlab", tmp_path, archive=archive.address)
    assert archive.ranges == []  # what is there is not fetched again


def test_a_download_that_broke_off_goes_on(archive, tmp_path):
    archive.breaks = 1000
    with pytest.raises(DownloadError, match="broke off after 1,000 of"):
        fetch("dmlab", tmp_path, archive=archive.address)
    assert (tmp_path / "dmlab.tar.partaa.partial").stat().st_size == 1000
    parts = fetch("dmlab", tmp_path, archive=archive.address)
    assert "bytes=1000-" in archive.ranges
    extract(parts, tmp_path)


def test_a_wrong_checksum_is_told_and_leaves_nothing(archive, tmp_path):
    archive.wrong = "0" * 32
    with pytest.raises(DownloadError, match="the archive says 0000"):
        fetch("dmlab", tmp_path, archive=archive.address)
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_it_says_so(tmp_path):
    with pytest.raises(DownloadError, match="is there a network"):
        fetch("dmlab", tmp_path, archive="http://127.0.0.1:9")
    with pytest.raises(ValueError, match="available: \\['dmlab', 'minecraft'\\]"):
        fetch("doom", tmp_path)


def test_a_cut_archive_and_one_that_leads_out_of_the_folder_are_refused(tmp_path):
    (tmp_path / "a").write_bytes(packed({"x": b"1" * 5000})[:2000])
    with pytest.raises(DownloadError, match="no complete archive"):
        extract([tmp_path / "a"], tmp_path / "out")
    (tmp_path / "b").write_bytes(packed({"../escaped": b"1"}))
    with pytest.raises(DownloadError):
        extract([tmp_path / "b"], tmp_path / "out")
    assert not (tmp_path / "escaped").exists()


def flat(frames):
    return torch.from_numpy(frames).flatten(1).float()


def test_clips_are_drawn_with_the_actions_between_their_pictures(tmp_path):
    folder = tmp_path / "train" / "0"
    folder.mkdir(parents=True)
    video, actions = clip(0, 3)
    (folder / "0.npz").write_bytes(npz(video=video, actions=actions))
    sampler = TecoSampler(tmp_path, "dmlab", 4, flat, frame_skip=2)
    batch = sampler(8, torch.Generator().manual_seed(0))
    assert batch.tokens.shape == (8, 4, 16 * 16 * 3)
    assert batch.cond.shape == (8, 4, 2 * 3 + 1)
    for tokens, cond in zip(batch.tokens, batch.cond, strict=True):
        first = next(i for i in range(12) if torch.equal(tokens[0], flat(video)[i]))
        assert torch.equal(tokens, flat(video)[first : first + 7 : 2])
        assert cond[:, -1].tolist() == [0, 1, 1, 1]
        led = cond[1:, :-1].reshape(6, 3).argmax(1).tolist()
        assert led == actions[first + 1 : first + 7].tolist()


def test_minecrafts_pictures_lie_beside_their_actions(tmp_path):
    _, actions = clip(0, 4, length=8, size=32)
    smooth = np.repeat(np.arange(8, dtype=np.uint8)[:, None, None, None] * 30, 32 * 32 * 3, 1).reshape(8, 32, 32, 3)
    imageio.imwrite(tmp_path / "0.mp4", smooth, plugin="FFMPEG", fps=20)
    (tmp_path / "0.npz").write_bytes(npz(actions=np.concatenate([[0], actions])))
    frames, led = read_clip(tmp_path / "0.npz", 4)
    assert frames.shape == (8, 32, 32, 3)
    assert np.abs(frames.astype(int) - smooth).mean() < 5
    assert led.argmax(1).tolist() == actions.tolist()
    (tmp_path / "0.mp4").unlink()
    with pytest.raises(ValueError, match=r"no 0\.mp4 beside it"):
        read_clip(tmp_path / "0.npz", 4)


def test_what_is_no_clip_is_an_error(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no clip of TECO's"):
        read_clip(tmp_path / "a.npz", 3)
    (tmp_path / "b.npz").write_bytes(npz(video=clip(0, 3)[0], actions=np.full(12, 7)))
    with pytest.raises(ValueError, match="actions 0 to 2"):
        read_clip(tmp_path / "b.npz", 3)
    with pytest.raises(ValueError, match="there are no clips"):
        TecoSampler(tmp_path / "none", "dmlab", 4, flat)
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "c.npz").write_bytes(npz(video=clip(0, 3)[0], actions=clip(0, 3)[1]))
    with pytest.raises(ValueError, match="12 pictures, 19 are needed"):
        TecoSampler(tmp_path, "dmlab", 10, flat)(1, torch.Generator())


def test_the_sets_are_those_published():
    assert [part[1] for part in teco.SETS["minecraft"].parts][-1] == "minecraft.tar.partak"
    assert teco.SETS["dmlab"].parts[0] == ("dmlab_dataset_aa", "dmlab.tar.partaa")


def test_a_truncated_clip_is_an_error_that_names_it(tmp_path):
    whole = tmp_path / "whole.npz"
    np.savez(whole, actions=np.zeros(5, np.int64), video=np.zeros((5, 8, 8, 3), np.uint8))
    for share in (0.3, 0.6, 0.95):
        cut = tmp_path / "cut.npz"
        cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
        with pytest.raises(ValueError, match=r"cut\.npz is no clip of TECO's"):
            read_clip(cut, 3)
