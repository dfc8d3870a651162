"""A folder that says what a rollout showed. Reads records only; never runs a policy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from df_agent.evaluation.metrics import reference_steps, summarize
from df_agent.evaluation.plots import plot_plans, plot_time_to_goal
from df_agent.evaluation.records import EpisodeRecord, write_records
from df_agent.evaluation.references import NO_REFERENCES, References
from df_agent.evaluation.video import Film, write_video

RECORDS_FILE, SUMMARY_FILE = "episodes.jsonl", "summary.json"
PLANS_FILE, CURVE_FILE, VIDEO_FILE = "plans.png", "time_to_goal.png", "rollout.mp4"


def write_report(
    folder: str | Path,
    records: Sequence[EpisodeRecord],
    references: References = NO_REFERENCES,
    *,
    seed: int,
    single: Sequence[EpisodeRecord] = (),
    provenance: dict[str, Any] | None = None,
    pictures: bool = True,
    film: Film | None = None,
) -> dict[str, Any]:
    """Write episodes.jsonl, summary.json and, with `pictures`, plans.png, time_to_goal.png and rollout.mp4.

    Args:
        folder: created if need be; files of an earlier report in it are replaced.
        records: of one policy in one environment.
        references: what to compare with and to draw.
        seed: of the rollout.
        single: records of a rollout with one environment at a time, for the latencies.
        provenance: stored in the summary.
        pictures: draw them; needs records with paths.
        film: the simulator's pictures of the first episodes, for the video.

    Returns:
        The summary.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_records(folder / RECORDS_FILE, records)
    oracle = reference_steps(records, references.oracle_steps)
    bound = reference_steps(records, references.lower_bound_steps)
    summary = summarize(records, references, seed=seed, oracle=oracle, lower_bound=bound, single=single)
    summary["provenance"] = provenance
    (folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
    if pictures:
        plot_plans(records, folder / PLANS_FILE, references, oracle=oracle)
        plot_time_to_goal(records, folder / CURVE_FILE, oracle=oracle, lower_bound=bound)
        shown = records if film is None else records[: len(film.scenes[0])]
        write_video(shown, folder / VIDEO_FILE, references, film=film)
    return summary
