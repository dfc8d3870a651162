"""Record a policy into the local Minari store: `python scripts/collect.py env=maze2d-large`.

In the mazes the demonstrator walks from goal to goal without end, as the one did that made Minari's PointMaze sets.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import hydra
import numpy as np
from demonstrators import NoisyPolicy, Wandering, demonstrator_of, policy_from
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from yardsticks import MAZE_IDS, check_env, file_name, plain

import envs
from df_agent.checkpoint import CheckpointError
from df_agent.data.collect import RecordedEpisode, collect
from df_agent.data.episodes import OWN_NAMESPACE, load_episodes
from df_agent.evaluation.rollout import PolicyError
from df_agent.types import Policy
from envs.camera import Endless, Filmed
from envs.ogbench_mazes import OGBENCH_IDS, make_walk_maze, published_walks

FRAME_STEPS = 5  # control steps from one picture of a maze to the next: the ball moves 0 to 2 pixels in them
WANDER_SHARE = 0.3
# Segments of Minari's D4RL/pointmaze/*-v2: mean and longest, in steps.
MINARI_SEGMENTS = {"umaze": (75.7, 190), "medium": (210.4, 504), "large": (297.6, 797)}


@dataclass
class Job:
    """What is collected, and where.

    Attributes:
        env: the environment.
        policy: what acts in it.
        dataset: id in the local Minari store.
        about: what the dataset says of the policy and of itself.
        every: control steps from one row of the dataset to the next.
        arrivals: of the episodes so far, steps to the goal; None for those that did not arrive.
    """

    env: gym.Env[Any, Any]
    policy: Policy
    dataset: str
    about: dict[str, str]
    every: int = 1
    arrivals: list[int | None] = field(default_factory=list)

    def note(self, episode: RecordedEpisode) -> None:
        """Keep when an episode arrived."""
        self.arrivals.append(episode.time_to_goal)


def job_of(config: DictConfig) -> Job:
    """Return what `config` asks for."""
    job = vector_job(config)
    return job if config.pixels is None else film(job, config)


def film(job: Job, config: DictConfig) -> Job:
    """Return a job with a camera: pictures beside the observations, and the actions in between as one."""
    env = Endless(job.env, int(config.walk)) if _is_walk(job.env) else job.env
    every = int(config.every or frame_steps(config.env))
    wander = WANDER_SHARE if config.wander is None else float(config.wander)
    return Job(
        Filmed(env, int(config.pixels), every),
        Wandering(job.policy, wander, env.action_space, config.seed),
        config.dataset or job.dataset.replace("-v0", f"-pixels{config.pixels}-v0"),
        {
            "algorithm_name": f"{job.about['algorithm_name']}; random actions, held, {wander:.0%} of the time",
            "description": f"A picture every {every} control steps, the actions in between as one action.",
        },
        every,
    )


def default_steps(env_id: str) -> int:
    """Return how many steps are collected unless told otherwise: as many as OGBench's set has, or a million."""
    name = env_id.removeprefix("envs:")
    if name not in OGBENCH_IDS:
        return 1_000_000
    published = published_walks(name)
    return published.walks * published.steps


def frame_steps(env_id: str) -> int:
    """Return how many control steps lie between two pictures unless told otherwise."""
    return FRAME_STEPS if plain(env_id) in MAZE_IDS else 1


def vector_job(config: DictConfig) -> Job:
    """Return what `config` asks for, without pictures."""
    name = str(config.env).removeprefix("envs:")
    if name in MAZE_IDS and config.policy == "demonstrator":
        noise = 0.5 if config.noise is None else config.noise
        policy = demonstrator_of(config.env, noise=noise, seed=config.seed, waypoints=config.waypoints)
        return Job(
            gym.make(f"walk2d-{envs.maze_of(name).name}").unwrapped,
            policy,
            config.dataset or f"{OWN_NAMESPACE}/{name}-{config.waypoints}-v0",
            {
                "algorithm_name": f"PD along {config.waypoints} routes, action noise {noise}",
                "description": "An endless walk from goal to goal; one episode per goal.",
            },
        )
    env = make_walk_maze(name) if name in OGBENCH_IDS else gym.make(config.env)
    if config.policy == "demonstrator":
        policy = demonstrator_of(config.env, noise=config.noise, seed=config.seed)
    else:
        policy = policy_from(config.policy, config.env, env)
        if config.noise:
            policy = NoisyPolicy(policy, config.noise, env.action_space, config.seed)
    label = str(config.policy).rpartition("/")[2].removesuffix(".zip").replace(":", "-").replace(".", "-")
    about = {"algorithm_name": f"{config.policy}, action noise {config.noise}", "description": f"Episodes of {name}."}
    dataset = f"{OWN_NAMESPACE}/{file_name(name)}-{label}-v0"
    return Job(env, policy, config.dataset or dataset, about)


def _is_walk(env: gym.Env[Any, Any]) -> bool:
    return env.spec is not None and env.spec.id.startswith("walk2d-")


def report(job: Job, lengths: NDArray[np.int64], seconds: float) -> None:
    """Print what was collected; in the mazes, how the segments compare with Minari's."""
    title = f"{job.dataset}: {lengths.sum():,} steps in {seconds:.0f} s ({lengths.sum() / seconds:,.0f}/s)"
    table = Table(title=title)
    walk = _is_walk(job.env) and job.every == 1
    first = "steps from goal to goal" if walk else "steps"
    columns = [first, "segments" if walk else "episodes", "mean", "median", "longest"]
    for column in columns if walk else [*columns, "arrived", "steps to goal"]:
        table.add_column(column, justify="left" if column == first else "right")
    ended = lengths[:-1] if len(lengths) > 1 else lengths
    cells = ["this dataset", f"{len(ended)}", f"{ended.mean():.1f}", f"{np.median(ended):.0f}", f"{ended.max()}"]
    if walk:
        table.add_row(*cells)
        maze = str(job.env.spec.id).removeprefix("walk2d-")  # type: ignore[union-attr]
        mean, longest = MINARI_SEGMENTS[maze]
        table.add_row(f"Minari D4RL/pointmaze/{maze}-v2", "", f"{mean}", "", f"{longest}")
    else:
        arrived = [steps for steps in job.arrivals if steps is not None]
        soon = f"{np.mean(arrived):.1f}" if arrived else "–"
        table.add_row(*cells, f"{len(arrived) / max(len(job.arrivals), 1):.3f}", soon)
    Console().print(table)


def run(config: DictConfig) -> None:
    """Collect, report, and pack if asked."""
    check_env(config.env)
    job = job_of(config)
    steps = config.steps or default_steps(config.env)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True)
    )
    began = time.perf_counter()
    with bar, closing(job.env):
        task = bar.add_task(f"collecting {job.dataset}", total=steps)
        lengths = collect(
            job.env,
            job.policy,
            steps,
            job.dataset,
            seed=config.seed,
            every=job.every,
            overwrite=config.overwrite,
            **job.about,
            on_progress=lambda steps: bar.advance(task, steps),
            on_episode=job.note,
        )
    report(job, lengths, time.perf_counter() - began)
    if config.pack:  # of the vectors; a world model reads pictures from the store
        load_episodes(job.dataset).save(config.pack)
        Console().print(f"Packed into {config.pack}")


@hydra.main(version_base=None, config_path="../configs/collect", config_name="collect")
def main(config: DictConfig) -> None:
    """Collect as the config says."""
    try:
        run(config)
    except (ValueError, OSError, CheckpointError, PolicyError, ImportError, RuntimeError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    main()
