"""Trajectories in memory, and two places they come from: the Minari store, or a folder of it, and an `.npz` pack."""

from __future__ import annotations

import difflib
import os
import socket
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
from numpy.typing import NDArray

from df_agent import migrations
from df_agent.data.answers import frames_in_one, newest_frame
from df_agent.files import naming, temporary_name
from df_agent.migrations import FORMAT_VERSION, VERSION_KEY

Array = NDArray[Any]
# What `df-agent collect` makes; no server has it, so nothing of it is looked for there.
OWN_NAMESPACE = "df-agent"
ROUNDED_AWAY = 1e-3  # of a channel's range, by which float32 must not be off
MINARI_VERSION_KEY = "df_agent_format_version"  # in the metadata of the datasets that we write
_OPTIONAL = ("desired_goals", "achieved_goals")
_PER_STEP = ("actions", "rewards")


STORE = "MINARI_DATASETS_PATH"  # variable of the environment that says where the local Minari store is


def check_pack_name(path: Path) -> None:
    """Raise ValueError unless a file's name is one of a pack of episodes."""
    if path.suffix != ".npz":
        raise ValueError(f"An episodes pack ends in .npz, got {str(path)!r}")


@dataclass(frozen=True)
class Episodes:
    """Trajectories, concatenated.

    A trajectory of T steps holds T + 1 observations; its last row carries no step, so its action and reward
    there are zero. N is the number of rows, E of trajectories.

    Attributes:
        observations: (N, Do) float32; finite, but for channels that nowhere are.
        actions: (N, Da) float32; row t is the action taken at observation t.
        rewards: (N,) float32; row t is the reward of the step taken at observation t.
        desired_goals: (N, Dg) float32 goal that the behaviour pursued at observation t, None without goals.
        achieved_goals: (N, Dg) float32, None without goals.
        starts: (E + 1,) int64; trajectory e is the rows starts[e]:starts[e + 1].
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    rewards: NDArray[np.float32]
    desired_goals: NDArray[np.float32] | None
    achieved_goals: NDArray[np.float32] | None
    starts: NDArray[np.int64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "starts", whole_numbers(self.starts, "starts"))
        rows = len(self.observations)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name in _OPTIONAL:
                continue
            if field.name != "starts" and value.dtype.kind in "fiu" and value.dtype != np.float32:
                value = to_float32(value, field.name)
                object.__setattr__(self, field.name, value)
            wanted = 1 if field.name in ("rewards", "starts") else 2
            if value.ndim != wanted or (field.name != "starts" and len(value) != rows):
                raise ValueError(f"{field.name} must have {wanted} axes and {rows} rows, got shape {value.shape}")
            if value.dtype.kind == "f" and not (finite := np.isfinite(value)).all():
                if field.name == "observations" and (some := finite.any(0)).any():
                    finite = finite[:, some]  # a sensor that is not there is no mistake, one that fails at times is
                if len(bad := np.flatnonzero(~finite.reshape(rows, -1).all(1))):
                    raise ValueError(
                        f"{field.name} holds NaN or infinity in {len(bad)} of {rows} rows, first in row {bad[0]}; "
                        "leave these episodes out"
                    )
        starts = self.starts
        if len(starts) < 2 or starts[0] != 0 or starts[-1] != rows or (np.diff(starts) < 2).any():
            raise ValueError(
                f"starts must ascend from 0 to {rows}, by 2 (one step) at least; got {starts[:3]}...{starts[-1:]}"
            )

    def __len__(self) -> int:
        """Number of trajectories."""
        return len(self.starts) - 1

    @property
    def steps(self) -> int:
        """Number of steps taken in all trajectories."""
        return len(self.observations) - len(self)

    def save(self, path: str | Path) -> None:
        """Write an `.npz` pack; the file appears complete or not at all."""
        path = Path(path)
        check_pack_name(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f.name: value for f in fields(self) if (value := getattr(self, f.name)) is not None}
        partial = temporary_name(path)
        try:
            with naming(path), partial.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays, **{VERSION_KEY: np.int64(FORMAT_VERSION)})
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    @classmethod
    def load(cls, path: str | Path) -> Episodes:
        """Read a pack that `save` wrote."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"There is no episodes pack {str(path)!r}")
        names = [field.name for field in fields(cls)]
        try:
            with np.load(path, allow_pickle=False) as pack:
                arrays = {name: pack[name] for name in pack.files}
        except (ValueError, TypeError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
            raise ValueError(f"{str(path)!r} is no complete episodes pack (cut short or foreign): {error}") from error
        try:
            migrations.version_of({VERSION_KEY: int(arrays.get(VERSION_KEY, 1))})
        except ValueError as error:
            raise ValueError(f"{str(path)!r} has {error}") from error
        missing = [name for name in names if name not in arrays and name not in _OPTIONAL]
        if missing:
            raise ValueError(
                f"{str(path)!r} is no episodes pack: it lacks {', '.join(missing)} and holds {', '.join(arrays)}"
            )
        return cls(**{name: arrays.get(name) for name in names})  # type: ignore[arg-type]


def whole_numbers(values: Any, name: str) -> NDArray[np.int64]:
    """Return row numbers of any kind as int64, whose differences may be negative; raises ValueError for fractions."""
    array = np.asarray(values)
    whole = array.dtype.kind in "iu" or (array.dtype.kind == "f" and bool((array == np.rint(array)).all()))
    if not whole or (array.size and not 0 <= array.min() <= array.max() < 2**62):
        raise ValueError(f"{name} must be whole numbers of rows, got {array.dtype} {array.ravel()[:3]}")
    return array.astype(np.int64)


def to_float32(values: Any, name: str) -> NDArray[np.float32]:
    """Return values (N, C) or (N,) as float32, and warn of channels whose motion that rounds away."""
    array = np.asarray(values)
    rounded = array.astype(np.float32)
    if array.dtype.kind not in "fiu" or array.dtype.itemsize <= 4 or not array.size:
        return rounded
    exact = array.reshape(len(array), -1).astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is told of elsewhere
        error = np.abs(exact - rounded.reshape(exact.shape)).max(0)
        spread = np.ptp(exact, axis=0)
        moves = np.diff(exact, axis=0).std(0) < exact.std(0) / 2 if len(exact) > 1 else spread > 0  # noise does not
    if len(lost := np.flatnonzero((error > ROUNDED_AWAY * spread) & moves & (spread > 0))):
        k = lost[0]
        warnings.warn(
            f"channel {k} of {name} varies by some {spread[k]:.1g} around {exact[0, k]:.2g}, which float32 rounds "
            "away; subtract a constant place from such channels, in data and environment",
            stacklevel=3,
        )
    return rounded


def from_segments(segments: Iterable[Mapping[str, Any]], *, join_continuing: bool = True) -> Episodes:
    """Concatenate episodes given one by one.

    Args:
        segments: mappings with "observations" (T + 1, Do), "actions" (T, Da) and, where there are any, "rewards" (T,),
            else 0, and "desired_goals" and "achieved_goals" (T + 1, Dg).
        join_continuing: an episode whose first observation is the last of the one before continues it (an
            endless trajectory that was cut at each success): make them one trajectory. The shared row keeps the
            later episode's goal, which is the one pursued from there.

    Raises:
        ValueError: a column of an episode has another number of rows, or there are no steps at all.
    """
    columns: dict[str, list[Array]] = {name: [] for name in ("observations", "actions", "rewards", *_OPTIONAL)}
    starts, rows, last = [0], 0, None
    for number, segment in enumerate(segments):
        unrewarded = segment.get("rewards") is None
        length = len(segment["actions" if unrewarded else "rewards"])
        columned = {**segment, "rewards": np.zeros(length)} if unrewarded else segment
        observations = np.asarray(segment["observations"])
        if length == 0:
            continue
        if join_continuing and last is not None and np.array_equal(last, observations[0]):
            for parts in columns.values():
                if parts:
                    parts[-1] = parts[-1][:-1]
            rows -= 1
        elif last is not None:
            starts.append(rows)
        last = observations[-1]
        for name, parts in columns.items():
            values = columned.get(name)
            if values is None:
                continue
            column = to_float32(values, name)
            wanted = length if name in _PER_STEP else length + 1
            if len(column) != wanted:
                raise ValueError(
                    f"episode {number}: {name} must have {wanted} rows for {length} steps, got {len(column)}"
                )
            if name in _PER_STEP:  # nothing is done at the last observation
                column = np.concatenate([column, np.zeros_like(column[:1])])
            parts.append(column)
        rows += length + 1
    if rows == 0:
        raise ValueError("The dataset holds no steps")
    joined = {name: np.concatenate(parts) if parts else None for name, parts in columns.items()}
    return Episodes(starts=np.array([*starts, rows]), **joined)  # type: ignore[arg-type]


def open_dataset(name_or_folder: str | Path) -> Any:
    """Return the Minari dataset of an id or folder; see `load_episodes`.

    The environment that one of an earlier version names is found under its present name.
    """
    path = Path(name_or_folder)
    dataset = _open_folder(path) if path.is_dir() else _open_by_id(str(name_or_folder))
    try:
        version = migrations.version_of({VERSION_KEY: dataset.storage.metadata.get(MINARI_VERSION_KEY, 1)})
    except ValueError as error:
        raise ValueError(f"{str(name_or_folder)!r} has {error}") from error
    spec = dataset.env_spec
    if spec is not None and version < FORMAT_VERSION:  # Minari offers no other way to correct it
        dataset._env_spec = type(spec).from_json(migrations.env_spec(spec.to_json(), version))
    return dataset


def _open_folder(path: Path) -> Any:
    import minari

    data = path / "data" if (path / "data").is_dir() else path
    if not (data / "metadata.json").is_file():
        raise FileNotFoundError(f"The folder {str(path)!r} holds no Minari dataset: it has no metadata.json")
    return minari.MinariDataset(data)


def check_store() -> None:
    """Raise ValueError unless MINARI_DATASETS_PATH, if it is set, is a folder for datasets, or can become one."""
    given = os.environ.get(STORE)
    if given is None:
        return
    try:
        Path(given or "\0").mkdir(parents=True, exist_ok=True)
        os.listdir(given)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is empty"
        raise ValueError(f"{STORE}={given!r} cannot be the folder of the local datasets: {said}") from error


def _check_reachable() -> None:
    """Raise OSError if the server of published datasets cannot be reached; its client would try five times."""
    if getproxies():  # through which only the client finds it
        return
    from huggingface_hub import constants

    server = urlsplit(constants.ENDPOINT)
    port = server.port or (80 if server.scheme == "http" else 443)
    socket.create_connection((server.hostname or "", port), timeout=10).close()


def local_datasets() -> dict[str, dict[str, Any]]:
    """Return the local Minari store's datasets and what they say of themselves; see `check_store` for the error."""
    import minari

    check_store()
    found: dict[str, dict[str, Any]] = minari.list_local_datasets()
    return found


def _open_by_id(dataset_id: str) -> Any:
    import minari

    local = list(local_datasets())
    if dataset_id in local:
        return minari.load_dataset(dataset_id)
    have = ", ".join(local) if local else "none"
    close = difflib.get_close_matches(dataset_id, local, n=3)
    hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
    missing = f"There is no folder, .npz or Minari dataset {dataset_id!r}; the local Minari store holds {have}."
    if "/" not in dataset_id or dataset_id.startswith((".", "/", f"{OWN_NAMESPACE}/")):
        raise FileNotFoundError(missing + hint + " `df-agent collect env=...` makes one.")
    try:
        _check_reachable()
        minari.download_dataset(dataset_id)
    except ValueError as error:
        raise FileNotFoundError(f"{missing}{hint} The Minari server does not have it either: {error}") from error
    except Exception as error:
        raise ConnectionError(
            f"{missing}{hint} Downloading it failed; is there a network? ({type(error).__name__}: {error})"
        ) from error
    return minari.load_dataset(dataset_id)


def minari_segments(dataset: Any) -> Iterable[dict[str, Array]]:
    """Yield the episodes of a Minari dataset as `from_segments` takes them."""
    for episode in dataset.iterate_episodes():
        observations = episode.observations
        if not isinstance(observations, dict):
            flat = frames_in_one(np.asarray(observations))
            yield _checked(episode, {"observations": flat.reshape(len(flat), -1)})
            continue
        if "observation" not in observations:
            raise ValueError(
                "Dict observations must have an 'observation' entry (a GoalEnv's, with 'achieved_goal' and "
                f"'desired_goal'); this dataset has {', '.join(observations)}"
            )
        columns = {"observations": frames_in_one(np.asarray(observations["observation"]))}
        if "desired_goal" in observations and "achieved_goal" in observations:
            desired = newest_frame(np.array(observations["desired_goal"]))
            # In the published PointMaze sets the first frame of a segment still shows the goal just reached.
            if len(desired) > 2 and (desired[2:] == desired[1]).all():
                desired[0] = desired[1]
            columns["desired_goals"] = desired
            columns["achieved_goals"] = newest_frame(np.asarray(observations["achieved_goal"]))
        yield _checked(episode, columns)


def _checked(episode: Any, columns: dict[str, Array]) -> dict[str, Array]:
    actions, rewards = np.asarray(episode.actions), np.asarray(episode.rewards)
    if len(columns["observations"]) != len(rewards) + 1:
        raise ValueError(
            f"Episode {episode.id} has {len(columns['observations'])} observations for {len(rewards)} steps; "
            "there must be one more than steps"
        )
    return {**columns, "actions": actions.reshape(len(rewards), -1), "rewards": rewards}
