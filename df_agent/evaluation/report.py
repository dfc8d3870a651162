"""What an evaluation found: numbers, and a folder that says what it showed. Reads records only; never runs a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from df_agent.evaluation.failures import by_kind, failures
from df_agent.evaluation.metrics import Array, reference_steps, summarize
from df_agent.evaluation.plots import plot_plans, plot_time_to_goal
from df_agent.evaluation.records import EpisodeRecord, write_records
from df_agent.evaluation.references import NO_REFERENCES, References
from df_agent.evaluation.video import Film, write_video
from df_agent.files import json_bytes, replace_file

RECORDS_FILE, SUMMARY_FILE = "episodes.jsonl", "summary.json"
PLANS_FILE, CURVE_FILE, VIDEO_FILE = "plans.png", "time_to_goal.png", "rollout.mp4"


@dataclass(frozen=True, repr=False)
class EvaluationResult:
    """What one policy did in one environment; `repr` says it in a line.

    Attributes:
        records: an entry per episode.
        references: what to compare with and to draw.
        seed: of the rollout.
        single: records of a rollout with one environment at a time, for the latencies.
        provenance: stored in the summary; see `df_agent.evaluation.provenance`.
        film: the simulator's pictures of the first episodes, for the video.
    """

    records: Sequence[EpisodeRecord]
    references: References = NO_REFERENCES
    seed: int = 0
    single: Sequence[EpisodeRecord] = ()
    provenance: dict[str, Any] | None = None
    film: Film | None = None

    def __repr__(self) -> str:
        """Return environment, policy, episodes, success rate and steps to the goal, with 95 % intervals."""
        found, steps = self.summary, self.summary["time_to_goal"]
        low, high = found["success_rate_ci95"]
        return (
            f"EvaluationResult({found['policy']} in {found['env']}, {found['episodes']} episodes: "
            f"success {found['success_rate']:.3f} [{low:.3f}, {high:.3f}], "
            f"steps to goal {steps['mean']:.1f} [{steps['ci95'][0]:.1f}, {steps['ci95'][1]:.1f}])"
        )

    @cached_property
    def summary(self) -> dict[str, Any]:
        """Plain JSON values, as in summary.json; see `summarize`. What cannot be computed is None.

        Besides, "failures" says how many there are of each kind; see `df_agent.evaluation.failures`.
        """
        summary = summarize(
            self.records,
            self.references,
            seed=self.seed,
            oracle=self._oracle,
            lower_bound=self._lower_bound,
            single=self.single,
        )
        kinds = by_kind(failures(self.records, self.references))
        return {**summary, "failures": kinds, "provenance": self.provenance}

    @cached_property
    def _oracle(self) -> Array | None:
        return reference_steps(self.records, self.references.oracle_steps)

    @cached_property
    def _lower_bound(self) -> Array | None:
        return reference_steps(self.records, self.references.lower_bound_steps)

    def write(self, folder: str | Path, *, pictures: bool = True) -> Path:
        """Write episodes.jsonl, summary.json and, with `pictures`, plans.png, time_to_goal.png and rollout.mp4.

        Args:
            folder: created if need be; files of an earlier report in it are replaced.
            pictures: draw them; needs records with paths.

        Returns:
            The folder.
        """
        folder, records = Path(folder), self.records
        folder.mkdir(parents=True, exist_ok=True)
        write_records(folder / RECORDS_FILE, records)
        replace_file(folder / SUMMARY_FILE, json_bytes(self.summary))
        if pictures:
            plot_plans(records, folder / PLANS_FILE, self.references, oracle=self._oracle)
            plot_time_to_goal(records, folder / CURVE_FILE, oracle=self._oracle, lower_bound=self._lower_bound)
            shown = records if self.film is None else records[: len(self.film.scenes[0])]
            write_video(shown, folder / VIDEO_FILE, self.references, film=self.film)
        return folder
