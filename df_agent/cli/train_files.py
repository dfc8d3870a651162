"""Which file of an environment `df-agent train` takes, and what a maze of the user's own asks for."""

from __future__ import annotations

import fnmatch
import math
from typing import TYPE_CHECKING

from df_agent.cli.folders import group_files

if TYPE_CHECKING:
    from df_envs.maps import Maze

# Environments that share a file, by their ids
FAMILIES = {
    "maze2d-*-pixels": "pixels", "maze2d-*": "maze2d", "pointmaze-*": "pointmaze",
    "FetchPush[CR]*": "recall", "Fetch*-v4": "fetch",
}  # fmt: skip


def understood(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what the user says with `env=any env_id=ID` for `env=ID`, unless there is a file of that name.

    "df_envs:" before an id of ours changes nothing: these are registered already. A maze of the user's own is told by
    `maze=`: it is registered, and what depends on its size comes before all that is given. multi2d has maze2d's models,
    which are trained for goals anywhere.
    """
    given = dict(pairs)
    if "maze" in given and "env" not in given:
        raise ValueError("maze= goes with env=maze2d or env=multi2d, got no env=")
    out: list[tuple[str, str]] = []
    for key, text in pairs:
        if key == "env" and "maze" in given:
            out = [*file_for_own_maze(text, given["maze"]), *out]
        elif key == "env":
            out += file_of(text.removeprefix("df_envs:"))
        elif key != "algorithm":
            out.append((key, text))
    return out if "env" in given else [*file_of("maze2d-large"), *out]


def file_of(name: str) -> list[tuple[str, str]]:
    """Return the file that an environment has, or its family, and its id; "any" for those that have none."""
    if name in group_files("train", "env"):
        return [("env", name)]
    family = next((file for pattern, file in FAMILIES.items() if fnmatch.fnmatch(name, pattern)), "any")
    return [("env", family), ("env_id", name)]


def file_for_own_maze(env: str, maze: str) -> list[tuple[str, str]]:
    """Return the file, the id and the sizes for a maze of the user's own, which is registered."""
    from df_envs import maze_of  # the family of environments brings gymnasium

    from df_agent.cli.environments import maze2d, maze_option, own_maze

    own = maze_option([f"maze={maze}"])
    if own is None:
        return file_of(env.removeprefix("df_envs:"))
    env_id = maze2d(own_maze(env, own))
    return [("env", "maze2d"), ("env_id", env_id), *sized_for(maze_of(env_id))]


def sized_for(maze: Maze) -> list[tuple[str, str]]:
    """Return options for a maze of the user's own, by its longest way, such that umaze, medium and large get theirs.

    A window of 16 tokens spans the way at the demonstrator's pace; the steps are a guess on the safe side.
    """
    from df_envs.own_mazes import longest_way

    way = longest_way(maze)
    return [("tokenizer.frame_stack", str(max(2, math.ceil(1 + 0.15 * way)))), ("steps", str(1000 * max(4, way)))]
