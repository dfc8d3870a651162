"""What a plan should be besides short, three examples: `python studies/costs.py [example ...] [--episodes 100]`.

Runs the agent of the large maze from the same starts without each cost, with the cost in the choice among the
candidates only, and with its gradient in their sampling besides; measures how far the cost is violated, and draws the
paths. Writes results/guidance.json and docs/guidance.png, or wherever --output says; other examples stay there, which
must be from the same starts. As their paths are not kept, the picture is then left as it was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import df_envs  # noqa: F401 - registers the mazes
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from numpy.typing import NDArray
from rich.table import Table

from df_agent.cli.measuring import check_same_starts, console, new_figure, parser_of, run, save, with_interval, write
from df_agent.evaluation.metrics import bootstrap_interval, wilson_interval
from df_agent.evaluation.plots import GOAL, PLAN, draw_map, drawing_bounds
from df_agent.evaluation.records import EpisodeRecord
from df_agent.evaluation.references import references_of
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.costs import Avoid, Cost, KeepSpeed, PassBy

ENV = "maze2d-large"
ZONE, RADIUS = (-3.0, 1.0), 0.5  # blocks a corridor; the way around is four metres longer
PLACE, NEAR = (1.5, 3.0), 0.5  # on no shortest way
SPEED = 0.03  # metres per control step; the data's fastest are 0.05
LONGER = (0.8, 0.95, 1.1, 1.25, 1.4, 1.55, 1.8, 2.1, 2.5, 3.0, 3.6)  # detours take more than the direct way's time
# More candidates than the agent takes by default: most costs take effect in the choice among them.
OPTIONS = {
    "shortest_feasible": {"horizon_multipliers": LONGER, "samples": 4},
    "sampling": {"steps": 5},
    "open_loop_horizon": 50,
}
VARIANTS = {"left out": None, "in the choice": 0.0, "in the sampling too": 0.01}  # cost_scale
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Example:
    """A cost, and how its violation is measured.

    Attributes:
        title: for the table.
        cost: makes the cost, of frames of so many control steps.
        violation: how far a path (H, 2), until the goal is reached, goes against it: 0 to 1.
        counts: whether a start (2,) counts: one inside the zone cannot keep out.
        options: of the policy, with and without the cost alike.
    """

    title: str
    cost: Callable[[int], Cost]
    violation: Callable[[Array], float]
    counts: Callable[[Array], bool] = lambda start: True
    options: dict[str, Any] = field(default_factory=dict)


def _distance(path: Array, place: tuple[float, float]) -> Array:
    return np.asarray(np.linalg.norm(path - np.array(place), axis=-1))


EXAMPLES = {
    "zone": Example(
        f"keep out of a zone of {RADIUS} m",
        lambda skip: Avoid(ZONE, RADIUS + 0.1),
        lambda path: float((_distance(path, ZONE) < RADIUS).any()),
        lambda start: bool(_distance(start, ZONE) > RADIUS + 0.3),
        OPTIONS,
    ),
    "place": Example(
        f"come within {NEAR} m of a place",
        lambda skip: PassBy(PLACE, NEAR - 0.1),
        lambda path: float((_distance(path, PLACE) > NEAR).all()),
        options=OPTIONS,
    ),
    "speed": Example(
        f"no faster than {SPEED * 100:.0f} m/s (share of the steps)",
        lambda skip: KeepSpeed(SPEED, skip),
        lambda path: float((np.linalg.norm(np.diff(path, axis=0), axis=1) > SPEED).mean()),
        options={"controller": "waypoints", **OPTIONS},
    ),
}


def measure(example: Example, records: Sequence[EpisodeRecord]) -> dict[str, Any]:
    """Return how far the cost was violated from the starts that count, and the success and steps to the goal."""
    told = [record for record in records if example.counts(np.array(record.start[:2]))]
    paths = [np.array(record.path)[: record.time_to_goal + 1] for record in told]
    violations = np.array([example.violation(path) for path in paths if len(path) > 1])
    events = np.isin(violations, (0.0, 1.0)).all()
    return {
        "episodes": len(violations),
        "violation_rate": float(violations.mean()),
        "interval": wilson_interval(int(violations.sum()), len(violations))
        if events
        else bootstrap_interval(violations),
        "success_rate": float(np.mean([record.success for record in records])),
        "steps_to_goal": float(np.mean([record.time_to_goal for record in records])),
    }


def draw(pictures: dict[str, dict[str, list[EpisodeRecord]]]) -> Figure:
    """Draw all paths of each example, a column per variant."""
    references = references_of(ENV)
    figure = new_figure(5 * len(VARIANTS), 3.4 * len(pictures))
    axes = figure.subplots(len(pictures), len(VARIANTS), squeeze=False)
    for line, (name, variants) in zip(axes, pictures.items(), strict=True):
        for axis, (variant, records) in zip(line, variants.items(), strict=True):
            draw_map(axis, drawing_bounds(records, references.walls), references.walls)
            for record in records:
                path = np.array(record.path)[: record.time_to_goal + 1]
                if name == "speed":
                    pace = np.linalg.norm(np.diff(path, axis=0), axis=1) * 100
                    axis.scatter(*path[1:].T, c=pace, s=1, vmin=0, vmax=5, cmap="viridis", rasterized=True)
                else:
                    axis.plot(*path.T, color="#2f5fd0", lw=0.8, alpha=0.5)
            axis.plot(*records[0].goal, "*", color=GOAL, ms=12)
            marks = {"zone": (ZONE, RADIUS), "place": (PLACE, NEAR)}
            if name in marks:
                centre, radius = marks[name]
                axis.add_patch(Circle(centre, radius, color=PLAN, alpha=0.35, lw=0))
            axis.set_title(f"{EXAMPLES[name].title}: {variant}", fontsize=10)
    return figure


def kept(options: argparse.Namespace, names: Sequence[str]) -> dict[str, Any]:
    """Return the other examples that are there already; raises ValueError if they are from other starts."""
    if not options.output.exists():
        return {}
    earlier = json.loads(options.output.read_text())
    examples = {name: rows for name, rows in earlier["examples"].items() if name not in names}
    if examples:
        check_same_starts(options, earlier)
    return examples


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("guidance", "what a plan should be besides short: examples with and without")
    parser.add_argument("examples", nargs="*", metavar="EXAMPLE", help=f"of {', '.join(EXAMPLES)}; all by default")
    options = parser.parse_args(arguments)
    for name in options.examples:
        if name not in EXAMPLES:
            parser.error(f"there is no example {name!r}; there are {', '.join(EXAMPLES)}")
    return options


def main() -> None:
    """Run the examples, print the table, write the numbers and the picture."""
    options = read_options()
    names = options.examples or list(EXAMPLES)
    try:
        others = kept(options, names)
    except ValueError as error:
        raise SystemExit(f"ValueError: {error}") from error
    table = Table(
        "example", "its cost", "violated [95 %]", "success", "steps to goal", title=f"{ENV}, seed {options.seed}"
    )
    pictures: dict[str, dict[str, list[EpisodeRecord]]] = {}
    rows: dict[str, Any] = {}
    skip = DiffusionForcingPolicy.from_pretrained(ENV, precision="fp32").tokenizer.config.frame_skip
    for name in names:
        example, pictures[name] = EXAMPLES[name], {}
        for variant, scale in VARIANTS.items():
            costs = [] if scale is None else [example.cost(skip)]
            options_of = {**example.options, "cost_scale": scale or 0.0}
            policy = DiffusionForcingPolicy.from_pretrained(ENV, costs=costs, **options_of)
            pictures[name][variant] = run(policy, ENV, f"{name}, {variant}", options)
        rows[name] = {variant: measure(example, records) for variant, records in pictures[name].items()}
        for variant, row in rows[name].items():
            violated = with_interval(row["violation_rate"], row["interval"])
            table.add_row(
                example.title if variant == "left out" else "",
                variant,
                f"{violated} of {row['episodes']}",
                f"{row['success_rate']:.2f}",
                f"{row['steps_to_goal']:.0f}",
            )
    every = {**others, **rows}
    result = {"env": ENV, "examples": {name: every[name] for name in EXAMPLES if name in every}}
    if others:
        console.print(table)
        save(options, result)
        console.print(f"Written to {options.output}; {options.picture} needs all examples at once", highlight=False)
    else:
        write(options, result, table, draw(pictures))


if __name__ == "__main__":
    main()
