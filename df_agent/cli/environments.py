"""What the commands know about environments by name: which ids there are, and what belongs to each.

Configurations use these functions as resolvers, e.g. `${maze2d:${env}}`. Nothing here imports torch, and a simulator
only where the name may be one of its own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
from df_envs.maps import MAZES, OWN_MAZES, PIXELS
from df_envs.names import FETCH_TASKS, OGBENCH_IDS, RECALL_TASKS
from df_envs.own_mazes import as_maze
from gymnasium.envs.registration import EnvSpec
from omegaconf import OmegaConf
from yaml import YAMLError

from df_agent.cli.arguments import check_several
from df_agent.data import env_spec
from df_agent.data.episodes import OWN_NAMESPACE

GOAL_FAMILIES = ("maze2d", "multi2d")
FRAME_STEPS = 5  # control steps from one picture of a maze to the next: the agent moves 0 to 2 pixels in them
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


def spec_of(env_id: str) -> EnvSpec:
    """Return the specification of a gymnasium id, those of Gymnasium-Robotics among them.

    Names of theirs end in a version. Their registration brings MuJoCo, and is left to those.
    """
    if env_id not in gym.registry and re.search(r"-v\d+$", env_id):
        from df_envs.recall import register_fetch

        register_fetch()
    return env_spec.spec_of(env_id)


def episode_limit(env_id: str, max_steps: int | None) -> int:
    """Return `max_steps`, or the environment's own limit; raises ValueError if there is neither."""
    spec_of(env_id)
    return env_spec.episode_limit(env_id, max_steps)


def references_by_name(env_id: str) -> Any:
    """Return the `References` of an environment that stored rows name; it may not be registered yet."""
    from df_agent.evaluation.references import references_of  # brings torch

    spec_of(env_id)
    return references_of(env_id)


def check_env(env_id: str) -> None:
    """Raise ValueError, naming the ids there are and the closest one, unless gymnasium knows the id."""
    if not env_id:
        raise ValueError("env= needs the id of an environment, e.g. env=maze2d-large")
    if plain(env_id) in GOAL_FAMILIES:
        raise ValueError(f"{env_id} needs a maze: maze=my_maze.txt, or one of ours, as in env={plain(env_id)}-large")
    try:
        spec_of(env_id)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{env_id!r} names a module that cannot be imported ({error}); install it or put it on PYTHONPATH"
        ) from None
    except gym.error.Error:
        check_several("env", env_id)
        ids = [*MAZE_IDS, *OGBENCH_IDS, *FETCH_TASKS, *RECALL_TASKS]
        close = difflib.get_close_matches(env_id, [*ids, *gym.registry], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"there is no environment {env_id!r}; ours are {', '.join(ids)}.{hint}") from None


def maze2d(env_id: str) -> str:
    """Return the environment that stands for a maze: "df_envs:multi2d-large" and "maze2d-large" give "maze2d-large"."""
    name = env_id.removeprefix("df_envs:")
    home = name.replace("multi2d-", "maze2d-")
    return home if home in gym.registry else name  # a maze of the user's own may have no fixed goal


def trained(env_id: str, algorithm: str = "") -> str:
    """Return the checkpoint of a baseline, or a variant of ours: what ships, or else where its training leaves it."""
    from df_agent.checkpoint import list_pretrained  # brings torch

    name = f"{file_name(maze2d(env_id))}-{algorithm}".strip("-")
    run = Path("runs", name, "final")
    return str(run) if run.exists() and name not in list_pretrained() else name


def encoder(env_id: str) -> str:
    """Return the encoder of the pictures of a maze: what ships, or else where its training leaves it."""
    return trained(plain(env_id), "compact")


def by_name(env_id: str, values: Mapping[str, Any]) -> Any:
    """Return the value whose key, the longest such, is part of an environment's name; else that of "elsewhere"."""
    found = [key for key in values if key in plain(env_id)] or [key for key in values if key == "elsewhere"]
    if not found:
        raise ValueError(f"nothing is known for {env_id}, only for {', '.join(values)}")
    return values[max(found, key=len)]


def demonstrations(env_id: str) -> str:
    """Return the dataset that `df-agent collect` writes by default."""
    name = env_id.removeprefix("df_envs:")
    if is_maze(name):
        return f"{OWN_NAMESPACE}/{maze2d(name)}-dfs-v0"
    return f"{OWN_NAMESPACE}/{file_name(name)}-demonstrator-v0"


def film(env_id: str, size: int = 64) -> str:
    """Return the dataset of pictures that `df-agent collect` writes by default."""
    return demonstrations(env_id).replace("-v0", f"-pixels{size}-v0")


def frame_steps(env_id: str) -> int:
    """Return how many control steps lie between two pictures unless told otherwise."""
    return FRAME_STEPS if is_maze(plain(env_id)) else 1


def warmup(steps: int, *, _parent_: Any) -> int:
    """Return the steps of a warm-up: so many, or a tenth of the training where that is short."""
    return min(steps, int(_parent_.steps) // 10)


def with_random_goals(env_id: str) -> str:
    """Return the environment of the same maze whose goals are drawn at random; other environments are their own."""
    return env_id.replace("maze2d-", "multi2d-")
