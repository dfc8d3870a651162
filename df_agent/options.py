"""From the plain dicts of a config or a checkpoint to the dataclasses they describe."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def make(cls: type[T], options: dict[str, Any], **given: Any) -> T:
    """Make the dataclass `cls` from options, naming those it does not know."""
    known = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(options) - known)
    if unknown:
        raise ValueError(f"unknown options {unknown} for {cls.__name__}, available: {sorted(known)}")
    return cls(**{**options, **given})
