"""Files and folders that appear complete or not at all, and whose errors name them."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TEMPORARY = ".tmp-"  # what is being written, or deleted, is called so; nothing that is called so counts


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """JSON with a final newline; NaN is refused, since JSON has none."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Make an error of writing say what was written: one of the disk, as that it is full, names no file by itself."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        # An encoder that ends before its film does is a broken pipe too, but not that of who reads our output.
        code = errno.EIO if error.errno in (None, errno.EPIPE) else error.errno
        raise OSError(code, error.strerror or str(error), str(path)) from error


def write_file(path: Path, data: bytes) -> None:
    """Write `data` and wait until it is on the disk."""
    with naming(path), path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees the old or the new content, never a part."""
    temporary = temporary_name(path)
    try:
        write_file(temporary, data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; it becomes `folder` when the block ends, and goes if it raises.

    A folder that is there already stays until that moment, and is replaced as a whole.
    """
    folder = folder.resolve()  # of a link, what it leads to is replaced
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(folder)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        _sync_folder(temporary)
        replace_folder(temporary, folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync_folder(folder.parent)


def replace_folder(new: Path, folder: Path) -> None:
    """Move a folder, complete, to where another may be, which is deleted then: a kill leaves the one or the other.

    Where the file system cannot exchange folders, there is none for a moment; the old one is then in `aside(new)`, and
    `restore_folder` brings it back.
    """
    if not folder.exists():
        os.replace(new, folder)
    elif _exchange(new, folder):
        shutil.rmtree(new)
    else:
        os.replace(folder, aside(new))
        try:
            os.replace(new, folder)
        except BaseException:
            restore_folder(new, folder)
            raise
        shutil.rmtree(aside(new))


def aside(new: Path) -> Path:
    """Return where `replace_folder` keeps the old folder for a moment."""
    return new.with_name(f"{new.name}.old")


def restore_folder(new: Path, folder: Path) -> None:
    """Bring the old folder back, if `replace_folder(new, folder)` was killed in that moment."""
    if aside(new).exists() and not folder.exists():
        os.replace(aside(new), folder)


def temporary_name(path: Path) -> Path:
    """Return what a file or folder is called while this process writes or deletes it."""
    return path.with_name(f"{TEMPORARY}{os.getpid()}-{path.name}")


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left in a folder and those in it; for who alone may write there."""
    for left in list(folder.rglob(f"{TEMPORARY}*")):
        kept = re.fullmatch(rf"({TEMPORARY}\d+-(.+))\.old", left.name)
        if kept is not None:
            restore_folder(left.with_name(kept[1]), left.with_name(kept[2]))
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


@contextmanager
def folder_lock(folder: Path) -> Iterator[bool]:
    """Yield whether this process holds the lock of a folder. The system releases it when the process ends, however."""
    if os.name != "posix":
        yield True
        return
    import fcntl

    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = True
        except BlockingIOError:
            held = False
        yield held


def check_room(path: Path, size: int, shown: Path) -> None:
    """Raise OSError, naming `shown`, unless the file at `path` can grow by `size` bytes; none is one of 0 bytes."""
    probe = temporary_name(path.with_name(f"{path.name}-room"))
    begin = path.stat().st_size if path.exists() else 0
    try:
        with naming(shown), probe.open("wb") as file:
            if hasattr(os, "posix_fallocate"):  # quotas and limits count
                os.posix_fallocate(file.fileno(), begin, size)
            elif shutil.disk_usage(path.parent).free < size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # the file system cannot tell
            raise
    finally:
        probe.unlink(missing_ok=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders at once; return whether the system can."""
    libc: Any = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None
    names, here, swap = (os.fsencode(one), os.fsencode(other)), -100, 2
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        return bool(libc.renamex_np(*names, swap) == 0)
    if hasattr(libc, "renameat2"):
        return bool(libc.renameat2(here, names[0], here, names[1], swap) == 0)
    return False


def _sync_folder(folder: Path) -> None:
    # A rename lasts only once the folder that holds the name is on the disk. Windows cannot open folders.
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
