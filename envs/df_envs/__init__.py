"""Environments. Importing this registers them with gymnasium.

`maze2d-{umaze,medium,large}`: D4RL's protocol, a fixed goal; `multi2d-*`: the same, the goal drawn anew in
each episode; `walk2d-*`: the endless trajectory from goal to goal that demonstrations are collected on.
`gym.make("df_envs:maze2d-large")` imports and makes in one. With `-pixels` behind the name, only pictures are seen.
`maze2d` and `multi2d` without a name take a maze of your own, `gym.make("maze2d", maze="my_maze.txt")`, and
`register_maze` gives it a name.

`FetchPushRecall-v0`: FetchPush whose goal is shown during the first 4 steps only; `FetchPushCued-v0`: the same, shown
always.

`pointmaze-{medium,large,giant,teleport}-{navigate,stitch}`: OGBench's mazes and tasks, named like its datasets.

An environment may tell what its results are measured against: a method `references()` returns a mapping, see
`PointMazeEnv.references`.
"""

from __future__ import annotations

from gymnasium.envs.registration import register, registry

from df_envs.maps import MAZES, OGBENCH, OGBENCH_KINDS, OGBENCH_MAZES, maze_of
from df_envs.own_mazes import register_families, register_maze

__all__ = ["maze_of", "register_maze"]


def _register() -> None:
    for name, maze in MAZES.items():
        register_families(maze, name)
    for family, random_goal in (("maze2d", False), ("multi2d", True)):
        register(family, "df_envs.point_maze:make_maze", kwargs={"random_goal": random_goal})
    for name, maze in OGBENCH_MAZES.items():
        for kind in OGBENCH_KINDS:
            register(
                id=f"{OGBENCH}-{name}-{kind}",
                entry_point="df_envs.ogbench_mazes:make_goal_maze",
                max_episode_steps=maze.max_episode_steps,
                kwargs={"maze": name},
            )
    for name, shown in (("FetchPushRecall-v0", 4), ("FetchPushCued-v0", None)):
        register(id=name, entry_point="df_envs.recall:make_push", max_episode_steps=50, kwargs={"shown": shown})


if "maze2d-large" not in registry:
    _register()
