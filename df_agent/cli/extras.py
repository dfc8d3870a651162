"""What the report of a comparison shows beside its rows: training curves, tuning effort, a film of our planner."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from df_agent.benchmark.store import PolicyStore, file_name
from df_agent.cli.comparing import path_of, precision_asked
from df_agent.cli.policies import goal_spec_of, make_policy, policy_config
from df_agent.evaluation.denoising import DenoisingRecorder, write_denoising_video
from df_agent.evaluation.references import references_of
from df_agent.evaluation.rollout import PolicyError, rollout
from df_agent.files import temporary_name
from df_agent.policies import DiffusionForcingPolicy


def extras(config: DictConfig, env_id: str) -> dict[str, Any]:
    """Return curves, tuning and videos for an environment, as far as their files are there."""
    files = {name: path_of(text, env_id) for name, text in (config.curves or {}).items()}
    videos = {caption: path_of(text, env_id) for caption, text in (config.videos or {}).items()}
    tuning = path_of(config.tuning, env_id) if config.tuning else None
    return {
        "curves": {name: curve(file) for name, file in files.items() if file.exists()},
        "tuning": effort(tuning) if tuning is not None and tuning.exists() else (),
        "videos": {caption: file for caption, file in videos.items() if file.exists()},
    }


def effort(file: Path) -> list[dict[str, Any]]:
    """Return a row per policy, maze and kind of starts about the settings that `df-agent tune` tried.

    A line with "unrecorded" stands for so many trials from before there was a record.
    """
    rows: dict[tuple[str, str, int, int], dict[str, Any]] = {}
    for trial in map(json.loads, file.read_text().splitlines()):
        key = (trial["policy"], trial["env"], trial["seed"], trial["episodes"])
        row = rows.setdefault(key, {"settings tried": 0, "minutes": 0.0, "tried without a record": 0})
        row["settings tried"] += "unrecorded" not in trial
        row["minutes"] += trial.get("seconds", 0.0) / 60
        row["tried without a record"] += trial.get("unrecorded", 0)
    names = ("policy", "env", "validation seed", "episodes each")
    return [
        {**dict(zip(names, key, strict=True)), **row, "minutes": round(row["minutes"], 1)}
        for key, row in sorted(rows.items())
    ]


def curve(file: Path) -> list[Mapping[str, float]]:
    """Return what a training's validations said, as `studies/results.py` keeps it."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def film(config: DictConfig, store: PolicyStore, *, make: bool) -> dict[str, Path]:
    """Film how a Diffusion Forcing plan comes out of the noise, in the longest of the first episodes; once.

    Args:
        config: the comparison's.
        store: the policy's rows.
        make: whether to make the film if it is not there.

    Returns:
        Caption -> file; nothing for policies of another kind or without rows.
    """
    found = sorted(store.folder.glob("plans-*.*"))  # a hidden file is a film that was not finished
    if make and not found and not store.empty and store.seeds():
        seed = store.seeds()[0]
        longest = max(store.rows(seed)[:20], key=lambda record: record.time_to_goal)
        changes = (config.changes or {}).get(store.policy)
        own = policy_config(store.policy, store.env_id, config.max_steps, precision_asked(config), changes)
        options = {"seed": seed, "max_steps": config.max_steps, "policy_name": store.policy}
        try:
            policy = make_policy(own)
            if not isinstance(policy, DiffusionForcingPolicy):
                return {}
            watched, goal_spec = DenoisingRecorder(policy), goal_spec_of(own)
            (record,) = rollout(
                watched, store.env_id, episodes=1, first_episode=longest.episode, goal_spec=goal_spec, **options
            )
        except PolicyError:  # its rows remain
            return {}
        unfinished = temporary_name(store.folder / f"plans-{file_name(store.env_id)}.mp4")
        made = write_denoising_video(record, watched.episodes[-1], unfinished, references_of(store.env_id))
        found = [made.rename(store.folder / f"plans-{file_name(store.env_id)}{made.suffix}")]
    return {f"{store.env_id}: how plans of {store.policy} come out of the noise, and replans.": path for path in found}
