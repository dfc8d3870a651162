"""What a configuration asks for is looked for before a command begins: environments, planners, a grid's options.

Nothing here imports torch.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from df_planners import PLANNERS, ModelPlanner
from df_planners.shooting import ActionSequencePlanner
from omegaconf import DictConfig, OmegaConf

from df_agent.cli.commands import COMMANDS, Command, named
from df_agent.cli.environments import check_env, own_maze
from df_agent.cli.folders import check_writable
from df_agent.cli.policy_files import check_collector
from df_agent.cli.policy_options import CLASSES, ShootingOptions
from df_agent.data.episodes import check_pack_name, check_store
from df_agent.options import find_class
from df_agent.policies.config import PolicyConfig
from df_agent.policies.controller import Controller
from df_agent.policies.controllers import CONTROLLERS


def check(command: Command, config: DictConfig) -> None:
    """Raise ValueError for what a command's configuration asks for and there is not."""
    named(command.check)(config)


def check_names(config: DictConfig) -> None:
    """Raise ValueError unless environment, planner and controller are there, as far as some are asked for.

    Clips that were published have no environment. OSError is raised where results cannot be written.
    """
    check_pieces(config)
    for name in ("run_dir", "output_dir"):
        if isinstance(folder := config.get(name), str):
            check_writable(Path(folder))
    if config.get("env_id") is not None:  # registered already if it is of a maze of the user's own
        check_env(str(config.env_id))
    elif config.get("env") is not None and not config.get("teco"):
        check_env(own_maze(str(config.env), config.get("maze")))


def check_pieces(config: DictConfig) -> None:
    """Raise ValueError for a planner or a controller of ours that there is not; those of the user's own come later."""
    said: Any = OmegaConf.to_container(config, resolve=False)
    policy = said.get("policy")
    options = policy.get("policy", policy) if isinstance(policy, dict) else {}
    cls = CLASSES.get(options["_target_"]) if "_target_" in options else PolicyConfig
    planners: type[Any] = ActionSequencePlanner if cls is ShootingOptions else ModelPlanner
    pieces = (("planner", PLANNERS, planners), ("controller", CONTROLLERS, Controller))
    for kind, known, base in pieces if cls is not None else ():
        name = options.get(kind)
        if isinstance(name, str) and ":" not in name and "${" not in name:
            find_class(kind, name, known, base)


def check_collecting(config: DictConfig) -> None:
    """Raise ValueError or FileNotFoundError unless environment and policy are there, and the pack can be written."""
    check_names(config)
    check_collector(str(config.policy))
    if config.pack:
        check_pack_name(Path(config.pack))
        check_writable(Path(config.pack).parent)
    check_store()


def check_tuning(config: DictConfig) -> None:
    """Raise ValueError unless the environment is there, and every option of the grid, with values that it takes."""
    from df_agent.cli.composing import schema_of  # which imports the commands' options

    check_names(config)
    check_writable(Path(config.output).parent)
    schema = schema_of(COMMANDS["tune"], {"policy": str(config.policy.name)})
    for setting in settings_of(config):
        for name, value in setting.items():
            try:
                schema.check(f"policy.{name}", value)
            except ValueError as error:
                raise ValueError(f"grid: {error}") from None


def settings_of(config: DictConfig) -> list[dict[str, Any]]:
    """Return every combination of the values in the configuration's grid; dots in a name lead into nested options."""
    return settings(OmegaConf.to_container(config.grid, resolve=True) if config.grid else {})


def settings(grid: Any) -> list[dict[str, Any]]:
    """Return every combination of a grid's values.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(grid, dict):
        raise ValueError(f"grid must be options and lists of values, grid={{OPTION: [...]}}, got {grid!r}")
    for name, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"grid.{name} must be a list of values, at least one, got {values!r}")
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
