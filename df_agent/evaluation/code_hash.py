"""Which code a result follows from: the modules behind it, each with a hash of what it does."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

# How weights were trained is in the weights, which are hashed themselves; a report only reads what was measured.
LEFT_OUT = ("df_agent.training", "df_agent.evaluation.report")


def code_hashes(modules: Iterable[str]) -> dict[str, str]:
    """Return module -> hash for modules and all they import from their own top-level packages and from ours.

    The hash is of the syntax tree without docstrings: comments and layout do not count. Tables (.npz) in a package's
    folder count as its code. Imports under `if TYPE_CHECKING` are not followed.

    Args:
        modules: importable names, e.g. "df_agent.policies.diffusion_forcing".

    Raises:
        ModuleNotFoundError: there is no such module.
    """
    queue = sorted(set(modules))
    unknown = [name for name in queue if _source(name) is None]
    if unknown:
        raise ModuleNotFoundError(f"no Python source of {unknown}")
    packages = {"df_agent", "df_envs", "df_planners", *(name.partition(".")[0] for name in queue)}
    found: dict[str, str] = {}
    while queue:
        name = queue.pop()
        if name in found or name.startswith(LEFT_OUT) or name.partition(".")[0] not in packages:
            continue
        source = _source(name)
        if source is None:  # a class or function in a module that is in the queue itself
            continue
        tree = ast.parse(source.read_bytes())
        queue += _imported(tree, name, source)
        digest = hashlib.sha256(ast.dump(_bare(tree)).encode())
        for table in sorted(source.parent.glob("*.npz")) if source.name == "__init__.py" else ():
            digest.update(table.read_bytes())
        found[name] = digest.hexdigest()[:12]
    return dict(sorted(found.items()))


def _source(name: str) -> Path | None:
    """Return the file of a module, without importing it; None if there is none."""
    top, *inside = name.split(".")
    spec = find_spec(top)
    if spec is None or spec.origin is None or (inside and not spec.submodule_search_locations):
        return None
    path = Path(spec.origin) if not inside else Path(spec.origin).parent.joinpath(*inside)
    candidates = [path] if not inside else [path.with_name(f"{path.name}.py"), path / "__init__.py"]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _imported(tree: ast.Module, name: str, source: Path) -> Iterator[str]:
    """Yield the names that a module imports, of modules and of what is in them."""
    package = name if source.name == "__init__.py" else name.rpartition(".")[0]
    guarded = {id(inner) for node in ast.walk(tree) if _for_types(node) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _bare(tree: ast.Module) -> ast.Module:
    """Take the docstrings out."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree
