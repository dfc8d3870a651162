"""What `--help` shows: usage, the files that may be chosen, and every option with its meaning and default."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from itertools import chain
from typing import Any

from df_agent.cli.arguments import value_of
from df_agent.cli.commands import COMMANDS, TRAININGS, Command
from df_agent.cli.folders import group_files
from df_agent.cli.options import GIVEN
from df_agent.cli.policy_files import check_name
from df_agent.cli.policy_options import ABOUT, decided_by_checkpoint, options_of_policy
from df_agent.cli.resolvers import in_words
from df_agent.cli.schema import Option, Schema, as_typed, described, names_of, options_of

WIDTH = 120
HIDDEN = ("name", "description", "privileged", "slow", "only", "usual_in", "trained_by")  # what files say of a policy
FLAGS = """\
  -m                     several values of an option, e.g. env=maze2d-umaze,maze2d-large, are a job each
  --config-dir FOLDER    your own files, e.g. FOLDER/policy/mine.yaml
  --cfg job              print the configuration and stop
  -h, --help             this text; with key=value before it, of what these choose

HYDRA_FULL_ERROR=1 before a command: errors come with their traceback."""


def overview() -> str:
    """Return the list of the commands."""
    lines = ["usage: df-agent COMMAND key=value ...", "", "commands:"]
    lines += [f"  {name:16} {command.about}" for name, command in COMMANDS.items()]
    more = [
        "`df-agent COMMAND --help` shows all that a command can be told, `df-agent --version` the version. To begin:",
        "  df-agent evaluate env=maze2d-umaze episodes=4",
    ]
    return "\n".join([*lines, "", *more])


def help_of(command: Command, name: str, arguments: Sequence[str]) -> str:
    """Return the help of a command.

    Args:
        command: which one.
        name: as it is called.
        arguments: what the user says beside --help: `policy=` and `algorithm=` choose what is shown.
    """
    lines = [f"usage: df-agent {name} {command.example} ...", "", f"{command.about[0].upper()}{command.about[1:]}.", ""]
    check_names(command, arguments)
    groups = list(groups_of(command, name))
    if groups:
        lines += ["chosen by NAME=VALUE:", *groups, ""]
    policy = value_of(arguments, "policy") or command.defaults.get("policy")
    options = list(Schema(chain(options_of(command.options_class), options_of_chosen(command, policy))))
    lines += ["options, NAME=VALUE:"]
    trained = "policy" in command.groups and bool(policy) and decided_by_checkpoint(str(policy))
    for option in options:
        shown = option.name.removeprefix("policy.") not in HIDDEN if "policy" in command.groups else True
        told = option.name != "policy" and (name, option.name) != ("train", "algorithm")  # above, as files are
        if shown and told and option.meaning:  # without one it follows from others
            acts = option.name.startswith("policy.") and option.name.partition(".")[2] not in ABOUT
            lines += entry(option, bool(groups), by_checkpoint=trained and acts)
    return "\n".join([*lines, "", "flags:", FLAGS])


def check_names(command: Command, arguments: Sequence[str]) -> None:
    """Raise ValueError for a policy that there is not."""
    policy = value_of(arguments, "policy") if "policy" in command.groups else None
    if policy is not None:
        check_name(policy)


def options_of_chosen(command: Command, policy: str | None) -> Iterator[Option]:
    """Yield the options of the policy that is shown, if the command has one."""
    if "policy" in command.groups and policy is not None:
        yield from options_of_policy(policy)


def groups_of(command: Command, name: str) -> Iterator[str]:
    """Yield lines about the files that may be chosen."""
    if name == "train":
        yield from wrapped("algorithm", f"what is trained: {', '.join(TRAININGS)}. Default: diffusion_forcing.")
    for group, about in command.groups.items():
        if group == "env":  # which has more than there are files
            yield from wrapped(group, f"{about}. Default: maze2d-large.")
            continue
        known = ", ".join(sorted({*group_files(command.folder, group), command.defaults[group]}))
        yield from wrapped(group, f"{about}: {known}. Default: {command.defaults[group]}.")


def entry(option: Option, by_files: bool, by_checkpoint: bool) -> list[str]:
    """Return the lines about an option; without a default, the files that are chosen say it, or it must be given."""
    value = "" if isinstance(option.default, dict) or option.default is MISSING else as_typed(option.default)
    if option.default == GIVEN:
        value = "that of what is chosen above" if by_files else "none, it must be given"
    kind = f" ({described(option.kind)})" if tells_more(option) else ""
    default = f" Default: {'the checkpoint decides, else ' if by_checkpoint else ''}{in_words(value)}." if value else ""
    meaning = re.sub(r"\bNone\b", "null", option.meaning.rstrip("."))
    return wrapped(option.name, f"{meaning[0].upper()}{meaning[1:]}{kind}.{default}")


def tells_more(option: Option) -> bool:
    """Whether an option's type is worth a word: there is one, and its meaning does not list all values already."""
    if (isinstance(option.default, dict) and not option.open) or option.kind is Any:
        return False
    names = names_of(option.kind)
    return not names or not all(f'"{name}"' in option.meaning for name in names)


def wrapped(name: str, text: str) -> list[str]:
    """Return a name and a text beside it as lines."""
    indent = " " * 26
    lines = textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    head = f"  {name}"
    if len(head) < 25:
        return [f"{head:26}{lines[0].strip()}", *lines[1:]]
    return [head, *lines]
