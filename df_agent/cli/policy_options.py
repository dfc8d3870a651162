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

from df_agent.cli.options import Options, part
from df_agent.cli.policy_files import policy_file
from df_agent.cli.schema import Option, options_of
from df_agent.options.ranges import Count, Device, NotNegative, Precision
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
        encoder: name, folder or Hub id of what encodes pictures for it, if it sees pictures.
        trained_by: the command that trains it.
        device: "auto", "cpu", "cuda" or "mps".
        precision: in which the network computes, "fp32", "bf16", or "auto": bf16 where it pays.
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
    device: Device = "auto"
    precision: Precision = "auto"


ABOUT = tuple(PolicyEntry.__dataclass_fields__)


@dataclass(frozen=True)
class ChunkOptions:
    """A learned actor.

    Attributes:
        execute: control steps that are executed of each chunk of actions.
    """

    execute: Count = 1


@dataclass(frozen=True)
class ShootingOptions:
    """Planning with a known simulator.

    Attributes:
        planner: "cem", "mppi", or "module:Class" of one of your own.
        options: what the planner is told.
        open_loop_horizon: control steps between plans.
        action_dim: size of an action.
        end: weight of the cost at the end of a plan, of pixels_cem.
        dynamics: what simulates, as the policy's file has it.
        cost: what plans cost, as the policy's file has it.
    """

    planner: str = "cem"
    options: Options = part(CEMConfig, MPPIConfig)
    open_loop_horizon: Count = 5
    action_dim: Count = 2
    end: NotNegative = 1.0
    dynamics: Options = part()
    cost: Options = part()


@dataclass(frozen=True)
class TrackingOptions:
    """Following a known way.

    Attributes:
        tracker: gains of the controller.
        paths: what knows the way, as the policy's file has it.
    """

    tracker: Options = part(PathTrackerConfig)
    paths: Options = part()


@dataclass(frozen=True)
class WandererOptions:
    """The walker of OGBench's data.

    Attributes:
        action_noise: standard deviation, before the action is clipped.
        to_goal: whether it steers to the goal itself in the goal's cell.
    """

    action_noise: NotNegative = 0.0
    to_goal: bool = False


CLASSES: dict[str, type[Any]] = {
    "df_agent.DiffusionForcingPolicy.from_pretrained": PolicyConfig,
    "df_agent.world_model.pixel_policy.PixelPolicy.from_pretrained": PolicyConfig,
    "df_agent.world_model.pixel_policy.PixelPolicy.shooting": ShootingOptions,
    "df_agent.policies.diffuser.DiffuserPolicy.from_pretrained": DiffuserPolicyConfig,
    "df_agent.policies.learned_actors.GCBCPolicy.from_pretrained": ChunkOptions,
    "df_agent.policies.learned_actors.GCIQLPolicy.from_pretrained": ChunkOptions,
    "df_agent.policies.shooting.ShootingPolicy": ShootingOptions,
    "df_envs.ogbench_mazes.Wanderer": WandererOptions,
    "df_agent.policies.path_following.PathFollowingPolicy": TrackingOptions,
}


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
    own = options_of(cls, "policy.", given) if cls is not None else iter(())
    if planner is not None and ":" in planner:
        own = chain((option for option in own if option.name != "policy.planner_options"), options_of_planner(planner))
    known = [*options_of(PolicyEntry, "policy.", entry), *own]
    yield from known
    # Arguments that are no options of the dataclass stand in the file.
    names = {option.name.split(".")[1] for option in known}
    for key, value in ((key, value) for key, value in given.items() if key not in names):
        follows = key == "_target_" or (isinstance(value, str) and "${" in value)
        meaning = "" if follows else f"an argument of {given.get('_target_')}"
        yield Option(f"policy.{key}", Any, value, meaning, isinstance(value, dict))
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
