"""Time planning on this machine: `python scripts/benchmark.py`.

Prints the median seconds of one plan for maze2d-large, by method and batch size, and what multiple of our agent's plan
that is. The weights are random: time does not depend on them. The originals' seconds were measured once, with their
own code on two CPU cores; on another machine only the ratios within a run mean anything.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from df_agent.baselines.diffuser import Diffuser, DiffuserConfig
from df_agent.build import build_model
from df_agent.diffusion.guidance import goal_objective
from df_agent.diffusion.sampler import sample
from df_agent.diffusion.scheduling_matrix import scheduling_matrix, to_levels
from df_agent.inference import computes_in_bf16
from df_agent.policy import DiffusionForcingPolicy

# What the public code takes for one plan on two CPU cores in fp32, at batch 1 and 16 [s].
ORIGINALS = {("v1.5", 1): 2.26, ("v1.5", 16): 21.9, ("diffuser", 1): 3.08, ("diffuser", 16): 16.8}
LEVELS = 1000


def v15(batch: int) -> Callable[[], object]:
    """One plan in v1.5's setting: 81 tokens of ten positions, a pyramid of 50 steps, all 129 passes guided."""
    config = {
        "network": {"token_dim": 20, "max_tokens": 81, "width": 128, "depth": 12, "heads": 4},
        "diffusion": {"schedule": "linear", "objective": "x0", "frame_stack": 10, "levels": LEVELS},
    }
    model = build_model(config).requires_grad_(False).eval()
    free = torch.as_tensor(to_levels(scheduling_matrix("pyramid", 80, 50, 1.0), 50, LEVELS))
    levels = torch.cat([torch.zeros_like(free[:, :1]), free], 1)
    objective = goal_objective(torch.zeros(batch, 2), torch.full((batch,), 80), 10, (0, 1))
    x = torch.randn(batch, 81, 20)
    return lambda: sample(model, x, levels, objective=objective, guidance_scale=1.0, stabilization_level=10)


def diffuser(batch: int, steps: int | None = None) -> Callable[[], object]:
    """One plan of Diffuser, horizon 384: 256 passes by ancestral sampling, or `steps` by DDIM."""
    limits = (5.0, 5.0, 5.0, 5.0, 1.0, 1.0)
    model = Diffuser(DiffuserConfig(384, 256, tuple(-x for x in limits), limits, observation_dim=4)).eval()
    ends = torch.zeros(batch, 4)
    return lambda: model.sample(ends, ends, 384, lambda k: torch.randn(batch, 384, 6), steps)


def ours(batch: int, precision: str) -> Callable[[], object]:
    """One plan of our agent: all its candidates, their judgement and the choice."""
    policy = DiffusionForcingPolicy.from_pretrained("maze2d-large", precision=precision)
    positions = np.array([[-4.5, 2.5, 0.0, 0.0], [4.5, -2.5, 0.0, 0.0]]).repeat((batch + 1) // 2, 0)[:batch]
    observation = {"observation": positions, "desired_goal": -positions[:, :2]}
    return lambda: policy.predict(observation, None, np.ones(batch, bool), deterministic=True)


def median_seconds(plan: Callable[[], object], repeats: int) -> float:
    """Return the median wall time of `plan`, after one call to warm up [s]."""
    plan()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        plan()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    """Time every method and print the table."""
    parser = argparse.ArgumentParser(description="time planning on this machine")
    parser.add_argument("--repeats", type=int, default=5, help="plans per row, of which the median is taken")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16], help="environments planned for at once")
    options = parser.parse_args()
    if min(options.repeats, *options.batches) < 1:
        parser.error("--repeats and --batches must be at least 1")
    console = Console()
    table = Table(title=f"one plan for maze2d-large, {torch.get_num_threads()} threads, median of {options.repeats}")
    for column in ("method", "batch", "seconds", "times ours in fp32", "the original's seconds", "ours over that"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for batch in options.batches:
        with console.status(f"batch {batch}"):
            base = median_seconds(ours(batch, "fp32"), options.repeats)
            rows = [("shortest_feasible, fp32", base, "")]
            if computes_in_bf16(torch.device("cpu")):
                rows.append(("shortest_feasible, bf16", median_seconds(ours(batch, "bf16"), options.repeats), ""))
            rows += [
                ("v1.5's setting in our engine", median_seconds(v15(batch), options.repeats), "v1.5"),
                ("Diffuser, 256 passes", median_seconds(diffuser(batch), options.repeats), "diffuser"),
                ("Diffuser, 16 passes (DDIM)", median_seconds(diffuser(batch, 16), options.repeats), ""),
            ]
        for method, seconds, original in rows:
            recorded = ORIGINALS.get((original, batch))
            beside = (f"{recorded:.2f}", f"{seconds / recorded:.2f}") if recorded else ("", "")
            table.add_row(method, str(batch), f"{seconds:.3f}", f"{seconds / base:.1f}", *beside)
    console.print(table)


if __name__ == "__main__":
    main()
