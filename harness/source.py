"""The source that decides a function's numbers: which modules it reaches, and their digest.

What counts: the modules of its own top-level package that import statements lead to; modules beside
that package or beside the engine (its suites), unless they are installed; the modules of the engine
that do arithmetic (`harness.training` and the like, not the machinery that every trial shares); and
the data files that lie in the folders of those modules. Installed packages count by their version,
see `harness.provenance`. Nothing is imported to find out.
"""

import ast
import functools
import hashlib
import importlib.util
import os
import re
import sysconfig
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from harness.errors import SpecError
from harness.suite import Suite
from harness.verified import finding, remembered, rules

ENGINE = "harness"
_HERE = Path(__file__).parent
MACHINERY = frozenset(
    {
        "analysis", "arguments", "artifacts", "axes", "cache", "check", "checkpoints", "checks",
        "claim", "claim_commands", "claims", "cli", "compare_commands", "comparison", "console",
        "contents", "context", "cost", "data", "data_commands", "design", "download", "drawing",
        "effects", "errors", "evidence", "executors", "exhibit", "export", "failures", "files",
        "frames", "git", "gpu", "headings", "identity", "inputs", "inventory", "lazy", "lease",
        "list_commands", "looks", "margins", "migrate", "new", "number", "options", "patience",
        "plan", "plugins", "provenance", "publish", "queue_commands", "record", "registry",
        "report", "resampling", "rounds", "run", "scale", "sequential", "share_commands", "shared",
        "source", "store", "suite", "summary", "task", "terminal", "tiers", "tool", "trackers",
        "until", "upkeep", "upkeep_commands", "variants", "verified", "wording",
    }
)  # fmt: skip
"""Parts of the engine that name, run, keep and show trials. A method's numbers do not depend on
how they work; golden tests hold what they hand out (identities, seed streams). Every other module
of the engine that a method imports is part of its source."""

