"""What values in configurations follow from: `${NAME:ARGUMENTS}` calls a function of `df_agent.cli.environments`.

Each is told in words too, for the help. What is called is imported then, so that a typo is answered without.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

HOME = "df_agent.cli.environments"


@dataclass(frozen=True)
class Resolver:
    """What a value follows from.

    Attributes:
        function: of `df_agent.cli.environments`.
        words: what it gives; {0}, {1}, ... are its arguments in words.
    """

    function: str
    words: str

    def __call__(self, *arguments: Any, **given: Any) -> Any:
        """Return the value."""
        return getattr(import_module(HOME), self.function)(*arguments, **given)


RESOLVERS = {
    "maze2d": Resolver("maze2d", "the maze of {0}"),
    "multi2d": Resolver("with_random_goals", "{0}, in the mazes with goals anywhere"),
    "trained": Resolver("trained", "what ships for {0}, or else lies in runs/"),
    "encoder": Resolver("encoder", "what ships for the maze of {0}, or else lies in runs/"),
    "by_name": Resolver("by_name", "by {0}: {1}"),
    "demonstrations": Resolver("demonstrations", "what `df-agent collect` records in {0}"),
    "limit": Resolver("episode_limit", "max_steps, or the limit of {0}"),
    "film": Resolver("film", "what `df-agent collect pixels=64` records in {0}"),
    "file_name": Resolver("file_name", "{{{0}}}"),
    "every": Resolver("frame_steps", "5 in the mazes, 1 elsewhere"),
    "warmup": Resolver("warmup", "{0}, or a tenth of the steps where these are few"),
    "maze_seen": Resolver("plain", "the maze of {0}"),
}


def register() -> None:
    """Make the resolvers known to OmegaConf."""
    from omegaconf import OmegaConf

    for name, resolver in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, _function(resolver), replace=True)


def _function(resolver: Resolver) -> Callable[..., Any]:
    """Return a plain function, as OmegaConf wants one: it looks for `_parent_` among the parameters."""
    if resolver.function == "warmup":

        def of_parent(*arguments: Any, _parent_: Any) -> Any:
            return resolver(*arguments, _parent_=_parent_)

        return of_parent

    def plain(*arguments: Any) -> Any:
        return resolver(*arguments)

    return plain


def in_words(value: str) -> str:
    """Return a value of a configuration without its `${...}`: what it is as, or follows from."""
    while found := re.search(r"\$\{((?:[^${}]|\{[^{}]*\})*)\}", value):
        name, colon, rest = found.group(1).partition(":")
        if not colon:
            before = value[: found.start()][-1:]
            told = f"as {name}" if found.group() == value else name if before in (":", ",") else f"{{{name}}}"
        elif name in RESOLVERS:
            first, _, second = rest.partition(",")
            told = RESOLVERS[name].words.format(first, second.strip().strip("{}"))
        else:
            told = "what follows from other options"
        value = value[: found.start()] + told + value[found.end() :]
    return value
