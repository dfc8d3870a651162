"""Evaluate a policy: `python scripts/evaluate.py env=maze2d-large policy=diffusion_forcing`.

Ends with a table and a folder: episodes.jsonl, summary.json, plans.png, time_to_goal.png and rollout.mp4.
"""

from __future__ import annotations

import difflib
import json
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import hydra
import numpy as np
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from df_agent.baselines.random import RandomPolicy
from df_agent.checkpoint import CheckpointError, load_checkpoint
from df_agent.data.episodes import load_episodes
from df_agent.evaluation.harness import evaluate
from df_agent.evaluation.metrics import Yardsticks
from df_agent.evaluation.provenance import provenance
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.rollout import PolicyError, episode_limit, rollout, spec_of
from df_agent.evaluation.sanity import ReplaceGoals, sanity_row, shuffled_goals, wandering_rate
from df_agent.evaluation.terminal import progress_bar, sanity_table, stage_printer, summary_table
from df_agent.policy import DiffusionForcingPolicy
from df_agent.types import Policy
from envs.geometry import crosses_wall
from envs.maps import MAZES, wall_boxes
from envs.oracle import SUCCESS_RADIUS, OraclePolicy, lower_bound_steps, oracle_steps
from envs.physics import BALL_RADIUS, TIME_STEP

MAZE_IDS = [f"{family}-{maze}" for family in ("maze2d", "multi2d") for maze in MAZES]
TOUCH = 0.01  # how deep [m] the ball may be in a wall before a plan counts as running into it
POLICIES = ("diffusion_forcing", "oracle", "random")
console = Console()


def check_env(env_id: str) -> None:
    """Raise ValueError, naming the ids there are and the closest one, unless gymnasium knows the id."""
    try:
        spec_of(env_id)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{env_id!r} names a module that cannot be imported ({error}); install it or put it on PYTHONPATH"
        ) from None
    except gym.error.Error:
        close = difflib.get_close_matches(env_id, [*MAZE_IDS, *gym.registry], n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"there is no environment {env_id!r}; ours are {', '.join(MAZE_IDS)}.{hint}") from None


def maze_yardsticks(env_id: str, references: dict[str, Any]) -> Yardsticks:
    """Return what is known about one of our mazes; nothing for other environments.

    A plan runs into a wall where it brings the ball more than `TOUCH` into one. MuJoCo's contacts are soft: of
    300 windows of the data, each as long as a training window, 13 to 15 % are in a wall without this tolerance
    and still 6 to 8 % with it, so a model of the data is not to be expected at 0.
    """
    name = env_id.removeprefix("envs:")
    if name not in MAZE_IDS:
        return Yardsticks()
    return Yardsticks(
        oracle_steps=partial(oracle_steps, name),
        lower_bound_steps=partial(lower_bound_steps, name),
        crosses_wall=partial(crosses_wall, name, radius=BALL_RADIUS - TOUCH),
        walls=wall_boxes(name),
        goal_radius=SUCCESS_RADIUS,
        score_references=tuple(references[name]) if name in references else None,
        control_period=TIME_STEP,
    )


def checkpoint_name(config: DictConfig) -> str:
    """Return the checkpoint asked for, or the one that ships for this maze, whatever its goals."""
    return str(config.checkpoint or config.env.removeprefix("envs:").replace("multi2d-", "maze2d-"))


def make_policy(config: DictConfig, **overrides: Any) -> Policy:
    """Return the policy that the config names; overrides are options of the learned one."""
    if config.policy.name == "oracle":
        return OraclePolicy(config.env)
    if config.policy.name == "random":
        return RandomPolicy(gym.make(config.env).action_space)
    if config.policy.name != "diffusion_forcing":
        raise ValueError(f"there is no policy {config.policy.name!r}; there are {', '.join(POLICIES)}")
    options = OmegaConf.to_container(config.policy.options, resolve=True)
    assert isinstance(options, dict)
    return DiffusionForcingPolicy.from_pretrained(
        checkpoint_name(config),
        max_steps=episode_limit(config.env, config.max_steps),
        device=config.policy.device,
        precision=config.policy.precision,
        **{**{str(key): value for key, value in options.items()}, **overrides},
    )


