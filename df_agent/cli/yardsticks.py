"""What the scripts know about environments: which there are, and what their results are measured by."""

from __future__ import annotations

import difflib
from functools import partial

import gymnasium as gym
from df_envs.fetch import FETCH_TASKS, RECALL_TASKS
from df_envs.geometry import crosses_wall
from df_envs.maps import MAZES, maze_of, wall_boxes
from df_envs.ogbench_mazes import GOAL_RADIUS, OGBENCH_IDS, shortest_steps
from df_envs.oracle import SUCCESS_RADIUS, lower_bound_steps, oracle_steps
from df_envs.physics import BALL_RADIUS, TIME_STEP
from df_envs.time_optimal import time_optimal_steps

from df_agent.evaluation.metrics import References, StepsFunction
from df_agent.evaluation.rollout import spec_of

MAZE_IDS = [f"{family}-{maze}" for family in ("maze2d", "multi2d") for maze in MAZES]
FETCH_PERIOD = 0.04  # 20 steps of MuJoCo's 2 ms per action [s]
OGBENCH_PERIOD = 0.1  # 5 steps of MuJoCo's 20 ms per action [s]
OGBENCH_NEAREST = 0.5  # the point's centre never is nearer to a wall than 0.64 in the data; its radius is 0.7
TOUCH = 0.01  # how deep [m] the ball may be in a wall before a plan counts as running into it
# D4RL's returns that count as 0 and 100. Its physics was another, so scores compare among our own rows only.
SCORE_REFERENCES = {
    "maze2d-umaze": (23.85, 161.86),
    "maze2d-medium": (13.13, 277.39),
    "maze2d-large": (6.7, 273.99),
}


def plain(env_id: str) -> str:
    """Return the id without "df_envs:" before it, and that of the same maze where only pictures of it are seen."""
    return env_id.removeprefix("df_envs:").removesuffix("-pixels")


def file_name(env_id: str) -> str:
    """Return an environment's id as part of a file's or a dataset's name, without the module that registers it."""
    return env_id.rpartition(":")[2].replace("/", "_")


def check_env(env_id: str) -> None:
    """Raise ValueError, naming the ids there are and the closest one, unless gymnasium knows the id."""
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


def references_of(env_id: str) -> References:
    """Return what is known about one of our mazes; of Fetch its control period, of other environments nothing.

    Of OGBench's mazes the lower bound is known, but for teleport, where ways lead through teleports.

    A plan runs into a wall where it brings the ball more than `TOUCH` into one. MuJoCo's contacts are soft: of
    300 windows of the data, each as long as a training window, 13 to 15 % are in a wall without this tolerance
    and still 6 to 8 % with it, so a model of the data is not to be expected at 0.
    """
    name = plain(env_id)
    if name in OGBENCH_IDS:
        return References(
            lower_bound_steps=None if "teleport" in name else partial(shortest_steps, name),
            crosses_wall=partial(crosses_wall, name, radius=OGBENCH_NEAREST),
            walls=wall_boxes(maze_of(name).name),
            goal_radius=GOAL_RADIUS,
            control_period=OGBENCH_PERIOD,
        )
    if name not in MAZE_IDS:
        return References(control_period=FETCH_PERIOD if name in (*FETCH_TASKS, *RECALL_TASKS) else None)
    return References(
        oracle_steps=partial(oracle_steps, name),
        lower_bound_steps=partial(lower_bound_steps, name),
        # Agents that see pictures plan in vectors of these, not in places.
        crosses_wall=None if env_id.endswith("-pixels") else partial(crosses_wall, name, radius=BALL_RADIUS - TOUCH),
        walls=wall_boxes(name),
        goal_radius=SUCCESS_RADIUS,
        score_references=SCORE_REFERENCES.get(name),
        score_limit=spec_of(name).max_episode_steps,
        control_period=TIME_STEP,
    )


def fastest_steps(env_id: str) -> StepsFunction | None:
    """Return the steps of the numerical time-optimal solution, (starts, goals) -> (N,); None where there is none."""
    name = plain(env_id)
    return partial(time_optimal_steps, name) if name in SCORE_REFERENCES else None
