"""What history is worth: `python studies/recall.py [--episodes 200] [--seed 0]`.

FetchPush whose goal is shown during the first four steps only, while the agent plans anew every two steps. One agent
is shown all that happened since then, another the present alone, both trained on the same data; beside them one whose
goal is shown always, and, for chance, the demonstrator with other episodes' goals. Writes results/recall.json and
docs/recall.png, or wherever --output says.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from df_envs.fetch import FetchDemonstrator
from matplotlib.figure import Figure
from rich.table import Table

from df_agent.checkpoint import CheckpointError
from df_agent.cli.environments import trained
from df_agent.cli.measuring import measured, new_figure, parser_of, run, with_interval, write
from df_agent.evaluation.records import EpisodeRecord
from df_agent.policies import DiffusionForcingPolicy
from df_agent.types import Policy
from studies.sanity import ReplaceGoals, shuffled_goals

SHOWN, HIDDEN, PLAIN = "FetchPushCued-v0", "FetchPushRecall-v0", "FetchPush-v4"
LIMIT = 50  # control steps of an episode
COLOURS = ("#2a8f5a", "#1f6fe5", "#e07b39", "#777777")


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw the share of episodes that have reached the goal by every step."""
    figure = new_figure(6, 3.6)
    axis = figure.subplots()
    for row, colour in zip(rows, COLOURS, strict=True):
        steps = np.array(row["steps_to_goal"])
        # An episode that never reaches the goal counts with all its steps.
        reached = [float(np.mean((steps <= t) & (steps < LIMIT))) for t in range(LIMIT)]
        axis.plot(range(LIMIT), reached, color=colour, label=row["case"])
    axis.set(xlabel="control step", ylabel="share that has reached the goal", ylim=(0, 1.02), xlim=(0, LIMIT - 1))
    axis.legend()
    return figure


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("recall", "a goal that vanishes: with history, without, and shown always")
    parser.set_defaults(episodes=200)
    return parser.parse_args(arguments)


def main() -> None:
    """Run all, print the table, write the numbers and the picture."""
    options = read_options()
    plain: list[EpisodeRecord] = []

    def chance() -> Policy:
        return ReplaceGoals(FetchDemonstrator(PLAIN), shuffled_goals(plain))

    def agent(env_id: str, variant: str = "") -> Policy:
        return DiffusionForcingPolicy.from_pretrained(trained(env_id, variant))

    cases: list[tuple[str, str, Callable[[], Policy]]] = [
        ("shown always", SHOWN, lambda: agent(SHOWN)),
        ("vanishes; with history", HIDDEN, lambda: agent(HIDDEN)),
        ("vanishes; the present alone", HIDDEN, lambda: agent(HIDDEN, "present")),
        ("another's goal (chance)", PLAIN, chance),
    ]
    rows: list[dict[str, Any]] = []
    table = Table("the goal", "success [95 %]", "at goal at end", "steps to goal", title=f"seed {options.seed}")
    try:
        for case, env_id, make in cases:
            records = run(make(), env_id, case, options, keep_paths=False)
            plain = plain or records  # their goals; the starts are the same everywhere
            row = {"case": case, "env": env_id, **measured(records)}
            rows.append(row)
            success = with_interval(row["success_rate"], row["success_rate_ci95"])
            table.add_row(case, success, f"{row['at_goal_at_end']:.2f}", f"{row['time_to_goal']:.1f}")
    except CheckpointError as error:
        raise SystemExit(f"CheckpointError: {error}") from error
    write(options, {"rows": rows}, table, draw(rows))


if __name__ == "__main__":
    main()
