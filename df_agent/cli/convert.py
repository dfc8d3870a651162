"""Use weights that Diffusion Forcing v1.5 released: `df-agent convert weights=maze2d_medium_x.ckpt env=maze2d-medium`.

Reads a checkpoint of the original's mazes without executing anything in it and writes a folder that
`DiffusionForcingPolicy.from_pretrained` and `df-agent evaluate checkpoint=...` take. Its coordinates are D4RL's and
become those of our mazes. Limits of motion are measured on the data of `df-agent collect`.
"""

from __future__ import annotations

from pathlib import Path

import df_envs
from omegaconf import DictConfig

from df_agent.checkpoint import save_checkpoint
from df_agent.cli.environments import MAZE_IDS, demonstrations
from df_agent.cli.errors import errors_in_one_line
from df_agent.data.datasets import load_episodes
from df_agent.data.samplers.windows import WindowSampler, step_statistics
from df_agent.data.tokens import Tokenizer
from df_agent.training.convert_v15 import Axes, check_network, convert, read_weights

BODY = 0.2  # by which D4RL's agent lies beyond the corner from which its cells count [cells]
TOKENS = {"umaze": 31, "medium": 61, "large": 81}  # an episode, and the present
# Its first token is the present ten times over. The strength of guidance is our choice: the original's depends on the
# size of the batch.
GUIDED = {
    "planner": "goal_guidance",
    "controller": "waypoints",
    "goal_guidance": {"guidance_scale": 3.0},
    "deviation": 1e9,
    "present_only": True,
}


def axes_of(env_id: str, channels: int) -> Axes:
    """Return how D4RL's channels of a maze become ours; D4RL counts rows down and columns to the right, from a corner.

    Args:
        env_id: a maze.
        channels: 2, positions; 4, velocities as well; 6, actions as well.
    """
    maze = df_envs.maze_of(env_id)
    rows, columns = maze.height, maze.width
    pairs = channels // 2
    offset = (0.5 + BODY - columns / 2, rows / 2 - 0.5 - BODY, *[0.0] * (2 * (pairs - 1)))
    source = tuple(2 * k + i for k in range(pairs) for i in (1, 0))
    return Axes(source, (1.0, -1.0) * pairs, offset)


def main(config: DictConfig) -> None:
    """Convert as the config says."""
    with errors_in_one_line():
        print(f"Written to {run(config)}")


def written(config: DictConfig) -> dict[str, str]:
    """Return the options that say where results go, with where that is."""
    return {"output": str(folder_of(config))}


def folder_of(config: DictConfig) -> Path:
    """Return the folder that is written."""
    return Path(config.output) if config.output else Path("runs", f"{config.env}-v15", "final")


def run(config: DictConfig) -> Path:
    """Convert; return the folder."""
    if config.env not in MAZE_IDS:
        raise ValueError(f"env must be one of {', '.join(MAZE_IDS)}, got {config.env!r}")
    weights = read_weights(Path(config.weights))
    check_network(weights)
    hidden, inputs = weights["init_mlp.0.weight"].shape
    axes = axes_of(config.env, (inputs - hidden // 2) // 10)
    tokens = TOKENS[df_envs.maze_of(config.env).name]
    mean, std = (None if given is None else list(given) for given in (config.mean, config.std))
    network, made = convert(weights, axes, mean=mean, std=std, max_tokens=tokens)
    dataset = config.dataset or demonstrations(config.env)
    sampler = WindowSampler(load_episodes(dataset), Tokenizer.from_dict(made["tokenizer"]), max_tokens=tokens)
    made |= {"env": config.env, "statistics": step_statistics(sampler), "goal": {}}
    sampling = {"steps": 50, "matrix": "pyramid", "stabilization_level": 10}
    made["policy"] = {**GUIDED, "sampling": sampling}
    if made["tokenizer"]["config"]["include_actions"]:
        made["policy"] |= {"controller": "actions", "open_loop_horizon": 10}
    made["provenance"] = {"converted_from": Path(config.weights).name, "dataset": dataset}
    return save_checkpoint(folder_of(config), network, made)
