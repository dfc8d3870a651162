"""What is to be collected: an environment, a policy, and what the dataset says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import df_envs
import gymnasium as gym
from df_envs.camera import Endless, Filmed
from df_envs.ogbench_mazes import OGBENCH_IDS, make_walk_maze, published_walks
from omegaconf import DictConfig

from df_agent.cli.demonstrators import NoisyPolicy, Wandering, demonstrator_of, policy_from
from df_agent.cli.environments import file_name, is_maze, plain
from df_agent.cli.policies import maze2d
from df_agent.data.collect import RecordedEpisode
from df_agent.data.episodes import OWN_NAMESPACE
from df_agent.types import Policy

FRAME_STEPS = 5  # control steps from one picture of a maze to the next: the agent moves 0 to 2 pixels in them
WANDER_SHARE = 0.3


@dataclass
class Job:
    """What is collected, and where.

    Attributes:
        env: the environment.
        policy: what acts in it.
        dataset: id in the local Minari store.
        about: what the dataset says of the policy and of itself.
        every: control steps from one row of the dataset to the next.
        times_to_goal: of the episodes so far [steps]; None for those without success.
    """

    env: gym.Env[Any, Any]
    policy: Policy
    dataset: str
    about: dict[str, str]
    every: int = 1
    times_to_goal: list[int | None] = field(default_factory=list)

    def note(self, episode: RecordedEpisode) -> None:
        """Keep when an episode first succeeded."""
        self.times_to_goal.append(episode.time_to_goal)


def job_of(config: DictConfig) -> Job:
    """Return what `config` asks for."""
    job = vector_job(config)
    return job if config.pixels is None else film(job, config)


def film(job: Job, config: DictConfig) -> Job:
    """Return a job with a camera: pictures beside the observations, and the actions in between as one."""
    env = Endless(job.env, int(config.walk)) if is_endless(job.env) else job.env
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
    name = env_id.removeprefix("df_envs:")
    if name not in OGBENCH_IDS:
        return 1_000_000
    published = published_walks(name)
    return published.walks * published.steps


def frame_steps(env_id: str) -> int:
    """Return how many control steps lie between two pictures unless told otherwise."""
    return FRAME_STEPS if is_maze(plain(env_id)) else 1


def vector_job(config: DictConfig) -> Job:
    """Return what `config` asks for, without pictures."""
    name = str(config.env).removeprefix("df_envs:")
    if is_maze(name) and config.policy == "demonstrator":
        noise = 0.5 if config.noise is None else config.noise
        policy = demonstrator_of(config.env, noise=noise, seed=config.seed, waypoints=config.waypoints)
        return Job(
            gym.make(f"walk2d-{df_envs.maze_of(name).name}").unwrapped,
            policy,
            config.dataset or f"{OWN_NAMESPACE}/{maze2d(name)}-{config.waypoints}-v0",
            {
                "algorithm_name": f"PD along {config.waypoints} routes, action noise {noise}",
                "description": "An endless trajectory from goal to goal; one episode per goal.",
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


def is_endless(env: gym.Env[Any, Any]) -> bool:
    """Whether an environment is one of the endless ones that a maze's data is collected in."""
    return env.spec is not None and env.spec.id.startswith("walk2d-")
