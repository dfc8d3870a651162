"""What bad sensors cost: `python studies/sensors.py [--episodes 100] [--seed 0]`.

FetchPush with observations that turn noisy or drop out, more and more of them: the agent that is told which, so that it
feeds them to its model at their own noise level; the same agent, told nothing; and behaviour cloning. All see the same
starts, goals and corruption. Writes results/sensors.json and docs/sensors.png, or wherever --output says.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from df_agent.checkpoint import CheckpointError, load_checkpoint
from df_agent.cli.environments import trained
from df_agent.cli.measuring import measured, new_figure, parser_of, run, with_interval, write
from df_agent.cli.policies import make_policy, policy_config, use_checkpoint
from df_agent.evaluation.corruption import KINDS, Corrupted
from df_agent.evaluation.rollout import PolicyError
from df_agent.types import Policy

ENV = "FetchPush-v4"
SHARES = (0.0, 0.25, 0.5, 0.75)
NOISE = 1.0  # in the data's standard deviations
COLOURS = ("#1f6fe5", "#e07b39", "#777777")
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


def draw(rows: list[dict[str, Any]]) -> Figure:
    """Draw success over the share of corrupted observations, with intervals."""
    figure = new_figure(9, 3.4)
    axes = figure.subplots(1, len(KINDS), sharey=True)
    for axis, kind in zip(axes, KINDS, strict=True):
        for label, colour in zip(LABELS, COLOURS, strict=True):
            own = [row for row in rows if row["policy"] == label and (row["kind"] == kind or not row["share"])]
            share = [100 * row["share"] for row in own]
            low, high = np.array([row["success_rate_ci95"] for row in own]).T
            axis.plot(share, [row["success_rate"] for row in own], "o-", color=colour, label=LABELS[label])
            axis.fill_between(share, low, high, color=colour, alpha=0.15, lw=0)
        axis.set(xlabel="observations corrupted [%]", title=kind, ylim=(-0.02, 1.02), xticks=[100 * s for s in SHARES])
    axes[0].set_ylabel("success")
    axes[-1].legend(loc="lower left")
    return figure


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("sensors", "success with observations that turn noisy or drop out")
    parser.add_argument("--agent", default=trained(ENV, "context"), help="checkpoint of an agent with some context")
    return parser.parse_args(arguments)


def main() -> None:
    """Run all, print the table, write the numbers and the picture."""
    options = read_options()
    # At 0 there is nothing to tell and no kind.
    cases = [("told", KINDS[0], 0.0), ("gcbc", KINDS[0], 0.0)]
    cases += [(label, kind, share) for kind in KINDS for share in SHARES[1:] for label in LABELS]
    rows = []
    try:
        makers, scale = policies(options.agent), NOISE * scale_of(options.agent)
        for label, kind, share in cases:
            policy = Corrupted(makers[label](), kind, share, scale, NOISE, told=label == "told")
            records = run(policy, ENV, f"{LABELS[label]}, {share:.0%} {kind}", options, keep_paths=False)
            rows.append({"policy": label, "kind": kind, "share": share, **measured(records)})
    except (CheckpointError, PolicyError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    rows.insert(1, {**rows[0], "policy": "not told"})
    table = Table("corrupted", "kind", *LABELS.values(), title=f"{ENV}, seed {options.seed}: success [95 %]")
    for kind in KINDS:
        for share in SHARES[kind != KINDS[0] :]:
            found = {row["policy"]: row for row in rows if row["share"] == share and row["kind"] == kind}
            cells = [with_interval(found[k]["success_rate"], found[k]["success_rate_ci95"]) for k in LABELS]
            table.add_row(f"{share:.0%}", kind if share else "", *cells)
    write(options, {"env": ENV, "noise": NOISE, "rows": rows}, table, draw(rows))


if __name__ == "__main__":
    main()
