"""Download TECO's clips of DMLab or Minecraft: `df-agent fetch-teco name=dmlab`.

Leaves them in data/NAME/train and data/NAME/test. Run again, it goes on where it was interrupted.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from df_agent.cli.errors import errors_in_one_line
from df_agent.data.teco import ARCHIVE, DownloadError, extract, fetch, set_of


def main(config: DictConfig) -> None:
    """Download and unpack."""
    folder = Path(config.folder)
    set_of(config.name)  # names those there are
    bar = Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with errors_in_one_line(DownloadError), bar:
        task = bar.add_task(config.name, total=None)
        parts = fetch(
            config.name,
            folder / f"{config.name}-parts",
            archive=config.archive or ARCHIVE,
            on_progress=lambda done, size: bar.update(task, completed=done, total=size),
        )
        bar.update(task, description="unpacking")
        extract(parts, folder)
    print(f"{folder / set_of(config.name).folder}; the parts in {parts[0].parent} can be deleted")
