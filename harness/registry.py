"""Finds suites: what installed packages, this one among them, offer as `harness.suites`.

Nothing is imported until a suite is asked for, and a suite module imports no torch.
"""

import csv
import functools
import importlib
import importlib.metadata
import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from harness import plugins, source
from harness.errors import HarnessError, SpecError, UsageError, described, one_line, unknown
from harness.identity import digest
from harness.settings import fault
from harness.suite import Dataset, Reference, Suite

GROUP = "harness.suites"
"""The group of entry points; each is `name = module:function`."""
_NONE = (
    "no installed package offers a suite; where this is a clone, `pip install -e .` in its folder "
    "makes its own known (again after an update that adds one)"
)
_log = logging.getLogger(__name__)


class Origin(NamedTuple):
    """Where a suite comes from."""

    name: str
    module: str
    function: str
    fault: str = ""
    """Why it cannot be used, in one line; empty where it can."""


@functools.cache
def origins() -> dict[str, Origin]:
    """Every suite that is offered, by name, without importing any; `fault` says which are unusable.

    A package whose entry points cannot be read stands there under its own name.
    """
    entries, found = _entry_points()
    offered: dict[str, dict[str, EntryPoint]] = {}
    for entry in entries:
        offered.setdefault(entry.name, {}).setdefault(entry.value, entry)
    found |= {name: _offered(name, list(same.values())) for name, same in offered.items()}
    return dict(sorted(found.items()))


def _offered(name: str, entries: Sequence[EntryPoint]) -> Origin:
    """The suite of that name from the entry points that offer one."""
    first = entries[0]
    parts = first.pattern.match(first.value)
    if len(entries) > 1:
        fault = (
            f"suite {name!r} is offered by {' and by '.join(e.value for e in entries)}; "
            "rename all but one of the entry points"
        )
    elif parts is None or not parts["attr"]:
        fault = (
            f"suite {name!r}: entry point {first.value!r} of group {GROUP} is not "
            "module:function; correct it in the package that offers it"
        )
    else:
        return Origin(name, first.module, first.attr)
    return Origin(name, first.value, "", fault)


def _entry_points() -> tuple[list[EntryPoint], dict[str, Origin]]:
    """The entry points of the group, and the packages whose entry points cannot be read."""
    try:
        return list(importlib.metadata.entry_points(group=GROUP)), {}
    except Exception:  # one package's metadata, which spoils the reading of all
        return _readable_entry_points()


def _readable_entry_points() -> tuple[list[EntryPoint], dict[str, Origin]]:
    entries: dict[str, list[EntryPoint]] = {}
    faults = {}
    for number, package in enumerate(importlib.metadata.distributions()):
        name = _package_name(package) or f"number {number}"
        try:
            own = [entry for entry in package.entry_points if entry.group == GROUP]
        except Exception as error:  # whatever the parser of a broken file comes up with
            faults[name] = Origin(
                name,
                "",
                "",
                f"package {name}: its entry points cannot be read ({described(error)}); "
                "install it again",
            )
        else:
            entries.setdefault(name, own)  # the first on the path is the one that is imported
    return [entry for own in entries.values() for entry in own], faults


def _package_name(package: importlib.metadata.Distribution) -> str:
    """Name of an installed package, as far as its metadata can be read."""
    try:
        return one_line(str(package.metadata["Name"]).lower())
    except Exception:  # the same file may be the broken one
        folder = getattr(package, "_path", None)
        return one_line(Path(str(folder)).stem.partition("-")[0].lower()) if folder else ""


def every() -> list[Suite]:
    """All suites that hold together, by name; each of the others is one warning in the log.

    Raises:
        UsageError: no suite is offered at all.
    """
    if not origins():
        raise UsageError(_NONE)
    suites, faults = _sorted_out()
    for line in faults.values():
        _log.warning("%s (left out)", line)
    return suites


def broken() -> dict[str, str]:
    """What is offered but cannot be used, by name, with the reason in one line."""
    return _sorted_out()[1]


def _sorted_out() -> tuple[list[Suite], dict[str, str]]:
    suites, faults = [], {}
    for name in origins():
        try:
            suites.append(load(name))
        except HarnessError as error:
            faults[name] = str(error)
    return suites, faults


_used: list[plugins.Loaded] = []
"""The plugins of this process, in the order in which they were named."""


def use(words: Sequence[str] | None) -> None:
    """Adds plugins to the suites of this process from now on, in place of those used before.

    Args:
        words: what `--plugin` names, see `harness.plugins.locate`; none: suites as they are.

    Raises:
        UsageError: there is no such plugin, or two have one name.
        SpecError: one cannot be imported or does not fit; one line says which.
    """
    places = [plugins.locate(word) for word in dict.fromkeys(words or ())]
    if places == [item.place for item in _used]:
        return
    names = [place.name for place in places]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two plugins are named {twice}; rename one of the files")
    found = [plugins.load(place, origins()) for place in places]
    _used[:] = found
    load.cache_clear()


def used() -> tuple[plugins.Loaded, ...]:
    """The plugins that suites have in this process."""
    return tuple(_used)


def plugin_lines() -> Iterator[str]:
    """What plugins there are, a line for each: those in use, then others that are installed."""
    for item in _used:
        suites = ", ".join(dict.fromkeys(part.suite for part in item.parts))
        yield f"plugin {item.place.name} {item.version} adds to {suites}"
    used = {item.place.name for item in _used}
    for name, place in sorted(plugins.offered().items()):
        if name not in used:
            yield f"plugin {name} ({place.module}) is installed: add it with --plugin {name}"