def origin_of(config: DictConfig) -> dict[str, Any]:
    """Return where the results of this run come from."""
    resolved: Any = OmegaConf.to_container(config, resolve=True)
    learned = config.policy.name == "diffusion_forcing"
    return provenance(resolved, load_checkpoint(checkpoint_name(config)).folder if learned else None)


def run_evaluation(config: DictConfig, folder: Path) -> None:
    """Evaluate, print the table, write the report."""
    policy = make_policy(config)
    origin = origin_of(config)
    if isinstance(policy, DiffusionForcingPolicy):
        origin["precision"] = str(next(policy.model.network.parameters()).dtype)
    with progress_bar(f"{config.policy.name} in {config.env}", console) as update:
        summary = evaluate(
            policy,
            config.env,
            folder,
            episodes=config.episodes,
            seed=config.seed,
            num_envs=config.num_envs,
            max_steps=config.max_steps,
            policy_name=config.policy.name,
            yardsticks=maze_yardsticks(config.env, config.score_references),
            timing_episodes=config.timing_episodes,
            provenance=origin,
            pictures=config.pictures,
            on_progress=update,
            on_stage=stage_printer(console),
        )
    console.print(summary_table(summary))


def run_sanity(config: DictConfig, folder: Path) -> None:
    """Take the goal or the training away, print what is left of the success, write sanity.json."""
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
            )

    records = run("true goals", policy)
    rows = [sanity_row("true goals", records)]
    variants: dict[str, Policy] = {"shuffled goals": ReplaceGoals(policy, shuffled_goals(records))}
    if config.policy.name == "diffusion_forcing":
        variants["no goal"] = make_policy(config, goal_conditioned=False)
        untrained = make_policy(config)
        untrained.randomize_weights(config.seed)  # type: ignore[attr-defined]
        variants["random weights"] = untrained
    variants["random actions"] = RandomPolicy(gym.make(config.env).action_space)
    rows += [sanity_row(name, run(name, variant)) for name, variant in variants.items()]
    goals = np.array([record.goal for record in records])
    rate = data_wandering(config, goals, episode_limit(config.env, config.max_steps))
    folder.mkdir(parents=True, exist_ok=True)
    result = {"env": config.env, "seed": config.seed, "rows": rows, "wandering_rate": rate}
    result["provenance"] = origin_of(config)
    (folder / "sanity.json").write_text(json.dumps(result, indent=2) + "\n")
    title = f"{config.policy.name} in {config.env}, {config.episodes} episodes, seed {config.seed}"
    console.print(sanity_table(title, rows, rate))


def data_wandering(config: DictConfig, goals: np.ndarray[Any, Any], window: int) -> float | None:
    """Return how often a walk in the data touches a goal of the evaluation; None without the data."""
    name = config.dataset or f"df-agent/{checkpoint_name(config)}-dfs-v0"
    try:
        episodes = load_episodes(name)
    except (OSError, ValueError) as error:
        console.print(f"Without the share of walks that touch the goal: {error}", markup=False)
        return None
    places = episodes.observations[:, : goals.shape[1]] if episodes.achieved_goals is None else episodes.achieved_goals
    compute_reward = gym.make(config.env).unwrapped.compute_reward  # type: ignore[attr-defined]
    return wandering_rate(
        places, episodes.starts, goals, window, lambda here, goal: compute_reward(here, goal, {}) >= 1.0
    )


@hydra.main(version_base=None, config_path="../configs/evaluate", config_name="evaluate")
def main(config: DictConfig) -> None:
    """Evaluate as the config says."""
    planner = (config.policy.get("options") or {}).get("planner")
    name = f"{config.env}-{planner or config.policy.name}-seed{config.seed}".replace("/", "_").replace(":", "_")
    folder = Path(config.output_dir or Path("outputs", "sanity" if config.sanity else "evaluate", name))
    try:
        check_env(config.env)
        (run_sanity if config.sanity else run_evaluation)(config, folder)
    except (ValueError, OSError, CheckpointError, PolicyError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    console.print(f"Written to {folder}", markup=False, highlight=False)


if __name__ == "__main__":
    main()
