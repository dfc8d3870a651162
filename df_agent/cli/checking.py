"""What a configuration asks for is looked for before a command begins: names of environments, a grid's options.

Nothing here imports torch.
"""

from __future__ import annotations

import itertools
from typing import Any

from omegaconf import DictConfig, OmegaConf

from df_agent.cli.commands import COMMANDS, Command, named
from df_agent.cli.environments import check_env, own_maze


def check(command: Command, config: DictConfig) -> None:
    """Raise ValueError for what a command's configuration asks for and there is not."""
    named(command.check)(config)


def check_env_of(config: DictConfig) -> None:
    """Raise ValueError unless the environment that is asked for is there; clips that were published have none."""
    if config.get("env_id") is not None:  # registered already if it is of a maze of the user's own
        check_env(str(config.env_id))
    elif config.get("env") is not None and not config.get("teco"):
        check_env(own_maze(str(config.env), config.get("maze")))


def check_tuning(config: DictConfig) -> None:
    """Raise ValueError unless the environment is there, and every option of the grid, with values that it takes."""
    from df_agent.cli.composing import schema_of  # which imports the commands' options

    check_env_of(config)
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
