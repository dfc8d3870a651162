"""Controllers on the same plans: `python studies/actions.py [maze ...] [--episodes 100] [--seed 0]`.

One model of observations and actions in each maze. Its plans are followed by the path tracker, by the inverse model, or
not at all: the actions that it plans are executed as they are, for more or fewer steps before it plans again. All see
the same starts and goals. Writes results/actions.json and docs/actions.png, or wherever --output says; rows of another
maze stay there, and must be from the same starts.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

import df_envs  # noqa: F401 - registers the mazes
from matplotlib.figure import Figure
from rich.table import Table

from df_agent.checkpoint import CheckpointError
from df_agent.cli.environments import trained
from df_agent.cli.measuring import check_same_starts, measured, new_figure, parser_of, run, with_interval, write
from df_agent.policies import DiffusionForcingPolicy

MAZES = ("maze2d-medium", "maze2d-large")
INTERVALS = (16, 32, 64)
LABELS = {"actions": "planned actions alone", "inverse_dynamics": "inverse model", "path": "path tracker"}
COLOURS = {"actions": "#1f6fe5", "inverse_dynamics": "#e07b39", "path": "#777777"}


def cases() -> list[tuple[str, int]]:
    """Return the controllers with the steps between two plans of each."""
    return [("path", 50), ("inverse_dynamics", 32), *(("actions", steps) for steps in INTERVALS)]


def draw(rows: list[dict[str, Any]], mazes: list[str]) -> Figure:
    """Draw success and the time to the goal over the steps between two plans."""
    figure = new_figure(4.5 * len(mazes), 5.5)
    axes = figure.subplots(2, len(mazes), sharex=True, squeeze=False)
    for column, maze in enumerate(mazes):
        above, below = axes[:, column]
        for controller, label in LABELS.items():
            own = [row for row in rows if row["env"] == maze and row["controller"] == controller]
            steps = [row["interval"] for row in own]
            low, high = ([row["success_rate_ci95"][k] for row in own] for k in (0, 1))
            above.plot(steps, [row["success_rate"] for row in own], "o-", color=COLOURS[controller], label=label)
            above.vlines(steps, low, high, color=COLOURS[controller], alpha=0.4)
            below.plot(steps, [row["time_to_goal"] for row in own], "o-", color=COLOURS[controller])
        above.set(title=maze, ylim=(0, 1.03), ylabel="success")
        below.set(ylim=(0, None), ylabel="mean steps to goal", xlabel="steps between two plans")
    axes[0, 0].legend(loc="lower left")
    return figure


def kept(options: argparse.Namespace, mazes: list[str]) -> list[dict[str, Any]]:
    """Return the rows of other mazes that are there already; raises ValueError if they are from other starts."""
    if not options.output.exists():
        return []
    earlier = json.loads(options.output.read_text())
    rows = [row for row in earlier["rows"] if row["env"] not in mazes]
    if rows:
        check_same_starts(options, earlier)
    return rows


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("actions", "the same plans tracked, followed by an inverse model, and as actions alone")
    parser.add_argument("mazes", nargs="*", metavar="MAZE", help=f"of {', '.join(MAZES)}; both by default")
    options = parser.parse_args(arguments)
    for maze in options.mazes:
        if maze not in MAZES:
            parser.error(f"there is no model for {maze!r}; there are those for {', '.join(MAZES)}")
    return options


def main() -> None:
    """Run all, print the table, write the numbers and the picture."""
    options = read_options()
    mazes = options.mazes or list(MAZES)
    table = Table("maze", "controller", "plans every", "success [95 %]", "at goal at end", "steps to goal")
    try:
        rows = kept(options, mazes)
        for maze in mazes:
            for controller, interval in cases():
                policy = DiffusionForcingPolicy.from_pretrained(
                    trained(maze, "actions"), controller=controller, open_loop_horizon=interval
                )
                records = run(policy, maze, f"{maze}, {LABELS[controller]}, {interval}", options, keep_paths=False)
                row = {"env": maze, "controller": controller, "interval": interval, **measured(records)}
                rows.append(row)
                success = with_interval(row["success_rate"], row["success_rate_ci95"])
                table.add_row(
                    maze,
                    LABELS[controller],
                    f"{interval} steps",
                    success,
                    f"{row['at_goal_at_end']:.2f}",
                    f"{row['time_to_goal']:.0f}",
                )
    except (CheckpointError, ValueError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    rows.sort(key=lambda row: MAZES.index(row["env"]))
    write(options, {"rows": rows}, table, draw(rows, sorted({row["env"] for row in rows}, key=MAZES.index)))


if __name__ == "__main__":
    main()
