"""What a command can be told: every option by its dotted name, with its type, default and meaning, from dataclasses."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from difflib import get_close_matches
from typing import Any, get_args, get_type_hints

from df_agent.options.kinds import (
    alternatives,
    broken_limit,
    is_list,
    is_mapping,
    limits_of,
)
from df_agent.options.kinds import (
    as_typed as as_typed,
)
from df_agent.options.kinds import (
    described as described,
)
from df_agent.options.kinds import (
    fits as fits,
)
from df_agent.options.ranges import Among


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes:
        name: dotted.
        kind: type of its values; Any for whatever is given.
        default: unless a file or the user says otherwise; MISSING if the dataclass has none.
        meaning: what it is, with unit and range.
        open: whether any options may stand below it.
    """

    name: str
    kind: Any
    default: Any
    meaning: str
    open: bool = False


def meanings(cls: type[Any]) -> dict[str, str]:
    """Return what the docstrings of a dataclass, and of those it is derived from, say of each field."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        lines = inspect.cleandoc(base.__dict__.get("__doc__") or "").splitlines()
        if "Attributes:" not in lines:
            continue
        name = ""
        for line in lines[lines.index("Attributes:") + 1 :]:
            entry = line.startswith("    ") and not line.startswith("     ")
            if entry and ":" in line:
                names, _, text = line.strip().partition(": ")
                name = names
                found |= dict.fromkeys(names.split(", "), text)
            elif name and line.strip():
                found |= {each: f"{found[each]} {line.strip()}" for each in name.split(", ")}
            elif line.strip():
                name = ""
    return found


def default_of(entry: Field[Any]) -> Any:
    """Return a field's default, MISSING if it has none."""
    return entry.default if entry.default_factory is MISSING else entry.default_factory()


def options_of(cls: type[Any], prefix: str = "", given: Mapping[str, Any] | None = None) -> Iterator[Option]:
    """Yield the options of a dataclass and of its parts; those without default, which are filled in, are left out.

    Args:
        cls: the dataclass.
        prefix: before the names.
        given: values that count as defaults.
    """
    said, kinds, given = meanings(cls), get_type_hints(cls, include_extras=True), given or {}
    for entry in fields(cls):
        own = default_of(entry)
        default = given.get(entry.name, own)
        if default is MISSING and entry.name != "steps":
            continue
        name, meaning = prefix + entry.name, said.get(entry.name, "")
        classes = entry.metadata.get("classes")
        if is_dataclass(own) and not isinstance(own, type):
            classes, default = (type(own),), given.get(entry.name, {})
        if classes is None:
            yield Option(name, kinds[entry.name], default, meaning, takes_anything(kinds[entry.name]))
            continue
        meaning = meaning or next(inspect.cleandoc(each.__doc__ or "").partition("\n")[0] for each in classes)
        yield Option(name, Mapping[str, Any] | None if classes else Any, default, meaning, not classes)
        for each in classes:
            yield from options_of(each, f"{name}.", default if isinstance(default, Mapping) else {})


def takes_anything(kind: Any) -> bool:
    """Whether options of any name may stand below one of this type."""
    return kind is Any or any(is_mapping(one) for one in alternatives(kind))


def names_of(kind: Any) -> tuple[str, ...]:
    """Return the texts that a type takes, or a list of it; none if it takes any, or numbers."""
    found: list[str] = []
    for one in alternatives(kind):
        plain, limits = limits_of(one)
        found += [name for limit in limits if isinstance(limit, Among) for name in limit.names]
        if is_list(plain):
            found += [name for inner in get_args(plain) if inner is not ... for name in names_of(inner)]
    return tuple(found)


class Schema:
    """All options of a command, by name.

    Args:
        options: may have several of a name, of parts whose class is not known yet; then each of their types will do.
        within: what stands before all names in errors, of options that another command hands on.
    """

    def __init__(self, options: Iterator[Option] | Sequence[Option], within: str = "") -> None:
        self.within = within
        self.options: dict[str, list[Option]] = {}
        for option in options:
            self.options.setdefault(option.name, []).append(option)

    def __iter__(self) -> Iterator[Option]:
        return (several[0] for several in self.options.values())

    def find(self, name: str) -> list[Option]:
        """Return the options of a name, or the one above it that takes any.

        Raises:
            ValueError: there is none; the message names the nearest.
        """
        if name in self.options:
            return self.options[name]
        above = name
        while "." in above:
            above = above.rpartition(".")[0]
            if any(option.open for option in self.options.get(above, ())):
                return [Option(name, Any, MISSING, "")]
        raise ValueError(f"there is no option {self.within + name!r}.{self.nearest(name)}")

    def nearest(self, name: str) -> str:
        """Return a sentence that names what was probably meant."""
        last = name.rpartition(".")[2]
        close = get_close_matches(name, self.options, n=1, cutoff=0.75)
        same = [each for each in self.options if each.rpartition(".")[2] == last and last]
        close = close or same[:2]
        if not close:
            lasts = {each.rpartition(".")[2]: each for each in reversed(list(self.options))}
            close = [lasts[each] for each in get_close_matches(last, lasts, n=1, cutoff=0.7)]
        return f" Did you mean {' or '.join(self.within + each for each in close)}?" if close else ""

    def check(self, name: str, value: Any) -> Any:
        """Return a value as the option takes it: one where a list is meant is the only one of it.

        Raises:
            ValueError: there is no such option, or the value is of another type.
        """
        found = self.find(name)
        if isinstance(value, Mapping) and not any(option.open for option in found):
            return {key: self.check(f"{name}.{key}", inner) for key, inner in value.items()}
        one = not isinstance(value, list | tuple | Mapping)
        hint = ""
        for taken in (value, [value])[: 1 + one]:
            for option in found:
                if fits(taken, option.kind) or (taken is None and option.default is None):
                    if (broken := broken_limit(taken, option.kind)) is None:
                        return taken
                    hint = hint or broken[0].hint(broken[1])
        kinds = " or ".join(dict.fromkeys(described(option.kind) for option in found))
        got = repr(value) if isinstance(value, str) else as_typed(value)
        raise ValueError(f"{self.within}{name} must be {kinds}, got {got}.{hint}".removesuffix("."))
