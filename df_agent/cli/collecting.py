"""What is to be collected, and clips filmed alike on seeds that no model was trained on, and read."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import df_envs
import gymnasium as gym
import numpy as np
from df_envs.camera import Endless, Filmed
from df_envs.ogbench_mazes import OGBENCH_IDS, make_walk_maze, published_walks
from df_envs.pictures import agent_in, pixel_of
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from df_agent.cli.demonstrators import NoisyPolicy, Wandering, demonstrator_of, policy_from
from df_agent.cli.environments import file_name, frame_steps, is_maze, maze2d, plain
from df_agent.cli.options.acting import CollectOptions
from df_agent.data.clips import Clips
from df_agent.data.collect import RecordedEpisode, record
from df_agent.data.episodes import OWN_NAMESPACE
from df_agent.types import Policy
from df_agent.world_model.prediction import Locate

WANDER_SHARE = 0.3
UNSEEN = 1_000_000  # added to seeds: data is collected with those from 0 on, and must not be filmed again


@dataclass
class Job:
    """What is collected, and where.

    Attributes:
        env: the environment.
        policy: what acts in it.
        dataset: id in the local Minari store.
        about: what the dataset says of the policy and of itself.
        every: control steps from one row of the dataset to the next.
        times_to_goal: of the episodes so far [steps]; None for those without success. Those of which the environment
            did not say whether they succeeded are not among them.
    """

    env: gym.Env[Any, Any]
    policy: Policy
    dataset: str
    about: dict[str, str]
    every: int = 1
    times_to_goal: list[int | None] = field(default_factory=list)

    def note(self, episode: RecordedEpisode) -> None:
        """Keep when an episode first succeeded, if that can be known."""
        if episode.says_success:
            self.times_to_goal.append(episode.time_to_goal)


def dataset_of(config: DictConfig) -> str:
    """Return the id of the dataset that is collected."""
    if config.dataset:
        return str(config.dataset)
    name = str(config.env).removeprefix("df_envs:")
    label = str(config.policy).rpartition("/")[2].removesuffix(".zip").replace(":", "-").replace(".", "-")
    base = f"{file_name(name)}-{label}"
    if is_maze(name) and config.policy == "demonstrator":
        base = f"{maze2d(name)}-{config.waypoints}"
    pixels = "" if config.pixels is None else f"-pixels{config.pixels}"
    return f"{OWN_NAMESPACE}/{base}{pixels}-v0"


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
        job.dataset,
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


def vector_job(config: DictConfig) -> Job:
    """Return what `config` asks for, without pictures."""
    name = str(config.env).removeprefix("df_envs:")
    if is_maze(name) and config.policy == "demonstrator":
        noise = 0.5 if config.noise is None else config.noise
        policy = demonstrator_of(config.env, noise=noise, seed=config.seed, waypoints=config.waypoints)
        return Job(
            gym.make(f"walk2d-{df_envs.maze_of(name).name}").unwrapped,
            policy,
            dataset_of(config),
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
    about = {"algorithm_name": f"{config.policy}, action noise {config.noise}", "description": f"Episodes of {name}."}
    return Job(env, policy, dataset_of(config), about)


def is_endless(env: gym.Env[Any, Any]) -> bool:
    """Whether an environment is one of the endless ones that a maze's data is collected in."""
    return env.spec is not None and env.spec.id.startswith("walk2d-")


def film_clips(
    env_id: str,
    clips: int,
    frames: int,
    seed: int,
    *,
    size: int = 64,
    every: int | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Clips:
    """Return `clips` clips of `frames` pictures each, filmed as `df-agent collect pixels=...` does.

    A picture is `size` wide; from one to the next are `every` control steps, or as many as there unless told otherwise.

    Raises:
        ValueError: the environment's episodes are shorter than that.
    """
    steps = (frames - 1) * (every or frame_steps(env_id))
    seed += UNSEEN
    options = CollectOptions(env=env_id, pixels=size, every=every, seed=seed, walk=steps)
    job = job_of(OmegaConf.create(asdict(options)))
    parts: list[Any] = []
    longest = 0
    with closing(job.env):
        for episode in record(job.env, job.policy, 3 * clips * max(steps, 100), seed=seed, on_progress=on_progress):
            longest = max(longest, len(episode))
            if len(episode) >= steps:
                parts.append(episode.every(job.every))
            if len(parts) == clips:
                break
    if len(parts) < clips:
        raise ValueError(f"{frames} pictures take {steps} steps, {env_id}'s episodes have {longest}; ask for fewer")
    seen: list[Any] = [part.observations for part in parts]
    actions = [np.concatenate([np.zeros((1, len(part.actions[0]))), np.array(part.actions)])[:frames] for part in parts]
    return Clips(
        np.concatenate([o["pixels"][:frames] for o in seen]),
        np.concatenate(actions).astype(np.float32),
        np.concatenate([o["observation"][:frames] for o in seen]).astype(np.float32),
        np.arange(clips + 1) * frames,
    )


def locator(env_id: str) -> Locate | None:
    """Return what reads positions from pictures (..., H, W, 3) and how many agents are seen; None but for mazes."""
    if not is_maze(plain(env_id)):
        return None
    maze = df_envs.maze_of(env_id)
    return lambda frames: agent_in(frames, maze)


def pixels_of(env_id: str, positions: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """Return the pixels (..., 2), row and column, where positions (..., 2) of a maze's agent lie."""
    return np.asarray(np.rint(pixel_of(df_envs.maze_of(env_id), positions, size)), dtype=np.int64)
