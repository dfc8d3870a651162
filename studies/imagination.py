"""Practice in imagination: `python studies/imagination.py maze2d-umaze`.

Stable-Baselines3's SAC with hindsight replay learns in the world model alone, and again in the real environment, from
the same compact latents of pictures with the same settings and number of steps; both are then evaluated in the real
environment, on the same starts and goals. Writes results/imagination.json and docs/imagination.png.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from df_envs.camera import Held
from gymnasium.vector import AutoresetMode
from rich.table import Table
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.her import HerReplayBuffer

from df_agent.checkpoint import CheckpointError
from df_agent.cli.environments import check_env, demonstrations, plain, trained
from df_agent.cli.measuring import console, new_figure, parser_of, rate, run, write
from df_agent.data.clips import load_clips
from df_agent.world_model.compact import CompactModel, load_compact
from df_agent.world_model.env import WorldModelVectorEnv
from df_agent.world_model.pixel_policy import PixelPolicy
from df_agent.world_model.sb3 import LatentVecEnv
from df_agent.world_model.video_model import VideoModel

SETTINGS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "gamma": 0.95,  # per picture
    "tau": 0.01,
    "batch_size": 256,
    "buffer_size": 200_000,
    "learning_starts": 2000,
    "train_freq": 1,
    "gradient_steps": 8,  # per step of all worlds
    "policy_kwargs": {"net_arch": [256, 256]},
    "replay_buffer_class": HerReplayBuffer,
    "replay_buffer_kwargs": {"n_sampled_goal": 4, "goal_selection_strategy": "future"},
}


def worlds(kind: str, env_id: str, encoder: CompactModel, every: int, options: argparse.Namespace) -> VecEnv:
    """Return the vector environment to practise in: "imagined" or "real"."""
    if kind == "imagined":
        model = VideoModel.from_pretrained(options.video or trained(plain(env_id), "video"))
        pictures = demonstrations(plain(env_id)).replace("-v0", "-pixels64-v0")  # as scripts/collect.py names them
        clips = load_clips(options.dataset or pictures)
        return LatentVecEnv(WorldModelVectorEnv(model, clips, options.worlds, max_steps=options.limit), encoder)
    real = gym.make_vec(
        f"{plain(env_id).replace('maze2d', 'multi2d')}-pixels",
        num_envs=options.worlds,
        max_episode_steps=options.limit * every,
        wrappers=[partial(Held, every=every)],
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
    )
    return LatentVecEnv(real, encoder)


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("imagination", "practice in a world model against practice in the world")
    parser.add_argument("env")
    parser.add_argument("--steps", type=int, default=60_000, help="pictures seen in practice")
    parser.add_argument("--worlds", type=int, default=16, help="stepped side by side")
    parser.add_argument("--limit", type=int, default=60, help="pictures in an episode of practice")
    parser.add_argument("--kinds", nargs="*", default=["imagined", "real"], choices=["imagined", "real"])
    parser.add_argument("--encoder", default=None)
    parser.add_argument("--video", default=None)
    parser.add_argument("--dataset", default=None)
    return parser.parse_args(arguments)


def main() -> None:
    """Practise, evaluate, compare."""
    options = read_options()
    try:
        check_env(options.env)
        practise(options)
    except (CheckpointError, ValueError, RuntimeError, FileNotFoundError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


def practise(options: argparse.Namespace) -> None:
    """Train and evaluate in each kind of world."""
    encoder, config = load_compact(options.encoder or trained(plain(options.env), "compact"))
    every = int(config["compact"]["every"])
    test_env = f"{plain(options.env).replace('maze2d', 'multi2d')}-pixels"
    rows = []
    for kind in options.kinds:
        torch.manual_seed(options.seed)
        env = worlds(kind, options.env, encoder, every, options)
        model = SAC("MultiInputPolicy", env, seed=options.seed + 1000, device="cpu", **SETTINGS)
        began = time.perf_counter()
        model.learn(options.steps, progress_bar=console.is_terminal)
        minutes = (time.perf_counter() - began) / 60
        env.close()
        records = run(
            PixelPolicy(encoder, model, every), test_env, f"practised in the {kind} world", options, num_envs=50
        )
        share, interval = rate([record.success for record in records])
        steps = float(np.mean([record.time_to_goal for record in records]))
        rows.append({"world": kind, "success": share, "interval": interval, "steps": steps, "minutes": minutes})
        arrivals = sorted(record.time_to_goal for record in records if record.success)
        rows[-1]["arrivals"] = arrivals
    table = Table(title=f"{test_env}: {options.episodes} starts, practice of {options.steps:,} pictures")
    for column in ("practice", "success [95 %]", "steps to goal", "minutes"):
        table.add_column(column)
    figure = new_figure(6, 4)
    axis = figure.subplots()
    for row in rows:
        low, high = row["interval"]
        table.add_row(
            row["world"],
            f"{row['success']:.2f} [{low:.2f}, {high:.2f}]",
            f"{row['steps']:.0f}",
            f"{row['minutes']:.0f}",
        )
        arrived = np.arange(1, len(row["arrivals"]) + 1) / options.episodes
        axis.step([0, *row["arrivals"]], [0, *arrived], where="post", label=f"practised in the {row['world']} world")
    axis.set(xlabel="control steps", ylabel="share that has reached the goal", ylim=(0, 1.02))
    axis.legend()
    write(options, {"env": test_env, "every": every, "steps": options.steps, "rows": rows}, table, figure)


if __name__ == "__main__":
    main()
