"""The clips of TECO (Yan et al. 2023) as published: DMLab and Minecraft, 300 pictures each, with actions.

Downloads go on where they were interrupted and are checked against the archive's own checksums; an archive's parts are
read as one without being joined on disk.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from df_agent.data.clips import ClipBatch

ARCHIVE = "https://archive.org"
BLOCK = 1 << 20


@dataclass(frozen=True)
class TecoSet:
    """One of the two sets.

    Attributes:
        folder: in its archive; beneath lie train/ and test/.
        item: of the archive's items, to which a part's suffix is added.
        file: of the parts, likewise.
        suffixes: of the parts.
        actions: number of different actions.
        size: height and width of the pictures.
    """

    folder: str
    item: str
    file: str
    suffixes: tuple[str, ...]
    actions: int
    size: int

    @property
    def parts(self) -> list[tuple[str, str]]:
        """The archive's (item, file) of each part, in order."""
        return [(f"{self.item}_{s}", f"{self.file}{s}") for s in self.suffixes]


SETS = {
    "dmlab": TecoSet("dmlab", "dmlab_dataset", "dmlab.tar.part", ("aa", "ab", "ac"), 3, 64),
    "minecraft": TecoSet(
        "minecraft", "minecraft_marsh_dataset", "minecraft.tar.part", tuple(f"a{c}" for c in "abcdefghijk"), 4, 128
    ),
}


class DownloadError(RuntimeError):
    """A part could not be fetched, or is not what the archive says it is."""


