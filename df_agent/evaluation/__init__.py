"""Run a policy and say how well it did: records, metrics, pictures."""

from df_agent.evaluation.active_rows import PolicyError
from df_agent.evaluation.episode_batch import Progress
from df_agent.evaluation.metrics import summarize
from df_agent.evaluation.records import EpisodeRecord, read_records, write_records
from df_agent.evaluation.references import References, references_of
from df_agent.evaluation.report import EvaluationResult
from df_agent.evaluation.rollout import evaluate, rollout

__all__ = [
    "EpisodeRecord",
    "EvaluationResult",
    "PolicyError",
    "Progress",
    "References",
    "evaluate",
    "read_records",
    "references_of",
    "rollout",
    "summarize",
    "write_records",
]
