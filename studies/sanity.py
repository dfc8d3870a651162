"""Does the goal make the difference? `python studies/sanity.py env=maze2d-large policy=gcbc [episodes=50]`.

The same policy with its goals, with others' goals, without a goal and with random weights, beside how often
trajectories in the data touch a goal by themselves. Takes the options of `df-agent evaluate`, and `dataset` for the
last row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from df_envs.ogbench_mazes import OGBENCH_IDS
from df_planners.plan import PlanEvent
from numpy.typing import NDArray
from omegaconf import DictConfig
from rich.table import Table

from df_agent.agent_model import AgentModel
from df_agent.cli.app import main as run_command
from df_agent.cli.commands import COMMANDS
from df_agent.cli.environments import demonstrations, is_maze, plain
from df_agent.cli.errors import errors_in_one_line
from df_agent.cli.measuring import console, origin_of, prepare
from df_agent.cli.options.acting import EvaluateOptions
from df_agent.cli.policies import goal_spec_of, make_policy, understood
from df_agent.data.datasets import load_episodes
from df_agent.data.episodes import Episodes
from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.metrics import wilson_interval
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.rollout import episode_limit, rollout
from df_agent.evaluation.terminal import progress_bar
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.random import RandomPolicy
from df_agent.types import Observation, Policy

__all__ = ["main", "understood"]

Array = NDArray[Any]


class ReplaceGoals:
    """Show a policy other goals than the environment's.

    Args:
        policy: the policy.
        goals: (E, Dg) the goal shown in the i-th episode that starts after `set_random_seed`; they repeat in turn.
    """

    def __init__(self, policy: Policy, goals: Array) -> None:
        self.policy = policy
        self.goals = np.asarray(goals, dtype=np.float64)
        self.started = 0

    def set_random_seed(self, seed: int) -> None:
        """Begin again with the first goal, and pass the seed on."""
        self.started = 0
        if hasattr(self.policy, "set_random_seed"):
            self.policy.set_random_seed(seed)

    @property
    def on_plan(self) -> Callable[[PlanEvent], None] | None:
        """The policy's own hook; a policy without one has none here either."""
        return self.policy.on_plan  # type: ignore[attr-defined,no-any-return]

    @on_plan.setter
    def on_plan(self, hook: Callable[[PlanEvent], None] | None) -> None:
        self.policy.on_plan = hook  # type: ignore[attr-defined]

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.float64], Any]:
        """Act as the policy would for the other goal; the observation must be a batched dict."""
        if not isinstance(observation, dict) or observation["desired_goal"].ndim != 2:
            raise ValueError("ReplaceGoals needs dict observations with a leading environment axis")
        n = len(observation["desired_goal"])
        inner, shown = (None, np.zeros((n, self.goals.shape[1]))) if state is None else state
        fresh = np.ones(n, dtype=bool) if episode_start is None else np.asarray(episode_start)
        rows = np.flatnonzero(fresh)
        if len(rows):
            shown = shown.copy()
            shown[rows] = self.goals[(self.started + np.arange(len(rows))) % len(self.goals)]
            self.started += len(rows)
        changed = {**observation, "desired_goal": shown}
        actions, inner = self.policy.predict(changed, inner, episode_start, deterministic)
        return actions, (inner, shown)


def shuffled_goals(records: Sequence[EpisodeRecord]) -> Array:
    """Return (N, Dg) goals for `ReplaceGoals`: each episode gets another's.

    Where all episodes have the same goal there is nothing to shuffle; then it is the place where another
    episode starts. Another means the next one, in a circle.
    """
    goals = np.array([record.goal for record in records])
    if len(records) < 2:
        raise ValueError("shuffling goals takes at least 2 episodes")
    if np.allclose(goals, goals[0]):
        goals = np.array([record.path[0] for record in records])
    return np.roll(goals, -1, axis=0)