def unloaded(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the plugins behind a specification that this process does not use."""
    here = {item.place.name for item in _used}
    names = spec.get("plugins")
    return tuple(str(n) for n in names if n not in here) if isinstance(names, list | tuple) else ()


@functools.cache
def load(name: str) -> Suite:
    """The suite of that name, validated, with what the plugins of this process add to it.

    Raises:
        UsageError: no suite has that name, or none is offered at all.
        SpecError: it does not hold together; one line says where.
    """
    origin = origins().get(name)
    if origin is None:
        there = [o.name for o in origins().values() if not o.fault]
        raise UsageError(unknown("suite", name, there, "harness list") if origins() else _NONE)
    if origin.fault:
        raise SpecError(origin.fault)
    where = f"suite {name} ({origin.module})"
    try:
        function = functools.reduce(
            getattr, origin.function.split("."), importlib.import_module(origin.module)
        )
        made: object = function()  # type: ignore[operator]
        if not isinstance(made, Suite) or made.name != name:
            raise SpecError(f"{origin.function}() must return Suite(name={name!r})")
        # Again, for what was changed or left unchecked since it was validated.
        whole = _validated(made)
        _storable(whole)
        references(whole)
    except KeyboardInterrupt:
        raise
    except ValidationError as error:
        raise SpecError(f"{where}: {fault(error, error.title)}") from None
    except HarnessError as error:
        raise SpecError(f"{where}: {one_line(str(error))}") from None
    except BaseException as error:  # a suite's own code may raise anything, and call sys.exit
        raise SpecError(f"{where} cannot be loaded: {described(error)}") from error
    return plugins.extended(whole, _used)


def _validated(suite: Suite) -> Suite:
    """The suite built again from its values; settings keep the types that they were made of."""
    values = suite.model_dump(warnings=False)
    for scale, content in zip(suite.scales, values["scales"], strict=True):
        settings = scale.settings
        content["settings"] = type(settings).model_validate(settings.model_dump(warnings=False))
    return Suite.model_validate(values)


def _storable(suite: Suite) -> None:
    """Whether reports and records can hold all that a suite says.

    Raises:
        SpecError: a lone surrogate, or an integer of thousands of digits.
    """
    try:
        digest(suite.model_dump())
    except (ValueError, RecursionError) as error:
        raise SpecError(f"not to be written as JSON in UTF-8 ({described(error)})") from None


def references(suite: Suite) -> tuple[Reference, ...]:
    """The published numbers beside a suite.

    Raises:
        SpecError: a row of the file does not fit; file, line and reason in one line.
    """
    path = folder(suite.name) / suite.references
    if not path.exists():
        return ()
    rows = []
    number = 0
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.DictReader(file)
            for row in lines:
                number = lines.line_num
                if None in row:
                    raise SpecError(f"{path}:{number}: more cells than the header has")
                rows.append(Reference.model_validate({k: v for k, v in row.items() if v != ""}))
            number = lines.line_num
    except ValidationError as error:
        raise SpecError(f"{path}:{number}: {fault(error)}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecError(f"{path}:{number + 1}: not UTF-8 CSV ({error})") from None
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    return tuple(rows)


def responses(suite: Suite) -> dict[str, str]:
    """What a paper's authors say of verdicts, from `responses.md` beside the suite, by claim.

    A level-two heading names the claim; the text below it, without line breaks, is what they say.

    Raises:
        SpecError: a heading that names no claim, or a file that cannot be read.
    """
    path = folder(suite.name) / "responses.md"
    if not path.exists():
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {described(error)}") from None
    said: dict[str, str] = {}
    for part in f"\n{text}".split("\n## ")[1:]:
        name, _, words = part.partition("\n")
        if name.strip() not in {claim.name for claim in suite.claims}:
            raise SpecError(
                f"{path}: no claim is called {name.strip()!r}; `harness show {suite.name}` lists "
                "them"
            )
        said[name.strip()] = " ".join(words.split())
    return said


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
        found = getattr(importlib.import_module(module), function, None)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        raise SpecError(
            f"{path}: no module {error.name!r}; install what the suite's README names"
        ) from None
    except (ImportError, SyntaxError) as error:
        reason = described(error).partition(": ")[2]
        raise SpecError(f"{path}: the module cannot be imported: {reason}") from None
    except BaseException as error:  # a module may raise anything, and call sys.exit
        raise SpecError(f"{path}: the module cannot be imported: {described(error)}") from error
    if found is None:
        raise SpecError(f"{path}: the module has no {function!r}")
    if not callable(found):
        raise SpecError(
            f"{path}: {function!r} is no function: it is of type {type(found).__name__}"
        )
    return found  # type: ignore[no-any-return]


def datasets(names: Sequence[str]) -> list[tuple[Suite, Dataset]]:
    """The named datasets, and all of the named suites, each with its suite; all of all for none.

    Raises:
        UsageError: there is neither a dataset nor a suite of that name.
    """
    found = [(suite, dataset) for suite in every() for dataset in suite.datasets]
    there = {dataset.name for _, dataset in found}
    there |= set(origins())
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


def trees(suite: Suite, plugins: Sequence[str] = ()) -> tuple[Path, ...]:
    """The packages that hold the source of a suite: first its own, then those of its functions.

    And those of the plugins of these names; of others nothing counts.

    Raises:
        SpecError: a function has no source file.
    """
    origin = origins().get(suite.name)  # None: made by hand, in a test for instance
    paths = [origin.module] if origin else []
    paths += [method.run for method in suite.methods if not suite.plugins_of(method)]
    paths += [artifact.make for artifact in suite.artifacts if not suite.plugins_of(artifact)]
    paths += [added.source for added in suite.plugins if added.name in plugins]
    return source.trees(dict.fromkeys(paths))
