"""What the commands know about environments by name: which ids there are, and how an own maze becomes one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
from df_envs.fetch import FETCH_TASKS, RECALL_TASKS
from df_envs.maps import MAZES, OWN_MAZES, PIXELS
from df_envs.ogbench_mazes import OGBENCH_IDS
from df_envs.own_mazes import as_maze
from omegaconf import OmegaConf
from yaml import YAMLError

from df_agent.evaluation.rollout import spec_of

GOAL_FAMILIES = ("maze2d", "multi2d")
MAZE_IDS = [f"{family}-{maze}" for family in GOAL_FAMILIES for maze in MAZES]


def plain(env_id: str) -> str:
    """Return the id without "df_envs:" before it, and that of the same maze where only pictures of it are seen."""
    return env_id.removeprefix("df_envs:").removesuffix(PIXELS)


def is_maze(env_id: str) -> bool:
    """Whether an id is of maze2d or multi2d, the user's own mazes among them; not where pictures are seen."""
    family, _, maze = env_id.removeprefix("df_envs:").partition("-")
    return family in GOAL_FAMILIES and (maze in MAZES or maze in OWN_MAZES)


def own_maze(env_id: str, maze: Any) -> str:
    """Return an environment's id; with the option `maze`, that of maze2d or multi2d in a maze of the user's own.

    Args:
        env_id: "maze2d" or "multi2d" where a maze is given, "-pixels" behind it or not; else any id.
        maze: rows, or a file of them, which is registered in this process; None for none.

    Raises:
        ValueError, FileNotFoundError: no such maze, or an environment that takes none.
    """
    if maze is None:
        return env_id
    family = plain(env_id)
    if family not in GOAL_FAMILIES:
        raise ValueError(f"maze= goes with env=maze2d or env=multi2d, got env={env_id}")
    own = as_maze(maze)
    if family == "maze2d":
        assert own.goal  # raises where there is none
    return f"{family}-{own.name}{PIXELS if env_id.endswith(PIXELS) else ''}"


def maze_option(arguments: Sequence[str]) -> Any:
    """Return the value of the last `maze=` on a command line, a file or rows; None if there is none."""
    given = [argument for argument in arguments if argument.startswith("maze=")]
    try:
        return OmegaConf.from_dotlist(given[-1:]).get("maze")
    except YAMLError:
        raise ValueError(f"{given[-1]} is neither a file nor rows in quotes, 'maze=[\"###\",...]'") from None


def file_name(env_id: str) -> str:
    """Return an environment's id as part of a file's or a dataset's name, without the module that registers it."""
    return env_id.rpartition(":")[2].replace("/", "_")


def check_env(env_id: str) -> None:
    """Raise ValueError, naming the ids there are and the closest one, unless gymnasium knows the id."""
    if plain(env_id) in GOAL_FAMILIES:
        raise ValueError(f"{env_id} needs a maze: maze=my_maze.txt, or one of ours, as in env={plain(env_id)}-large")
    try:
        spec_of(env_id)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{env_id!r} names a module that cannot be imported ({error}); install it or put it on PYTHONPATH"
        ) from None
    except gym.error.Error:
        close = difflib.get_close_matches(env_id, [*MAZE_IDS, *gym.registry], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        ours = ", ".join([*MAZE_IDS, *OGBENCH_IDS, *FETCH_TASKS, *RECALL_TASKS])
        raise ValueError(f"there is no environment {env_id!r}; ours are {ours}.{hint}") from None
