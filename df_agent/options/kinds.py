"""Whether the value of an option is of the type that its dataclass says, within its limits, and how that is said."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from numbers import Integral, Real
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from df_agent.options.ranges import Limit

TEXTS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}


def check_value(name: str, value: Any, kind: Any, *, limits: bool = True) -> None:
    """Raise ValueError unless a value is of a type and within its limits; a NaN is no number, "false" not false."""
    plain = value.tolist() if hasattr(value, "tolist") else value  # of NumPy
    broken = broken_limit(plain, kind) if (fitting := fits(plain, kind)) and limits else None
    if not fitting or broken is not None:
        hint = "" if broken is None else broken[0].hint(broken[1])
        got = repr(value) if isinstance(value, str) else as_typed(value)
        raise ValueError(f"{name} must be {described(kind)}, got {got}.{hint}".removesuffix("."))


def check_values(cls: type[Any], values: Mapping[str, Any], *, limits: bool = True) -> None:
    """Check values for the fields of a dataclass, see `check_value`; its parts, given as options, check themselves."""
    kinds, defaults = _kinds(cls), {entry.name: entry.default for entry in fields(cls)}
    for name, value in values.items():
        kind = kinds.get(name, Any)
        usual = value is defaults.get(name, MISSING)
        part = isinstance(value, Mapping) and any(is_dataclass(one) for one in alternatives(kind))
        if not usual and not part:
            check_value(name, value, kind, limits=limits)


def check_fields(made: Any) -> None:
    """Check all fields of a dataclass's instance, and those of its parts."""
    check_values(type(made), {entry.name: getattr(made, entry.name) for entry in fields(made)})
    for entry in fields(made):
        if is_dataclass(part := getattr(made, entry.name)) and not isinstance(part, type):
            check_fields(part)


def _kinds(cls: type[Any]) -> dict[str, Any]:
    try:
        return get_type_hints(cls, include_extras=True)
    except NameError:  # a type that is imported for type checkers only
        return {}


def alternatives(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the only one."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def is_mapping(kind: Any) -> bool:
    """Whether a type is that of options by name."""
    origin = get_origin(kind) or kind
    return isinstance(origin, type) and issubclass(origin, Mapping)


def fixed_size(kind: Any) -> int | None:
    """Return how many values a list of this type has; None if that is free."""
    inner = get_args(kind)
    return len(inner) if get_origin(kind) is tuple and ... not in inner else None


def is_list(kind: Any) -> bool:
    """Whether a type is that of lists."""
    origin = get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Sequence)


def fits(value: Any, kind: Any) -> bool:
    """Whether a value, as YAML knows them, is of a type."""
    if isinstance(value, str) and "${" in value:
        return True
    return any(_fits(value, one) for one in alternatives(kind))


def limits_of(kind: Any) -> tuple[Any, list[Limit]]:
    """Return a type without what is annotated, and the limits that are."""
    if get_origin(kind) is not Annotated:
        return kind, []
    plain, *more = get_args(kind)
    return plain, [one for one in more if isinstance(one, Limit)]


def broken_limit(value: Any, kind: Any) -> tuple[Limit, Any] | None:
    """Return a limit that a value, or one in a list, does not keep to, and which; None if it keeps to all of a type."""
    if isinstance(value, str) and "${" in value:
        return None
    broken = [_broken(value, one) for one in alternatives(kind) if _fits(value, one)]
    return None if None in broken or not broken else broken[0]


def _broken(value: Any, kind: Any) -> tuple[Limit, Any] | None:
    plain, limits = limits_of(kind)
    if is_list(plain):
        inner = [one for one in get_args(plain) if one is not ...]
        found = [broken_limit(one, inner[0] if inner else Any) for one in value]
        return next((one for one in found if one is not None), None)
    return next(((limit, value) for limit in limits if not limit.holds(value)), None)


def _fits(value: Any, kind: Any) -> bool:
    kind, _ = limits_of(kind)
    if kind is Any:
        return True
    if kind is float:  # NaN is no number
        return isinstance(value, Real) and not isinstance(value, bool) and value == value
    if kind is str:
        return isinstance(value, str | int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if is_list(kind):
        inner = [one for one in get_args(kind) if one is not ...]
        size = fixed_size(kind)
        sized = isinstance(value, list | tuple) and size in (None, len(value))
        return sized and all(fits(one, inner[0] if inner else Any) for one in value)
    if is_mapping(kind):
        return isinstance(value, Mapping)
    return isinstance(value, kind) if isinstance(kind, type) else True


def described(kind: Any) -> str:
    """Return in words what values of a type look like."""
    words = []
    for each in alternatives(kind):
        one, limits = limits_of(each)
        if limits:
            words.append(" ".join([*([] if one is str else [TEXTS.get(one, "a value")]), *map(str, limits)]))
        elif is_list(one):
            inner = [part for part in get_args(one) if part is not ...]
            size = "" if fixed_size(one) is None else f"{fixed_size(one)} "
            words.append("a list" + (f" of {size}{_plural(inner[0])}" if inner else ""))
        elif is_mapping(one):
            words.append("options by name, {NAME: VALUE}")
        else:
            words.append(TEXTS.get(one, "anything"))
    return " or ".join(words)


def _plural(kind: Any) -> str:
    plain, limits = limits_of(kind)
    words = {int: "whole numbers", float: "numbers", str: "texts"}.get(plain, "values")
    return " ".join([f"{words}, each" if limits and plain is str else words, *map(str, limits)])


def as_typed(value: Any) -> str:
    """Return a default as it is typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and math.isinf(value):
        return ".inf"
    if isinstance(value, list | tuple):
        return f"[{','.join(as_typed(one) for one in value)}]"
    return str(value)
