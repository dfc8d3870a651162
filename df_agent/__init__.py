"""A planning agent for robotics environments, built on Diffusion Forcing.

The names below are imported when they are first used, so that `import df_agent` costs nothing and a machine
that only trains needs neither Gymnasium nor Minari.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from df_agent.benchmark.compare import ComparisonResult, compare
    from df_agent.checkpoint import (
        Checkpoint,
        CheckpointError,
        list_pretrained,
        load_checkpoint,
        push_to_hub,
        save_checkpoint,
    )
    from df_agent.data.clips import Clips, load_clips
    from df_agent.data.collect import collect
    from df_agent.data.datasets import load_episodes
    from df_agent.data.episodes import Episodes
    from df_agent.data.goal_spec import GoalSpec, register_goal_functions
    from df_agent.evaluation.active_rows import PolicyError
    from df_agent.evaluation.metrics import summarize
    from df_agent.evaluation.records import EpisodeRecord, read_records, write_records
    from df_agent.evaluation.references import References, references_of
    from df_agent.evaluation.report import EvaluationResult
    from df_agent.evaluation.rollout import evaluate, rollout
    from df_agent.policies import DiffusionForcingPolicy, PolicyConfig
    from df_agent.policies.diffuser import DiffuserPolicy
    from df_agent.policies.learned_actors import GCBCPolicy, GCIQLPolicy, SACHERPolicy
    from df_agent.policies.path_following import PathFollowingPolicy
    from df_agent.policies.random import RandomPolicy
    from df_agent.policies.shooting import ShootingPolicy
    from df_agent.training.agent_config import AgentTrainingConfig
    from df_agent.training.run import train
    from df_agent.types import Batch, Policy
    from df_agent.world_model.env import WorldModelVectorEnv
    from df_agent.world_model.pixel_policy import PixelPolicy
    from df_agent.world_model.video_model import VideoModel

__version__ = "0.1.0"

_HOMES = {
    "df_agent.benchmark.compare": "ComparisonResult compare",
    "df_agent.checkpoint": "Checkpoint CheckpointError list_pretrained load_checkpoint push_to_hub save_checkpoint",
    "df_agent.data.clips": "Clips load_clips",
    "df_agent.data.collect": "collect",
    "df_agent.data.datasets": "load_episodes",
    "df_agent.data.episodes": "Episodes",
    "df_agent.data.goal_spec": "GoalSpec register_goal_functions",
    "df_agent.evaluation.active_rows": "PolicyError",
    "df_agent.evaluation.metrics": "summarize",
    "df_agent.evaluation.records": "EpisodeRecord read_records write_records",
    "df_agent.evaluation.references": "References references_of",
    "df_agent.evaluation.report": "EvaluationResult",
    "df_agent.evaluation.rollout": "evaluate rollout",
    "df_agent.policies": "DiffusionForcingPolicy PolicyConfig",
    "df_agent.policies.diffuser": "DiffuserPolicy",
    "df_agent.policies.learned_actors": "GCBCPolicy GCIQLPolicy SACHERPolicy",
    "df_agent.policies.path_following": "PathFollowingPolicy",
    "df_agent.policies.random": "RandomPolicy",
    "df_agent.policies.shooting": "ShootingPolicy",
    "df_agent.training.agent_config": "AgentTrainingConfig",
    "df_agent.training.run": "train",
    "df_agent.types": "Batch Policy",
    "df_agent.world_model.env": "WorldModelVectorEnv",
    "df_agent.world_model.pixel_policy": "PixelPolicy",
    "df_agent.world_model.video_model": "VideoModel",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AgentTrainingConfig",
    "Batch",
    "Checkpoint",
    "CheckpointError",
    "Clips",
    "ComparisonResult",
    "DiffuserPolicy",
    "DiffusionForcingPolicy",
    "EpisodeRecord",
    "Episodes",
    "EvaluationResult",
    "GCBCPolicy",
    "GCIQLPolicy",
    "GoalSpec",
    "PathFollowingPolicy",
    "PixelPolicy",
    "Policy",
    "PolicyConfig",
    "PolicyError",
    "RandomPolicy",
    "References",
    "SACHERPolicy",
    "ShootingPolicy",
    "VideoModel",
    "WorldModelVectorEnv",
    "collect",
    "compare",
    "evaluate",
    "list_pretrained",
    "load_checkpoint",
    "load_clips",
    "load_episodes",
    "push_to_hub",
    "read_records",
    "references_of",
    "register_goal_functions",
    "rollout",
    "save_checkpoint",
    "summarize",
    "train",
    "write_records",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; public names: {', '.join(__all__)}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
