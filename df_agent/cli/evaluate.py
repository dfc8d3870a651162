"""Evaluate a policy: `df-agent evaluate env=maze2d-large policy=diffusion_forcing`.

Ends with a table and a folder: episodes.jsonl, summary.json, plans.png, time_to_goal.png and rollout.mp4.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import gymnasium as gym
from df_envs.rendering import has_display, opengl_backend
from omegaconf import DictConfig
from rich.console import Console

from df_agent.cli.errors import errors_in_one_line
from df_agent.cli.measuring import origin_of, prepare
from df_agent.cli.policies import goal_spec_of, make_policy
from df_agent.evaluation.failures import counted
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import References, references_of
from df_agent.evaluation.rollout import evaluate, rollout
from df_agent.evaluation.terminal import progress_bar, summary_table
from df_agent.policies import DiffusionForcingPolicy
from df_agent.runtime import Computation, keep_freed_memory, settle
from df_agent.training.run_folder import lock_folder

console = Console()


def print_stage(text: str) -> None:
    """Show what happens after the rollout."""
    console.print(text, style="dim")


def run_evaluation(config: DictConfig, folder: Path) -> None:
    """Evaluate, print the table, write the report."""
    goal_spec = goal_spec_of(config)  # first: it imports the functions that the command line names
    computed = settled(config)
    policy = make_policy(config)
    origin = {**origin_of(config), "computation": asdict(computed)}
    if isinstance(policy, DiffusionForcingPolicy):
        origin["precision"] = str(next(policy.model.diffusion.network.parameters()).dtype)
    references = references_of(config.env)
    with progress_bar(f"{config.policy.name} in {config.env}", console) as update:
        result = evaluate(
            policy,
            config.env,
            episodes=config.episodes,
            seed=config.seed,
            num_envs=config.num_envs,
            max_steps=config.max_steps,
            policy_name=config.policy.name,
            references=references,
            timing_episodes=config.timing_episodes,
            provenance=origin,
            goal_spec=goal_spec,
            on_progress=update,
            on_stage=print_stage,
            scenes=scenes_of(config, references),
        )
        print_stage("writing the report")
        result.write(folder, pictures=config.pictures)
    console.print(summary_table(result.summary))
    same = [f"policy.{name}={config.policy[name]}" for name in ("device", "precision") if name in config.policy]
    console.print("Computed with", *same, f"threads={computed.threads}", style="dim", highlight=False)
    if kinds := result.summary["failures"]:
        console.print(f"Failures: {counted(kinds)}", markup=False)


def settled(config: DictConfig) -> Computation:
    """Settle device, precision and threads, in the configuration too, so that the same can be asked for again."""
    policy = config.policy
    computed = settle(policy.get("device", "auto"), policy.get("precision", "auto"), config.threads)
    for name, value in (("device", computed.backend), ("precision", computed.precision)):
        if policy.get(name) == "auto":
            policy[name] = value
    return computed


def scenes_of(config: DictConfig, references: References) -> int:
    """Return how many episodes are filmed with the environment's own pictures; none where plans show more."""
    if not (config.scenes and config.pictures) or references.crosses_wall is not None:
        return 0
    if "rgb_array" not in (gym.make(config.env).metadata.get("render_modes") or ()):
        return 0
    opengl_backend()
    try:
        env = gym.make(config.env, render_mode="rgb_array")
        env.reset()
        env.render()
        env.close()
    except Exception as error:  # what a simulator raises where it cannot draw is its own affair
        console.print(f"The video is without the simulator's pictures, it cannot draw here: {error}", markup=False)
        return 0
    return int(config.scenes)


def run_on_screen(config: DictConfig) -> None:
    """Show episode after episode in a window, and say how each went."""

    def say(record: EpisodeRecord) -> None:
        outcome = f"success after {record.time_to_goal}" if record.success else f"no success in {record.length}"
        console.print(f"episode {record.episode}: {outcome} steps", highlight=False)

    if config.render != "human":
        raise ValueError(f"render must be human, or null for none, got {config.render!r}")
    if not has_display():
        raise ValueError("render=human needs a display; without one the report's rollout.mp4 shows the episodes")
    goal_spec = goal_spec_of(config)  # first, as in run_evaluation
    rollout(
        make_policy(config),
        config.env,
        episodes=config.episodes,
        seed=config.seed,
        num_envs=1,
        max_steps=config.max_steps,
        policy_name=config.policy.name,
        on_record=say,
        goal_spec=goal_spec,
        render_mode="human",
    )


def written(config: DictConfig) -> dict[str, str]:
    """Return the options that say where results go, with where that is."""
    return {"output_dir": str(prepare(config.copy(), "evaluate"))}


def main(config: DictConfig) -> None:
    """Evaluate as the config says."""
    keep_freed_memory()
    with errors_in_one_line(RuntimeError):
        folder = prepare(config, "evaluate")
        if config.render:
            run_on_screen(config)
            return
        folder.mkdir(parents=True, exist_ok=True)
        busy = f"another process is evaluating into {folder}; wait for it, or choose another output_dir"
        with lock_folder(folder, busy):
            run_evaluation(config, folder)
    console.print(f"Written to {folder}", markup=False, highlight=False)
