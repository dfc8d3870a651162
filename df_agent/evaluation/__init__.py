"""Run a policy and say how well it did: records, metrics, pictures."""

from df_agent.evaluation.harness import evaluate
from df_agent.evaluation.metrics import summarize
from df_agent.evaluation.records import EpisodeRecord, read_records, write_records
from df_agent.evaluation.references import References, references_of
from df_agent.evaluation.report import write_report
from df_agent.evaluation.rollout import PolicyError, Progress, rollout

__all__ = [
    "EpisodeRecord",
    "PolicyError",
    "Progress",
    "References",
    "evaluate",
    "read_records",
    "references_of",
    "rollout",
    "summarize",
    "write_records",
    "write_report",
]
