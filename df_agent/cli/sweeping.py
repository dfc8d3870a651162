"""`-m`: a job for each combination of values, by Hydra's sweeper and launchers.

Hydra only deals the arguments out. Each job composes its configuration from its own arguments, as it would alone, so
what follows from an environment follows in a sweep too.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib import import_module

from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.version import setbase
from omegaconf import DictConfig

from df_agent.cli.arguments import in_one_syntax
from df_agent.cli.commands import command_of
from df_agent.cli.composing import configuration, parser

NAME = "df_agent_job"
ALIKE = "alike"  # holds what all jobs are told, as it was typed, in a form that Hydra leaves alone
DOT = "$"  # stands for the dots of an option's name, which Hydra would take for parts of this configuration


def job(config: DictConfig) -> str | None:
    """Run one job of a sweep, in this process or in another; return why it failed, in a line."""
    name, *own = json.loads(bytes.fromhex(config[ALIKE]))
    for text in HydraConfig.get().overrides.task:
        key, _, value = text.lstrip("+").partition("=")
        if key != ALIKE:
            dealt = parser().parse_override(f"key={value}").value()  # without what Hydra puts before odd characters
            own.append(f"{key.replace(DOT, '.')}={dealt if isinstance(dealt, str) else value}")
    sys.path.append("")
    print(f"{name}: {' '.join(own)}", flush=True)
    try:
        import_module(command_of(name, own).module).main(configuration(name, own))
    except (SystemExit, ValueError) as error:
        if error.args and error.args[0] not in (0, None):
            return f"{' '.join(own)}: {error}"
    return None


def has_several(value: str) -> bool:
    """Whether a value stands for several, each of a job of its own."""
    try:
        return bool(parser().parse_override(f"key={value}").is_sweep_override())
    except HydraException:
        return False


def sweep(name: str, arguments: Sequence[str]) -> None:
    """Run a command once for each combination of values; all jobs run, whether others fail or not.

    Args:
        name: of the command.
        arguments: of the user; those of Hydra's launchers and sweepers among them.

    Raises:
        ValueError: Hydra cannot read them.
        SystemExit: a job failed.
    """
    ours = [text for text in arguments if not text.startswith(("hydra.", "hydra/"))]
    alike, dealt = [name], []
    for text in in_one_syntax(ours, command_of(name).positional):
        key, _, value = text.partition("=")
        if has_several(value):
            dealt.append(f"++{key.replace('.', DOT)}={value}")
        else:
            alike.append(text)
    dealt.append(f"++{ALIKE}={json.dumps(alike).encode().hex()}")
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
        raise SystemExit("\n".join(failed))
