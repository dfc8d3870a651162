"""`-m`: a job for each combination of values, by Hydra's sweeper and launchers.

Hydra only deals the arguments out. Each job composes its configuration from its own arguments, as it would alone, so
what follows from an environment follows in a sweep too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from df_agent.cli.arguments import in_one_syntax
from df_agent.cli.commands import command_of
from df_agent.cli.composing import configuration

NAME = "df_agent_job"
DOT = "$"  # stands for the dots of an option's name, which Hydra would take for parts of this configuration


class JobError(Exception):
    """What a job ended with, in one line."""


def job(config: DictConfig) -> None:
    """Run one job of a sweep; in this process or in another."""
    arguments = [
        text.lstrip("+").partition("=")[0].replace(DOT, ".") + "=" + text.partition("=")[2]
        for text in HydraConfig.get().overrides.task
    ]
    name = next(text.partition("=")[2] for text in arguments if text.startswith("command="))
    own = [text for text in arguments if not text.startswith("command=")]
    sys.path.append("")
    print(f"{name}: {' '.join(own)}", flush=True)
    try:
        import_module(command_of(name, own).module).main(configuration(name, own))
    except (SystemExit, ValueError) as error:
        if error.args and error.args[0] not in (0, None):
            raise JobError(f"{' '.join(own)}: {error}") from None


def sweep(name: str, arguments: Sequence[str]) -> None:
    """Run a command once for each combination of values; all jobs run, whether others fail or not.

    Raises:
        ValueError: an option that there is not.
        SystemExit: a job failed.
    """
    ours = [text for text in arguments if not text.startswith(("hydra.", "hydra/"))]
    hydras = [text for text in arguments if text not in ours]
    quiet = [{f"override hydra/{kind}_logging": "none"} for kind in ("hydra", "job")]
    ConfigStore.instance().store(NAME, {"defaults": [*quiet, "_self_"], "hydra": {"output_subdir": None}})
    out = [f"++command={name}"]
    for text in in_one_syntax(ours, command_of(name).positional):
        key, _, value = text.partition("=")
        out.append(f"++{key.replace('.', DOT)}={value}")
    before, sys.argv = sys.argv, [sys.argv[0], "--multirun", *hydras, *out]
    try:
        hydra.main(version_base=None, config_path=None, config_name=NAME)(job)()
    except JobError as error:
        raise SystemExit(str(error)) from error
    finally:
        sys.argv = before
