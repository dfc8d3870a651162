"""The ids of environments that come with demonstrators, beside those of the mazes in `df_envs.maps`.

Nothing here imports a simulator.
"""

from __future__ import annotations

from df_envs.maps import OGBENCH_KINDS, OGBENCH_MAZES

FETCH_TASKS = ("FetchReach-v4", "FetchPush-v4", "FetchPickAndPlace-v4", "FetchSlide-v4")
RECALL_TASKS = ("FetchPushRecall-v0", "FetchPushCued-v0")
OGBENCH_IDS = [f"{maze.name}-{kind}" for maze in OGBENCH_MAZES.values() for kind in OGBENCH_KINDS]
