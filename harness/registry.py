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
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness.errors import HarnessError, SpecError, UsageError
from harness.suite import Dataset, Reference, Suite

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
        SpecError: two packages offer a suite of the same name, or one points to no function.
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
        parts = entry.pattern.match(entry.value)
        if parts is None or not parts["attr"]:
            raise SpecError(
                f"suite {entry.name!r}: entry point {entry.value!r} of group {GROUP} is not "
                "module:function; correct it in the package that offers it"
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
        message = first["msg"].removeprefix("Value error, ")
        if first["loc"]:
            place = ".".join(map(str, (error.title, *first["loc"])))
            message = f"{place}: {message}, found {repr(first['input'])[:60]}"
        raise SpecError(f"suite {name} ({origin.module}): {message}") from None
    except HarnessError:
        raise
    except Exception as error:  # a suite's own code may raise anything
        reason = (str(error).splitlines() or [""])[0]
        raise SpecError(
            f"suite {name} ({origin.module}) cannot be loaded: {type(error).__name__}: {reason}"
        ) from error
    if not isinstance(made, Suite) or made.name != name:
        raise SpecError(
            f"suite {name} ({origin.module}): {origin.function}() must return Suite(name={name!r})"
        )
    return made


def references(suite: Suite) -> tuple[Reference, ...]:
    """The published numbers beside a suite.

    Raises:
        SpecError: a row of the file does not fit; file, line and reason in one line.
    """
    path = folder(suite.name) / suite.references
    if not path.exists():
        return ()
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        lines = csv.DictReader(file)
        try:
            for row in lines:
                if None in row:
                    raise SpecError(f"{path}:{lines.line_num}: more cells than the header has")
                rows.append(Reference.model_validate({k: v for k, v in row.items() if v != ""}))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            raise SpecError(f"{path}:{lines.line_num}: {place}: {first['msg']}") from None
        except (UnicodeDecodeError, csv.Error) as error:
            raise SpecError(f"{path}:{lines.line_num + 1}: not UTF-8 CSV ({error})") from None
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
    except (ImportError, SyntaxError) as error:
        raise SpecError(f"{path}: the module cannot be imported: {error}") from None
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


def datasets(names: Sequence[str]) -> list[tuple[Suite, Dataset]]:
    """The named datasets of all suites, each with its suite; all where none is named.

    Raises:
        UsageError: no suite has a dataset of that name.
    """
    found = [(suite, dataset) for suite in map(load, origins()) for dataset in suite.datasets]
    there = {dataset.name for _, dataset in found}
    for name in names:
        if name not in there:
            raise UsageError(unknown("dataset", name, there, "harness data list"))
    return [item for item in found if not names or item[1].name in names]


@functools.cache
def source_digest(import_path: str) -> str:
    """sha256 over the source files that a function's module reaches inside its own package.

    Follows import statements without importing, so that a changed figure or README leaves a
    trial's digest alone and a changed layer does not. Comments, docstrings and formatting do not
    count.

    Raises:
        SpecError: the module has no source file, or one that it reaches does not parse.
    """
    start = import_path.partition(":")[0]
    package = start.rpartition(".")[0]
    folders = _folders(package)
    pending, seen = [start], dict[str, str]()
    while pending:
        module = pending.pop()
        path = _source(module, package, folders) if module not in seen else None
        if path is None:
            continue
        try:
            tree = _without_docstrings(ast.parse(path.read_bytes()))
        except (SyntaxError, ValueError) as error:
            raise SpecError(f"{path}: not Python source: {error}") from None
        seen[module] = ast.unparse(tree)
        inside = module if path.name == "__init__.py" else module.rpartition(".")[0]
        if package:
            pending += [name for node in ast.walk(tree) for name in _imported(node, inside)]
    if start not in seen:
        raise SpecError(f"{import_path}: no source file for module {start!r}")
    whole = hashlib.sha256()
    for module in sorted(seen):
        if seen[module]:  # an empty `__init__.py` is no code
            whole.update(f"{module}\0{seen[module]}\0".encode())
    return whole.hexdigest()


def _folders(package: str) -> list[Path]:
    """Where a package's modules lie; importing its parents is all that finding out takes."""
    try:
        spec = importlib.util.find_spec(package) if package else None
    except ModuleNotFoundError:
        return []
    return [Path(root) for root in (spec.submodule_search_locations or [])] if spec else []


def _source(module: str, package: str, folders: Iterable[Path]) -> Path | None:
    """The source file of a module of the package, found without importing the module."""
    if not package:
        spec = importlib.util.find_spec(module) if "." not in module else None
        found = Path(spec.origin) if spec and spec.origin else Path()
        return found if found.suffix == ".py" else None
    if module != package and not module.startswith(f"{package}."):
        return None
    parts = module.removeprefix(package).split(".")[1:]
    for root in folders:
        whole = root.joinpath(*parts)
        for path in (whole / "__init__.py", whole.with_name(f"{whole.name}.py")):
            if path.is_file() and (parts or path.name == "__init__.py"):
                return path
    return None


def _imported(node: ast.AST, inside: str) -> list[str]:
    """Modules that an import statement in package `inside` may mean."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        above = inside.split(".")[: len(inside.split(".")) - node.level + 1]
        base = ".".join([*above, base] if base else above)
    return [base, *(f"{base}.{alias.name}" for alias in node.names)]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                line
                for line in node.body
                if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
    return tree
