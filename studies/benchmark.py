"""Time planning on this machine: `python studies/benchmark.py [memory latency cost quality realtime training]`.

latency   how long our agent's plans take, for 1, 16 and 128 environments, beside the floor: the operations of all
          passes at the speed of this machine's matrix products; and how much longer the original methods take
cost      the same against horizon, candidates, passes and the size of the network
quality   steps to the goal against the time of a plan: ours at several settings and, with the steps that
          results/comparison holds for the same starts, the original methods
realtime  acting in an environment that does not wait: while the agent is not ready, its last action is repeated
memory    of a process that acts for 100,000 control steps
training  optimiser steps a second, and the minutes to 99 % success that the curve in results/training tells

All of them without a choice, in some ten minutes on an idle machine; on another one only the ratios within a run mean
anything. Writes results/benchmark.json and docs/benchmark.png, or wherever --output and --picture say; parts that are
not run stay there, each with where it comes from.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import psutil
import torch
from matplotlib.figure import Figure
from rich.table import Table

from df_agent.benchmark.raw_rows import read_lines
from df_agent.checkpoint import CheckpointError
from df_agent.cli.composing import configuration
from df_agent.cli.environments import MAZE_IDS, maze2d
from df_agent.cli.measuring import console, new_figure, parser_of, run, write
from df_agent.evaluation.metrics import reference_steps
from df_agent.evaluation.provenance import provenance
from df_agent.evaluation.records import stored_file
from df_agent.evaluation.references import references_of
from df_agent.evaluation.rollout import episode_seed
from df_agent.models.transformer import Transformer
from df_agent.options.networks import TransformerConfig
from df_agent.policies import DiffusionForcingPolicy
from df_agent.runtime import choose_device
from studies.timing import (
    ORIGINALS,
    count_work,
    diffuser,
    first_plan,
    peak,
    quantiles,
    seconds,
    starts,
    training_rate,
    v15,
)

PARTS = ("memory", "latency", "cost", "quality", "realtime", "training")  # memory before others hold some
BATCHES = (1, 16, 128)  # environments that ours plans for at once; the slow ones only for the first two
ROOT = Path(__file__).parents[1]
KEPT = ROOT / "results"
# Over the shipped settings; there is a second round of candidates where none is feasible. The last are what the first
# agents that were compared took.
SETTINGS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "one stretch, one candidate": {"shortest_feasible": {"horizon_multipliers": [1.1], "samples": 1}},
    "3 stretches": {"shortest_feasible": {"horizon_multipliers": [0.9, 1.2, 1.55], "samples": 1}},
    "2 passes": {"sampling": {"steps": 2}},
    "5 passes": {"sampling": {"steps": 5}},
    "twice the candidates": {"shortest_feasible": {"samples": 2}},
    "24 candidates, 5 passes": {"shortest_feasible": {"samples": 4}, "sampling": {"steps": 5}},
}
COSTS: dict[str, list[dict[str, Any]]] = {
    "passes": [{"sampling": {"steps": k}} for k in (1, 2, 3, 5, 10)],
    "candidates": [{"shortest_feasible": {"samples": k}} for k in (1, 2, 4, 8)],
    "horizon": [{"planner": "fixed_horizon", "fixed_horizon": {"horizon": k}} for k in (3, 7, 11, 15)],
}
OTHERS = {"diffusion_forcing_v15": "v1.5's settings", "diffuser": "Diffuser", "diffuser_ddim": "Diffuser, 2 passes"}
MODES: dict[str, dict[str, Any]] = {
    "planning while the world goes on": {},
    "at most 20 ms a plan": {"max_plan_ms": 20.0},
    "at most 10 ms a plan": {"max_plan_ms": 10.0},
    "in the background": {"background": True},
}


class Bench:
    """What all parts need: the options, and how our agent is made."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.env = options, options.env
        self.device = choose_device(options.device)

    def policy(self, **overrides: Any) -> DiffusionForcingPolicy:
        """Our agent, as it ships but for `overrides`."""
        return DiffusionForcingPolicy.from_pretrained(
            maze2d(self.env),
            device=self.options.device,
            precision=self.options.precision,
            **overrides,
        )

    def single(self, policy: DiffusionForcingPolicy, episodes: int) -> list[float]:
        """Seconds of every plan of some episodes that run one at a time."""
        first_plan(policy, starts(self.env, 1, self.options.seed))()
        asked = argparse.Namespace(**{**vars(self.options), "episodes": episodes})
        records = run(policy, self.env, "plans, one at a time", asked, num_envs=1, keep_paths=False)
        return [plan.seconds for record in records for plan in record.plans]


