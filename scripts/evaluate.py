"""Evaluate a policy: `python scripts/evaluate.py env=maze2d-large policy=diffusion_forcing`.

Ends with a table and a folder: episodes.jsonl, summary.json, plans.png, time_to_goal.png and rollout.mp4.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import hydra
import numpy as np
from df_envs.ogbench_mazes import OGBENCH_IDS
from df_envs.rendering import has_display, opengl_backend
from omegaconf import DictConfig
from rich.console import Console

from df_agent.checkpoint import CheckpointError
from df_agent.cli.environments import check_env, is_maze, own_maze, plain
from df_agent.cli.policies import (
    as_json,
    changed_options,
    check_arguments,
    check_policy,
    checkpoint_folder,
    demonstrations,
    goal_spec_of,
    make_policy,
    use_checkpoint,
)
from df_agent.data.datasets import load_episodes
from df_agent.data.episodes import Episodes
from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.provenance import provenance
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import References, references_of
from df_agent.evaluation.rollout import PolicyError, episode_limit, evaluate, rollout
from df_agent.evaluation.sanity import ReplaceGoals, sanity_row, shuffled_goals, wandering_rate
from df_agent.evaluation.terminal import progress_bar, sanity_table, stage_printer, summary_table
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.random import RandomPolicy
from df_agent.runtime import keep_freed_memory
from df_agent.types import Policy

console = Console()


def origin_of(config: DictConfig) -> dict[str, Any]:
    """Return where the results of this run come from."""
    return provenance(as_json(config), checkpoint_folder(config.policy))


def run_evaluation(config: DictConfig, folder: Path) -> None:
    """Evaluate, print the table, write the report."""
    goal_spec = goal_spec_of(config)  # first: it imports the functions that the command line names
    policy = make_policy(config)
    origin = origin_of(config)
    if isinstance(policy, DiffusionForcingPolicy):
        origin["precision"] = str(next(policy.model.network.parameters()).dtype)
    say_stage, references = stage_printer(console), references_of(config.env)
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
            on_stage=say_stage,
            scenes=scenes_of(config, references),
        )
        say_stage("writing the report")
        result.write(folder, pictures=config.pictures)
    console.print(summary_table(result.summary))


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


def run_sanity(config: DictConfig, folder: Path) -> None:
    """Take the goal or the training away, print what is left of the success, write sanity.json."""
    goal_spec = goal_spec_of(config)  # first, as in run_evaluation
    policy = make_policy(config)

    def run(name: str, variant: Policy) -> list[EpisodeRecord]:
        with progress_bar(name, console) as update:
            return rollout(
                variant,
                config.env,
                episodes=config.episodes,
                seed=config.seed,
                num_envs=config.num_envs,
                max_steps=config.max_steps,
                policy_name=name,
                on_progress=update,
                goal_spec=goal_spec,
            )

    records = run("true goals", policy)
    rows = [sanity_row("true goals", records)]
    variants: dict[str, Policy] = {"shuffled goals": ReplaceGoals(policy, shuffled_goals(records))}
    if isinstance(policy, DiffusionForcingPolicy):
        variants["no goal"] = make_policy(config, goal_conditioned=False)
        untrained = make_policy(config)
        untrained.randomize_weights(config.seed)  # type: ignore[attr-defined]
        variants["random weights"] = untrained
    variants["random actions"] = RandomPolicy.for_env(config.env)
    rows += [sanity_row(name, run(name, variant)) for name, variant in variants.items()]
    goals = np.array([record.goal for record in records])
    rate = data_wandering(config, goal_spec, goals, episode_limit(config.env, config.max_steps))
    folder.mkdir(parents=True, exist_ok=True)
    result = {"env": config.env, "seed": config.seed, "rows": rows, "wandering_rate": rate}
    result["provenance"] = origin_of(config)
    (folder / "sanity.json").write_text(json.dumps(result, indent=2) + "\n")
    title = f"{config.policy.name} in {config.env}, {config.episodes} episodes, seed {config.seed}"
    console.print(sanity_table(title, rows, rate))


def data_wandering(config: DictConfig, goal_spec: GoalSpec, goals: np.ndarray[Any, Any], window: int) -> float | None:
    """Return how often a trajectory in the data touches a goal of the evaluation; None where that cannot be said.

    A goal is touched where the environment's reward is what it is at the goal itself: 1 in the mazes, 0 in Fetch.
    """
    try:
        episodes = goal_spec.apply(load_episodes(config.dataset or demonstrations(config.env)))
        places = achieved(episodes, config.env, goals.shape[1])
        env = gym.make(config.env)
        if not env.has_wrapper_attr("compute_reward"):
            raise ValueError(f"{config.env} has no compute_reward that says where a goal is reached")
        compute_reward = env.get_wrapper_attr("compute_reward")
    except (OSError, ValueError, ImportError) as error:
        console.print(f"Without the share of trajectories that touch the goal: {error}", markup=False)
        return None

    def reached(here: np.ndarray[Any, Any], goal: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return np.asarray(compute_reward(here, goal, {}) >= compute_reward(goal, goal, {}))

    return wandering_rate(places, episodes.starts, goals, window, reached)


def achieved(episodes: Episodes, env_id: str, channels: int) -> np.ndarray[Any, Any]:
    """Return what the data achieved, (N, channels); raises ValueError if it does not say so and this is no maze."""
    if episodes.achieved_goals is not None:
        return episodes.achieved_goals
    if not is_maze(plain(env_id)) and plain(env_id) not in OGBENCH_IDS:  # whose observations begin with the position
        raise ValueError("the data says nothing of achieved goals; name their channels with goal.achieved")
    return episodes.observations[:, :channels]


def output_folder(config: DictConfig) -> Path:
    """Return where the results go, by environment, policy and seed unless it is said.

    Another planner or other weights given on the command line must not write over the results of the usual ones: they
    are part of the name. So is, behind the seed, a hash of what else is changed of the policy and of `max_steps`.
    """
    planner = config.policy.make.get("planner") if config.policy.name == "diffusion_forcing" else None
    weights = "-" + str(config.checkpoint).strip("/.") if config.checkpoint else ""
    changed = changed_options(config)
    suffix = "-" + hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:6] if changed else ""
    name = f"{config.env}-{planner or config.policy.name}{weights}-seed{config.seed}{suffix}"
    name = name.replace("/", "_").replace(":", "_")
    return Path(config.output_dir or Path("outputs", "sanity" if config.sanity else "evaluate", name))


@hydra.main(version_base=None, config_path="../configs", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Evaluate as the config says."""
    keep_freed_memory()
    try:
        config.env = own_maze(config.env, config.maze)
        check_env(config.env)
        check_policy(config.policy)
        if not isinstance(config.seed, int):
            raise ValueError(f"seed must be a whole number, got {config.seed!r}")
        if config.sanity and config.episodes < 2:
            raise ValueError("sanity=true shuffles goals among episodes, so it takes at least 2 of them")
        folder = output_folder(config)
        if config.checkpoint:
            use_checkpoint(config.policy, config.checkpoint)
        if config.render:
            run_on_screen(config)
            return
        (run_sanity if config.sanity else run_evaluation)(config, folder)
    except (ValueError, OSError, CheckpointError, PolicyError, ImportError, RuntimeError, gym.error.Error) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    console.print(f"Written to {folder}", markup=False, highlight=False)


if __name__ == "__main__":
    check_arguments(sys.argv[1:])
    main()
