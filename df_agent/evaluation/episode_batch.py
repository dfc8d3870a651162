"""The bookkeeping of episodes that run side by side: what they are shown, how they go, and a record of each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from df_planners.plan import PlanEvent
from numpy.typing import NDArray

from df_agent.data.answers import success_rows
from df_agent.evaluation.active_rows import ActiveRows
from df_agent.evaluation.records import EpisodeRecord, PlanRecord

Array = NDArray[Any]
# Positions in the records are for pictures and for tests against walls; a tenth of a millimetre is enough.
PATH_DECIMALS = 4


@dataclass(frozen=True)
class Progress:
    """Where a rollout stands: control steps done and in all, episodes that reached their goal, started and in all."""

    steps: int
    total_steps: int
    successes: int
    started: int
    episodes: int


class EpisodeBatch:
    """Episodes that start together in the first rows of the vector environment, n in number.

    `observe` says what the policy is to be asked; `step` takes its answer. The policy is asked by the caller.

    Args:
        env: all of the environments; it is reset.
        policy_name, env_id: for the records and the errors.
        limit: of an episode [control steps].
        seeds: number of the episode -> seed of its reset.
        calls: number of the first planning call.
        keep_paths: store executed and planned positions.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv[Any, Any, Any],
        policy_name: str,
        env_id: str,
        *,
        limit: int,
        seeds: Mapping[int, int],
        calls: int = 0,
        keep_paths: bool = True,
    ) -> None:
        n = len(seeds)
        self.env, self.policy_name, self.env_id, self.limit = env, policy_name, env_id, limit
        self.episodes, self.seeds = list(seeds), list(seeds.values())
        self.calls, self.keep_paths, self.now = calls, keep_paths, 0
        self.rows = ActiveRows(env.single_action_space, n)
        self.ended: dict[int, EpisodeRecord] = {}
        self.policy_seconds, self.env_seconds, self.wall_seconds, self.policy_seconds_to_goal = np.zeros((4, n))
        self.clock = self.asked = time.perf_counter()
        # gymnasium types this as one int; its vector environments take one per row, as documented.
        filled: Any = self.seeds + self.seeds[:1] * (env.num_envs - n)
        # Rows behind the n-th only fill the vector environment up: reset with any seed, never looked at.
        observation, info = env.reset(seed=filled)
        self.observation = {key: np.array(value[:n]) for key, value in observation.items()}
        self.start = _places(self.observation["observation"], info, "state")
        self.goal = _places(self.observation["desired_goal"], info, "desired_goal")
        self.inside_at_start = _success(info, n, default=False)
        self.inside_now = self.inside_at_start.copy()
        self.alive = np.ones(n, dtype=bool)
        self.reached = np.zeros(n, dtype=bool)
        self.length = np.zeros(n, dtype=np.int64)
        self.first_reach = np.full(n, limit, dtype=np.int64)
        self.time_to_goal = np.where(self.inside_at_start, 0, limit)
        self.reward, self.reward_if_stay = np.zeros(n), np.zeros(n)
        self.plans: list[list[PlanRecord]] = [[] for _ in range(n)]
        self.path = [_places(self.observation["achieved_goal"], info, "achieved_goal")]

    @property
    def running(self) -> bool:
        """Whether any episode still runs."""
        return bool(self.alive.any())

    @property
    def where(self) -> str:
        """Whose step this is, for the errors."""
        return f"policy {self.policy_name!r}, step {self.now}"

    def progress(self, ended: list[EpisodeRecord], episodes: int) -> Progress:
        """Return where the rollout stands, given the records of the batches before this one."""
        steps = sum(record.length for record in ended) + int(self.length.sum())
        successes = sum(record.success for record in ended) + int((self.reached | self.inside_at_start).sum())
        return Progress(steps, episodes * self.limit, successes, len(ended) + len(self.alive), episodes)

    @property
    def records(self) -> list[EpisodeRecord]:
        """One per episode, in order; those that have ended."""
        return [self.ended[row] for row in sorted(self.ended)]

    def observe(self) -> tuple[dict[str, Array], Any, NDArray[np.bool_]]:
        """Return the next observations, state and episode starts for `predict`; the time it takes is the policy's."""
        self.asked = time.perf_counter()
        return self.rows.question(self.observation)

    def step(self, answer: Any) -> list[EpisodeRecord]:
        """Take what `predict` returned and step all environments; return the records of episodes that ended with it.

        Raises:
            PolicyError: the answer is none, see `ActiveRows.take_in`.
        """
        n = len(self.alive)
        actions = self.rows.take_in(answer, self.where)
        acted = time.perf_counter()
        filler = np.broadcast_to(np.zeros_like(actions[:1]), (self.env.num_envs - n, *actions.shape[1:]))
        observation, reward, terminated, truncated, info = self.env.step(np.concatenate([actions, filler]))
        stepped = time.perf_counter()
        share = self.alive / self.alive.sum()
        self.policy_seconds += share * (acted - self.asked)
        self.policy_seconds_to_goal += ~(self.reached | self.inside_at_start) * share * (acted - self.asked)
        self.env_seconds += share * (stepped - acted)

        self._count(_success(info, n), np.where(self.alive, reward[:n], 0.0))
        for key, value in self.observation.items():
            # An episode that has ended keeps its last observation: the environment may have begun another.
            fresh = np.asarray(observation[key][:n])
            alive = self.alive.reshape(-1, *[1] * (fresh.ndim - 1))
            self.observation[key] = np.where(alive, fresh, value)
        self.path.append(_places(self.observation["achieved_goal"], info, "achieved_goal"))
        running = self.alive & ~(terminated[:n] | truncated[:n]) & (self.now < self.limit)
        ended = np.flatnonzero(self.alive & ~running).tolist()
        now = time.perf_counter()
        self.wall_seconds += share * (now - self.clock)
        self.clock, self.alive = now, running
        self.rows.keep(running)
        self.ended |= {row: self._record(row) for row in ended}
        return [self.ended[row] for row in ended]

    def _count(self, success: Array, reward: Array) -> None:
        """Count a step, with its success and reward, of the episodes that ran."""
        first = self.alive & success & ~self.reached
        self.first_reach[first] = self.now
        self.time_to_goal[first & ~self.inside_at_start] = self.now + 1
        self.reached |= first
        self.reward += reward
        self.reward_if_stay += np.where(self.reached, 0.0, reward)
        self.inside_now[self.alive] = success[self.alive]
        self.length += self.alive
        self.now += 1

    def record_plans(self, event: PlanEvent) -> None:
        """Store what the policy says about a planning call."""
        plan = event.plan
        # A policy may reject a new plan and keep the old one; an event without `executed` means that all are followed.
        executed = getattr(event, "executed", None)
        # A policy that does not say where the goal is found has it in the leading channels.
        channels = list(getattr(event, "goal_channels", None) or range(self.goal.shape[-1]))
        for i, row in enumerate(self.rows.rows[event.rows]):
            if self.alive[row]:
                shown = self.keep_paths and len(channels) == self.goal.shape[-1]  # plans of latents are no places
                path = _rounded(plan.observations[i, : plan.lengths[i], channels].T) if shown else []
                taken = True if executed is None else bool(executed[i])
                self.plans[row].append(
                    PlanRecord(self.calls, self.now, float(event.seconds), len(event.rows), taken, path)
                )
        self.calls += 1

    def _record(self, i: int) -> EpisodeRecord:
        """Return the record of an episode that has ended."""
        path = np.stack([places[i] for places in self.path[: self.length[i] + 1]]) if self.keep_paths else None
        return EpisodeRecord(
            env=self.env_id,
            policy=self.policy_name,
            episode=self.episodes[i],
            seed=self.seeds[i],
            max_episode_steps=self.limit,
            length=int(self.length[i]),
            start=self.start[i].tolist(),
            goal=self.goal[i].tolist(),
            success=bool(self.reached[i] or self.inside_at_start[i]),
            time_to_goal=int(self.time_to_goal[i]),
            at_goal_at_end=bool(self.inside_now[i]),
            episode_reward=float(self.reward[i]),
            first_reach=int(self.first_reach[i]),
            episode_reward_if_stay=float(self.reward_if_stay[i] + self.limit - self.first_reach[i]),
            plans=self.plans[i],
            path=[] if path is None else _rounded(path),
            num_envs=len(self.alive),
            policy_seconds=float(self.policy_seconds[i]),
            env_seconds=float(self.env_seconds[i]),
            wall_seconds=float(self.wall_seconds[i]),
            policy_seconds_to_goal=float(self.policy_seconds_to_goal[i]),
        )


def _success(info: dict[str, Any], n: int, default: bool | None = None) -> Array:
    """Return (n,) success flags of a vector environment's info."""
    if (success := success_rows(info, n)) is not None:
        return success
    if default is None:
        raise ValueError(
            f"the environment must report info['success'] or 'is_success', got {sorted(info)}; say what success is "
            "with goal.success: 'terminated', a key of info or a 'module:function'"
        )
    return np.full(n, default)


def _places(observed: Array, info: dict[str, Any], key: str) -> Array:
    """Return where things are, (n, ...): what was observed, unless that are pictures."""
    if observed.ndim == 2:
        return observed
    if key not in info:
        raise ValueError(f"where observations are pictures, the environment must say in info[{key!r}] where things are")
    return np.asarray(info[key][: len(observed)])


def _rounded(path: Array) -> list[list[float]]:
    return np.round(np.asarray(path, dtype=np.float64), PATH_DECIMALS).tolist()  # type: ignore[no-any-return]
