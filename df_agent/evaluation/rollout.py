"""Run a policy in a batch of environments; one record per episode."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import gymnasium as gym
import numpy as np
from df_planners.plan import PlanEvent
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.active_rows import ActiveRows
from df_agent.evaluation.active_rows import PolicyError as PolicyError
from df_agent.evaluation.goal_env import GoalEnv
from df_agent.evaluation.records import EpisodeRecord, PlanRecord
from df_agent.types import Policy

Array = NDArray[Any]
# Positions in the records are for pictures and for tests against walls; a tenth of a millimetre is enough.
PATH_DECIMALS = 4
MAX_PARALLEL = 128
PLAIN = GoalSpec()


@dataclass(frozen=True)
class Progress:
    """Where a rollout stands: control steps done and in all, episodes arrived so far, started and in all."""

    steps: int
    total_steps: int
    arrived: int
    started: int
    episodes: int


def episode_seed(seed: int, episode: int) -> int:
    """Return the reset seed of one episode; it does not depend on how many run beside each other."""
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])


def rollout(
    policy: Policy,
    env_id: str,
    *,
    episodes: int,
    first_episode: int = 0,
    seed: int = 0,
    num_envs: int | None = None,
    max_steps: int | None = None,
    policy_name: str | None = None,
    keep_paths: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
    on_record: Callable[[EpisodeRecord], None] | None = None,
    goal_spec: GoalSpec = PLAIN,
    render_mode: str | None = None,
    on_frame: Callable[[Sequence[Array]], None] | None = None,
    wrappers: Sequence[Callable[[gym.Env[Any, Any]], gym.Wrapper[Any, Any, Any, Any]]] = (),
    env_options: Mapping[str, Any] | None = None,
) -> list[EpisodeRecord]:
    """Run `episodes` episodes of a goal-conditioned gymnasium environment.

    The environments step together, up to `num_envs` at a time. All start together and the next ones start
    when the last has ended, so each episode is counted exactly once and fast ones are not counted more often.

    Args:
        policy: anything with Stable-Baselines3's `predict`; called with `deterministic=True`. If it has
            `set_random_seed`, that is called with `seed` first; if it has `on_plan`, its plans are recorded.
        env_id: gymnasium id of an environment with dict observations and `info["success"]` or
            `info["is_success"]`. Where observations are pictures, `info` says in "state", "achieved_goal" and
            "desired_goal" where things are; the policy sees none of that.
        episodes: number of episodes.
        first_episode: number of the first, to go on where an earlier rollout ended.
        seed: seed of the rollout; episode i is reset with `episode_seed(seed, i)`.
        num_envs: environments side by side; up to 128 by default. The episodes are shared out evenly.
        max_steps: episode limit L [control steps]; the environment's own by default.
        policy_name: for the records; the class name by default.
        keep_paths: store executed and planned positions.
        on_progress: called after every step of the batch.
        on_record: called with every record as soon as its episode has ended.
        goal_spec: where goals and success are found if the environment does not say it as above.
        render_mode: of the environments: "human" shows them in windows of their own, "rgb_array" is for `on_frame`.
        on_frame: called with a picture (height, width, 3) of every running environment at the start and after every
            step.
        wrappers: around each environment, the innermost first.
        env_options: of the environment's constructor.

    Returns:
        The records in the order of their episodes.

    Raises:
        PolicyError: the policy raised, or its actions have a wrong shape, are not finite or out of bounds.
    """
    if episodes < 1 or (num_envs is not None and num_envs < 1):
        raise ValueError(f"episodes and num_envs must be at least 1, got {episodes=}, {num_envs=}")
    limit = episode_limit(env_id, max_steps)
    waves = -(-episodes // (num_envs or MAX_PARALLEL))
    size = -(-episodes // waves)
    overrides: dict[str, Any] = dict(env_options or {})
    if max_steps is not None:
        overrides["max_episode_steps"] = max_steps
    if render_mode is not None:
        overrides["render_mode"] = render_mode
    around = list(wrappers)
    if not goal_spec.is_plain:
        around.append(partial(GoalEnv, goal_spec=goal_spec))
    env = gym.make_vec(env_id, num_envs=size, wrappers=around, **overrides)
    plans_seen = getattr(policy, "on_plan", None)
    records: list[EpisodeRecord] = []
    calls = first_episode * limit  # more than were made before; those of an earlier rollout stay apart
    try:
        check_goal_env(env_id, env)
        if hasattr(policy, "set_random_seed"):
            policy.set_random_seed(seed)
        for first in range(first_episode, first_episode + episodes, size):
            numbers = range(first, min(first + size, first_episode + episodes))
            wave = _EpisodeBatch(
                env, policy, policy_name or type(policy).__name__, env_id, limit, seed, numbers, calls, keep_paths
            )
            if on_frame is not None:
                on_frame(pictures(env)[: len(numbers)])
            while wave.running:
                for record in wave.step():
                    if on_record is not None:
                        on_record(record)
                if on_frame is not None:
                    on_frame(pictures(env)[: len(numbers)])
                if on_progress is not None:
                    on_progress(wave.progress(records, episodes))
            records += wave.records
            calls = wave.calls
    finally:
        if hasattr(policy, "on_plan"):
            policy.on_plan = plans_seen
        env.close()
    return records


def pictures(env: gym.vector.VectorEnv[Any, Any, Any]) -> Sequence[Array]:
    """Return a picture of each environment; raises ValueError where it draws none."""
    drawn: Any = env.render()
    if not drawn or any(picture is None for picture in drawn):
        raise ValueError("the environments draw no pictures: give render_mode='rgb_array'")
    return list(drawn)


def spec_of(env_id: str) -> EnvSpec:
    """Return the specification of a gymnasium id; imports the module of "module:id", as `gym.make` does."""
    module, _, name = env_id.rpartition(":")
    if module:
        import_module(module)
    return gym.spec(name)


def episode_limit(env_id: str, max_steps: int | None) -> int:
    """Return `max_steps`, or the environment's own limit; raises ValueError if there is neither."""
    limit = spec_of(env_id).max_episode_steps if max_steps is None else max_steps
    if limit is None or limit < 1:
        raise ValueError(f"{env_id!r} has no limit of its own: give max_steps >= 1, got {max_steps}")
    return int(limit)


