"""`-m`: a job for each combination of values, by Hydra's sweeper and launchers.

Hydra only deals the arguments out. Each job composes its configuration from its own arguments, as it would alone, so
what follows from an environment follows in a sweep too. Where the default folders of two jobs would be one, what
differs is put behind it, as an argument that is printed with the job's others: these alone do the same again.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import gymnasium as gym
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.version import setbase
from omegaconf import DictConfig

from df_agent.cli.arguments import in_one_syntax, value_of
from df_agent.cli.checking import check
from df_agent.cli.commands import command_of
from df_agent.cli.composing import configuration, has_several, parser
from df_agent.cli.errors import CommandError, in_one_line

NAME = "df_agent_job"
ALIKE = "alike"  # holds what all jobs are told, as it was typed, in a form that Hydra leaves alone
NAMELY = r"[\w.+-]+"  # a value that can be part of a file's name
DOT = "$"  # stands for the dots of an option's name, which Hydra would take for parts of this configuration


def job(config: DictConfig) -> str | None:
    """Run one job of a sweep, in this process or in another; return why it failed, in a line."""
    said = json.loads(bytes.fromhex(config[ALIKE]))
    name, own, dealt = said["name"], said["alike"], said["dealt"]
    for text in HydraConfig.get().overrides.task:
        key, _, value = text.lstrip("+").partition("=")
        if key != ALIKE:
            plain = parser().parse_override(f"key={value}").value()  # without what Hydra puts before odd characters
            own.append(f"{key.replace(DOT, '.')}={plain if isinstance(plain, str) else value}")
    sys.path.append("")
    try:
        command, config = command_of(name, own), configuration(name, own)
        check(command, config)
        if more := folders_apart(name, own, dealt):
            config = configuration(name, own := [*own, *more])
        print(f"{name}: {' '.join(own)}", flush=True)
        import_module(command.module).main(config)
    except CommandError as error:
        return f"{' '.join(own)}: {error}"
    except (ValueError, OSError) as error:
        return f"{' '.join(own)}: {in_one_line(error)}"
    except SystemExit as error:
        if error.code:
            return f"{' '.join(own)}: {error.code if isinstance(error.code, str) else 'it is not complete, see above'}"
    return None


def folders_apart(name: str, own: Sequence[str], dealt: Mapping[str, Sequence[str]]) -> list[str]:
    """Return options that give a job a folder of its own, where another job's default would be the same.

    Args:
        name: of the command.
        own: the job's arguments.
        dealt: option -> the values that jobs of the sweep have.
    """
    here, out = written(name, own), []
    for option, place in here.items():
        part, dot, _ = option.rpartition(".")
        behind = []
        for key, values in dealt.items():
            value = value_of(own, key)
            theirs = [[*own, f"{key}={other}"] for other in values if other != value]
            concerns = not dot or not key.startswith(("collect.", "train.", "evaluate.")) or key.startswith(f"{part}.")
            if value is not None and concerns and any(written(name, job).get(option) == place for job in theirs):
                behind.append(f"{key.rpartition('.')[2]}{value if re.fullmatch(NAMELY, value) else hashed(value)}")
        if behind:
            out.append(f"{option}={with_suffix(place, '-'.join(behind))}")
    return out


def written(name: str, own: Sequence[str]) -> dict[str, str]:
    """Return where a job's results go, by the options that were not told; nothing for a job that cannot be."""
    try:
        command, config = command_of(name, own), configuration(name, own)
        tell = getattr(import_module(command.module), "written", None)
        told: dict[str, str] = tell(config) if tell is not None else {}
        places = {option: told.get(option) or str(config[option]) for option in command.writes}
    except (ValueError, OSError, ImportError, gym.error.Error):
        return {}
    return {option: place for option, place in places.items() if value_of(own, option) is None}


def with_suffix(place: str, suffix: str) -> str:
    """Return a place with something behind its name: before a dataset's version; of a file, as a folder around it."""
    if found := re.fullmatch(r"(.*)(-v\d+)", place):
        return f"{found.group(1)}-{suffix}{found.group(2)}"
    path = Path(place)
    return str(path.parent / suffix / path.name) if path.suffix in (".json", ".png") else f"{place}-{suffix}"


def hashed(value: str) -> str:
    """Return a short name for a value that would make no name of a file."""
    return "-" + hashlib.sha256(value.encode()).hexdigest()[:6]


def several(value: str) -> list[str]:
    """Return the values that one stands for, as they are typed; none if that cannot be listed."""
    try:
        listed = [*parser().parse_override(f"key={value}").sweep_string_iterator()]
    except (HydraException, ValueError):
        return []
    texts = [parser().parse_override(f"key={one}").value() for one in listed]
    return [text if isinstance(text, str) else one for one, text in zip(listed, texts, strict=True)]


def sweep(name: str, arguments: Sequence[str]) -> None:
    """Run a command once for each combination of values; all jobs run, whether others fail or not.

    Args:
        name: of the command.
        arguments: of the user; those of Hydra's launchers and sweepers among them.

    Raises:
        ValueError: Hydra cannot read them.
        CommandError: a job failed.
    """
    ours = [text for text in arguments if not text.startswith(("hydra.", "hydra/"))]
    alike, dealt, values = list[str](), list[str](), dict[str, list[str]]()
    for text in in_one_syntax(ours, command_of(name).positional):
        key, _, value = text.partition("=")
        if has_several(value):
            dealt.append(f"++{key.replace('.', DOT)}={value}")
            values[key] = several(value)
        else:
            alike.append(text)
    told = {"name": name, "alike": alike, "dealt": values}
    dealt.append(f"++{ALIKE}={json.dumps(told).encode().hex()}")
    quiet = [{f"override hydra/{kind}_logging": "none"} for kind in ("hydra", "job")]
    here = {"output_subdir": None, "job": {"chdir": False}}
    ConfigStore.instance().store(NAME, {"defaults": [*quiet, "_self_"], "hydra": here})
    places = create_config_search_path(None)
    assert isinstance(places, ConfigSearchPathImpl)
    setbase(None)
    runner = Hydra.create_main_hydra2(task_name="df-agent", config_search_path=places)
    try:
        hydras = [text for text in arguments if text not in ours]
        batches = runner.multirun(config_name=NAME, task_function=job, overrides=[*hydras, *dealt])
    except HydraException as error:
        raise ValueError(str(error).splitlines()[0]) from error
    finally:
        GlobalHydra.instance().clear()
    failed = [text for batch in batches for done in batch if (text := done.return_value) is not None]
    if failed:
        raise CommandError(f"\ndf-agent {name}: ".join(failed))
