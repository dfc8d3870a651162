"""How an environment, or data, is read as goal-conditioned: what was achieved, what is desired, when it is done.

A gymnasium `GoalEnv` says all that itself. For any other the user names channels of the flat observation, or functions.
What a model sees of it is said here too, and nowhere else: an angle as its cosine and sine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from df_agent.data.answers import truth
from df_agent.data.episodes import Episodes

if TYPE_CHECKING:  # which brings torch; options are looked at without
    from df_agent.types import Observation

Array = NDArray[Any]
Source = str | tuple[int, ...] | None
KEYS = ("observation", "achieved_goal", "desired_goal")
_NAMED: set[str] = set()  # functions that the user named in this process
_MODULES: set[str] = set()  # of functions that checkpoints may name


@dataclass(frozen=True)
class GoalSpec:
    """Where goals are found.

    Attributes:
        achieved: what goals are about: channels of the observation, or "module:function" from observations (..., Do)
            to (..., G); None is the GoalEnv's "achieved_goal".
        desired: the goal itself, likewise; None is the GoalEnv's "desired_goal".
        success: "terminated"; a key of the step's info; or "module:function" from the observation (a dict as a
            GoalEnv's) and the info to a bool. None is info["success"] or info["is_success"].
        appended: the model sees what was achieved as further channels behind the observation's, since it is not
            among these.
        angles: channels of the observation that are angles [rad]. The model sees an angle's cosine in its place and
            its sine behind all channels, so that -pi and pi are one. None: none, or what training finds in the data.
        goal_angles: the same for channels of what was achieved, and is desired; None takes those that `achieved` names
            among the `angles`.
        ignored: channels of the observation of which the model sees 0 instead, since the data says nothing by them.
    """

    achieved: Source = None
    desired: Source = None
    success: str | None = None
    appended: bool = False
    angles: tuple[int, ...] | None = None
    goal_angles: tuple[int, ...] | None = None
    ignored: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("angles", "goal_angles", "ignored"):
            value = getattr(self, name)
            if value is not None:
                if isinstance(value, str) or any(not isinstance(c, int) or c < 0 for c in value):
                    raise ValueError(f"goal.{name} must be channels, e.g. [2], or [] for none, got {value}")
                object.__setattr__(self, name, tuple(dict.fromkeys(value)))
        for name in ("achieved", "desired"):
            value = getattr(self, name)
            if isinstance(value, str):
                _function(value, f"goal.{name}")
            elif value is not None:
                channels = tuple(value)
                if not channels or any(not isinstance(c, int) or c < 0 for c in channels):
                    raise ValueError(f"goal.{name} must be channels, e.g. [0,1], or 'module:function', got {value}")
                object.__setattr__(self, name, channels)
        if self.success is not None and ":" in self.success:
            _function(self.success, "goal.success")

    @property
    def is_plain(self) -> bool:
        """Whether the environment's own word is taken for everything."""
        return self.achieved is None and self.desired is None and self.success is None

    @property
    def turning(self) -> tuple[int, ...]:
        """Which goal channels are angles."""
        if self.goal_angles is None and isinstance(self.achieved, tuple):
            return tuple(k for k, channel in enumerate(self.achieved) if channel in (self.angles or ()))
        return self.goal_angles or ()

    @property
    def rewrites(self) -> bool:
        """Whether a model sees something else than what the environment shows."""
        named = self.achieved is not None or self.desired is not None or self.appended
        return bool(named or self.angles or self.turning or self.ignored)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dict from which the view can be made again."""
        return asdict(self)

    def goal_dict(self, observation: Any) -> dict[str, Array]:
        """Return an observation, flat or a dict, with a leading axis or not, as a GoalEnv's.

        Raises:
            ValueError: it has no goal, and none was named.
        """
        given = dict(observation) if isinstance(observation, Mapping) else {"observation": np.asarray(observation)}
        if "observation" not in given:
            raise ValueError(f"the observation lacks 'observation', it has {sorted(given)}")
        for key, source in (("achieved_goal", self.achieved), ("desired_goal", self.desired)):
            if source is not None:
                given[key] = read(source, np.asarray(given["observation"]), f"goal.{key.partition('_')[0]}")
        missing = [key for key in KEYS[1:] if key not in given]
        if missing:
            options = " and ".join(f"goal.{key.partition('_')[0]}" for key in missing)
            raise ValueError(
                f"the observation has no {' and no '.join(missing)}: name channels of it, or a 'module:function', with "
                f"{options}"
            )
        return {key: given[key] for key in KEYS}

    def model_observation(self, observation: Observation) -> Observation:
        """Return what the model sees of an observation, flat or a GoalEnv's, with a leading axis or not.

        Raises:
            ValueError: see `goal_dict`; or channels that are not there.
        """
        if not self.rewrites:
            return observation
        known = self.goal_dict(observation)
        return {"observation": self.model_values(known), "desired_goal": self.model_goals(known["desired_goal"])}

    def model_values(self, observation: Mapping[str, Array]) -> Array:
        """Return what the model sees, (..., Do), of an observation as a GoalEnv's, without its goal."""
        values = np.array(observation["observation"], dtype=np.float64)
        if self.ignored:
            _check_channels(self.ignored, values, "goal.ignored")
            values[..., list(self.ignored)] = 0
        values = _turned(values, self.angles or (), "goal.angles")
        if not self.appended:
            return values
        return np.concatenate([values, self.model_goals(observation["achieved_goal"])], -1)

    def model_goals(self, goals: Array) -> Array:
        """Return goals (..., G), achieved or desired, as the model sees them."""
        return _turned(np.asarray(goals, dtype=np.float64), self.turning, "goal.goal_angles")

    def succeeded(self, observation: Mapping[str, Array], terminated: bool, info: Mapping[str, Any]) -> bool | None:
        """Return whether a step has reached the goal; None leaves that to the environment's info."""
        if self.success is None:
            return None
        if self.success == "terminated":
            return truth(terminated, "the environment's terminated")
        if ":" in self.success:
            said = _function(self.success, "goal.success")(observation, info)
            return truth(said, f"what goal.success={self.success} returns")
        if self.success not in info:
            raise ValueError(f"goal.success={self.success!r} is no key of the environment's info, {sorted(info)}")
        return truth(info[self.success], f"info[{self.success!r}]")

    def apply(self, episodes: Episodes) -> Episodes:
        """Return the data as the model sees it, with what was achieved and desired."""
        episodes = self.located(episodes)
        if self.appended and episodes.achieved_goals is None:
            raise ValueError("the data says nothing of achieved goals; name their channels with goal.achieved")
        achieved, desired = (
            None if goals is None else self.model_goals(goals).astype(np.float32)
            for goals in (episodes.achieved_goals, episodes.desired_goals)
        )
        observations = episodes.observations
        if self.appended or self.angles or self.ignored:
            raw: Any = {"observation": observations, "achieved_goal": episodes.achieved_goals}
            observations = self.model_values(raw).astype(np.float32)
        return replace(episodes, observations=observations, achieved_goals=achieved, desired_goals=desired)

    def located(self, episodes: Episodes) -> Episodes:
        """Return the data with what was achieved and desired, all as the environment shows it."""
        if self.achieved is None:
            return episodes
        achieved = read(self.achieved, episodes.observations, "goal.achieved").astype(np.float32)
        desired = None
        if self.desired is not None:
            desired = read(self.desired, episodes.observations, "goal.desired").astype(np.float32)
        return replace(episodes, achieved_goals=achieved, desired_goals=desired)


def register_goal_functions(module: str) -> None:
    """Let checkpoints read goals by the functions that live in a module of yours, or in one below it.

    A function that was named itself, as `GoalSpec(success="module:function")` or on the command line, needs no more.

    Args:
        module: "package" or "package.module". It is not imported here.
    """
    _MODULES.add(module)


def validated(said: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a checkpoint says of its goals, to make the specification from.

    Raises:
        ValueError: it names a function that the user neither named nor registered the module of. A checkpoint may be a
            stranger's, and any module of any program may hold a function that does harm with what it is given.
    """
    for name, value in (said or {}).items():
        if isinstance(value, str) and ":" in value and not (value in _NAMED or _is_registered(value)):
            module = value.partition(":")[0]
            raise ValueError(
                f"the checkpoint reads goals by goal.{name}={value}, and loading it calls no code of its choice. If "
                f"you trust it: repeat goal.{name}={value} to df-agent evaluate, or in Python import {module} and call "
                f"df_agent.register_goal_functions({module!r})"
            )
    return dict(said or {})


def _is_registered(value: str) -> bool:
    """Whether "module:function" is imported and lives, not only is known, in a module that the user registered."""
    module, _, attribute = value.partition(":")
    home = getattr(getattr(sys.modules.get(module), attribute, None), "__module__", None)
    return all(isinstance(place, str) and any(_within(place, own) for own in _MODULES) for place in (module, home))


def _within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def read(source: str | Sequence[int], observations: Array, name: str) -> Array:
    """Return what `source`, channels or "module:function", says of observations (..., Do).

    Raises:
        ValueError: channels that are not there, or a function that returns another number of rows.
    """
    if not isinstance(source, str):
        _check_channels(source, observations, name)
        return observations[..., list(source)]
    values = np.asarray(_function(source, name)(observations))
    if values.ndim != observations.ndim or values.shape[:-1] != observations.shape[:-1]:
        raise ValueError(
            f"{name}={source} must return (..., G) for observations (..., {observations.shape[-1]}), got "
            f"{values.shape} for {observations.shape}"
        )
    return values


def _turned(values: Array, angles: Sequence[int], name: str) -> Array:
    """Return values (..., C), of which some are angles, as (..., C + A): their cosines in place, their sines behind."""
    if not angles:
        return values
    _check_channels(angles, values, name)
    turned = values[..., list(angles)]
    both = np.concatenate([values, np.sin(turned)], -1)
    both[..., list(angles)] = np.cos(turned)
    return both


def _check_channels(channels: Sequence[int], values: Array, name: str) -> None:
    """Raise ValueError for channels that values (..., C) do not have."""
    if max(channels) >= values.shape[-1]:
        what = "goal" if name == "goal.goal_angles" else "observation"
        raise ValueError(f"{name}={list(channels)} reaches beyond the {values.shape[-1]} {what} channels")


def _function(path: str, name: str) -> Callable[..., Any]:
    module, _, attribute = path.partition(":")
    if not attribute:
        raise ValueError(f"{name} must be channels or 'module:function', got {path!r}")
    try:
        found = getattr(import_module(module), attribute)
    except ImportError as error:
        raise ValueError(f"{name}={path}: {error}; is the module installed or on PYTHONPATH?") from error
    except AttributeError as error:
        raise ValueError(f"{name}={path}: the module {module} has no {attribute}") from error
    if not callable(found):
        raise ValueError(f"{name}={path} is no function")
    _NAMED.add(path)  # what a checkpoint names has been validated before
    return found  # type: ignore[no-any-return]
