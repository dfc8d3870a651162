"""From the plain dicts of a config or a checkpoint to the dataclasses they describe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from importlib import import_module
from typing import Any, TypeVar

from df_agent.options.kinds import check_values

T = TypeVar("T")


def make(cls: type[T], options: dict[str, Any], **given: Any) -> T:
    """Make the dataclass `cls` from options; raises ValueError for those it does not know, or of another type."""
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(options) - known)
    if unknown:
        close = [match for name in unknown for match in get_close_matches(name, known, n=1)]
        hint = f"; did you mean {', '.join(close)}?" if close else ""
        raise ValueError(f"unknown options {unknown} for {cls.__name__}, available: {sorted(known)}{hint}")
    check_values(cls, options, limits=False)  # which the dataclass says itself, in its own words
    return cls(**{**options, **given})


def find_class(kind: str, name: str, known: Mapping[str, type[Any]], base: type[T]) -> type[T]:
    """Return the class called `name`: one of the `known`, or "module:Class", which is imported.

    Args:
        kind: what it is, for the errors.
        name: as the user gave it. A name that stands in a checkpoint must not come here unless the user repeats it.
        known: by name.
        base: what a class of the user's has to be derived from.

    Raises:
        ValueError: there is none of that name, or it is no such class.
    """
    module, colon, attribute = name.partition(":")
    if not colon:
        fitting = {key: value for key, value in known.items() if issubclass(value, base)}
        if name in fitting:
            return fitting[name]
        close = get_close_matches(name, fitting, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        if name in known:
            hint = f" {name!r} is no {base.__name__}; as a whole policy it is policy={name}."
        raise ValueError(
            f"unknown {kind} {name!r}, available here: {', '.join(sorted(fitting))}, or one of your own as "
            f"'module:Class'.{hint}"
        )
    try:
        found = getattr(import_module(module), attribute)
    except ImportError as error:
        raise ValueError(f"{kind}={name}: {error}; is the module installed or on PYTHONPATH?") from error
    except AttributeError as error:
        raise ValueError(f"{kind}={name}: the module {module} has no {attribute}") from error
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(f"{kind}={name} must be a class derived from {base.__module__}.{base.__name__}, got {found!r}")
    return found