def fetch(
    name: str, folder: str | Path, *, archive: str = ARCHIVE, on_progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Download the parts of a set that are not there yet; return them in order.

    A part that was begun is continued, and one whose checksum is wrong is begun anew the next time.

    Args:
        name: "dmlab" or "minecraft".
        folder: where they go.
        archive: address of the archive.
        on_progress: called with bytes there and in all, of the part at hand.

    Raises:
        ValueError: there is no such set.
        DownloadError: see there.
    """
    paths = []
    for item, file in set_of(name).parts:
        path = Path(folder, file)
        size, checksum = _described(archive, item, file)
        if not path.exists():
            partial = path.with_name(f"{file}.partial")
            partial.parent.mkdir(parents=True, exist_ok=True)
            _continue(f"{archive}/download/{item}/{file}", partial, size, on_progress)
            found = _md5(partial)
            if found != checksum:
                partial.unlink()
                raise DownloadError(f"{file} has checksum {found}, the archive says {checksum}; start again")
            os.replace(partial, path)
        paths.append(path)
    return paths


def set_of(name: str) -> TecoSet:
    """Return a set by its name; raises ValueError if there is none."""
    if name not in SETS:
        raise ValueError(f"unknown set {name!r}, available: {sorted(SETS)}")
    return SETS[name]


def _described(archive: str, item: str, file: str) -> tuple[int, str]:
    """Return size and MD5 of a file, as the archive describes its item."""
    try:
        with urllib.request.urlopen(f"{archive}/metadata/{item}") as answer:
            about = json.load(answer)
    except (urllib.error.URLError, ValueError) as error:
        raise DownloadError(f"{archive} does not describe {item}; is there a network? ({error})") from error
    for entry in about.get("files", []):
        if entry.get("name") == file:
            return int(entry["size"]), str(entry["md5"])
    raise DownloadError(f"{item} at {archive} has no file {file}")


def _continue(address: str, partial: Path, size: int, on_progress: Callable[[int, int], None] | None) -> None:
    done = partial.stat().st_size if partial.exists() else 0
    if done > size:
        partial.unlink()
        done = 0
    if done == size:
        return
    request = urllib.request.Request(address, headers={"Range": f"bytes={done}-"} if done else {})
    try:
        with urllib.request.urlopen(request) as answer:
            goes_on = answer.status == 206
            with partial.open("ab" if goes_on else "wb") as out:
                done = done if goes_on else 0
                while block := answer.read(BLOCK):
                    out.write(block)
                    done += len(block)
                    if on_progress is not None:
                        on_progress(done, size)
    except (urllib.error.URLError, OSError) as error:
        raise DownloadError(f"{_broke_off(address, done, size)} ({error})") from error
    if done != size:
        raise DownloadError(_broke_off(address, done, size))


def _broke_off(address: str, done: int, size: int) -> str:
    return f"{address} broke off after {done:,} of {size:,} bytes; start again to go on"


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


class _Joined(io.RawIOBase):
    """Several files as one, read from the beginning to the end."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files: Iterator[Path] = iter(paths)
        self._now: Any = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            if self._now is None:
                path = next(self._files, None)
                if path is None:
                    return 0
                self._now = path.open("rb")
            if read := self._now.readinto(buffer):
                return int(read)
            self._now.close()
            self._now = None


def extract(parts: Sequence[Path], folder: str | Path) -> None:
    """Unpack an archive that comes in parts; raises DownloadError if it is damaged or leads out of the folder."""
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Joined(parts), BLOCK), mode="r|") as archive:
            archive.extractall(folder, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise DownloadError(f"{parts[0]} and the parts behind it are no complete archive: {error}") from error


class TecoSampler:
    """Draws batches of clips, read and encoded as they are drawn: the whole set does not fit into memory.

    Args:
        folder: holds train/ and test/ with a file of actions per clip: DMLab's .npz with the pictures in it,
            Minecraft's beside an .mp4 of the same name.
        name: "dmlab" or "minecraft".
        length: T, pictures in a clip.
        encode: pictures (N, H, W, C) uint8 to tokens (N, D).
        frame_skip: pictures from one that is taken to the next; the actions in between are a clip's, in a row.
        split: "train" or "test".

    Raises:
        ValueError: there are no clips.
    """

    def __init__(
        self,
        folder: str | Path,
        name: str,
        length: int,
        encode: Callable[[NDArray[np.uint8]], Tensor],
        frame_skip: int = 2,
        split: str = "train",
    ) -> None:
        self.set, self.length, self.encode, self.frame_skip = set_of(name), length, encode, frame_skip
        self.files = sorted(Path(folder, split).glob("**/*.npz"))
        if not self.files:
            raise ValueError(f"there are no clips of {name} in {Path(folder, split)}")

    def __call__(self, batch_size: int, generator: torch.Generator) -> ClipBatch:
        """Draw `batch_size` clips with a CPU generator."""
        pick = torch.randint(len(self.files), (batch_size,), generator=generator).tolist()
        where = torch.rand(batch_size, generator=generator).tolist()
        tokens, cond = [], []
        for file, share in zip(pick, where, strict=True):
            frames, actions = read_clip(self.files[file], self.set.actions)
            span = (self.length - 1) * self.frame_skip + 1
            if len(frames) < span:
                raise ValueError(f"{self.files[file]} has {len(frames)} pictures, {span} are needed")
            first = int(share * (len(frames) - span + 1))
            taken = frames[first : first + span : self.frame_skip]
            # Entry t of the actions led to picture t; of the first it is not known what did.
            led = actions[first + 1 : first + span].reshape(self.length - 1, -1)
            led = np.concatenate([np.zeros_like(led[:1]), led])
            known = np.ones((self.length, 1), np.float32)
            known[0] = 0.0
            tokens.append(self.encode(taken))
            cond.append(torch.from_numpy(np.concatenate([led, known], 1)))
        return ClipBatch(torch.stack(tokens), torch.stack(cond))


def read_clip(path: Path, actions: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return a clip's pictures (T, H, W, C) and what led to each, one-hot (T, actions).

    DMLab stores the action that led to a picture beside it. Minecraft's pictures begin one action late, as the
    original's loader has it: its first action belongs to no picture.

    Raises:
        ValueError: the file is not of that layout.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            taken = np.asarray(file["actions"])
            frames = np.asarray(file["video"]) if "video" in file.files else None
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise ValueError(f"{path} is no clip of TECO's: {error}") from error
    if frames is None:
        import imageio.v3 as imageio

        video = path.with_suffix(".mp4")
        if not video.is_file():
            raise ValueError(f"{path} has no pictures, and there is no {video.name} beside it")
        frames = np.asarray(imageio.imread(video, plugin="FFMPEG"))
        taken = taken[1:]
    length = min(len(frames), len(taken))
    if frames.ndim != 4 or frames.dtype != np.uint8 or taken.ndim != 1 or not 0 <= taken.min() <= taken.max() < actions:
        raise ValueError(
            f"{path} must hold uint8 pictures (T, H, W, C) and actions 0 to {actions - 1}, got {frames.dtype} "
            f"{frames.shape} and {taken.shape}"
        )
    return frames[:length], np.eye(actions, dtype=np.float32)[taken[:length]]
