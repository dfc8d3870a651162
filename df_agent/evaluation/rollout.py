"""Run a policy in a batch of environments, one record per episode; and evaluate it, the same with what follows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from df_planners.plan import PlanEvent
from numpy.typing import NDArray

from df_agent.data.env_spec import episode_limit as episode_limit
from df_agent.data.goal_spec import GoalSpec
from df_agent.evaluation.active_rows import PolicyError as PolicyError
from df_agent.evaluation.episode_batch import EpisodeBatch, Progress
from df_agent.evaluation.goal_env import GoalEnv, PlainSteps
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import NO_REFERENCES, References
from df_agent.evaluation.report import EvaluationResult
from df_agent.evaluation.video import Film
from df_agent.types import Policy

Array = NDArray[Any]
MAX_PARALLEL = 128
PLAIN = GoalSpec()


def evaluate(
    policy: Policy,
    env_id: str,
    *,
    episodes: int = 100,
    seed: int = 0,
    num_envs: int | None = None,
    max_steps: int | None = None,
    policy_name: str | None = None,
    references: References = NO_REFERENCES,
    timing_episodes: int = 1,
    provenance: dict[str, Any] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_stage: Callable[[str], None] = lambda text: None,
    goal_spec: GoalSpec = PLAIN,
    scenes: int = 0,
) -> EvaluationResult:
    """Evaluate a policy in a goal-conditioned gymnasium environment.

    Args:
        policy: anything with Stable-Baselines3's `predict`.
        env_id: gymnasium id.
        episodes, seed, num_envs, max_steps, policy_name, on_progress, goal_spec: see `rollout`.
        references: what is known about the environment, all optional.
        timing_episodes: episodes run afterwards with a single environment, to measure latencies; 0 for none.
        provenance: stored in the summary; see `df_agent.evaluation.provenance`.
        on_stage: told what happens after the rollout, for the terminal.
        scenes: episodes whose video shows the environment's own pictures beside the plans, which takes OpenGL; they
            are run once more for it.

    Returns:
        Records and summary; its `write` makes the report's folder.
    """
    run = partial(rollout, policy, env_id, seed=seed, max_steps=max_steps, policy_name=policy_name, goal_spec=goal_spec)
    records = run(episodes=episodes, num_envs=num_envs, on_progress=on_progress)
    single: list[EpisodeRecord] = []
    if timing_episodes:
        on_stage("measuring latencies with one environment")
        single = run(episodes=timing_episodes, num_envs=1, keep_paths=False)
    film = Film() if scenes else None
    if film is not None:
        on_stage("filming")
        count = min(scenes, episodes)
        run(episodes=count, num_envs=count, keep_paths=False, render_mode="rgb_array", on_frame=film.add)
    return EvaluationResult(records, references, seed, single, provenance, film)


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
    limit, name = episode_limit(env_id, max_steps), policy_name or type(policy).__name__
    size = batch_size(episodes, num_envs or MAX_PARALLEL)
    records: list[EpisodeRecord] = []
    calls = first_episode * limit  # more than were made before; those of an earlier rollout stay apart
    with (
        make_envs(env_id, size, max_steps, goal_spec, render_mode, wrappers, env_options or {}) as env,
        plans_heard(policy) as listen,
    ):
        if hasattr(policy, "set_random_seed"):
            policy.set_random_seed(seed)
        for first in range(first_episode, first_episode + episodes, size):
            seeds = {i: episode_seed(seed, i) for i in range(first, min(first + size, first_episode + episodes))}
            batch = EpisodeBatch(env, name, env_id, limit=limit, seeds=seeds, calls=calls, keep_paths=keep_paths)
            listen(batch.record_plans)
            if on_frame is not None:
                on_frame(pictures(env)[: len(seeds)])
            for ended in steps_of(policy, batch):
                for record in ended:
                    if on_record is not None:
                        on_record(record)
                if on_frame is not None:
                    on_frame(pictures(env)[: len(seeds)])
                if on_progress is not None:
                    on_progress(batch.progress(records, episodes))
            records += batch.records
            calls = batch.calls
    return records


def steps_of(policy: Policy, batch: EpisodeBatch) -> Iterator[list[EpisodeRecord]]:
    """Let a policy act until all episodes of a batch have ended; yields after every step those that ended with it.

    Raises:
        PolicyError: see `rollout`.
    """
    while batch.running:
        observation, state, starts = batch.observe()
        try:
            answer = policy.predict(observation, state, starts, deterministic=True)
        except Exception as error:
            raise PolicyError(f"{batch.where}: predict raised {type(error).__name__}: {error}") from error
        yield batch.step(answer)


@contextmanager
def plans_heard(policy: Policy) -> Iterator[Callable[[Callable[[PlanEvent], None]], None]]:
    """Yield a function that says who hears of a policy's plans; in the end it is again who it was before."""
    if not hasattr(policy, "on_plan"):
        yield lambda hook: None
        return
    before = policy.on_plan
    try:
        yield lambda hook: setattr(policy, "on_plan", hook)
    finally:
        policy.on_plan = before


def episode_seed(seed: int, episode: int) -> int:
    """Return the reset seed of one episode; it does not depend on how many run beside each other."""
    return int(np.random.SeedSequence([seed, episode]).generate_state(1)[0])


def batch_size(episodes: int, most: int) -> int:
    """Return how many episodes run side by side, at most `most`, if they are shared out evenly among batches."""
    return -(-episodes // -(-episodes // most))


@contextmanager
def make_envs(
    env_id: str,
    num_envs: int,
    max_steps: int | None,
    goal_spec: GoalSpec,
    render_mode: str | None,
    wrappers: Sequence[Callable[[gym.Env[Any, Any]], gym.Wrapper[Any, Any, Any, Any]]],
    env_options: Mapping[str, Any],
) -> Iterator[gym.vector.VectorEnv[Any, Any, Any]]:
    """Make the environments of a rollout and close them in the end; see there for the arguments and errors."""
    given = {"max_episode_steps": max_steps, "render_mode": render_mode}
    overrides = {**env_options, **{key: value for key, value in given.items() if value is not None}}
    around = [*wrappers, PlainSteps]
    if not goal_spec.is_plain:
        around.append(partial(GoalEnv, goal_spec=goal_spec))
    # One that has vectors of its own could not be wrapped.
    env = gym.make_vec(env_id, num_envs=num_envs, vectorization_mode="sync", wrappers=around, **overrides)
    try:
        check_goal_env(env_id, env)
        yield env
    finally:
        env.close()


def pictures(env: gym.vector.VectorEnv[Any, Any, Any]) -> Sequence[Array]:
    """Return a picture of each environment; raises ValueError where it draws none."""
    drawn: Any = env.render()
    if not drawn or any(picture is None for picture in drawn):
        raise ValueError("the environments draw no pictures: give render_mode='rgb_array'")
    return list(drawn)


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
