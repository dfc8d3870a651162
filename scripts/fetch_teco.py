"""Download TECO's clips of DMLab or Minecraft: `python scripts/fetch_teco.py dmlab`.

Leaves them in data/NAME/train and data/NAME/test. Run again, it goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from df_agent.data.teco import ARCHIVE, SETS, DownloadError, extract, fetch, set_of


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description="download TECO's clips")
    parser.add_argument("name", choices=sorted(SETS))
    parser.add_argument("--folder", type=Path, default=Path("data"))
    parser.add_argument("--archive", default=ARCHIVE)
    return parser.parse_args(arguments)


def main() -> None:
    """Download and unpack."""
    options = read_options()
    bar = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    try:
        with bar:
            task = bar.add_task(options.name, total=None)
            parts = fetch(
                options.name,
                options.folder / f"{options.name}-parts",
                archive=options.archive,
                on_progress=lambda done, size: bar.update(task, completed=done, total=size),
            )
            bar.update(task, description="unpacking")
            extract(parts, options.folder)
    except (DownloadError, OSError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    print(f"{options.folder / set_of(options.name).folder}; the parts in {parts[0].parent} can be deleted")


if __name__ == "__main__":
    main()