def wandering_rate(
    positions: Array,
    starts: Array,
    goals: Array,
    window: int,
    reached: Callable[[Array, Array], Array],
    *,
    samples: int = 2000,
    seed: int = 0,
) -> float:
    """Return how often a window of the data touches a goal that it was not made for.

    Args:
        positions: (N, Dg) achieved goals of the data, trajectory after trajectory.
        starts: (E + 1,) offsets of the trajectories.
        goals: (K, Dg) goals of the evaluation; the windows are paired with them in turn.
        window: steps of a window; a shorter trajectory is one window.
        reached: (positions (..., Dg), goals (..., Dg)) -> (...) True or 1 where it is there.
        samples: windows drawn.
        seed: of the draw.

    Returns:
        The share of windows.
    """
    rng = np.random.default_rng(seed)
    lengths = np.diff(starts)
    choices = np.maximum(lengths - window, 0) + 1  # first steps that a window can have, per trajectory
    trajectory = rng.choice(len(lengths), size=samples, p=choices / choices.sum())
    first = starts[trajectory] + rng.integers(choices[trajectory])
    touched = 0
    for i in range(samples):
        end = min(first[i] + window + 1, starts[trajectory[i] + 1])
        here = positions[first[i] : end]
        touched += bool(np.any(reached(here, np.broadcast_to(goals[i % len(goals)], here.shape))))
    return touched / samples


def sanity_row(name: str, records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Return one row of the table: success with its interval, and mean steps to the goal."""
    successes = sum(record.success for record in records)
    return {
        "policy": name,
        "episodes": len(records),
        "success_rate": successes / len(records),
        "success_rate_ci95": list(wilson_interval(successes, len(records))),
        "time_to_goal_mean": float(np.mean([record.time_to_goal for record in records])),
        "at_goal_at_end": float(np.mean([record.at_goal_at_end for record in records])),
    }


def sanity_table(title: str, rows: Sequence[dict[str, Any]], data_rate: float | None) -> Table:
    """Return the rows of `sanity_row` as a table, with the share of windows of the data that touch the goal."""
    table = Table(title=title, title_justify="left")
    for column in ("", "success rate", "95 %", "mean steps", "at the goal at the end"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        low, high = row["success_rate_ci95"]
        table.add_row(
            row["policy"],
            f"{row['success_rate']:.3f}",
            f"{low:.3f} to {high:.3f}",
            f"{row['time_to_goal_mean']:.1f}",
            f"{row['at_goal_at_end']:.3f}",
        )
    if data_rate is not None:
        table.add_row("trajectories in the data", f"{data_rate:.3f}", "", "", "")
    return table


def randomize_weights(policy: DiffusionForcingPolicy, seed: int = 0) -> None:
    """Replace a policy's trained weights by random ones, to show what training is worth."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        fresh = AgentModel.from_config(policy.checkpoint)
        for p in fresh.parameters():  # the zeroed output layer would predict nothing at all
            if p.ndim > 1 and not p.any():
                torch.nn.init.normal_(p, std=0.1)
    own = policy.model.state_dict()
    policy.model.forget_full_precision()
    policy.model.load_state_dict({k: v.to(own[k].dtype) for k, v in fresh.state_dict().items()})


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
        variants["no goal"] = make_policy(config, planner="unconditional")
        untrained = make_policy(config)
        assert isinstance(untrained, DiffusionForcingPolicy)
        randomize_weights(untrained, config.seed)
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
        episodes = goal_spec.located(load_episodes(config.dataset or demonstrations(config.env)))
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


@dataclass(frozen=True)
class SanityOptions(EvaluateOptions):
    """The options of `df-agent evaluate`, and data.

    Attributes:
        dataset: Minari id, folder or .npz; null: what `df-agent collect` wrote.
    """

    dataset: str | None = None


COMMANDS["sanity"] = replace(
    COMMANDS["evaluate"],
    about="what a policy does without its goal, and with random weights",
    module="studies.sanity",
    options="studies.sanity:SanityOptions",
)


def main(config: DictConfig) -> None:
    """Check as the config says."""
    with errors_in_one_line(RuntimeError):
        folder = prepare(config, "sanity")
        if config.episodes < 2:
            raise ValueError("goals are shuffled among episodes, so it takes at least 2 of them")
        run_sanity(config, folder)
    console.print(f"Written to {folder}", markup=False, highlight=False)


if __name__ == "__main__":
    run_command("sanity")
