"""The learned offline baselines: their losses and data. Here they are by name, and how a trained one is loaded."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

from df_agent.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from df_agent.runtime import building

# algorithm -> module, class of the learner
LEARNERS = {
    "diffuser": ("df_agent.baselines.diffuser", "Diffuser"),
    "gcbc": ("df_agent.baselines.goal_conditioned", "GCBC"),
    "gciql": ("df_agent.baselines.gciql", "GCIQL"),
}


def learner_class(algorithm: str) -> Any:
    """Return the learner's class; raises ValueError, naming the known ones, for an unknown algorithm."""
    if algorithm not in LEARNERS:
        close = get_close_matches(algorithm, LEARNERS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"unknown algorithm {algorithm!r}, available: {', '.join(LEARNERS)}{hint}")
    module, name = LEARNERS[algorithm]
    return getattr(import_module(module), name)


def load_as(name: str | Path, algorithm: str) -> Checkpoint:
    """Read a trained baseline's checkpoint.

    Raises:
        CheckpointError: there is none of that name, or it holds another algorithm's.
    """
    checkpoint = load_checkpoint(name)
    if checkpoint.config.get("algorithm") != algorithm:
        raise CheckpointError(f"{str(name)!r} holds {checkpoint.holds}, not the baseline {algorithm}")
    return checkpoint


def load_learner(name: str | Path, algorithm: str, learner: Any) -> Any:
    """Load a trained baseline's module, made by `learner.from_config`; raises CheckpointError as `load_as` does."""
    checkpoint = load_as(name, algorithm)
    with building():
        module = checkpoint.build(lambda: learner.from_config(checkpoint.config["learner"]), "a baseline", "learner")
    return module.requires_grad_(False).eval()
