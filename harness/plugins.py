"""Plugins: methods, tasks and data of one's own in a suite that is there, without a fork.

A plugin is a Python file or a package with a function `plugin() -> Plugin` (or a tuple of them).
`--plugin` names it. Nothing that a suite has is replaced: identities, pairs of methods and tasks,
and the tasks of its claims stay as they are, so that recorded baselines stand beside the new rows.
"""

import fnmatch
import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from pydantic import ValidationError

from harness.cache import Cache, location
from harness.errors import (
    DataError,
    HarnessError,
    SpecError,
    UsageError,
    described,
    one_line,
    quoted,
    unknown,
)
from harness.files import file_digest, write_atomic
from harness.identity import digest
from harness.settings import Spec, fault
from harness.suite import (
    Added,
    Artifact,
    Claim,
    Dataset,
    Exact,
    ImportPath,
    Method,
    Metric,
    Name,
    Scale,
    Suite,
    Table,
    Task,
    select,
)

GROUP = "harness.plugins"
"""The group of entry points that give installed plugins a name; each is `name = module:function`.
They are loaded where they are named and not by themselves: what a report shows does not depend on
what happens to be installed."""
FUNCTION = "plugin"
"""What a plugin's module must define."""
MARKS = "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ"
"""Behind the labels of what plugins add, a letter for each plugin of a suite."""
KINDS = ("methods", "tasks", "metrics", "artifacts", "datasets", "tables", "claims")
"""What a plugin may add to a suite."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,63}")
_LARGE = 1 << 26
"""Bytes from which on a file's digest is remembered."""


