"""What the studies (guidance.py, sensors.py, actions.py) share: their options, what they measure, what they write."""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from df_agent.cli.environments import check_env, own_maze
from df_agent.cli.folders import check_writable
from df_agent.cli.policies import as_json, changed_options, check_policy, checkpoint_folder, use_checkpoint
from df_agent.evaluation.metrics import wilson_interval
from df_agent.evaluation.provenance import provenance
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.rollout import rollout
from df_agent.evaluation.terminal import progress_bar
from df_agent.files import json_bytes, naming, replace_file
from df_agent.types import Policy

console = Console()


def parser_of(name: str, description: str, episodes: bool = True) -> argparse.ArgumentParser:
    """Return a parser with the options of every study; it writes results/NAME.json and docs/NAME.png."""
    parser = argparse.ArgumentParser(description=description)
    if episodes:
        parser.add_argument("--episodes", type=at_least_one, default=100)
    parser.add_argument("--seed", type=int, default=0, help="tune on 1000 and above")
    parser.add_argument("--output", type=Path, default=Path("results", f"{name}.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs", f"{name}.png"))
    return parser


def at_least_one(text: str) -> int:
    """Return a number of episodes; raises what argparse reports for others."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return int(text)


def run(policy: Policy, env_id: str, label: str, options: argparse.Namespace, **more: Any) -> list[EpisodeRecord]:
    """Run a policy on the study's episodes, with a progress bar."""
    with progress_bar(label, console) as update:
        return rollout(
            policy,
            env_id,
            episodes=options.episodes,
            seed=options.seed,
            policy_name=label,
            on_progress=update,
            **more,
        )


def rate(hits: Sequence[bool]) -> tuple[float, list[float]]:
    """Return how often something happened, and the Wilson interval of it."""
    low, high = wilson_interval(sum(hits), len(hits))
    return float(np.mean(hits)), [float(low), float(high)]


def measured(records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Return success with its interval, the share at the goal at the end, and every episode's steps to the goal."""
    success, interval = rate([record.success for record in records])
    return {
        "episodes": len(records),
        "success_rate": success,
        "success_rate_ci95": interval,
        "at_goal_at_end": float(np.mean([record.at_goal_at_end for record in records])),
        "time_to_goal": float(np.mean([record.time_to_goal for record in records])),
        "steps_to_goal": [record.time_to_goal for record in records],
    }


def with_interval(value: float, interval: Sequence[float]) -> str:
    """Return a share with its interval, as text."""
    return f"{value:.2f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, that needs no display."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(options: argparse.Namespace, result: Mapping[str, Any]) -> None:
    """Write the numbers, with where they come from."""
    options.output.parent.mkdir(parents=True, exist_ok=True)
    asked = {key: str(value) for key, value in vars(options).items()}
    replace_file(options.output, json_bytes({**result, "seed": options.seed, "provenance": provenance(asked)}))


def check_same_starts(options: argparse.Namespace, earlier: Mapping[str, Any]) -> None:
    """Raise ValueError unless what --output holds, of which something is kept, is from the starts asked for."""
    found = earlier["seed"], int(earlier["provenance"]["config"]["episodes"])
    if found != (options.seed, options.episodes):
        raise ValueError(
            f"{options.output} holds {found[1]} episodes of seed {found[0]}: run all of it anew, or give another "
            f"--output and --picture for {options.episodes} of seed {options.seed}"
        )


def write(options: argparse.Namespace, result: Mapping[str, Any], table: Table, figure: Figure) -> None:
    """Print the table; write the numbers, with where they come from, and the picture."""
    console.print(table)
    save(options, result)
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    with naming(options.picture):
        figure.savefig(options.picture, dpi=110)
    console.print(f"Written to {options.output} and {options.picture}", highlight=False)


def origin_of(config: DictConfig) -> dict[str, Any]:
    """Return where the results of this run come from."""
    return provenance(as_json(config), checkpoint_folder(config.policy))


def prepare(config: DictConfig, kind: str) -> Path:
    """Check environment, policy and seed of a command, and give the policy other weights where it is told to.

    Returns:
        Where its results go, see `output_folder`.

    Raises:
        ValueError: one of them does not exist or makes no sense.
    """
    config.env = own_maze(config.env, config.maze)
    check_env(config.env)
    check_policy(config.policy)
    if not isinstance(config.seed, int):
        raise ValueError(f"seed must be a whole number, got {config.seed!r}")
    folder = output_folder(config, kind)
    check_writable(folder)
    if config.checkpoint:
        use_checkpoint(config.policy, config.checkpoint)
    return folder


def output_folder(config: DictConfig, kind: str) -> Path:
    """Return where the results of a command of this kind go, by environment, policy and seed unless it is said.

    Another planner or other weights given on the command line must not write over the results of the usual ones: they
    are part of the name. So is, behind the seed, a hash of what else is changed of the policy and of `max_steps`.
    """
    planner = config.policy.policy.get("planner") if config.policy.name == "diffusion_forcing" else None
    weights = "-" + str(config.checkpoint).strip("/.") if config.checkpoint else ""
    changed = changed_options(config)
    suffix = "-" + hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:6] if changed else ""
    name = f"{config.env}-{planner or config.policy.name}{weights}-seed{config.seed}{suffix}"
    name = name.replace("/", "_").replace(":", "_")
    return Path(config.output_dir or Path("outputs", kind, name))
