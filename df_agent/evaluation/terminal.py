"""What the terminal shows: progress while a rollout runs, tables when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from df_agent.evaluation.episode_batch import Progress


@contextmanager
def progress_bar(label: str, console: Console) -> Iterator[Callable[[Progress], None]]:
    """Show a rollout in the terminal; yields what to give `rollout` as `on_progress`."""
    columns = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()]
    columns += [TextColumn("{task.fields[text]}"), TimeRemainingColumn(compact=True)]
    with Bar(*columns, console=console) as bar:
        task = bar.add_task(label, total=None, text="")

        def update(now: Progress) -> None:
            text = f"{now.successes} of {now.started} reached the goal, {now.steps:,} steps"
            bar.update(task, completed=now.steps, total=now.total_steps, text=text)

        yield update
        # Episodes that end before the limit leave steps over.
        bar.update(task, completed=bar.tasks[task].total or 1)


def summary_table(summary: dict[str, Any]) -> Table:
    """Return the summary as a table for the terminal; what is None is left out."""
    title = f"{summary['policy']} in {summary['env']}, {summary['episodes']} episodes, seed {summary['seed']}"
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for label, text in summary_rows(summary):
        table.add_row(label, text)
    return table


def summary_rows(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (label, text) of what a reader wants to know first."""
    time, plan, alone = summary["time_to_goal"], summary["plan_ms"], summary["plan_ms_single"]
    success = f"{summary['success_rate']:.3f}  {_interval(summary['success_rate_ci95'], '.3f')}"
    spread = f"{time['median']:.0f}, {time['p90']:.0f}, {time['timeouts']}"
    rows = [
        ("success rate", success),
        ("steps to goal", f"{time['mean']:.1f}  {_interval(time['ci95'], '.1f')}"),
        ("  median, p90, timeouts", spread),
    ]
    if summary["oracle_time_to_goal_mean"] is not None:
        rows.append(("  oracle, same starts", f"{summary['oracle_time_to_goal_mean']:.1f}"))
    if summary["lower_bound_mean"] is not None:
        rows.append(("  lower bound", f"{summary['lower_bound_mean']:.1f}"))
    if summary["time_ratio_to_oracle"] is not None:
        interval = _interval(summary["time_ratio_to_oracle_ci95"], ".3f")
        rows.append(("  ratio to oracle", f"{summary['time_ratio_to_oracle']:.3f}  {interval}"))
    rows.append(("at the goal at the end", f"{summary['at_goal_at_end']:.3f}"))
    rows.append(("reward; if it stayed", f"{summary['episode_reward']:.1f}; {summary['episode_reward_if_stay']:.1f}"))
    if summary["score_occupancy"] is not None:
        score = f"{summary['score_occupancy']:.1f} occupancy, {summary['score_latched']:.1f} latched"
        rows.append(("D4RL-style score", score))
    if plan["p50"] is not None:
        rows.append(("plans until the goal", f"{summary['plans_to_goal']:.1f}"))
        at_once = f"  a call, {plan['batch']:.0f} environments"
        rows.append((at_once, f"{plan['p50']:.0f} ms p50, {plan['p95']:.0f} ms p95"))
    if alone["p50"] is not None:
        rows.append(("  a call, 1 environment", f"{alone['p50']:.0f} ms p50, {alone['p95']:.0f} ms p95"))
    if summary["real_time_factor"] is not None:
        rows.append(("computing / simulated time, until the goal", f"{summary['real_time_factor']:.3f}"))
    if summary["wall_crossing_rate"] is not None:
        rows.append(("plans through walls", f"{summary['wall_crossing_rate']:.3f}"))
    rows.append(("control steps per second", f"{summary['env_steps_per_second']:,.0f}"))
    return rows


def _interval(ends: Sequence[float], style: str) -> str:
    # Round brackets: rich would read square ones as markup.
    return f"({ends[0]:{style}} to {ends[1]:{style}})"
