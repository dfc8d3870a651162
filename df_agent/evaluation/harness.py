"""Run a policy, measure it, write the report: what `scripts/evaluate.py` does, as one function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.references import NO_REFERENCES, References
from df_agent.evaluation.report import write_report
from df_agent.evaluation.rollout import PLAIN, Progress, rollout
from df_agent.evaluation.video import Film
from df_agent.types import Policy


def evaluate(
    policy: Policy,
    env_id: str,
    output_dir: str | Path,
    *,
    episodes: int = 100,
    seed: int = 0,
    num_envs: int | None = None,
    max_steps: int | None = None,
    policy_name: str | None = None,
    references: References = NO_REFERENCES,
    timing_episodes: int = 1,
    provenance: dict[str, Any] | None = None,
    pictures: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    on_stage: Callable[[str], None] = lambda text: None,
    goal_spec: GoalSpec = PLAIN,
    scenes: int = 0,
) -> dict[str, Any]:
    """Evaluate a policy in a goal-conditioned gymnasium environment and write a report.

    Args:
        policy: anything with Stable-Baselines3's `predict`.
        env_id: gymnasium id.
        output_dir: where the report goes, see `write_report`.
        episodes, seed, num_envs, max_steps, policy_name, on_progress, goal_spec: see `rollout`.
        references: references and walls, all optional.
        timing_episodes: episodes run afterwards with a single environment, to measure latencies; 0 for none.
        provenance: stored in the summary; see `df_agent.evaluation.provenance`.
        pictures: draw plots and a video.
        on_stage: told what happens after the rollout, for the terminal.
        scenes: episodes whose video shows the environment's own pictures beside the plans, which takes OpenGL; they
            are run once more for it.

    Returns:
        The summary, as in summary.json.
    """
    name = policy_name or type(policy).__name__
    records = rollout(
        policy,
        env_id,
        episodes=episodes,
        seed=seed,
        num_envs=num_envs,
        max_steps=max_steps,
        policy_name=name,
        on_progress=on_progress,
        goal_spec=goal_spec,
    )
    single = []
    if timing_episodes:
        on_stage("measuring latencies with one environment")
        single = rollout(
            policy,
            env_id,
            episodes=timing_episodes,
            seed=seed,
            num_envs=1,
            max_steps=max_steps,
            policy_name=name,
            keep_paths=False,
            goal_spec=goal_spec,
        )
    film = None
    if scenes and pictures:
        on_stage("filming")
        film = Film()
        rollout(
            policy,
            env_id,
            episodes=min(scenes, episodes),
            seed=seed,
            num_envs=min(scenes, episodes),
            max_steps=max_steps,
            keep_paths=False,
            goal_spec=goal_spec,
            render_mode="rgb_array",
            on_frame=film.add,
        )
    on_stage("writing the report")
    return write_report(
        output_dir, records, references, seed=seed, single=single, provenance=provenance, pictures=pictures, film=film
    )
