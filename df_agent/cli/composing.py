"""From a command line to the configuration of a command: checked against its options, then composed by Hydra."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from itertools import chain
from typing import Any

from hydra import compose, initialize, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from df_agent.cli.arguments import called_here, check_several, in_one_syntax, nearest
from df_agent.cli.commands import Command, command_of, named
from df_agent.cli.folders import FOLDER, group_files, own_folder
from df_agent.cli.options import GIVEN
from df_agent.cli.policy_files import policy_file
from df_agent.cli.policy_options import ABOUT, options_of_policy
from df_agent.cli.resolvers import register
from df_agent.cli.schema import Schema, default_of, fits, names_of, options_of

Pairs = list[tuple[str, str]]
register()


class OptionError(ValueError):
    """Something on a command line that is not so; the text is one line."""


def configuration(name: str, arguments: Sequence[str], within: str = "") -> DictConfig:
    """Return the configuration that a command line asks for.

    Args:
        name: of the command.
        arguments: as the user typed them, without flags.
        within: what stood before their names, of options that another command hands on; for the errors.

    Raises:
        OptionError: an option that there is not, or a value that it does not take.
    """
    try:
        command = command_of(name, arguments)
        pairs = last_of_each(map(split, in_one_syntax(arguments, command.positional)))
        pairs = named(command.understood)(pairs) if command.understood else pairs
        config = composed(command, overrides(command, last_of_each(pairs), within))
        if missing := list(missing_in(OmegaConf.to_container(config, resolve=False))):
            raise OptionError(f"{', '.join(missing)} must be given, as {within}{missing[0]}=VALUE")
        return config
    except OptionError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise OptionError(str(error).splitlines()[0]) from error
    except ValueError as error:
        raise OptionError(str(error)) from error


def missing_in(value: Any, name: str = "") -> Iterator[str]:
    """Yield the names of what must be given and is not."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from missing_in(inner, f"{name}.{key}".removeprefix("."))
    elif value == GIVEN:
        yield name


