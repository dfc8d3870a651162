"""`df-agent COMMAND key=value ...`: finds the command, composes its configuration, and runs it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from df_agent import __version__
from df_agent.cli.commands import command_of
from df_agent.cli.errors import CommandError, in_one_line
from df_agent.cli.helping import help_of, overview

FLAGS = {"-h": "help", "--help": "help", "-m": "multirun", "--multirun": "multirun", "--cfg": "config"}


def main(name: str | None = None, *defaults: str, arguments: Sequence[str] | None = None) -> None:
    """Run a command; ends in CommandError, with one line on stderr, if the user has to change something.

    Args:
        name: of the command; None takes it from the arguments.
        defaults: arguments that come before the user's.
        arguments: of the user; None takes those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if name is None:
        if not words or words[0] in ("-h", "--help", "help"):
            print(overview())
            return
        if words[0] == "--version":
            print(f"df-agent {__version__}")
            return
        name, *words = words
    sys.path.append("")  # modules of the user's, in the folder where the command is run
    try:
        run(name, [*defaults, *words])
    except BrokenPipeError:  # what reads us, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (CommandError, ValueError, OSError) as error:
        told = error if isinstance(error, CommandError) else in_one_line(error)
        print(text := f"df-agent {name}: {told}", file=sys.stderr)
        raise CommandError(text, int(told.code or 0)) from error
    except KeyboardInterrupt as error:
        raise SystemExit(128 + getattr(error, "number", signal.SIGINT)) from None  # as shells have it


def run(name: str, words: list[str]) -> None:
    """Run a command as its words say; raises ValueError for what it does not take."""
    flags, arguments = split_flags(words)
    if "help" in flags:
        print(help_of(command_of(name, arguments), name, arguments))
        return
    if "multirun" in flags:
        from df_agent.cli.sweeping import sweep

        sweep(name, arguments)
        return
    from df_agent.cli.composing import configuration

    command = command_of(name, arguments)
    config = configuration(name, arguments)
    if "config" in flags:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(config), end="")
        return
    from df_agent.cli.checking import check  # which brings gymnasium

    check(command, config)
    import_module(command.module).main(config)


def split_flags(words: Sequence[str]) -> tuple[set[str], list[str]]:
    """Return the flags, and the arguments without them; `--config-dir` takes effect."""
    from df_agent.cli.folders import use_config_dir

    flags: set[str] = set()
    arguments: list[str] = []
    rest = iter(words)
    for word in rest:
        option, equals, value = word.partition("=")
        if option in ("--config-dir", "-cd"):
            use_config_dir(value if equals else next(rest, ""))
        elif word in FLAGS:
            flags.add(FLAGS[word])
            if word == "--cfg":
                next(rest, None)  # "job", as Hydra has it
        else:
            arguments.append(word)
    return flags, arguments


if __name__ == "__main__":
    main()
