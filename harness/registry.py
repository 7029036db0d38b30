"""Finds suites: the folder `suites/`, and the entry-point group `harness.suites` of any package.

Nothing is imported until a suite is asked for, and a suite module imports no torch.
"""

import csv
import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness import source
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
    """The printed numbers beside a suite.

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
    """The named datasets, and all of the named suites, each with its suite; all of all for none.

    Raises:
        UsageError: there is neither a dataset nor a suite of that name.
    """
    found = [(suite, dataset) for suite in map(load, origins()) for dataset in suite.datasets]
    there = {dataset.name for _, dataset in found} | set(origins())
    for name in names:
        if name not in there:
            raise UsageError(unknown("dataset", name, there, "harness data list"))
    wanted = set(names)
    return [(s, d) for s, d in found if not wanted or s.name in wanted or d.name in wanted]


@functools.cache
def source_digest(import_path: str) -> str:
    """sha256 over the source and data files that a function's module reaches.

    See `harness.source` for what counts.

    Raises:
        SpecError: the module has no source file, or one that it reaches does not parse.
    """
    return source.digest(import_path)


def trees(suite: Suite) -> tuple[Path, ...]:
    """The packages that hold the source of a suite: first its own, then those of its functions.

    Raises:
        SpecError: a function has no source file.
    """
    paths = [origins()[suite.name].module]
    paths += [method.run for method in suite.methods]
    paths += [artifact.make for artifact in suite.artifacts]
    return source.trees(dict.fromkeys(paths))