_DOCUMENTS = frozenset(
    {".ipynb", ".jpeg", ".jpg", ".md", ".pdf", ".png", ".py", ".pyc", ".pyi", ".rst", ".svg"}
)
_NO_DATA = frozenset({"LICENSE", "README", "py.typed", Suite.model_fields["references"].default})
_DOTTED = re.compile(r"\.*[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_SETTLED_SECONDS = 2.0
"""A file untouched for so long would show a new time stamp if it were written again."""


class _Module(NamedTuple):
    """What a module's text says, wherever it lies."""

    code: str
    """Without comments and docstrings, in one layout."""
    imports: tuple[tuple[str, str | None], ...]
    """`(module, name)`: `from module import name`; without a name `import module`."""
    lazy: tuple[tuple[str, str | None], ...]
    """What its `__getattr__` may import."""
    dynamic: tuple[str, ...]
    """Packages from which it imports modules whose names are put together as it runs."""
    words: tuple[str, ...]
    """Texts in it that can be names of modules."""
    has_getattr: bool


class Reached(NamedTuple):
    """All that the source of a function comes to."""

    code: dict[str, str]
    """Module -> its code."""
    paths: dict[str, Path]
    """Module -> its file."""
    roots: tuple[Path, ...]
    """Folders of the top-level packages that the modules lie in; files of single modules."""


def digest(import_path: str) -> str:
    """sha256 over the source and the data files that a function's module reaches.

    Comments, docstrings and formatting do not count, nor do documents and published numbers.

    Raises:
        SpecError: the module has no source file, or one that it reaches does not parse.
    """
    found = reached(import_path)
    whole = hashlib.sha256()
    for module in sorted(found.code):
        if found.code[module]:  # an empty `__init__.py` is no code
            whole.update(f"{module}\0{found.code[module]}\0".encode())
    for name, path in sorted(_data_files(found.paths).items()):
        whole.update(f"{name}\0{_file_digest(path)}\0".encode())
    return whole.hexdigest()


def trees(import_paths: Iterable[str]) -> tuple[Path, ...]:
    """The top-level packages (or single modules) that hold the source of some functions."""
    found = {root: None for path in import_paths for root in reached(path).roots}
    return tuple(found)


def reached(import_path: str) -> Reached:
    """Every module that the function's own may import, found without importing any.

    Raises:
        SpecError: the module has no source file, or one that it reaches does not parse.
    """
    start = import_path.partition(":")[0]
    finder = _Finder(start)
    paths: dict[str, Path] = {}
    modules: dict[str, _Module] = {}
    asked: set[str] = set()
    pending: list[tuple[str, bool]] = [(start, True)]
    while pending:
        name, used = pending.pop()
        news = name not in modules
        if news:
            path = finder.find(name)
            if path is None:
                continue
            paths[name], modules[name] = path, _read(name, path)
        module, targets = modules[name], []
        if news:
            pending += [(above, False) for above in _above(name)]
            targets += [*module.imports, *([] if module.has_getattr else finder.dynamic(module))]
        if used and name not in asked:
            asked.add(name)
            targets += [*module.lazy, *(finder.dynamic(module) if module.has_getattr else [])]
        for base, wanted in targets:
            inner = f"{base}.{wanted}"
            if wanted is not None and finder.find(inner) is not None:
                pending += [(base, False), (inner, True)]
            else:
                pending.append((base, True))
    if start not in modules:
        raise SpecError(f"{import_path}: no source file for module {start!r}")
    code = {name: module.code for name, module in modules.items()}
    return Reached(code, paths, finder.roots(paths))


class _Finder:
    """Source files of modules, as seen from one of them."""

    def __init__(self, start: str) -> None:
        self._own = start.partition(".")[0]
        self._places: dict[str, tuple[Path, ...]] = {ENGINE: (_HERE,)}
        self._places[self._own] = _places(self._own)
        self._found: dict[str, Path | None] = {}
        beside = dict.fromkeys(place.parent for place in (*self._places[self._own], _HERE))
        self._beside = [folder for folder in beside if not _holds_installed(folder)]

    def find(self, module: str) -> Path | None:
        """The source file of a module that counts."""
        if module not in self._found:
            self._found[module] = self._search(module)
        return self._found[module]

    def _search(self, module: str) -> Path | None:
        top, *parts = module.split(".")
        if not top or (top == ENGINE and (not parts or parts[0] in MACHINERY)):
            return None
        if top not in self._places:
            given = [folder / top for folder in self._beside]
            given += [folder / f"{top}.py" for folder in self._beside]
            self._places[top] = tuple(place for place in given if place.exists())
        for place in self._places[top]:
            if place.is_file():
                if not parts:
                    return place
                continue
            whole = place.joinpath(*parts)
            for path in (whole / "__init__.py", whole.with_name(f"{whole.name}.py")):
                if path.is_file() and (parts or path.name == "__init__.py"):
                    return path
        return None

    def dynamic(self, module: _Module) -> list[tuple[str, str | None]]:
        """What a module may import by names that it puts together.

        Its own texts name them; where none does, it may be any module of the package.
        """
        named = [
            (f"{package}.{word.strip('.')}", None)
            for package in module.dynamic
            for word in module.words
        ]
        named += [(word, None) for word in module.words if module.dynamic]
        found: list[tuple[str, str | None]] = [n for n in named if self.find(n[0]) is not None]
        return found or [(name, None) for package in module.dynamic for name in self._all(package)]

    def _all(self, package: str) -> Iterator[str]:
        top, *parts = package.split(".")
        for place in self._places.get(top, ()):
            folder = place.joinpath(*parts)
            for path in sorted(folder.rglob("*.py")) if folder.is_dir() else ():
                inside = path.relative_to(folder).with_suffix("").parts
                yield ".".join((package, *(p for p in inside if p != "__init__")))

    def roots(self, modules: Iterable[str]) -> tuple[Path, ...]:
        """Where those modules' top-level packages lie, the first module's first."""
        tops = {name.partition(".")[0]: None for name in (self._own, *modules)}
        return tuple(place for top in tops if top != ENGINE for place in self._places[top])


def _holds_installed(folder: Path) -> bool:
    if folder.name in ("site-packages", "dist-packages"):
        return True
    return folder.resolve() in {Path(path).resolve() for path in sysconfig.get_paths().values()}


def _places(top: str) -> tuple[Path, ...]:
    """The folders of a top-level package, or the file of a module."""
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return ()
    if spec is None:
        return ()
    if spec.submodule_search_locations is not None:
        return tuple(Path(place) for place in spec.submodule_search_locations)
    path = Path(spec.origin or "")
    return (path,) if path.suffix == ".py" else ()


def _above(module: str) -> list[str]:
    """The packages that are executed before a module is."""
    parts = module.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts))]


def _read(name: str, path: Path) -> _Module:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    try:
        return _parsed(path.read_bytes(), package, name)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise SpecError(f"{path}: not Python source: {error}") from None


@functools.cache
def _parsed(text: bytes, package: str, name: str) -> _Module:
    """A module's text taken apart: once in this process, and once for all with a cache."""
    key = finding(rules(), package.encode(), text)
    code, *names, has_getattr = remembered(f"module {name}", key, lambda: _apart(text, package))
    imports, lazy, dynamic, words = names
    return _Module(
        code,
        tuple((module, wanted) for module, wanted in imports),
        tuple((module, wanted) for module, wanted in lazy),
        tuple(dynamic),
        tuple(words),
        has_getattr,
    )


