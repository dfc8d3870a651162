"""The options of the commands: every one is a field of a dataclass, which documents it and holds its default.

Nothing here imports torch, gymnasium or mujoco, so that help is there at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

GIVEN = "???"  # what has no default: it follows from the environment, or must be given

Options = Mapping[str, Any]


def part(*classes: type[Any], **values: Any) -> Any:
    """Return a field with options below it, those of one of `classes`; `values` are what is said unless told otherwise.

    Without classes it takes any options.
    """
    return field(default_factory=lambda: dict(values), metadata={"classes": classes})
