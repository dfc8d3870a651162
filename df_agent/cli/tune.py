"""Try a policy's settings on validation starts: `df-agent tune policy=cem 'grid={options.horizon: [20, 40]}'`.

Every setting is a row of results/tuning.jsonl, whoever it belongs to, so that the comparison can say how hard each
policy was tuned. A setting that is there already is not run again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from df_agent.checkpoint import load_checkpoint
from df_agent.cli.checking import check_tuning, settings_of
from df_agent.cli.errors import errors_in_one_line
from df_agent.cli.policies import check_policy, goal_spec_of, identity, make_policy, use_checkpoint
from df_agent.evaluation.metrics import censored, reference_steps
from df_agent.evaluation.references import references_of
from df_agent.evaluation.rollout import rollout
from df_agent.evaluation.validation import check_validation_seed
from df_agent.files import naming

console = Console()


def same(row: dict[str, Any], key: dict[str, Any]) -> bool:
    """Whether a row was made with these settings on these starts."""
    return all(row.get(name) == value for name, value in key.items())


def made_with(config: DictConfig) -> str:
    """Return a short hash of the other options and of the weights: a trial of other ones is another trial."""
    chosen = copy.deepcopy(config)
    if config.checkpoint:
        use_checkpoint(chosen.policy, config.checkpoint)
    made = identity(OmegaConf.create({"env": config.env, "max_steps": config.max_steps, "policy": chosen.policy}), 0)
    hashed = {"make": made["policy"], "limit": made["limit"]}  # as rows that are kept were hashed
    return hashlib.sha256(json.dumps(hashed).encode()).hexdigest()[:12]


def trained_with(config: DictConfig) -> dict[str, Any]:
    """Return the settings that a baseline's checkpoint was trained with; a setting is as much these as the policy's."""
    if not config.policy.get("checkpoint"):
        return {}
    made = load_checkpoint(config.policy.checkpoint).config
    learner, provenance = made.get("learner", {}), made.get("provenance", {})
    steps = provenance.get("step", provenance.get("train", {}).get("steps"))
    options = {k: v for k, v in learner.get("options", {}).items() if not k.endswith("_dim")}
    return {"trained_with": {"steps": steps, **options, **learner.get("goals", {})}} if options else {}


def set_to(config: DictConfig, setting: dict[str, Any]) -> DictConfig:
    """Return the configuration with the options of a setting, and the weights it is told to take."""
    chosen = copy.deepcopy(config)
    if config.checkpoint:
        use_checkpoint(chosen.policy, config.checkpoint)
    for name, value in setting.items():
        OmegaConf.update(chosen, f"policy.policy.{name}", value, force_add=True)
    return chosen


def trial(config: DictConfig, setting: dict[str, Any]) -> dict[str, Any]:
    """Run one setting; return how it went."""
    chosen = set_to(config, setting)
    began = time.perf_counter()
    records = rollout(
        make_policy(chosen),
        config.env,
        episodes=config.episodes,
        seed=config.seed,
        max_steps=config.max_steps,
        keep_paths=False,
        goal_spec=goal_spec_of(chosen),
    )
    steps = np.array([record.time_to_goal for record in records])
    oracle = reference_steps(records, references_of(config.env).oracle_steps)
    return {
        **trained_with(chosen),
        "success_rate": float(np.mean([record.success for record in records])),
        "time_to_goal": float(steps.mean()),
        "ratio_to_oracle": None if oracle is None else float(steps.mean() / censored(oracle, records).mean()),
        "at_goal_at_end": float(np.mean([record.at_goal_at_end for record in records])),
        "seconds": round(time.perf_counter() - began, 1),
    }


def main(config: DictConfig) -> None:
    """Try every setting of the grid."""
    path = Path(config.output)
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    with errors_in_one_line():
        check_validation_seed(config.seed)
        check_policy(config.policy)
        check_tuning(config)
        tried = settings_of(config)
        for setting in tried:
            make_policy(set_to(config, setting))  # refuses values that do not go together, before the first is run
        for setting in tried:
            key = {
                "policy": config.policy.name,
                "env": config.env,
                "setting": setting,
                "episodes": config.episodes,
                "seed": config.seed,
                "checkpoint": config.checkpoint,
                "make": made_with(config),
            }
            done = next((row for row in rows if same(row, key)), None)
            row = done or {**key, **trial(config, setting)}
            if done is None:
                path.parent.mkdir(parents=True, exist_ok=True)
                with naming(path), path.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            shown = "  ".join(f"{k} {v:.3g}" for k, v in row.items() if isinstance(v, float))
            console.print(f"{setting}  {shown}{'  (from the file)' if done else ''}", markup=False, highlight=False)
