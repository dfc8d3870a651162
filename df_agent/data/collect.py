"""Run any policy in any gymnasium environment and keep what happened in the local Minari store."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.registration import EnvSpec
from numpy.typing import NDArray

from df_agent.data.answers import read_prediction, read_step, success_of
from df_agent.data.episodes import MINARI_VERSION_KEY, local_datasets
from df_agent.files import check_room, folder_lock, replace_folder, restore_folder, write_file
from df_agent.migrations import FORMAT_VERSION

if TYPE_CHECKING:  # it imports torch, which collecting does not need
    from df_agent.types import Policy

Array = NDArray[Any]
Observations = Array | dict[str, Array]
STAGING = ".incomplete-"  # how the names of folders begin in which datasets are being written
SPARE = 2 << 20  # bytes left on the disk when a collection gives up
KEPT_PER_EPISODE, MOST_KEPT = 32 << 10, 32 << 20  # bytes of HDF5's own books that it has not written yet


class RecordedEpisode:
    """One episode: T + 1 observations, T actions, rewards and flags, as lists while it is being recorded.

    Attributes:
        time_to_goal: steps until info["success"] or ["is_success"] was first true; None if it never was.
        says_success: whether the environment said at any step if it was.
    """

    def __init__(self, observation: Any) -> None:
        self._keys: tuple[str, ...] | None = tuple(observation) if isinstance(observation, dict) else None
        self._observations: list[Any] = []
        self.actions: list[Any] = []
        self.rewards: list[float] = []
        self.terminations: list[bool] = []
        self.truncations: list[bool] = []
        self.time_to_goal: int | None = None
        self.says_success = False
        self._observations.append(_copied(observation))

    def __len__(self) -> int:
        return len(self.rewards)

    def add(
        self,
        action: Any,
        observation: Any,
        reward: float,
        terminated: bool,
        truncated: bool,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        """Append a step."""
        self.actions.append(_copied(action))
        self._observations.append(_copied(observation))
        self.rewards.append(reward)
        self.terminations.append(terminated)
        self.truncations.append(truncated)
        success = None if info is None else success_of(info)
        self.says_success = self.says_success or success is not None
        if success and self.time_to_goal is None:
            self.time_to_goal = len(self.rewards)

    def every(self, steps: int) -> RecordedEpisode:
        """Return what happened at every `steps`-th step: its observations, and the actions up to the next, flattened.

        What is left at the end is dropped. Rewards are summed; the last step is marked as truncated.
        """
        whole = len(self) // steps
        coarse = RecordedEpisode(dict.fromkeys(self._keys) if self._keys else None)
        coarse._observations = self._observations[: whole * steps + 1 : steps]
        for i in range(0, whole * steps, steps):
            coarse.actions.append(np.concatenate([np.ravel(action) for action in self.actions[i : i + steps]]))
            coarse.rewards.append(sum(self.rewards[i : i + steps]))
            coarse.terminations.append(any(self.terminations[i : i + steps]))
            coarse.truncations.append(any(self.truncations[i : i + steps]))
        if whole and not coarse.terminations[-1]:
            coarse.truncations[-1] = True
        coarse.time_to_goal, coarse.says_success = self.time_to_goal, self.says_success
        return coarse

    @property
    def observations(self) -> Observations:
        """All observations, (T + 1, ...), per key if they are dicts."""
        if self._keys is None:
            return np.array(self._observations)
        return {key: np.array([observation[key] for observation in self._observations]) for key in self._keys}


def _copied(values: Any) -> Any:
    """Return the values by themselves: an environment, or a policy, may write its next ones into the same array."""
    return {key: np.array(value) for key, value in values.items()} if isinstance(values, dict) else np.array(values)


def record(
    env: gym.Env[Any, Any],
    policy: Policy,
    steps: int,
    *,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[RecordedEpisode]:
    """Step the policy in the environment and yield each episode as it ends.

    Args:
        env: any environment; it is reset with the seed first and without one after each episode.
        policy: anything with `predict`.
        steps: number of steps in all; the last episode is cut there, marked as truncated.
        seed: seeds the environment. The policy's own randomness is the policy's.
        on_progress: called with the number of steps since the last call, every thousand steps.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    first, rest = np.ones(1, dtype=bool), np.zeros(1, dtype=bool)
    observation, _ = env.reset(seed=seed)
    episode, state, start = RecordedEpisode(observation), None, first
    for step in range(1, steps + 1):
        action, state = read_prediction(policy.predict(observation, state, start))
        start = rest
        observation, reward, terminated, truncated, info = read_step(env.step(action))
        truncated = truncated or (step == steps and not terminated)
        episode.add(action, observation, reward, terminated, truncated, info)
        if on_progress is not None and (step % 1000 == 0 or step == steps):
            on_progress(step % 1000 or 1000)
        if terminated or truncated:
            yield episode
            if step < steps:
                observation, _ = env.reset()
                episode, start = RecordedEpisode(observation), first


def is_collected(dataset_id: str) -> bool:
    """Whether the local Minari store has a dataset of this id."""
    return dataset_id in local_datasets()


