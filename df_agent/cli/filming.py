"""Clips filmed on the spot, on seeds that no model was trained on, and what can be read from pictures of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import df_envs
import numpy as np
from df_envs.pictures import agent_in, pixel_of
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from df_agent.cli.collecting import frame_steps, job_of
from df_agent.cli.environments import is_maze, plain
from df_agent.data.clips import Clips
from df_agent.data.collect import record

CONFIG = Path(__file__).parents[2] / "configs" / "collect" / "collect.yaml"
UNSEEN = 1_000_000  # added to seeds: data is collected with those from 0 on, and must not be filmed again
Locate = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float64], NDArray[np.int64]]]


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
    """Return `clips` clips of `frames` pictures each, filmed as `scripts/collect.py pixels=...` does.

    A picture is `size` wide; from one to the next are `every` control steps, or as many as there unless told otherwise.

    Raises:
        ValueError: the environment's episodes are shorter than that.
    """
    steps = (frames - 1) * (every or frame_steps(env_id))
    seed += UNSEEN
    options = {"env": env_id, "pixels": size, "every": every, "seed": seed, "walk": steps}
    config = OmegaConf.merge(OmegaConf.load(CONFIG), options)
    assert isinstance(config, DictConfig)
    job = job_of(config)
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
