"""Validation in the environment while a policy is trained: the same episodes each time, never reported ones."""

from __future__ import annotations

from contextlib import closing

import gymnasium as gym
import numpy as np

from df_agent.data.goal_spec import GoalSpec
from df_agent.data.quality import Asked
from df_agent.evaluation.goal_env import GoalEnv
from df_agent.evaluation.metrics import time_to_goal
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.rollout import PLAIN, episode_limit, episode_seed, rollout
from df_agent.types import Policy

LOWEST_VALIDATION_SEED = 1000
MEASURES = ("success_rate", "time_to_goal", "at_goal_at_end")


def check_validation_seed(seed: int, name: str = "seed") -> None:
    """Raise ValueError for a seed below 1000: those below are for reports, so nothing is ever tuned on them."""
    if not isinstance(seed, int):
        raise ValueError(f"{name} must be a whole number, got {seed!r}")
    if seed < LOWEST_VALIDATION_SEED:
        raise ValueError(f"{name} must be at least {LOWEST_VALIDATION_SEED}, got {seed}: the lower ones are reported")


class Validation:
    """Runs policies on the same episodes each time.

    Args:
        env_id: gymnasium id of a goal-conditioned environment.
        episodes: how many.
        seed: at least 1000.
        goal_spec: see `rollout`.

    Raises:
        ValueError: a lower seed, or an environment without an episode limit.
        gymnasium.error.Error: an unknown environment.
    """

    def __init__(self, env_id: str, episodes: int, seed: int, goal_spec: GoalSpec = PLAIN) -> None:
        check_validation_seed(seed, "validation.seed")
        self.env_id, self.episodes, self.seed, self.goal_spec = env_id, episodes, seed, goal_spec
        self.limit = episode_limit(env_id, None)
        if not goal_spec.is_plain:  # what it, or a step's info, lacks is said now, not after the first hour of training
            with closing(GoalEnv(gym.make(env_id), goal_spec)) as env:
                env.reset(seed=seed)
                env.action_space.seed(seed)
                env.step(env.action_space.sample())

    def asked(self) -> Asked | None:
        """Return the starts and goals of the episodes; None where they are no places, but say pictures."""
        env = gym.make(self.env_id)
        seen = []
        for episode in range(self.episodes):
            observation, _ = env.reset(seed=episode_seed(self.seed, episode))
            seen.append(self.goal_spec.goal_dict(observation))
        env.close()
        starts, goals = (
            np.array([each[key] for each in seen], np.float64) for key in ("achieved_goal", "desired_goal")
        )
        return Asked(starts, goals, self.limit) if starts.ndim == goals.ndim == 2 else None

    def __call__(self, policy: Policy, *, keep_paths: bool = False) -> tuple[dict[str, float], list[EpisodeRecord]]:
        """Return success, mean time to goal [control steps; timeouts as the limit] and share at the goal at the end.

        The records come with them, with executed and planned positions if asked for.
        """
        records = rollout(
            policy, self.env_id, episodes=self.episodes, seed=self.seed, keep_paths=keep_paths, goal_spec=self.goal_spec
        )
        values = (
            float(np.mean([record.success for record in records])),
            float(time_to_goal(records)["mean"]),
            float(np.mean([record.at_goal_at_end for record in records])),
        )
        return dict(zip(MEASURES, values, strict=True)), records
