"""Use weights that Diffusion Forcing v1.5 released: `python scripts/convert_v15.py maze2d_medium_x.ckpt maze2d-medium`.

Reads a checkpoint of the original's mazes without executing anything in it and writes a folder that
`DiffusionForcingPolicy.from_pretrained` and `scripts/evaluate.py checkpoint=...` take. Its coordinates are D4RL's and
become those of our mazes. Limits of motion are measured on the data of `scripts/collect.py`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import df_envs

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


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description="convert released weights of Diffusion Forcing v1.5")
    parser.add_argument("weights", type=Path, help="the original's .ckpt")
    parser.add_argument("env", choices=sorted(MAZE_IDS), metavar="env", help="maze2d-umaze, -medium or -large")
    parser.add_argument("--mean", type=float, nargs="+", help="of the channels, where the file has none")
    parser.add_argument("--std", type=float, nargs="+")
    parser.add_argument("--dataset", default=None, help="whose motion limits plans; by default collect.py's")
    parser.add_argument("--output", type=Path, default=None, help="by default runs/ENV-v15/final")
    return parser.parse_args(arguments)


def main() -> None:
    """Convert as the command line says."""
    options = read_options()
    with errors_in_one_line():
        print(f"Written to {run(options)}")


def run(options: argparse.Namespace) -> Path:
    """Convert; return the folder."""
    weights = read_weights(options.weights)
    check_network(weights)
    hidden, inputs = weights["init_mlp.0.weight"].shape
    axes = axes_of(options.env, (inputs - hidden // 2) // 10)
    tokens = TOKENS[df_envs.maze_of(options.env).name]
    network, config = convert(weights, axes, mean=options.mean, std=options.std, max_tokens=tokens)
    dataset = options.dataset or demonstrations(options.env)
    sampler = WindowSampler(load_episodes(dataset), Tokenizer.from_dict(config["tokenizer"]), max_tokens=tokens)
    config |= {"env": options.env, "statistics": step_statistics(sampler), "goal": {}}
    sampling = {"steps": 50, "matrix": "pyramid", "stabilization_level": 10}
    config["policy"] = {**GUIDED, "sampling": sampling}
    if config["tokenizer"]["config"]["include_actions"]:
        config["policy"] |= {"controller": "actions", "open_loop_horizon": 10}
    config["provenance"] = {"converted_from": options.weights.name, "dataset": dataset}
    folder: Path = options.output or Path("runs", f"{options.env}-v15", "final")
    return save_checkpoint(folder, network, config)


if __name__ == "__main__":
    main()