def _apart(text: bytes, package: str) -> _Module:
    tree = _without_docstrings(ast.parse(text))
    lazy_nodes: set[ast.AST] = set()
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__getattr__":
            lazy_nodes |= set(ast.walk(statement))
    imports: dict[tuple[str, str | None], None] = {}
    lazy: dict[tuple[str, str | None], None] = {}
    dynamic: dict[str, None] = {}
    nodes = list(ast.walk(tree))
    importers = {"import_module", "__import__", *_renamed(nodes)}
    for node in nodes:
        target = lazy if node in lazy_nodes else imports
        target.update(dict.fromkeys(_imported(node, package)))
        if isinstance(node, ast.Call) and _called(node) in importers:
            name = _literal(node, package)
            if name:
                target[name, None] = None
            else:
                dynamic.update(dict.fromkeys(_packages_of(node, package)))
    texts = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    words = {text.partition(":")[0]: None for text in texts}
    named = tuple(word for word in words if _DOTTED.fullmatch(word))
    whole = [(w, None) for w in named if "." in w.strip(".") and not w.startswith(".")]
    # A whole dotted name is an import path for somebody to follow.
    (lazy if lazy_nodes else imports).update(dict.fromkeys(whole))
    return _Module(
        ast.unparse(tree), tuple(imports), tuple(lazy), tuple(dynamic), named, bool(lazy_nodes)
    )


def _imported(node: ast.AST, package: str) -> Iterator[tuple[str, str | None]]:
    """What an import statement in a module of `package` may mean."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.name, None
            if alias.asname is None:  # binds the package at the top: all its names can be used
                yield from ((above, None) for above in _above(alias.name))
    if isinstance(node, ast.ImportFrom):
        base = _absolute("." * node.level + (node.module or ""), package)
        yield from ((base, alias.name) for alias in node.names)


def _absolute(name: str, package: str) -> str:
    """A module's name without leading dots, seen from `package`."""
    plain = name.lstrip(".")
    level = len(name) - len(plain)
    if not level:
        return name
    parts = package.split(".")
    above = parts[: max(len(parts) - level + 1, 0)]
    return ".".join([*above, plain] if plain else above)


def _renamed(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Other names under which `importlib.import_module` was imported."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "importlib":
            yield from (a.asname for a in node.names if a.name == "import_module" and a.asname)


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _literal(node: ast.Call, package: str) -> str | None:
    """The module that `import_module("...")` names, where that is written out."""
    texts = [
        a.value if isinstance(a, ast.Constant) and isinstance(a.value, str) else None
        for a in (*node.args, *(k.value for k in node.keywords if k.arg in ("name", "package")))
    ]
    if not texts or texts[0] is None:
        return None
    return _absolute(texts[0], (texts[1] if len(texts) > 1 else None) or package)


def _packages_of(node: ast.Call, package: str) -> Iterator[str]:
    """The packages that a name put together by a call may begin with."""
    yield package
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            beginning, dot, _ = part.value.rpartition(".")
            if dot and _DOTTED.fullmatch(beginning):
                yield _absolute(beginning, package)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                line
                for line in node.body
                if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
            ]
    return tree


# -- data files ------------------------------------------------------------------------------------


def _data_files(modules: dict[str, Path]) -> dict[str, Path]:
    """Data files in the package folders of those modules, and in folders of data below them."""
    folders = {}
    for module, path in modules.items():
        packages = _above(module)
        folder = path.parent
        if path.name == "__init__.py":
            packages.append(module)
        for package in reversed(packages):
            if package.partition(".")[0] != ENGINE:
                folders[folder] = package
            folder = folder.parent
    return {
        f"{package}/{path.relative_to(folder).as_posix()}": path
        for folder, package in folders.items()
        for path in _data_below(folder)
    }


def _data_below(folder: Path) -> Iterator[Path]:
    seen: set[Path] = set()
    for root, inner, names in os.walk(folder, followlinks=True):
        here = Path(root)
        inner[:] = sorted(
            name
            for name in inner
            if name[0] != "."
            and name != "__pycache__"
            and not (here / name / "__init__.py").exists()
        )
        if here.resolve() in seen:  # a link that leads in a circle
            inner.clear()
            continue
        seen.add(here.resolve())
        for name in sorted(names):
            path = here / name
            plain = name not in _NO_DATA and path.stem not in _NO_DATA and name[0] != "."
            if plain and path.suffix.lower() not in _DOCUMENTS and path.is_file():
                yield path


def _file_digest(path: Path) -> str:
    state = path.stat()
    if time.time() - max(state.st_mtime, state.st_ctime) < _SETTLED_SECONDS:
        return _hashed(path)
    return _remembered(path, state.st_mtime_ns, state.st_ctime_ns, state.st_size, state.st_ino)


@functools.cache
def _remembered(path: Path, *_: int) -> str:
    return _hashed(path)


def _hashed(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