def last_of_each(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """Return the pairs without those whose key comes again."""
    latest: dict[str, str] = {}
    for key, text in pairs:
        latest.pop(key, None)
        latest[key] = text
    return list(latest.items())


def split(argument: str) -> tuple[str, str]:
    """Return key and value of key=value."""
    key, _, value = argument.partition("=")
    return key, value


def overrides(command: Command, pairs: Pairs, within: str = "") -> list[str]:
    """Return what Hydra is told, each checked; raises ValueError for what the command does not take."""
    schema = schema_of(command, dict(pairs), within)
    policy = dict(pairs).get("policy", command.defaults.get("policy"))
    out = [f"++policy.name={quoted(policy)}"] if policy is not None else []  # a file inherits all but its name
    for key, text in pairs:
        if key in command.groups:
            out += file_override(command, key, chosen(command, key, text))
        else:
            out.append(f"++{in_the_files(command, key)}={checked(command, schema, key, text)}")
    return out


def file_override(command: Command, group: str, name: str) -> list[str]:
    """Return how Hydra is told to take a group's file; what is usual may have none, since there is nothing to say."""
    known, usual = group_files(command.folder, group), command.defaults[group]
    if group == "policy" and ":" in name:
        own = policy_file(name)
        made = [f"++policy.policy._target_={quoted(own.pop('policy')['_target_'])}", f"++policy.slow={own.pop('slow')}"]
        return ["~policy", *(f"++policy.{key}={quoted(value)}" for key, value in own.items()), *made]
    if name == usual and name not in known:
        return []
    return [f"{group}={name}" if usual in known else f"+{group}={name}"]


def in_the_files(command: Command, key: str) -> str:
    """Return what an option is called in the files: of a policy, what its class is told stands below policy.policy."""
    group, _, rest = key.partition(".")
    inside = group == "policy" and group in command.groups and rest.partition(".")[0] not in ABOUT
    return f"policy.policy.{rest}" if inside else key


def chosen(command: Command, group: str, name: str) -> str:
    """Return the name of a group's file; raises ValueError, naming the nearest, if there is none."""
    known = {*group_files(command.folder, group), command.defaults[group]}
    own = group == "policy" and ":" in name
    if name not in known and not own:
        check_several(group, name)
        raise ValueError(f"there is no {group} {name!r}; there are {', '.join(sorted(known))}.{nearest(name, known)}")
    return name


def checked(command: Command, schema: Schema, key: str, text: str) -> str:
    """Return a value as Hydra reads it, once the option is found and the value is of its type.

    Raises:
        ValueError: it is not.
    """
    try:
        kinds = [option.kind for option in schema.find(key)]
    except ValueError:
        if here := called_here(key):
            raise ValueError(f"{key}: {here}") from None
        files = [group for group in command.groups if text in group_files(command.folder, group)]
        takes = [option.name for option in schema if text in names_of(option.kind)]
        meant = f" Did you mean {(files or takes)[0]}={text}?" if files or takes else ""
        hint = meant if files else schema.nearest(key) or meant
        raise ValueError(f"there is no option {schema.within + key!r}.{hint} --help shows all options.") from None
    value, text = read(key, text, kinds)
    return text if schema.check(key, value) == value else f"[{text}]"


def read(key: str, text: str, kinds: Sequence[Any]) -> tuple[Any, str]:
    """Return a value, and its text as Hydra reads it; texts are put in quotes where they need them.

    Raises:
        ValueError: it cannot be read, or stands for several values.
    """
    if set(kinds) == {str} and not text.startswith(("'", '"')) and text != "null":
        if has_several(text) and not re.search(r",\s", text):
            raise ValueError(
                f"{key}={text} are several values; with -m each is a job of its own (a text with a comma is written "
                f"'{key}=\"...\"')"
            ) from None
        return text, quoted(text)
    try:
        override = parser().parse_override(f"{key}={text}")
    except (OverrideParseException, HydraException):
        if any(fits("text", kind) for kind in kinds):
            return text, quoted(text)
        raise ValueError(f"{key}={text} cannot be read; lists are [a,b], options {{name: value}}, in quotes") from None
    if override.is_sweep_override():
        inside = f"[{text}]"
        try:
            listed = parser().parse_override(f"{key}={inside}").value()
        except (OverrideParseException, HydraException):
            listed = None
        if listed is not None and any(fits(listed, kind) for kind in kinds if kind is not Any):
            return listed, inside
        raise ValueError(f"{key}={text} are several values; with -m each is a job of its own")
    return override.value(), text


def has_several(text: str) -> bool:
    """Whether a value stands for several, each of a job of its own."""
    try:
        return bool(parser().parse_override(f"key={text}").is_sweep_override())
    except HydraException:
        return False


@functools.cache
def parser() -> OverridesParser:
    """Return Hydra's parser."""
    return OverridesParser.create()


def quoted(text: str) -> str:
    """Return a text in quotes, as Hydra reads it: backslashes count before a quote only."""
    inside = []
    for piece in text.split("'"):
        bare = piece.rstrip("\\")
        inside.append(bare + 2 * piece[len(bare) :])
    return "'" + "\\'".join(inside) + "'"


def schema_of(command: Command, given: Mapping[str, str], within: str = "") -> Schema:
    """Return all options of a command; those of the policy that is given, or taken by default, among them."""
    options = options_of(command.options_class)
    if "policy" in command.groups:
        name = given.get("policy", command.defaults["policy"])
        options = chain(options, options_of_policy(name, given.get("policy.planner")))
    return Schema(options, within)


def defaults(cls: type[Any]) -> dict[str, Any]:
    """Return the defaults of a dataclass of options, as plain values."""
    values = {entry.name: default_of(entry) for entry in fields(cls)}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not MISSING
    }


def composed(command: Command, overrides: Sequence[str]) -> DictConfig:
    """Compose the files that are chosen over the defaults, and the overrides over these."""
    name = command.options.rpartition(":")[2]
    known = {group: group_files(command.folder, group) for group in command.groups}
    taken = {group: file for group, file in command.defaults.items() if file in known[group]}  # or it is what is usual
    files = ["_self_", *({group: file} for group, file in taken.items())]
    ConfigStore.instance().store(name, {"defaults": files, **defaults(command.options_class)})
    hydra = GlobalHydra.instance()
    before, hydra.hydra = hydra.hydra, None  # that of a sweep, in which this may be a job
    try:
        return composed_of(command, name, overrides)
    finally:
        hydra.hydra = before


def composed_of(command: Command, name: str, overrides: Sequence[str]) -> DictConfig:
    """Return what `composed` does, from the defaults called `name`."""
    if not command.groups:  # a folder of the name of an option would be taken for what the option chooses from
        with initialize(version_base=None, config_path=None):
            return compose(name, list(overrides))
    own = own_folder()
    more = [f"hydra.searchpath=['file://{own}']"] if own is not None else []
    with initialize_config_dir(version_base=None, config_dir=str(FOLDER / command.folder)):
        return compose(name, [*more, *overrides])