def check_goal_env(env_id: str, env: gym.vector.VectorEnv[Any, Any, Any]) -> None:
    """Raise ValueError unless the observations are a dict with the goal-conditioned keys."""
    needed = {"observation", "achieved_goal", "desired_goal"}
    space = env.single_observation_space
    found = set(space.spaces) if isinstance(space, gym.spaces.Dict) else set()
    if not needed <= found:
        raise ValueError(
            f"{env_id!r} is not a goal-conditioned environment: its observation space is {space}, "
            f"which lacks {sorted(needed - found)}; say where they are found with goal.achieved and goal.desired"
        )


class _EpisodeBatch:
    """Episodes that start together in the first rows of the vector environment, n in number."""

    def __init__(
        self,
        env: gym.vector.VectorEnv[Any, Any, Any],
        policy: Policy,
        name: str,
        env_id: str,
        limit: int,
        seed: int,
        episodes: range,
        calls: int,
        keep_paths: bool,
    ) -> None:
        n = len(episodes)
        self.env, self.name, self.env_id, self.limit, self.episodes = env, name, env_id, limit, episodes
        self.calls, self.keep_paths = calls, keep_paths
        self.asker = ActiveRows(policy, name, env.single_action_space, n)
        self.ended: dict[int, EpisodeRecord] = {}
        self.policy_seconds, self.env_seconds, self.wall_seconds, self.policy_seconds_to_goal = np.zeros((4, n))
        self.clock = time.perf_counter()
        self.seeds = [episode_seed(seed, episode) for episode in episodes]
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
        self.now = 0
        if hasattr(policy, "on_plan"):
            policy.on_plan = self.record_plans

    @property
    def running(self) -> bool:
        return bool(self.alive.any())

    def progress(self, ended: list[EpisodeRecord], episodes: int) -> Progress:
        """Return where the rollout stands, given the records of the waves before this one."""
        steps = sum(record.length for record in ended) + int(self.length.sum())
        arrived = sum(record.success for record in ended) + int((self.reached | self.inside_at_start).sum())
        return Progress(steps, episodes * self.limit, arrived, len(ended) + len(self.alive), episodes)

    @property
    def records(self) -> list[EpisodeRecord]:
        """One per episode, in order; those that have ended."""
        return [self.ended[row] for row in sorted(self.ended)]

    def step(self) -> list[EpisodeRecord]:
        """Let the policy act once in all environments; return the records of episodes that ended with it."""
        n = len(self.alive)
        before = time.perf_counter()
        actions = self.asker.act(self.observation, self.now)
        between = time.perf_counter()
        filler = np.broadcast_to(np.zeros_like(actions[:1]), (self.env.num_envs - n, *actions.shape[1:]))
        observation, reward, terminated, truncated, info = self.env.step(np.concatenate([actions, filler]))
        after = time.perf_counter()
        share = self.alive / self.alive.sum()
        self.policy_seconds += share * (between - before)
        self.policy_seconds_to_goal += ~(self.reached | self.inside_at_start) * share * (between - before)
        self.env_seconds += share * (after - between)

        success = _success(info, n)
        reward = np.where(self.alive, reward[:n], 0.0)
        first = self.alive & success & ~self.reached
        self.first_reach[first] = self.now
        self.time_to_goal[first & ~self.inside_at_start] = self.now + 1
        self.reached |= first
        self.reward += reward
        self.reward_if_stay += np.where(self.reached, 0.0, reward)
        self.inside_now[self.alive] = success[self.alive]
        self.length += self.alive
        self.now += 1
        for key, value in self.observation.items():
            # An episode that has ended keeps its last observation: the environment may have begun another.
            fresh = np.asarray(observation[key][:n])
            alive = self.alive.reshape(-1, *[1] * (fresh.ndim - 1))
            self.observation[key] = np.where(alive, fresh, value)
        self.path.append(_places(self.observation["achieved_goal"], info, "achieved_goal"))
        running = self.alive & ~(terminated[:n] | truncated[:n]) & (self.now < self.limit)
        ended = np.flatnonzero(self.alive & ~running)
        now = time.perf_counter()
        self.wall_seconds += share * (now - self.clock)
        self.clock = now
        self.alive = running
        self.asker.keep(running)
        for row in ended:
            self.ended[int(row)] = self.record(int(row))
        return [self.ended[int(row)] for row in ended]

    def record_plans(self, event: PlanEvent) -> None:
        """Store what the policy says about a planning call."""
        plan = event.plan
        # A policy may look at a new plan and keep to the old one; if it does not say so, it follows them all.
        executed = getattr(event, "executed", None)
        # A policy that does not say where the goal is found has it in the leading channels.
        channels = list(getattr(event, "goal_channels", None) or range(self.goal.shape[-1]))
        for i, row in enumerate(self.asker.rows[event.rows]):
            if self.alive[row]:
                shown = self.keep_paths and len(channels) == self.goal.shape[-1]  # plans of latents are no places
                path = _rounded(plan.observations[i, : plan.lengths[i], channels].T) if shown else []
                taken = True if executed is None else bool(executed[i])
                self.plans[row].append(
                    PlanRecord(self.calls, self.now, float(event.seconds), len(event.rows), taken, path)
                )
        self.calls += 1

    def record(self, i: int) -> EpisodeRecord:
        """Return the record of an episode that has ended."""
        path = np.stack([places[i] for places in self.path[: self.length[i] + 1]]) if self.keep_paths else None
        return EpisodeRecord(
            env=self.env_id,
            policy=self.name,
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
    for key in ("success", "is_success"):
        if key in info:
            return np.asarray(info[key][:n]).astype(bool)
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
