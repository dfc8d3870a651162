"""Train the agent: `df-agent train env=maze2d-large`. Started again, it continues where it stopped.

Resolves the configuration to a plain dict and hands it to `df_agent.training.run.train`, with a validation that
runs the agent in its environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import nn

from df_agent.agent_model import AgentModel
from df_agent.checkpoint import load_checkpoint
from df_agent.cli.environments import check_env
from df_agent.cli.errors import errors_in_one_line
from df_agent.data.datasets import load_episodes
from df_agent.data.env_spec import check_fits, spec_of
from df_agent.data.episodes import OWN_NAMESPACE
from df_agent.data.goal_spec import GoalSpec
from df_agent.data.infer import infer
from df_agent.evaluation.choosing import LocalPolicyLook, Tried, choose_policy
from df_agent.evaluation.plots import plot_plans
from df_agent.evaluation.references import references_of
from df_agent.evaluation.validation import MEASURES, Validation
from df_agent.files import json_bytes, replace_file
from df_agent.options import make
from df_agent.policies import DiffusionForcingPolicy
from df_agent.policies.config import PolicyConfig
from df_agent.training.config import TrainConfig
from df_agent.training.run import train

# Of the tokens, where they are null
INFERRED = ("observation_indices", "goal_channels", "include_actions", "action_dim", "frame_skip", "frame_stack")


class AgentValidation:
    """Runs the EMA model as a policy; pictures of its paths go to the run folder too.

    Args:
        env_id: gymnasium id.
        folder: where the pictures go.
        goal_spec: where the environment's goals are found.
        **options: of `Validation`.
    """

    def __init__(self, env_id: str, folder: Path, goal_spec: GoalSpec, **options: int) -> None:
        self.validate, self.folder = Validation(env_id, options["episodes"], options["seed"], goal_spec), folder
        self.references = references_of(env_id)

    def __call__(
        self, model: nn.Module, step: int, checkpoint: Mapping[str, Any]
    ) -> Mapping[str, float | NDArray[np.uint8]]:
        """Return what was measured, and a picture of the paths."""
        limit = self.validate.limit
        policy = DiffusionForcingPolicy.from_model(model, dict(checkpoint), max_steps=limit)  # type: ignore[arg-type]
        numbers, records = self.validate(policy, keep_paths=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        picture = plot_plans(records, self.folder / f"step_{step:09d}.png", self.references)
        return {**numbers, "paths": imageio.imread(picture)[..., :3]}


def resolve(config: DictConfig) -> dict[str, Any]:
    """Return the plain dict that `df_agent.training.run.train` takes."""
    plain: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    resolved: dict[str, Any] = {"env": plain.pop("env_id"), **plain}
    for key in ("maze", "steps", "debug", "resolve_to"):
        resolved.pop(key)
    tokens = resolved["tokenizer"]
    if any(tokens.get(key, ...) is None for key in INFERRED) or resolved["windows"]["max_tokens"] is None:
        fill_in(resolved)
    own = resolved["dataset"].startswith(f"{OWN_NAMESPACE}/")
    if own and resolved["tokenizer"].get("include_rewards") and resolved["reward"]["place"] is None:
        raise ValueError(
            f"the rewards in {resolved['dataset']} are for goals that a model of rewards is not told: say where reward "
            f"is, e.g. reward.place=[2.5,-2.5]"
        )
    return resolved


def check_use(resolved: Mapping[str, Any]) -> None:
    """Raise ValueError for options of what comes after training, which would otherwise be noticed then."""
    PolicyConfig.from_dict(resolved["policy"])
    best = resolved["train"].get("best_metric", TrainConfig.best_metric)
    if resolved["train"]["validate_every"] and best not in MEASURES:
        raise ValueError(f"unknown train.best_metric={best!r}, validation measures {', '.join(MEASURES)}")


def fill_in(resolved: dict[str, Any]) -> None:
    """Replace what is null by what follows from the environment and the data, and say what that is."""
    spec = spec_of(resolved["env"])
    goal = make(GoalSpec, resolved["goal"])
    found = infer(
        load_episodes(resolved["dataset"]),
        goal,
        spec.max_episode_steps,
        references_of(resolved["env"]).control_period,
        resolved["tokenizer"],
        resolved["local_policy"]["steps"] > 0,
    )
    resolved["goal"] = found.goal.to_dict()
    for key in ("tokenizer", "windows", "policy", "local_policy"):
        options = getattr(found, key)
        given = {name: value for name, value in resolved[key].items() if value is not None}
        resolved[key] = {**options, **given}
    # An angle that was given comes with its sine.
    resolved["tokenizer"]["observation_indices"] = found.tokenizer["observation_indices"]
    seen = resolved["tokenizer"]
    print(
        f"Inferred for {resolved['env']}: plans of {len(seen['observation_indices'])} channels, of which "
        f"{seen['goal_channels']} are about the goal, "
        f"{'with' if seen['include_actions'] else 'without'} the {seen['action_dim']} actions; windows of "
        f"{resolved['windows']['max_tokens']} tokens of {seen['frame_skip'] * seen['frame_stack']} steps",
        *found.notes,
        sep="\n  ",
    )


def run(config: DictConfig) -> None:
    """Resolve, check, and train or only write what was resolved."""
    if not OmegaConf.is_missing(config, "env_id"):
        check_env(config.env_id)
    resolved = resolve(config)
    check_use(resolved)
    if config.resolve_to:
        replace_file(Path(config.resolve_to), json_bytes(resolved))
        return
    validate = look = asked = None
    if resolved["train"]["validate_every"]:
        pictures = Path(resolved["run_dir"], "validation")
        goal_spec = make(GoalSpec, resolved["goal"])
        validate = AgentValidation(resolved["env"], pictures, goal_spec, **resolved["validation"])
        look = LocalPolicyLook(validate.validate)
        asked = validate.validate.asked()
    model = train(resolved, validate, look, asked, partial(check_fits, resolved["env"]))
    if resolved["validation"]["choose"] and not {"planner", "controller"} & set(config.policy):
        choose(model, resolved)


def choose(model: AgentModel, resolved: Mapping[str, Any]) -> None:
    """Choose planner and controller by validation, say why, and keep them in the run's final checkpoint."""
    folder = Path(resolved["run_dir"])
    checkpoint = load_checkpoint(str(folder / "final")).config
    asked = resolved["validation"]
    validation = Validation(resolved["env"], asked["episodes"], asked["seed"], make(GoalSpec, resolved["goal"]))
    print(f"Trying ways to act, {validation.episodes} episodes from seed {asked['seed']} on each:")

    def note(one: Tried) -> None:
        print(f"  {one.name}: success {one.success:.2f}, {one.steps:.1f} steps", flush=True)

    best, tried = choose_policy(model, checkpoint, validation, note)
    print(f"Chosen: {best.name}, the quickest of those that fail in at most one episode more than the most successful")
    DiffusionForcingPolicy.from_model(model, checkpoint, **best.options).save_pretrained(folder / "final")
    replace_file(folder / "choice.json", json_bytes({"chosen": best.name, "tried": [asdict(one) for one in tried]}))


def main(config: DictConfig) -> None:
    """Train as the config says."""
    with errors_in_one_line():
        run(config)
