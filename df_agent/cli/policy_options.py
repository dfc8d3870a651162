"""Which options a policy has: of each class that a file may name, the dataclass behind it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from importlib import import_module
from itertools import chain
from typing import Any

from df_planners.cem import CEMConfig
from df_planners.mppi import MPPIConfig
from df_planners.tracking import PathTrackerConfig
from omegaconf import OmegaConf

from df_agent.cli.folders import group_files, load_file
from df_agent.cli.options import Options, part
from df_agent.cli.schema import Option, options_of
from df_agent.policies.config import DiffuserPolicyConfig, PolicyConfig


@dataclass(frozen=True)
class PolicyEntry:
    """What any policy's file says.

    Attributes:
        name: of the policy.
        description: what it is.
        privileged: what it sees beyond observations and data.
        slow: whether a comparison runs fewer episodes of it.
        only: pattern of the environments that it is made for; null: all.
        usual_in: pattern of the environments in which it acts unless another is named.
        checkpoint: name, folder or Hub id of its weights.
        encoder: the same of its encoder of pictures.
        trained_by: the command that trains it.
        device: "auto", "cpu", "cuda" or "mps".
        precision: of the network, "fp32", "bf16", or "auto": bf16 where it pays.
    """

    name: str | None = None
    description: str | None = None
    privileged: str | None = None
    slow: bool = False
    only: str | None = None
    usual_in: str | None = None
    checkpoint: str | None = None
    encoder: str | None = None
    trained_by: str | None = None
    device: str = "auto"
    precision: str = "auto"


ABOUT = tuple(PolicyEntry.__dataclass_fields__)


@dataclass(frozen=True)
class ChunkOptions:
    """A learned actor.

    Attributes:
        execute: control steps that are executed of each chunk of actions, 1 or more.
    """

    execute: int = 1


@dataclass(frozen=True)
class ShootingOptions:
    """Planning with a known simulator.

    Attributes:
        planner: "cem", "mppi", or "module:Class" of one of your own.
        options: of the planner.
        open_loop_horizon: control steps between plans.
        action_dim: size of an action.
        end: weight of the cost at the end of a plan, of pixels_cem.
        dynamics: what simulates, made by its _target_.
        cost: what plans cost, made by its _target_.
    """

    planner: str = "cem"
    options: Options = part(CEMConfig, MPPIConfig)
    open_loop_horizon: int = 5
    action_dim: int = 2
    end: float = 1.0
    dynamics: Options = part()
    cost: Options = part()


@dataclass(frozen=True)
class TrackingOptions:
    """Following a known way.

    Attributes:
        tracker: gains of the controller.
        paths: what knows the way, made by its _target_.
    """

    tracker: Options = part(PathTrackerConfig)
    paths: Options = part()


CLASSES: dict[str, type[Any]] = {
    "df_agent.DiffusionForcingPolicy.from_pretrained": PolicyConfig,
    "df_agent.world_model.pixel_policy.PixelPolicy.from_pretrained": PolicyConfig,
    "df_agent.world_model.pixel_policy.PixelPolicy.shooting": ShootingOptions,
    "df_agent.policies.diffuser.DiffuserPolicy.from_pretrained": DiffuserPolicyConfig,
    "df_agent.policies.learned_actors.GCBCPolicy.from_pretrained": ChunkOptions,
    "df_agent.policies.learned_actors.GCIQLPolicy.from_pretrained": ChunkOptions,
    "df_agent.policies.shooting.ShootingPolicy": ShootingOptions,
    "df_agent.policies.path_following.PathFollowingPolicy": TrackingOptions,
}


def policy_file(name: str) -> dict[str, Any]:
    """Return the file of a policy, unresolved; an empty one if there is none. "module:Class" needs none."""
    if ":" in name:
        said = {"description": "a policy of one's own", "privileged": "unknown", "slow": False}
        return {"name": name, **said, "policy": {"_target_": name.replace(":", ".")}}
    path = group_files("", "policy").get(name)
    loaded = OmegaConf.to_container(load_file(path), resolve=False) if path is not None else {}
    return {str(key): value for key, value in loaded.items()} if isinstance(loaded, dict) else {}


def decided_by_checkpoint(name: str) -> bool:
    """Whether options of a policy that are not given are those of its checkpoint."""
    return CLASSES.get((policy_file(name).get("policy") or {}).get("_target_", "")) is PolicyConfig


def options_of_policy(name: str, planner: str | None = None) -> Iterator[Option]:
    """Yield the options of a policy, as they are typed.

    Args:
        name: of a file; "module:Class" takes any options.
        planner: "module:Class" of a planner of the user's own, whose options are those of its `Config`.

    Raises:
        ValueError: there is no such planner.
    """
    entry = policy_file(name)
    given: dict[str, Any] = entry.get("policy") or {}
    cls = CLASSES.get(given.get("_target_", ""))
    own = options_of(cls, "policy.", given) if cls is not None else ()
    if planner is not None and ":" in planner:
        own = chain((option for option in own if option.name != "policy.planner_options"), options_of_planner(planner))
    yield from options_of(PolicyEntry, "policy.", entry)
    yield from own
    # Arguments that are no options of the dataclass stand in the file.
    yield from (Option(f"policy.{key}", Any, value, "", isinstance(value, dict)) for key, value in given.items())
    if cls is None:
        yield Option("policy", Any, {}, "", open=True)


def options_of_planner(name: str) -> Iterator[Option]:
    """Yield the options of a planner of the user's own; raises ValueError if there is none, or it is no planner."""
    module, _, attribute = name.partition(":")
    try:
        config = getattr(import_module(module), attribute).Config
    except ImportError as error:
        raise ValueError(f"planner={name}: {error}; is the module installed or on PYTHONPATH?") from error
    except AttributeError as error:
        raise ValueError(f"planner={name}: {error}; a planner is a class with a dataclass Config") from error
    if not is_dataclass(config):
        raise ValueError(f"planner={name}: its Config must be a dataclass, got {config!r}")
    yield Option("policy.planner_options", Any, {}, "options of the planner")
    yield from options_of(config, "policy.planner_options.")  # type: ignore[arg-type]