def latency(bench: Bench) -> dict[str, Any]:
    """Time plans of ours and of the original methods, and whole loops."""
    policy, o = bench.policy(), bench.options
    precision = str(next(policy.model.diffusion.network.parameters()).dtype).removeprefix("torch.")
    rows: list[dict[str, Any]] = []
    speed = peak(next(policy.model.diffusion.network.parameters()).dtype, bench.device)
    for batch in BATCHES:
        plan = first_plan(policy, starts(bench.env, batch, o.seed))
        times = bench.single(policy, o.timing_episodes) if batch == 1 else seconds(plan, o.repeats)
        work = count_work(policy, plan)
        floor = 1e3 * work.operations / speed
        rows.append({"method": "ours", "batch": batch, **quantiles(times), "floor": floor, **vars(work)})
    methods = {"v1.5": v15, "diffuser": diffuser}
    for batch in BATCHES[:2]:
        for name, make in methods.items():
            times = seconds(make(batch, bench.device), max(2, o.repeats // 10))
            ours = next(row["p50"] for row in rows if row["method"] == "ours" and row["batch"] == batch)
            timed = quantiles(times)
            row = {"method": name, "batch": batch, **timed, "times_ours": timed["p50"] / ours}
            if (name, batch) in ORIGINALS:
                row["original"] = 1e3 * ORIGINALS[name, batch]
            rows.append(row)
    loops: list[dict[str, Any]] = []
    for envs_beside in BATCHES:
        asked = argparse.Namespace(**{**vars(o), "episodes": 4 if envs_beside == 1 else envs_beside})
        records = run(policy, bench.env, f"{envs_beside} side by side", asked, num_envs=envs_beside, keep_paths=False)
        steps, spent = sum(r.length for r in records), sum(r.wall_seconds for r in records)
        to_goal = sum(r.policy_seconds_to_goal for r in records) / max(1, sum(r.time_to_goal for r in records))
        period = references_of(bench.env).control_period or np.nan
        loops.append({"envs": envs_beside, "steps_per_second": steps / spent, "real_time_factor": period / to_goal})
    table = Table("method", "batch", "p50 ms", "p95 ms", "p99 ms", "per env", "floor ms", "times ours", "original ms")
    for row in rows:
        shown = [f"{row[key]:.1f}" for key in ("p50", "p95", "p99")]
        shown.append(f"{row['p50'] / row['batch']:.1f}")
        digits = {"floor": 2, "times_ours": 0, "original": 0}
        shown += [f"{row[key]:.{places}f}" if key in row else "" for key, places in digits.items()]
        table.add_row(row["method"], str(row["batch"]), *shown)
    console.print(table)
    for row in loops:
        text = f"{row['envs']} side by side: {row['steps_per_second']:.0f} environment steps/s, until the goal "
        console.print(f"{text}{row['real_time_factor']:.1f} x real time per environment", highlight=False)
    return {"precision": precision, "peak_gflops": speed / 1e9, "plans": rows, "loops": loops}


def cost(bench: Bench) -> dict[str, Any]:
    """Time plans at one environment against what they are made of, and against the size of the network."""
    seen = starts(bench.env, 1, bench.options.seed)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, variants in COSTS.items():
        found[name] = []
        for overrides in variants:
            policy = bench.policy(**overrides)
            plan = first_plan(policy, seen)
            found[name].append({**overrides, **quantiles(seconds(plan, bench.options.repeats))})
            found[name][-1] |= vars(count_work(policy, plan))
    found["network"] = []
    x = torch.zeros(6, 16, 8, device=bench.device)
    level = torch.ones(6, 16, dtype=torch.long, device=bench.device)
    for width, depth in ((64, 4), (128, 6), (192, 6), (256, 8)):
        network = network_of(width, depth).to(
            bench.device, next(bench.policy().model.diffusion.network.parameters()).dtype
        )
        with torch.no_grad():
            times = seconds(partial(network, x, level), bench.options.repeats)
        parameters = sum(p.numel() for p in network.parameters())
        found["network"].append({"width": width, "depth": depth, "parameters": parameters, **quantiles(times)})
    table = Table("what", "value", "p50 ms", "p95 ms", "passes x tokens", title="one plan at one environment")
    for name, rows in found.items():
        for row in rows:
            value = f"{row['width']} x {row['depth']}, a pass" if name == "network" else value_of(row)
            tokens = "" if name == "network" else f"{row['passes']} x {row['tokens'] // row['passes']}"
            table.add_row(name, value, f"{row['p50']:.1f}", f"{row['p95']:.1f}", tokens)
    console.print(table)
    return found


def network_of(width: int, depth: int) -> torch.nn.Module:
    """Return an untrained network of another size."""
    return Transformer(TransformerConfig(8, 16, width, depth, width // 32)).requires_grad_(False).eval()


def value_of(row: dict[str, Any]) -> str:
    """Return the option that was changed, as text."""
    for key in ("sampling", "shortest_feasible", "search", "fixed_horizon"):  # "search" was its name once
        if key in row:
            return ", ".join(str(value) for value in row[key].values())
    return str(row["horizon"])


def quality(bench: Bench) -> dict[str, Any]:
    """Measure steps to the goal and the time of a plan at several settings."""
    points: list[dict[str, Any]] = []
    oracle = optimal = None
    for label, overrides in SETTINGS.items():
        policy = bench.policy(**overrides)
        records = run(policy, bench.env, label, bench.options, keep_paths=False)
        steps = np.array([record.time_to_goal for record in records], dtype=float)
        oracle = reference_steps(records, references_of(bench.env).oracle_steps)
        optimal = reference_steps(records, references_of(bench.env).time_optimal_steps)
        times = quantiles(bench.single(policy, max(2, bench.options.timing_episodes // 3)))
        success = float(np.mean([record.success for record in records]))
        points.append({"label": label, "steps": float(steps.mean()), "success": success, **times})
    for name, label in OTHERS.items():
        if kept := kept_steps(name, bench):
            make = {"diffusion_forcing_v15": v15, "diffuser": diffuser}.get(name, lambda b, d: diffuser(b, d, 2))
            points.append({"label": label, **kept, **quantiles(seconds(make(1, bench.device), 3))})
    lines = {"oracle": oracle, "time_optimal": optimal}
    known = {name: None if values is None else float(values.mean()) for name, values in lines.items()}
    table = Table("setting", "success", "steps to goal", "ratio to the oracle", "p50 ms", "p95 ms")
    for point in points:
        ratio = "" if known["oracle"] is None else f"{point['steps'] / known['oracle']:.3f}"
        cells = (
            f"{point['success']:.2f}",
            f"{point['steps']:.1f}",
            ratio,
            f"{point['p50']:.1f}",
            f"{point['p95']:.1f}",
        )
        table.add_row(point["label"], *cells)
    console.print(table)
    return {"points": points, **known, "episodes": bench.options.episodes}


def kept_steps(policy: str, bench: Bench) -> dict[str, Any] | None:
    """Return success and steps of another policy from the same starts, as far as results/comparison holds these."""
    file = KEPT / "comparison" / f"rows-{bench.env}.csv"
    if not stored_file(file).exists():
        return None
    o = bench.options
    rows = [
        row
        for row in read_lines(file)
        if (row["policy"], row["run"], row["seed"]) == (policy, "0", str(o.seed)) and int(row["episode"]) < o.episodes
    ]
    if len(rows) < o.episodes:
        return None
    steps = [int(row["time_to_goal"]) for row in rows]
    return {"steps": float(np.mean(steps)), "success": float(np.mean([row["success"] == "1" for row in rows]))}


def realtime(bench: Bench) -> dict[str, Any]:
    """Act in an environment that does not wait for the agent; return steps to the goal and how many it missed."""
    period = references_of(bench.env).control_period or 0.01
    env, found = gym.make(bench.env), {}
    table = Table("acting", "success", "steps to goal", "steps missed", title=f"{1 / period:.0f} steps a second")
    for label, overrides in MODES.items():
        policy = bench.policy(**overrides)
        policy.set_random_seed(bench.options.seed)
        first_plan(policy, starts(bench.env, 1, bench.options.seed))()
        rows = []
        for episode in range(bench.options.timing_episodes):
            observation, info = env.reset(seed=episode_seed(bench.options.seed, episode))
            rows.append(act_in_real_time(policy, env, observation, bool(info["success"]), period))
        success, steps, missed = np.array(rows, dtype=float).T
        found[label] = {
            "episodes": len(rows),
            "success": float(success.mean()),
            "steps": float(steps.mean()),
            "missed": float(missed.sum() / max(1.0, steps.sum())),
        }
        row = found[label]
        table.add_row(label, f"{row['success']:.2f}", f"{row['steps']:.1f}", f"{row['missed']:.1%}")
    console.print(table)
    return {"period": period, "modes": found}


def act_in_real_time(
    policy: DiffusionForcingPolicy, env: gym.Env[Any, Any], observation: Any, success: bool, period: float
) -> tuple[bool, int, int]:
    """Run an episode until its goal or end; return whether it succeeded, its steps and how many the agent missed."""
    state, steps, missed, over = None, 0, 0, False
    action = np.zeros(env.action_space.shape or ())
    begins = np.full(1, True)
    tick = time.perf_counter()
    while not (success or over):
        if steps:  # the first plan is made before the clock starts
            tick += period
        answer, state = policy.predict(observation, state, begins, deterministic=True)
        begins = np.full(1, False)
        if not steps:
            tick = time.perf_counter()
        while time.perf_counter() > tick + period and not (success or over):  # the world went on
            observation, _, terminated, truncated, info = env.step(action)
            success, over = bool(info["success"]), terminated or truncated
            steps, missed, tick = steps + 1, missed + 1, tick + period
        if not (success or over):
            action = answer
            observation, _, terminated, truncated, info = env.step(action)
            success, over = bool(info["success"]), terminated or truncated
            steps += 1
        time.sleep(max(0.0, tick + period - time.perf_counter()))
    return success, steps, missed


def memory(bench: Bench) -> dict[str, Any]:
    """Act for 100,000 control steps in one environment; return how much memory the process holds on the way [MB]."""
    policy, env = bench.policy(), gym.make(bench.env)
    found: dict[str, float] = {}
    observation, _ = env.reset(seed=bench.options.seed)
    state, begins = None, np.ones(1, bool)
    total = bench.options.memory_steps
    for step in range(1, total + 1):
        action, state = policy.predict(observation, state, begins, deterministic=True)
        observation, _, terminated, truncated, _ = env.step(action)
        begins = np.array([terminated or truncated])
        if begins[0]:
            observation, _ = env.reset()
        if step in (total // 10, total):
            found[str(step)] = psutil.Process().memory_info().rss / 1e6
    console.print("memory after so many steps, MB: " + ", ".join(f"{k}: {v:.0f}" for k, v in found.items()))
    return {"megabytes": found}


def training(bench: Bench) -> dict[str, Any]:
    """Time optimiser steps; read off the training curve how long 99 % success took, the estimator's minutes aside."""
    policy = bench.policy()
    precision = "bf16" if next(policy.model.diffusion.network.parameters()).dtype == torch.bfloat16 else "fp32"
    rate = training_rate(policy.checkpoint, bench.device, precision)
    file = KEPT / "training" / f"{bench.env}.jsonl"
    curve = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    oracle = validation_oracle(bench.env)
    for row in curve:
        row["ratio"] = row["time_to_goal"] / oracle
    minutes = next((row["training_minutes"] for row in curve if row["success_rate"] >= 0.99), None)
    when = (
        ""
        if minutes is None
        else f"; 99 % of the validation starts succeeded after {minutes:.0f} minutes, the estimator's aside"
    )
    console.print(f"{rate:.1f} optimiser steps a second of 64 windows{when}", highlight=False)
    return {"steps_per_second": rate, "minutes_to_99": minutes, "curve": curve}


def validation_oracle(env_id: str) -> float:
    """Return the oracle's mean steps from the starts that training validates on."""
    known: Any = configuration("train", []).validation  # on which starts the curve was made
    seen = starts(env_id, known.episodes, known.seed)
    steps = references_of(env_id).oracle_steps
    assert steps is not None  # the mazes have one
    return float(np.mean(steps(seen["observation"], seen["desired_goal"])))


def draw(result: dict[str, Any]) -> Figure:
    """Draw steps to the goal over the time of a plan, of all and of our settings alone, and the training curve."""
    figure = new_figure(13, 4)
    left, middle, right = figure.subplots(1, 3)
    if found := result.get("quality"):
        ours = [point for point in found["points"] if point["label"] not in OTHERS.values()]
        for point in found["points"]:
            if point not in ours:
                left.plot(point["p50"], point["steps"], "s", color="#e07b39")
                left.annotate(
                    point["label"], (point["p50"], point["steps"]), (0, 7), textcoords="offset points", ha="center"
                )
        for axis in (left, middle):
            axis.plot([p["p50"] for p in ours], [p["steps"] for p in ours], "o", color="#1f6fe5", label="ours")
            for name, style in (("oracle", "--"), ("time_optimal", ":")):
                if found[name] and axis is left:
                    axis.axhline(found[name], color="#777777", ls=style, lw=1, label=name.replace("_", " "))
            axis.set(xlabel="time of a plan, one environment [ms]", ylabel="mean steps to goal")
        span = max(p["steps"] for p in ours) - min(p["steps"] for p in ours)
        widest = 1.9 * max(p["p50"] for p in ours)
        written: list[float] = []  # heights of labels so far, which must not lie over each other
        for point in sorted(ours, key=lambda p: float(p["steps"])):
            free = 0.05 * span + max(written, default=-math.inf)
            written.append(max(point["steps"], free))
            middle.annotate(
                point["label"],
                (point["p50"], point["steps"]),
                (point["p50"] + 0.04 * widest, written[-1]),
                size=8,
                va="center",
            )
        most = max(p["steps"] for p in found["points"])
        left.set(xscale="log", xlim=(5, 20_000), ylim=(0, 1.1 * most))
        middle.set(xlim=(0, widest))
        left.legend(loc="upper left")
    curve = result.get("training", {}).get("curve")
    if curve:
        minutes = [row["training_minutes"] for row in curve]
        right.plot(minutes, [row["success_rate"] for row in curve], "o-", color="#1f6fe5")
        right.set(xlabel="minutes of training", ylabel="success", ylim=(0, 1.05), xlim=(0, None))
        ratio = right.twinx()
        ratio.plot(minutes, [row["ratio"] for row in curve], "s--", color="#e07b39")
        ratio.set_ylabel("steps to goal over the oracle's (dashed)")
        ratio.set_ylim(0, None)
    return figure


def read_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = parser_of("benchmark", "how long plans take, and what they are worth")
    parser.set_defaults(episodes=50)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--env", default="maze2d-large", choices=MAZE_IDS)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", default="auto", choices=("auto", "bf16", "fp32"))
    parser.add_argument("--repeats", type=int, default=20, help="plans of a batch that are timed")
    parser.add_argument("--timing-episodes", type=int, default=25, help="episodes run one at a time")
    parser.add_argument("--memory-steps", type=int, default=100_000)
    options = parser.parse_args(arguments)
    for part in options.parts:
        if part not in PARTS:
            parser.error(f"there is no part {part!r}; there are {', '.join(PARTS)}")
    if min(options.repeats, options.timing_episodes) < 1 or options.memory_steps < 10:
        parser.error("--repeats and --timing-episodes must be at least 1, --memory-steps at least 10")
    return options


def kept_parts(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the output holds of this environment; raises ValueError for a file of something else."""
    if not options.output.exists():
        return {}
    try:
        earlier = json.loads(options.output.read_text())
        return {part: earlier[part] for part in PARTS if earlier["env"] == options.env and part in earlier}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{options.output} is not what this benchmark wrote; delete it or name another --output"
        ) from error


def main() -> None:
    """Run the parts that are asked for."""
    options = read_options()
    measure = {
        "latency": latency,
        "cost": cost,
        "quality": quality,
        "realtime": realtime,
        "memory": memory,
        "training": training,
    }
    try:
        bench, result = Bench(options), kept_parts(options)
        for part in options.parts or PARTS:
            result[part] = {**measure[part](bench), "provenance": provenance()}
    except (CheckpointError, ValueError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
    title = f"{options.env} on {bench.device.type}, {torch.get_num_threads()} threads"
    write(options, {"env": options.env, "machine": title, **result}, Table(title=title), draw(result))


if __name__ == "__main__":
    main()
