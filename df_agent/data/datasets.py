"""Load the trajectories of a dataset of any kind: Minari's, an `.npz` pack, or one that OGBench publishes."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from urllib.error import HTTPError, URLError

import numpy as np

from df_agent.data.episodes import Episodes, from_segments, minari_segments, open_dataset

PREFIX = "ogbench/"


def load_episodes(name_or_folder: str | Path, *, join_continuing: bool = True) -> Episodes:
    """Load trajectories.

    Args:
        name_or_folder: a Minari dataset id ("D4RL/..." is downloaded if it is not in the local store), a
            Minari dataset's folder, an `.npz` pack, or one of OGBench's, "ogbench/pointmaze-giant-navigate-v0".
        join_continuing: make one trajectory of neighbouring episodes that continue each other exactly.

    Raises:
        FileNotFoundError: nothing of that name; says what there is.
        ConnectionError: a download was needed and failed.
    """
    path = Path(name_or_folder)
    if path.suffix == ".npz":
        return Episodes.load(path)
    if str(name_or_folder).startswith(PREFIX) and not path.is_dir():
        return load_ogbench(str(name_or_folder))
    return from_segments(minari_segments(open_dataset(name_or_folder)), join_continuing=join_continuing)


def load_ogbench(name: str) -> Episodes:
    """Load the training part of a dataset, "ogbench/pointmaze-giant-navigate-v0", from ~/.ogbench/data or the network.

    Raises:
        ImportError: OGBench is not installed.
        FileNotFoundError: OGBench has no dataset of this name.
        ConnectionError: a download was needed and failed; it begins anew the next time.
        ValueError: the file is damaged; says which to delete.
    """
    dataset = name.removeprefix(PREFIX)
    try:
        import ogbench
    except ImportError as error:
        python = "" if sys.version_info < (3, 13) else "it has no build for this Python; take 3.11 or 3.12 and "
        raise ImportError(
            f"{name} needs OGBench's loader: {python}pip install 'df-agent[ogbench]' ({error})"
        ) from error
    folder = Path(ogbench.utils.DEFAULT_DATASET_DIR).expanduser()
    try:
        ogbench.download_datasets([dataset], folder)
    except HTTPError as error:
        if error.code == 404:
            raise FileNotFoundError(
                f"OGBench has no dataset {dataset!r}; one that it has is {PREFIX}pointmaze-giant-navigate-v0"
            ) from error
        raise ConnectionError(f"downloading {dataset} failed: {error}") from error
    except (URLError, ConnectionError, TimeoutError) as error:
        raise ConnectionError(f"downloading {dataset} failed; is there a network? ({error})") from error
    file = folder / f"{dataset}.npz"
    try:
        loaded = ogbench.load_dataset(file, compact_dataset=True)
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{str(file)!r} is no whole dataset; delete it to download it anew ({error})") from error
    observations = loaded["observations"].reshape(len(loaded["observations"]), -1)
    actions, last = loaded["actions"].copy(), loaded["valids"] == 0  # no action is taken in a trajectory's last row
    actions[last] = 0
    return Episodes(
        observations=observations,
        actions=actions,
        rewards=np.zeros(len(observations), np.float32),
        desired_goals=None,
        achieved_goals=None,
        starts=np.concatenate([[0], np.flatnonzero(last) + 1]),
    )
