"""Finds suites: the folder `suites/`, and the entry-point group `harness.suites` of any package.

Nothing is imported until a suite is asked for, and a suite module imports no torch.
"""

import ast
import csv
import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness.errors import SpecError, UsageError
from harness.suite import Reference, Suite

GROUP = "harness.suites"


class Origin(NamedTuple):
    """Where a suite comes from."""

    name: str
    module: str
    function: str


@functools.cache
def origins() -> dict[str, Origin]:
    """Every suite that can be found, by name, without importing any.

    Raises:
        SpecError: two packages offer a suite of the same name.
    """
    found = {}
    package = importlib.util.find_spec("suites")
    for root in (package.submodule_search_locations or []) if package else []:
        for path in sorted(Path(root).glob("*/suite.py")):
            name = path.parent.name
            found[name] = Origin(name, f"suites.{name}.suite", "suite")
    for entry in importlib.metadata.entry_points(group=GROUP):
        if entry.name in found:
            raise SpecError(
                f"suite {entry.name!r} is offered by {found[entry.name].module} and by "
                f"{entry.value}; rename one of the two entry points"
            )
        found[entry.name] = Origin(entry.name, entry.module, entry.attr)
    return dict(sorted(found.items()))


@functools.cache
def load(name: str) -> Suite:
    """The suite of that name, validated.

    Raises:
        UsageError: no suite has that name.
        SpecError: it does not hold together; one line says where.
    """
    origin = origins().get(name)
    if origin is None:
        raise UsageError(unknown("suite", name, origins(), "harness list"))
    try:
        made = getattr(importlib.import_module(origin.module), origin.function)()
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise SpecError(
            f"suite {name} ({origin.module}): {place + ': ' if place else ''}{message}"
        ) from None
    except (ImportError, AttributeError, SyntaxError, NameError, TypeError) as error:
        raise SpecError(f"suite {name} ({origin.module}) cannot be loaded: {error}") from None
    if not isinstance(made, Suite) or made.name != name:
        raise SpecError(
            f"suite {name} ({origin.module}): {origin.function}() must return Suite(name={name!r})"
        )
    return made


def references(suite: Suite) -> tuple[Reference, ...]:
    """The printed numbers beside a suite.

    Raises:
        SpecError: a row of the file does not fit; file, line and reason in one line.
    """
    path = folder(suite.name) / suite.references
    if not path.exists():
        return ()
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                rows.append(Reference.model_validate({k: v for k, v in row.items() if v != ""}))
            except ValidationError as error:
                first = error.errors()[0]
                raise SpecError(f"{path}:{number}: {first['loc']}: {first['msg']}") from None
    return tuple(rows)


def folder(name: str) -> Path:
    """The folder of a suite's source."""
    spec = importlib.util.find_spec(origins()[name].module)
    if spec is None or spec.origin is None:
        raise SpecError(f"suite {name}: no source file for {origins()[name].module}")
    return Path(spec.origin).parent


def call(path: str) -> Callable[..., Any]:
    """The function behind an import path `package.module:function`.

    Raises:
        SpecError: there is no such module or function.
    """
    module, _, function = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise SpecError(
            f"{path}: no module {error.name!r}; install what the suite's README names"
        ) from None
    except AttributeError:
        raise SpecError(f"{path}: the module has no {function!r}") from None
    return found  # type: ignore[no-any-return]


def unknown(what: str, name: str, allowed: Iterable[str], command: str) -> str:
    """One line for a name that does not exist."""
    allowed = sorted(allowed)
    close = difflib.get_close_matches(name, allowed, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return (
        f"unknown {what} {name!r}: {hint}there are {', '.join(allowed) or 'none'}; see `{command}`"
    )


@functools.cache
def source_digest(import_path: str) -> str:
    """sha256 over the source files that a function's module reaches inside its own package.

    Follows import statements without importing, so that a changed figure or README leaves a
    trial's digest alone and a changed layer does not. Comments, docstrings and formatting do not
    count.
    """
    start = import_path.partition(":")[0]
    package = start.rpartition(".")[0]
    pending, seen = [start], dict[str, str]()
    while pending:
        module = pending.pop()
        spec = importlib.util.find_spec(module) if module not in seen else None
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            continue
        tree = _without_docstrings(ast.parse(Path(spec.origin).read_bytes()))
        seen[module] = ast.unparse(tree)
        for node in ast.walk(tree):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            pending += [n for n in names if package and n.startswith(f"{package}.") and _exists(n)]
    whole = hashlib.sha256()
    for module in sorted(seen):
        whole.update(f"{module}\0{seen[module]}\0".encode())
    return whole.hexdigest()


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                line
                for line in node.body
                if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
    return tree


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
