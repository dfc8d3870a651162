"""Policies by name: each is a file in df_configs/policy, or in the user's own folder, that says how it is made.

`policy` in it is what Hydra instantiates; its values may use `${env}`, `${maze2d:${env}}` (the maze whose data the
policy learned from) and `${limit:${env},${max_steps}}` (length of an episode). So a policy of one's own is one file
with `predict` and one YAML.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from df_agent.checkpoint import Checkpoint, CheckpointError, load_checkpoint
from df_agent.cli.environments import episode_limit, spec_of
from df_agent.cli.policy_files import check_name as check_name
from df_agent.cli.policy_files import check_policy as check_policy
from df_agent.cli.policy_files import described as described
from df_agent.cli.policy_files import policy_names as policy_names
from df_agent.cli.policy_files import understood as understood
from df_agent.data.goal_spec import GoalSpec, register_goal_functions, validated
from df_agent.evaluation.active_rows import PolicyError
from df_agent.evaluation.provenance import code_hashes, content_hash, hardware, versions
from df_agent.migrations import policy_entry
from df_agent.options import make
from df_agent.types import Policy

# Versions that what a policy does may depend on.
ACTS_WITH = ("python", "torch", "numpy", "gymnasium", "gymnasium-robotics", "mujoco")


def policy_config(
    name: str,
    env_id: str,
    max_steps: int | None = None,
    precision: str | None = None,
    changes: Mapping[str, Any] | None = None,
) -> DictConfig:
    """Return what `make_policy` takes: a configuration with "env", "max_steps" and "policy".

    Args:
        name: of a file in df_configs/policy.
        env_id: gymnasium id.
        max_steps: length of an episode; None takes the environment's own.
        precision: of policies that leave the choice; None leaves it to them.
        changes: over the values in the file.
    """
    policy: Any = described(name)
    if precision is not None and "precision" in policy:
        policy.precision = precision
    policy = OmegaConf.merge(policy, changes or {})
    return OmegaConf.create({"env": env_id, "max_steps": max_steps, "policy": policy})


def use_checkpoint(policy: DictConfig, checkpoint: str) -> None:
    """Give a policy other weights; raises ValueError if it loads none."""
    if "checkpoint" not in policy:
        raise ValueError(f"policy {policy.name!r} loads no checkpoint, so {checkpoint!r} cannot be given to it")
    policy.checkpoint = checkpoint


def load_weights(policy: DictConfig) -> Checkpoint:
    """Return a policy's checkpoint; raises CheckpointError, with the command that trains it if the policy names one."""
    try:
        return load_checkpoint(policy.checkpoint)
    except CheckpointError as error:
        if "trained_by" not in policy or Path(policy.checkpoint).exists():
            raise
        raise CheckpointError(
            f"no checkpoint {policy.checkpoint!r} ships, and none is in runs/{policy.checkpoint}/final; train it by "
            f"`{policy.trained_by}`"
        ) from error


def checkpoint_folder(policy: DictConfig) -> Path | None:
    """Return where a policy's weights are; None if it loads none."""
    return load_weights(policy).folder if policy.get("checkpoint") else None


def make_policy(config: DictConfig, **overrides: Any) -> Policy:
    """Return the policy of a configuration with "env", "max_steps" and "policy"; overrides go over its options.

    Raises:
        PolicyError: it cannot be made, say for lack of a checkpoint.
    """
    _trust_module_of(config.env)
    try:
        checkpoint_folder(config.policy)
        policy: Policy = instantiate(config.policy.policy, _convert_="all", **overrides)
    except InstantiationException as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__ is not None:
            cause = cause.__cause__
        said = " ".join(str(cause).split("\n"))
        plain = isinstance(cause, InstantiationException | ValueError | CheckpointError | OSError | ImportError)
        what = said if plain else f"{type(cause).__name__}: {said}"
        if isinstance(cause, TypeError) and "unexpected keyword argument" in what:
            unknown = what.rpartition("argument ")[2]
            what = f"it has no option {unknown}; `df-agent evaluate policy={config.policy.name} --help` shows its own"
        raise PolicyError(f"policy {config.policy.name!r} cannot be made: {what}") from cause
    except (CheckpointError, OmegaConfBaseException) as error:
        raise PolicyError(f"policy {config.policy.name!r} cannot be made: {error}") from error
    return policy


def _trust_module_of(env_id: str) -> None:
    """Let checkpoints name the goal functions of the module that an environment's name begins with, as mine:Mine-v0."""
    module, colon, _ = env_id.partition(":")
    if colon:
        spec_of(env_id)  # imports it
        register_goal_functions(module)


def goal_spec_of(config: DictConfig) -> GoalSpec:
    """Return where the environment's goals are found: as the policy's checkpoint says, but for what is said in "goal".

    Args:
        config: as for `make_policy`; "goal", options of GoalSpec, may be missing, and so may any of it.
    """
    goal: Any = OmegaConf.to_container(config.goal, resolve=True) if config.get("goal") else {}
    said = {name: value for name, value in goal.items() if value is not None}
    goal_spec = make(GoalSpec, said)  # imports the functions that are named, also for the checkpoint
    if not config.policy.get("checkpoint"):
        return goal_spec
    _trust_module_of(config.env)
    own = load_weights(config.policy).config.get("goal") or {}
    unsaid = validated({name: value for name, value in own.items() if name not in said})
    return make(GoalSpec, {**unsaid, **said})


def changed_options(config: DictConfig) -> dict[str, Any]:
    """Return what of a run's `policy.policy` is not as its file has it, and `max_steps` if it is not the usual.

    Args:
        config: as for `make_policy`. Device and precision are no change.
    """
    kept = {key: config.policy[key] for key in ("device", "precision") if key in config.policy}
    usual = config.copy()
    usual.policy = OmegaConf.merge(described(config.policy.name), kept)
    made, before = as_json(config.policy.policy), as_json(usual.policy.policy)
    changed = {key: made.get(key) for key in sorted({*made, *before}) if made.get(key, ...) != before.get(key, ...)}
    if config.max_steps not in (None, spec_of(config.env).max_episode_steps):
        changed["max_steps"] = config.max_steps
    return changed


def is_usual(config: Mapping[str, Any]) -> bool:
    """Whether a run, by the configuration that is kept with its results, was of a policy as its file has it."""
    try:
        policy = policy_entry(config["policy"])
        return not config["checkpoint"] and not changed_options(OmegaConf.create({**config, "policy": policy}))
    except (ValueError, ImportError, gym.error.Error):  # of a policy or an environment that is not there any more
        return False


def identity(config: DictConfig, num_envs: int) -> dict[str, Any]:
    """Return what the rows of a policy follow from, as JSON values: two rollouts of equal identity are alike.

    Args:
        config: as for `make_policy`.
        num_envs: episodes side by side.

    Raises:
        PolicyError: something that it names is not there.
    """
    shown = config.copy()
    try:
        if config.policy.get("checkpoint"):
            weights = content_hash(load_weights(config.policy).folder)
            shown.policy.checkpoint = f"sha256:{weights}"  # wherever they lie
        policy = as_json(shown.policy.policy)
        modules = [get_object(target).__module__ for target in _targets(policy)]
        code = code_hashes([*modules, _module_of(config.env), "df_agent.evaluation.rollout"])
    except (CheckpointError, ImportError, OSError, ValueError, OmegaConfBaseException) as error:
        raise PolicyError(f"policy {config.policy.name!r} cannot be made: {error}") from error
    return {
        "env": config.env,
        "limit": episode_limit(config.env, config.max_steps),
        "num_envs": num_envs,
        "policy": policy,
        "code": code,
        "versions": {name: version for name, version in versions().items() if name in ACTS_WITH},
        "accelerator": hardware()["accelerator"],
    }


def as_json(config: DictConfig) -> Any:
    """Return a configuration, resolved, as JSON values; infinity, which JSON has not, as text."""
    return _finite(OmegaConf.to_container(config, resolve=True))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _targets(policy: Any) -> Iterator[str]:
    """Yield all that is made: the policy and its parts."""
    if isinstance(policy, dict):
        if "_target_" in policy:
            yield policy["_target_"]
        policy = list(policy.values())
    for inner in policy if isinstance(policy, list) else []:
        yield from _targets(inner)


def _module_of(env_id: str) -> str:
    entry: Any = spec_of(env_id).entry_point
    return str(entry.partition(":")[0] if isinstance(entry, str) else entry.__module__)