class Plugin(Spec):
    """What a plugin adds to one suite."""

    suite: Name
    """The suite that it adds to."""
    methods: tuple[Method, ...] = ()
    tasks: tuple[Task, ...] = ()
    metrics: tuple[Metric, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    datasets: tuple[Dataset, ...] = ()
    tables: tuple[Table, ...] = ()
    claims: tuple[Claim, ...] = ()
    scales: tuple[str, ...] = ("*",)
    """Names or globs of the suite's scales at which the new methods and tasks run."""
    pairs: tuple[str, ...] = ("*",)
    """`method/task` globs of what is to run, e.g. `mine/self-*`. By default a new method meets all
    tasks of a scale, and a new task all its methods."""
    together: ImportPath | None = None
    """`together(parts) -> Plugin`: what all parts of one plugin that name this function add beyond
    what each adds by itself; asked once, after them."""


class Kept(NamedTuple):
    """Data of a plugin in a file of its own; the fields are those of a `Dataset`."""

    folder: str
    file: str
    sha256: str


def keep(data: bytes, ending: str) -> Kept:
    """Keeps what a plugin has in memory as a file of the cache, under the digest of its bytes.

    Raises:
        StoreError: the disk is full, the folder is not writable, ...
    """
    key = hashlib.sha256(data).hexdigest()
    folder, file = (location() / "data").absolute(), f"plugins/{key[:32]}{ending}"
    if not (folder / file).is_file() or (folder / file).stat().st_size != len(data):
        Cache(location()).claim()
        write_atomic(folder / file, data)
    return Kept(str(folder), file, key)


def digest_of(path: Path) -> str:
    """sha256 of a file of a plugin's; of a large one it is remembered until the file changes.

    Every command loads its plugins, and gigabytes of weights take a minute. What is remembered goes
    by size and time of change; whoever reads the file compares all of it with the digest.
    """
    size, changed = path.stat().st_size, path.stat().st_mtime_ns
    if size < _LARGE:
        return file_digest(path)
    key = hashlib.sha256(f"{path.resolve()}\0{size}\0{changed}".encode()).hexdigest()
    memo = (location() / "digests").absolute() / f"large-{key[:32]}.txt"
    known = memo.read_text(encoding="utf-8") if memo.is_file() else ""
    if not re.fullmatch("[0-9a-f]{64}", known):
        known = file_digest(path)
        Cache(location()).claim()
        write_atomic(memo, known.encode())
    return known


class Place(NamedTuple):
    """Where a plugin is found."""

    word: str
    """What any process on this machine can name it by: an absolute path, or a name."""
    name: str
    module: str
    function: str
    folder: str = ""
    """Of a file: what must be on the path of modules to import it."""
    version: str = ""
    """Of the package that offers it; empty for a file."""


class Loaded(NamedTuple):
    """A plugin that was imported."""

    place: Place
    version: str
    parts: tuple[Plugin, ...]

    @property
    def mark(self) -> str:
        """How reports set off what is not the suite's."""
        return f"from plugin {self.place.name} {self.version}"

    @property
    def word(self) -> str:
        """What `--plugin` takes, without the folder."""
        return Path(self.place.word).name if self.place.folder else self.place.name


def offered() -> dict[str, Place]:
    """The plugins that installed packages offer, by name, without importing any."""
    found = {}
    try:
        entries = list(importlib.metadata.entry_points(group=GROUP))
    except Exception:  # one package's metadata, which spoils the reading of all
        entries = []
    for entry in entries:
        parts = entry.pattern.match(entry.value)
        if parts and parts["attr"] and _NAME.fullmatch(entry.name):
            version = entry.dist.version if entry.dist else ""
            found[entry.name] = Place(entry.name, entry.name, entry.module, entry.attr, "", version)
    return found


def locate(word: str) -> Place:
    """Where the plugin is that a word on the command line names.

    Args:
        word: a Python file, a folder with an `__init__.py`, a name that an installed package gives
            its plugin, or the name of an importable module.

    Raises:
        UsageError: there is no such file or module, or its name cannot be imported.
    """
    path = Path(word)
    if path.suffix == ".py" or "/" in word or path.is_dir():
        return _file(path)
    if (there := offered()).get(word):
        return there[word]
    try:
        spec = importlib.util.find_spec(word) if re.fullmatch(r"[A-Za-z_][\w.]*", word) else None
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise UsageError(
            f"{unknown('plugin', word, there)}; or give a Python file (mine.py) or an installed "
            "module"
        )
    return Place(word, _named(word), word, FUNCTION, "", _version_of(word.partition(".")[0]))


def _file(path: Path) -> Place:
    shown = quoted(str(path))
    if path.is_dir() and not (path / "__init__.py").is_file():
        raise UsageError(f"--plugin {shown}: a folder without __init__.py; name a Python file")
    if not path.exists():
        raise UsageError(f"--plugin {shown}: no such file; `harness new plugin NAME` writes one")
    if not path.is_dir() and path.suffix != ".py":
        raise UsageError(f"--plugin {shown}: not a Python file (.py)")
    module = path.stem
    if not module.isidentifier():
        better = re.sub(r"\W", "_", module)
        raise UsageError(
            f"--plugin {shown}: {module!r} cannot be imported; rename the file, e.g. {better}.py"
        )
    whole = path.resolve()
    return Place(str(whole), _named(module), module, FUNCTION, str(whole.parent))


def _named(module: str) -> str:
    return module.lower().replace("_", "-").strip("-.")[:64] or "plugin"


def _version_of(top: str) -> str:
    packages = importlib.metadata.packages_distributions().get(top, ())
    return importlib.metadata.version(packages[0]) if packages else ""


def load(place: Place, suites: Iterable[str]) -> Loaded:
    """The plugin at a place, imported and asked what it adds.

    Raises:
        SpecError: it cannot be imported, returns something else, or adds to a suite that is not
            there; one line says which.
    """
    where = f"plugin {place.name} ({Path(place.word).name})"
    try:
        module = _imported(place)
        function = getattr(module, place.function, None)
        if not callable(function):
            raise SpecError(
                f"no function {place.function}(); define `def {FUNCTION}() -> Plugin`, see "
                "docs/bring-your-own.md"
            )
        made: object = function()
        parts = tuple(made) if isinstance(made, tuple | list) else (made,)
        wrong = next((part for part in parts if not isinstance(part, Plugin)), None)
        if wrong is not None or not parts:
            what = type(wrong).__name__ if parts else "nothing"
            raise SpecError(
                f"{place.function}() must return a harness.plugins.Plugin, or a tuple of them; "
                f"it returned {what}"
            )
        plugins = tuple(part for part in parts if isinstance(part, Plugin))
        plugins = (*plugins, *_joint(plugins))
        for part in plugins:
            digest(part.model_dump())  # whether records can hold it
            if part.suite not in (known := set(suites)):
                raise SpecError(unknown("suite", part.suite, known, "harness list"))
        version = str(getattr(module, "__version__", "") or place.version or "0")
        if not re.fullmatch(r"[\w.+!-]{1,40}", version):
            raise SpecError(f"__version__ {quoted(version)}: write something like 1.2")
        return Loaded(place, version, plugins)
    except KeyboardInterrupt:
        raise
    except ValidationError as error:
        raise SpecError(f"{where}: {fault(error, error.title)}") from None
    except DataError as error:
        raise SpecError(f"{where}: {one_line(str(error))}{_elsewhere(place)}") from None
    except (HarnessError, RecursionError) as error:
        raise SpecError(f"{where}: {one_line(str(error))}") from None
    except BaseException as error:  # a plugin's own code may raise anything, and call sys.exit
        raise SpecError(f"{where} cannot be loaded: {described(error)}") from error


def _elsewhere(place: Place) -> str:
    """Where a plugin's relative paths begin, told where that is not beside the plugin."""
    if not place.folder or Path(place.folder) == Path.cwd():
        return ""
    return (
        ". Relative paths of a plugin begin in the current folder: run the command where the files "
        "are, or write Path(__file__).parent / ..."
    )


def _joint(parts: Sequence[Plugin]) -> Iterator[Plugin]:
    """What parts add together."""
    for path in dict.fromkeys(part.together for part in parts if part.together):
        module, _, name = path.partition(":")
        yield getattr(importlib.import_module(module), name)(
            tuple(part for part in parts if part.together == path)
        )


def _imported(place: Place) -> ModuleType:
    """The module, under the name that its functions' import paths have."""
    if place.folder and place.folder not in sys.path:
        sys.path.append(place.folder)  # last: it must not shadow what others import
        importlib.invalidate_caches()
    if place.folder:
        there = sys.modules.get(place.module)
        spec = there.__spec__ if there else importlib.util.find_spec(place.module)
        origin = Path(spec.origin) if spec and spec.origin else None
        own = Path(place.word) / "__init__.py" if Path(place.word).is_dir() else Path(place.word)
        if origin is None or origin.resolve() != own:
            raise SpecError(
                f"a module named {place.module!r} is there already ({origin or 'built in'}); "
                "rename the file"
            )
    return importlib.import_module(place.module)


def extended(suite: Suite, loaded: Sequence[Loaded]) -> Suite:
    """The suite with all that plugins add to it; itself where that is nothing.

    Raises:
        SpecError: a name that is there already, or the whole does not hold together.
    """
    for item in loaded:
        for part in item.parts:
            if part.suite == suite.name:
                try:
                    suite = _with(suite, part, item)
                except (ValidationError, HarnessError) as error:
                    line = fault(error) if isinstance(error, ValidationError) else str(error)
                    name = Path(item.place.word).name
                    raise SpecError(
                        f"plugin {item.place.name} ({name}), suite {suite.name}: {one_line(line)}"
                    ) from None
    return suite


def _with(suite: Suite, part: Plugin, item: Loaded) -> Suite:
    for kind in KINDS:
        there = {thing.name for thing in getattr(suite, kind)}
        for thing in getattr(part, kind):
            if thing.name in there:
                raise SpecError(
                    f"{kind[:-1]} {thing.name!r} is there already, and a plugin replaces nothing; "
                    "give it another name"
                )
            there.add(thing.name)
    scales = [scale.name for scale in suite.scales]
    for pattern in part.scales:
        if not fnmatch.filter(scales, pattern):
            raise SpecError(unknown("scale", pattern, scales))
    names = list(dict.fromkeys((*(there.name for there in suite.plugins), item.place.name)))
    place = names.index(item.place.name)
    letter = MARKS[place % len(MARKS)] * (1 + place // len(MARKS))
    added = Added(
        name=item.place.name,
        version=item.version,
        source=f"{item.place.module}:{item.place.function.partition('.')[0]}",
        word=item.word,
        mark=letter,
        methods=tuple(m.name for m in part.methods),
        tasks=tuple(t.name for t in part.tasks),
        artifacts=tuple(a.name for a in part.artifacts),
    )
    update = {
        kind: (*getattr(suite, kind), *_marked(part, kind, item.mark, letter)) for kind in KINDS
    }
    update["claims"] = (
        *(_pinned(claim, suite, part) for claim in suite.claims),
        *_marked(part, "claims", item.mark, letter),
    )
    update["scales"] = tuple(_scale(suite, scale, part) for scale in suite.scales)
    update["plugins"] = (*suite.plugins, added)
    whole = suite.model_copy(update=update)
    Suite.model_validate(
        {field: getattr(whole, field) for field in Suite.model_fields}
    )  # says where it does not hold together
    return whole


def _marked(part: Plugin, kind: str, mark: str, letter: str) -> list[Spec]:
    """What is added, with the mark where people read of it; no identity holds these words.

    Labels stand in heads of tables and legends of figures: they have the letter alone.
    """
    marked: list[Spec] = []
    for thing in getattr(part, kind):
        update: dict[str, object] = {}
        if isinstance(thing, Method | Task):
            update["label"] = f"{thing.label or thing.name}{letter}"
        elif kind == "tables":
            update["title"] = f"{thing.title} ({mark})"
        elif kind == "datasets":
            update["note"] = "; ".join(filter(None, (thing.note, mark)))
        elif kind == "claims":
            update["text"] = f"{thing.text} ({mark})"
            if not isinstance(thing, Exact):  # never among those that the paper makes
                update["role"] = "additional"
        marked.append(thing.model_copy(update=update))
    return marked


def _pinned(claim: Claim, suite: Suite, part: Plugin) -> Claim:
    """A claim of the suite: it and its checks speak of the tasks that they spoke of before."""

    def before(patterns: tuple[str, ...]) -> tuple[str, ...]:
        own = tuple(task.name for task in select(suite.tasks, patterns))
        return own if select(part.tasks, patterns) else patterns

    checks = (c.model_copy(update={"tasks": before(c.tasks)}) for c in claim.checks)
    return claim.model_copy(update={"tasks": before(claim.tasks), "checks": tuple(checks)})


def _scale(suite: Suite, scale: Scale, part: Plugin) -> Scale:
    """The scale with the new pairs of methods and tasks, and no others."""
    new = ({m.name for m in part.methods}, {t.name for t in part.tasks})
    before = {(method.name, task.name) for method, task in suite.pairs(scale)}
    runs = any(fnmatch.fnmatchcase(scale.name, pattern) for pattern in part.scales)
    methods = tuple(dict.fromkeys((*scale.methods, *(m.name for m in part.methods))))
    tasks = tuple(dict.fromkeys((*scale.tasks, *(t.name for t in part.tasks))))
    everything = suite.model_copy(
        update={"methods": (*suite.methods, *part.methods), "tasks": (*suite.tasks, *part.tasks)}
    )
    wider = scale.model_copy(update={"methods": methods, "tasks": tasks})
    refused = [
        f"{method.name}/{task.name}"
        for method, task in everything.pairs(wider)
        if (method.name, task.name) not in before
        and not (
            runs
            and (method.name in new[0] or task.name in new[1])
            and any(fnmatch.fnmatchcase(f"{method.name}/{task.name}", glob) for glob in part.pairs)
        )
    ]
    return wider.model_copy(update={"exclude": (*scale.exclude, *refused)})
