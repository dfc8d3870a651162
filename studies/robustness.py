"""What disturbances cost: `python studies/robustness.py [--env maze2d-large] [--episodes 100] [--seed 0]`.

The agent and the oracle in an environment that does not do as it is told (noise on the actions, a constant push,
actions that take effect late) or that begins in full motion. All see the same goals, and the same starts but for the
speed. The agent is the shipped one at its shipped settings and knows of nothing. Writes results/robustness.json and
docs/robustness.png, or wherever --output says.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from df_envs.disturbances import DisturbedActions
from matplotlib.figure import Figure
from rich.table import Table

from df_agent.checkpoint import CheckpointError
from df_agent.cli.environments import MAZE_IDS
from df_agent.cli.measuring import measured, new_figure, parser_of, run, with_interval, write
from df_agent.cli.policies import make_policy, policy_config
from df_agent.evaluation.metrics import paired_ratio
from df_agent.evaluation.rollout import PolicyError

POLICIES = {"diffusion_forcing": "#1f6fe5", "oracle": "#777777"}


@dataclass(frozen=True)
class Disturbance:
    """One of them: what is done to actions, and to the start."""

    label: str
    actions: dict[str, Any] = field(default_factory=dict)
    env: dict[str, Any] = field(default_factory=dict)


DISTURBANCES = (
    Disturbance("none"),
    Disturbance("noise of 0.3 on the actions", {"noise": 0.3}),
    Disturbance("push of 0.2 along x", {"push": (0.2, 0.0)}),
    Disturbance("push of -0.2 along y", {"push": (0.0, -0.2)}),
    Disturbance("actions 5 steps late", {"delay": 5}),
    Disturbance("start with N(0, 3²) m/s per axis", env={"start_speed": 3.0}),
)


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw the time to the goal under each disturbance, for both policies."""
    figure = new_figure(8, 3.6)
    axis = figure.subplots()
    place = np.arange(len(DISTURBANCES))
    for k, (policy, colour) in enumerate(POLICIES.items()):
        steps = [np.array(row["steps_to_goal"]) for row in rows if row["policy"] == policy]
        mean, error = [x.mean() for x in steps], [1.96 * x.std(ddof=1) / np.sqrt(len(x)) for x in steps]
        axis.barh(place + 0.36 * k, mean, 0.34, xerr=error, color=colour, label=policy, error_kw={"lw": 1})
    axis.set_yticks(place + 0.18, [each.label for each in DISTURBANCES])
    axis.invert_yaxis()
    axis.set_xlabel("mean steps to goal, timeouts as the whole episode")
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return figure


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("robustness", "success and steps to the goal under disturbances")
    parser.add_argument("--env", default="maze2d-large", choices=MAZE_IDS)
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    return parser.parse_args(arguments)


def main() -> None:
    """Run all, print the table, write the numbers and the picture."""
    options = read_options()
    rows: list[dict[str, Any]] = []
    table = Table("disturbance", "policy", "success [95 %]", "at goal at end", "steps to goal", "ratio to the oracle's")
    try:
        policies = {
            name: make_policy(policy_config(name, options.env, precision=options.precision)) for name in POLICIES
        }
        for each in DISTURBANCES:
            around = [partial(DisturbedActions, **each.actions)] if each.actions else []
            found = {
                name: run(
                    policy,
                    options.env,
                    f"{name}, {each.label}",
                    options,
                    keep_paths=False,
                    wrappers=around,
                    env_options=each.env,
                )
                for name, policy in policies.items()
            }
            steps = {name: np.array([record.time_to_goal for record in records]) for name, records in found.items()}
            for name, records in found.items():
                ratio, interval = paired_ratio(steps[name], steps["oracle"])
                row = {"disturbance": each.label, "policy": name, **measured(records)}
                row |= {"ratio": ratio, "ratio_ci95": interval}
                rows.append(row)
                table.add_row(
                    each.label,
                    name,
                    with_interval(row["success_rate"], row["success_rate_ci95"]),
                    f"{row['at_goal_at_end']:.2f}",
                    f"{row['time_to_goal']:.1f}",
                    with_interval(ratio, interval),
                )
    except (CheckpointError, PolicyError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    write(options, {"env": options.env, "rows": rows}, table, draw(rows))


if __name__ == "__main__":
    main()
