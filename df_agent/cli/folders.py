"""Where the files of policies, environments and methods lie: in df_configs, and in the user's own folder."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Any

FOLDER = Path(str(files("df_configs")))
VARIABLE = "DF_AGENT_CONFIG_DIR"  # so that the jobs of a sweep know it too


def use_config_dir(folder: str) -> None:
    """Take the user's folder beside ours, in this process and those it starts; raises ValueError if there is none."""
    if not folder:
        raise ValueError("--config-dir needs a folder behind it")
    if not Path(folder).is_dir():
        raise ValueError(f"--config-dir: there is no folder {folder}")
    os.environ[VARIABLE] = str(Path(folder).resolve())


def check_writable(folder: Path) -> None:
    """Raise OSError unless a folder can be written, or made: what takes hours must not find out at the end."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{folder} cannot be written: {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written: no permission in {there}")


def own_folder() -> Path | None:
    """Return the user's folder, None if there is none."""
    return Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def load_file(path: Path) -> Any:
    """Return what a YAML file says, as OmegaConf reads it; raises ValueError, with the line, where it is no YAML."""
    from omegaconf import OmegaConf  # the help must not wait for it
    from yaml import YAMLError

    try:
        return OmegaConf.load(path)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = "" if mark is None else f", line {mark.line + 1}"
        raise ValueError(f"{path}{line} is no YAML: {getattr(error, 'problem', error)}") from error


def group_files(folder: str, group: str) -> dict[str, Path]:
    """Return the files of a group by name: the user's, and ours, which come first; those with _ before are no choice.

    Args:
        folder: of the command, in df_configs.
        group: name of the folder in it.
    """
    places = [FOLDER / folder / group]
    if (own := own_folder()) is not None:
        places.insert(0, own / group)
    return {path.stem: path for place in places for path in sorted(place.glob("[!_]*.yaml"))}
