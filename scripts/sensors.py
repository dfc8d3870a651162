"""What bad sensors cost: `python scripts/sensors.py [--episodes 100] [--seed 0]`.

FetchPush with observations that turn noisy or drop out, more and more of them: the agent that is told which, so that it
feeds them to its model at their own noise level; the same agent, told nothing; and behaviour cloning. All see the same
starts, goals and corruption. Writes results/sensors.json and docs/sensors.png, or wherever --output says.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from policies import load_weights, make_policy, policy_config, use_checkpoint
from rich.console import Console
from rich.table import Table

from df_agent.checkpoint import CheckpointError, json_bytes, load_checkpoint, replace_file
from df_agent.evaluation.corruption import KINDS, Corrupted
from df_agent.evaluation.metrics import wilson_interval
from df_agent.evaluation.provenance import provenance
from df_agent.evaluation.rollout import PolicyError, rollout
from df_agent.evaluation.terminal import progress_bar
from df_agent.types import Policy

ENV, AGENT = "FetchPush-v4", "FetchPush-v4-context"
SHARES = (0.0, 0.25, 0.5, 0.75)
NOISE = 1.0  # in the data's standard deviations
LABELS = {"told": "told which are bad", "not told": "the same, told nothing", "gcbc": "behaviour cloning"}


def policies(agent: str) -> dict[str, Callable[[], Policy]]:
    """Return what makes the policies, by label."""

    def make(name: str, checkpoint: str | None = None) -> Policy:
        config = policy_config(name, ENV)
        if checkpoint is not None:
            use_checkpoint(config.policy, checkpoint)
        return make_policy(config)

    return {
        "told": lambda: make("diffusion_forcing", agent),
        "not told": lambda: make("diffusion_forcing", agent),
        "gcbc": lambda: make("gcbc"),
    }


def scale_of(agent: str) -> np.ndarray[Any, Any]:
    """Return the data's standard deviation, (Do,), of each channel of the observation; 0 of those that never change."""
    tokenizer = load_checkpoint(agent).config["tokenizer"]
    channels = tokenizer["config"]["observation_indices"]
    scale = np.zeros(1 + max(channels))
    scale[channels] = tokenizer["std"][: len(channels)]
    return scale


def run(label: str, policy: Policy, kind: str, share: float, options: argparse.Namespace) -> dict[str, Any]:
    """Return how a policy fares when `share` of its observations are corrupted."""
    scale = NOISE * scale_of(options.agent)
    corrupted = Corrupted(policy, kind, share, scale, NOISE, told=label == "told")
    with progress_bar(f"{LABELS[label]}, {share:.0%} {kind}", Console()) as update:
        records = rollout(
            corrupted,
            ENV,
            episodes=options.episodes,
            seed=options.seed,
            policy_name=label,
            keep_paths=False,
            on_progress=update,
        )
    arrived = sum(record.success for record in records)
    return {
        "policy": label,
        "kind": kind,
        "share": share,
        "episodes": len(records),
        "success_rate": arrived / len(records),
        "success_rate_ci95": [float(v) for v in wilson_interval(arrived, len(records))],
        "at_goal_at_end": float(np.mean([record.at_goal_at_end for record in records])),
        "steps_to_goal": [record.time_to_goal for record in records],
    }


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """Draw success over the share of corrupted observations, with intervals."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(KINDS), sharey=True)
    for axis, kind in zip(axes, KINDS, strict=True):
        for label, colour in zip(LABELS, ("#1f6fe5", "#e07b39", "#777777"), strict=True):
            own = [row for row in rows if row["policy"] == label and (row["kind"] == kind or not row["share"])]
            share = [100 * row["share"] for row in own]
            low, high = np.array([row["success_rate_ci95"] for row in own]).T
            axis.plot(share, [row["success_rate"] for row in own], "o-", color=colour, label=LABELS[label])
            axis.fill_between(share, low, high, color=colour, alpha=0.15, lw=0)
        axis.set(xlabel="observations corrupted [%]", title=kind, ylim=(-0.02, 1.02), xticks=[100 * s for s in SHARES])
    axes[0].set_ylabel("success")
    axes[-1].legend(loc="lower left")
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)


def main() -> None:
    """Run all, print the table, write the numbers and the picture."""
    parser = argparse.ArgumentParser(description="success with observations that turn noisy or drop out")
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="tune on 1000 and above")
    parser.add_argument("--agent", default=AGENT, help="checkpoint of the agent; it should have some context")
    parser.add_argument("--output", type=Path, default=Path("results", "sensors.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs", "sensors.png"))
    options = parser.parse_args()
    if options.episodes < 1:
        parser.error("--episodes must be at least 1")
    try:
        makers = policies(options.agent)
        # At 0 there is nothing to tell and no kind.
        cases = [("told", KINDS[0], 0.0), ("gcbc", KINDS[0], 0.0)]
        cases += [(label, kind, share) for kind in KINDS for share in SHARES[1:] for label in LABELS]
        rows = [run(label, makers[label](), kind, share, options) for label, kind, share in cases]
        origin = provenance({"agent": options.agent}, load_weights(policy_config("gcbc", ENV).policy).folder)
    except (CheckpointError, PolicyError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    rows.insert(1, {**rows[0], "policy": "not told"})
    table = Table("corrupted", "kind", *LABELS.values(), title=f"{ENV}, seed {options.seed}: success [95 %]")
    for kind in KINDS:
        for share in SHARES[kind != KINDS[0] :]:
            found = {row["policy"]: row for row in rows if row["share"] == share and row["kind"] == kind}
            cells = []
            for label in LABELS:
                low, high = found[label]["success_rate_ci95"]
                cells.append(f"{found[label]['success_rate']:.2f} [{low:.2f}, {high:.2f}]")
            table.add_row(f"{share:.0%}", kind if share else "", *cells)
    Console().print(table)
    result = {"env": ENV, "seed": options.seed, "noise": NOISE, "rows": rows, "provenance": origin}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    replace_file(options.output, json_bytes(result))
    draw(rows, options.picture)
    Console().print(f"Written to {options.output} and {options.picture}", highlight=False)


if __name__ == "__main__":
    main()
