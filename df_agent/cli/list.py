"""List what there is: `df-agent list [environments|policies|checkpoints|datasets]`."""

from __future__ import annotations

from pathlib import Path

import df_envs  # noqa: F401 - registers them
import gymnasium as gym
from df_envs.fetch import FETCH_TASKS, RECALL_TASKS
from df_envs.ogbench_mazes import OGBENCH_IDS
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from df_agent.checkpoint import list_pretrained, load_checkpoint
from df_agent.cli.arguments import nearest
from df_agent.cli.environments import MAZE_IDS
from df_agent.cli.policies import described, policy_names


def environments() -> Table:
    """Return the environments that come with demonstrators; any other gymnasium id will do too."""
    table = Table("environment", "steps", "demonstrator", title="environments (any other gymnasium id will do too)")
    for env_id in MAZE_IDS:
        table.add_row(env_id, str(gym.spec(env_id).max_episode_steps), "follows depth-first routes")
    for env_id in (*FETCH_TASKS, *RECALL_TASKS):
        table.add_row(env_id, str(gym.spec(env_id).max_episode_steps), "scripted")
    for env_id in OGBENCH_IDS:
        table.add_row(env_id, str(gym.spec(env_id).max_episode_steps), "OGBench's, with its extra")
    return table


def policies() -> Table:
    """Return the policies, the user's own among them."""
    table = Table("policy", "sees", "what it is", title="policies")
    for name in policy_names():
        policy = described(name)
        table.add_row(name, str(policy.privileged), str(policy.get("description", "")))
    return table


def checkpoints() -> Table:
    """Return the checkpoints that ship with the package, and the finished runs in runs/."""
    table = Table("checkpoint", "for", "algorithm", title="checkpoints (runs/*/final are your own)")
    names = [*list_pretrained(), *(str(path) for path in sorted(Path("runs").glob("*/final")))]
    for name in names:
        config = load_checkpoint(name).config
        table.add_row(name, str(config.get("env")), str(config.get("algorithm", "diffusion_forcing")))
    return table


def datasets() -> Table:
    """Return the datasets in the local Minari store."""
    from df_agent.data.episodes import local_datasets

    table = Table("dataset", "episodes", "steps", title="datasets in the local Minari store")
    for name, about in sorted(local_datasets().items()):
        table.add_row(name, f"{about.get('total_episodes', 0):,}", f"{about.get('total_steps', 0):,}")
    return table


TABLES = {"environments": environments, "policies": policies, "checkpoints": checkpoints, "datasets": datasets}


def main(config: DictConfig) -> None:
    """Print the tables asked for, all by default."""
    for name in config.what or TABLES:
        if name not in TABLES:
            raise ValueError(f"there is no list of {name!r}; there are {', '.join(TABLES)}.{nearest(name, TABLES)}")
    for name in config.what or TABLES:
        Console().print(TABLES[name]())