def collect(
    env: gym.Env[Any, Any],
    policy: Policy,
    steps: int,
    dataset_id: str,
    *,
    seed: int = 0,
    every: int = 1,
    overwrite: bool = False,
    description: str = "",
    algorithm_name: str = "",
    on_progress: Callable[[int], None] | None = None,
    on_episode: Callable[[RecordedEpisode], None] | None = None,
) -> NDArray[np.int64]:
    """Record `steps` steps into a new dataset of the local Minari store.

    Episode buffers are written directly: Minari's own collector wrapper is several times slower. The dataset
    appears in the store under its id only when it is complete. `on_episode` is called with every episode as it ends;
    `every` keeps each so-many-th step only, see `RecordedEpisode.every`; for the other arguments see `record`.

    Returns:
        The episodes' lengths in steps, (E,).

    Raises:
        FileExistsError: there is such a dataset and `overwrite` is False, or another process is collecting it.
        OSError: the disk is full; the store stays as it was.
    """
    import minari

    _create_namespace(dataset_id, overwrite)  # an id that will not do fails here, not after the work
    metadata = {
        "dataset_id": dataset_id,
        "minari_version": minari.__version__,
        MINARI_VERSION_KEY: FORMAT_VERSION,
        "algorithm_name": algorithm_name,
        "description": description,
    }
    lengths: list[int] = []

    def recorded() -> Iterator[RecordedEpisode]:
        for episode in record(env, policy, steps, seed=seed, on_progress=on_progress):
            lengths.append(len(episode))
            if on_episode is not None:
                on_episode(episode)
            if every == 1:
                yield episode
            elif len(episode) >= every:
                yield episode.every(every)

    _write(env, recorded(), metadata, every)
    return np.array(lengths, dtype=np.int64)


def _create_namespace(dataset_id: str, overwrite: bool) -> None:
    """Create the namespace of a dataset; raises FileExistsError if there is such a dataset that must stay."""
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.namespace import create_namespace, list_local_namespaces

    namespace, _, _ = parse_dataset_id(dataset_id)
    if is_collected(dataset_id) and not overwrite:
        raise FileExistsError(
            f"The local Minari store already has {dataset_id!r}: pass overwrite=true, or choose another id"
        )
    if namespace is not None and namespace not in list_local_namespaces():
        create_namespace(namespace)


def _write(
    env: gym.Env[Any, Any], episodes: Iterable[RecordedEpisode], metadata: dict[str, Any], every: int = 1
) -> None:
    """Write the episodes where the store does not look, then move them into place."""
    from minari.dataset.minari_storage import MinariStorage
    from minari.storage.datasets_root_dir import get_dataset_path

    target = get_dataset_path(metadata["dataset_id"])
    with _staging(get_dataset_path(), metadata["dataset_id"]) as staging:
        (staging / "new").mkdir()
        file = staging / "new" / "data" / "main_data.hdf5"
        check_room(staging / "new" / "room", SPARE, target)
        storage = MinariStorage.new(
            file.parent,
            observation_space=env.observation_space,
            action_space=_chunks(env.action_space, every),
            env_spec=_named(env.spec),
            jpeg_encoding=False,  # it would leave its own colours around whatever is small and moves
        )
        storage.update_metadata(metadata)
        buffers = (_buffer(episode, env.action_space.dtype) for episode in episodes)
        storage.update_episodes(_fitting(buffers, file, target))
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_folder(staging / "new", target)


@contextmanager
def _staging(store: Path, dataset_id: str) -> Iterator[Path]:
    """Yield a folder to write a dataset in, which goes with the block; those of killed processes go before.

    Raises:
        FileExistsError: another process is collecting the dataset.
    """
    for left in store.glob(f"{STAGING}*"):
        with folder_lock(left) as abandoned:
            if abandoned:
                said = left / "dataset"
                if said.exists():
                    restore_folder(left / "new", store / said.read_text())
                shutil.rmtree(left, ignore_errors=True)
    # The store does not list folders whose names begin with a dot.
    staging = store / f"{STAGING}{dataset_id.replace('/', '+')}"
    staging.mkdir(exist_ok=True)
    with folder_lock(staging) as held:
        if not held:
            raise FileExistsError(f"another process is collecting {dataset_id!r}; wait for it, or choose another id")
        try:
            write_file(staging / "dataset", dataset_id.encode())
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _fitting(buffers: Iterable[Any], file: Path, target: Path) -> Iterator[Any]:
    """Yield episodes as long as there is room for them on the disk; raises OSError before it is full.

    HDF5 keeps some of what was written until the file is closed, and where that cannot be written any more, ends the
    process with a segmentation fault.
    """
    for number, buffer in enumerate(buffers):
        kept = min(number * KEPT_PER_EPISODE, MOST_KEPT)
        check_room(file, SPARE + kept + 2 * _size(buffer), target)
        yield buffer


def _size(buffer: Any) -> int:
    """Return the bytes that an episode takes."""
    observations = buffer.observations
    arrays = list(observations.values()) if isinstance(observations, dict) else [observations]
    return sum(int(array.nbytes) for array in [*arrays, buffer.actions, buffer.rewards]) + 2 * len(buffer.rewards)


def _chunks(space: gym.Space[Any], every: int) -> gym.Space[Any]:
    """Return the space of `every` actions in a row, flattened."""
    if every == 1:
        return space
    if not isinstance(space, gym.spaces.Box):
        raise ValueError(f"every={every} needs a continuous action space, this one is {space}")
    low, high = (np.tile(np.ravel(bound), every) for bound in (space.low, space.high))
    return gym.spaces.Box(low, high, dtype=space.dtype.type)  # type: ignore[arg-type]


def _named(spec: EnvSpec | None) -> EnvSpec | None:
    """Return a specification that can be stored: a class as entry point is named by its module."""
    if spec is None or not callable(spec.entry_point):
        return spec
    made: Any = spec.entry_point
    named = copy.deepcopy(spec)
    named.entry_point = f"{made.__module__}:{made.__qualname__}"
    return named


def _buffer(episode: RecordedEpisode, action_dtype: Any) -> Any:
    from minari.data_collector import EpisodeBuffer

    return EpisodeBuffer(
        observations=episode.observations,
        actions=np.array(episode.actions, dtype=action_dtype),
        rewards=np.array(episode.rewards),
        terminations=np.array(episode.terminations),
        truncations=np.array(episode.truncations),
    )
