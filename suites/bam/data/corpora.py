"""Documents of the four domains: read, freed of duplicates, split by their own hash.

General text, law and mathematics come from the data folder, code from the standard library of the
running Python; or all four from public sets. With neither, the fallback is text that ships with
Python and installed packages: the help topics of `pydoc` and package descriptions (general),
licence files (law), docstrings of numerical packages (math).
"""

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from harness import rows
from harness.errors import DataError, unknown
from harness.rows import Field, Schema
from suites.bam.data.datasets import DOMAINS, PUBLIC, TEXTS, Text

SHORTEST = 200
"""Characters below which a file or docstring is no document."""

LARGEST = 0.5
"""Share of a domain's characters that one document may have."""

DOCUMENT = Schema((Field("id", "name"), Field("text")))
"""A row of a corpus."""

_NOT_CODE = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages"})
_NUMERICAL = ("numpy", "mpmath")


class Document(NamedTuple):
    """A text and the name it is known by."""

    id: str
    text: str

    @property
    def digest(self) -> str:
        """sha256 of the text: equal texts are one document, whatever their names."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def read(domain: str, folders: Mapping[str, Path]) -> list[Document]:
    """The documents of a domain, each text once, ordered by digest.

    Args:
        domain: `general`, `code`, `law` or `math`.
        folders: Names of `datasets.TEXTS` or `datasets.PUBLIC`, and where their paths start from;
            empty for built-in text. Code is the standard library unless one of them is code.

    Raises:
        DataError: no such domain; a line that is no document; nothing found.
    """
    if domain not in DOMAINS:
        raise DataError(unknown("domain", domain, DOMAINS))
    found: Iterator[Document] = iter(())
    if texts := chosen(domain, folders):
        files = [folders[text.name] / file for text in texts for file in text.files]
        found = (document for file in files for document in parse(file))
    elif domain == "code":
        found = standard_library()
    elif not folders:
        found = BUILT_IN[domain]()
    return distinct(domain, found)


def chosen(domain: str, names: Iterable[str]) -> list[Text]:
    """Which of the named sets are of a domain; none where its text comes from the installation."""
    wanted = set(names)
    return [text for text in (*TEXTS, *PUBLIC) if text.domain == domain and text.name in wanted]


def distinct(domain: str, documents: Iterable[Document]) -> list[Document]:
    """Each text once, ordered by digest: an order that no file layout decides.

    Raises:
        DataError: there is none.
    """
    by_digest: dict[str, Document] = {}
    for document in documents:
        by_digest.setdefault(document.digest, document)
    if not by_digest:
        raise DataError(
            f"domain {domain} has no document; give it text files, or leave the data folder out "
            "to use text that ships with Python"
        )
    return [by_digest[key] for key in sorted(by_digest)]


def take(documents: Sequence[Document], characters: int) -> list[Document]:
    """The first documents whose lengths together reach `characters`; all where they do not.

    A document gives `LARGEST` of them at most: the rest of a longer one is left out, so that one
    book or dump is not the whole domain.
    """
    most = max(1, int(LARGEST * characters))
    taken, length = [], 0
    for document in documents:
        if length >= characters:
            break
        taken.append(document._replace(text=document.text[:most]))
        length += len(taken[-1].text)
    return taken


class Split(NamedTuple):
    """Two disjoint parts of a domain."""

    train: list[Document]
    held_out: list[Document]


def split(domain: str, documents: Sequence[Document], held_out: float) -> Split:
    """Parts documents by the hash of their text, so that a text never changes sides.

    Args:
        domain: For the error message.
        documents: Without duplicates.
        held_out: Expected share of held-out documents, between 0 and 1.

    Raises:
        DataError: one of the parts would be empty.
    """
    bound = int(held_out * 2**32)
    parts = Split([], [])
    for document in documents:
        key = int(hashlib.sha256(b"held-out\0" + document.text.encode()).hexdigest()[:8], 16)
        (parts.held_out if key < bound else parts.train).append(document)
    for name, part in zip(("training", "held-out"), parts, strict=True):
        if not part:
            raise DataError(
                f"domain {domain}: no {name} document among {len(documents)} with a held-out share "
                f"of {held_out:g}; give it more documents"
            )
    return parts


def parse(file: Path) -> Iterator[Document]:
    """The documents of a file of rows with `id` and `text`; of plain text it is one document.

    Raises:
        DataError: the file cannot be read, or a row is no document.
    """
    for row in rows.stream(file, DOCUMENT):
        yield Document(row.values["id"], row.values["text"])


def standard_library() -> Iterator[Document]:
    """Sources of the standard library of the running Python, without its tests."""
    yield from _sources(Path(sysconfig.get_paths()["stdlib"]))


def installed_descriptions() -> Iterator[Document]:
    """The help topics of `pydoc`, and the descriptions of installed packages."""
    topics = importlib.import_module("pydoc_data.topics").topics
    for name, text in sorted(topics.items()):
        yield from _document(f"pydoc/{name}", text)
    for distribution in _distributions():
        text = _metadata(distribution)
        yield from _document(f"description/{distribution.name}", text.partition("\n\n")[2])


def installed_licences() -> Iterator[Document]:
    """The licence of Python, and the licence files of installed packages."""
    files = [Path(sysconfig.get_paths()["stdlib"]) / "LICENSE.txt"]
    for distribution in _distributions():
        for file in _files(distribution):
            name = file.name.upper()
            if ".dist-info" in str(file) and any(
                word in name for word in ("LICENSE", "LICENCE", "COPYING", "NOTICE")
            ):
                files.append(Path(str(distribution.locate_file(file))))
    for path in files:
        for part, text in enumerate(pieces(_text(path))):
            yield from _document(f"licence/{path.parent.name}/{path.name}#{part}", text)


def installed_docstrings() -> Iterator[Document]:
    """Docstrings of the numerical packages that are installed, parsed, not imported."""
    for package in _NUMERICAL:
        spec = importlib.util.find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            for document in _sources(Path(root)):
                yield from _docstrings(package, document)


BUILT_IN: Mapping[str, Callable[[], Iterator[Document]]] = MappingProxyType(
    {
        "general": installed_descriptions,
        "law": installed_licences,
        "math": installed_docstrings,
    }
)
"""The fallback text of a domain where there is no data folder."""


def _docstrings(package: str, source: Document) -> Iterator[Document]:
    with contextlib.suppress(SyntaxError, ValueError):
        for node in ast.walk(ast.parse(source.text)):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                name = getattr(node, "name", "")
                text = ast.get_docstring(node) or ""
                yield from _document(f"docstring/{package}/{source.id}#{name}", text)


def _sources(root: Path) -> Iterator[Document]:
    for path in sorted(root.rglob("*.py")):
        if not _NOT_CODE.intersection(path.relative_to(root).parts):
            yield from _document(path.relative_to(root).as_posix(), _text(path))


def _document(name: str, text: str) -> Iterator[Document]:
    if len(text) >= SHORTEST:
        yield Document(name, text)


def pieces(text: str, length: int = 4000) -> Iterator[str]:
    """Long texts in pieces that end with a line: a domain needs more than a dozen documents."""
    piece = ""
    for line in text.splitlines(keepends=True):
        piece += line
        if len(piece) >= length:
            yield piece
            piece = ""
    yield piece


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="strict")
    except (OSError, UnicodeDecodeError):
        return ""


def _metadata(distribution: importlib.metadata.Distribution) -> str:
    """What a package says of itself; nothing where its file is corrupt."""
    try:
        return distribution.read_text("METADATA") or ""
    except Exception:  # whatever others' files make their reader come up with
        return ""


@functools.cache
def _distributions() -> tuple[importlib.metadata.Distribution, ...]:
    """Installed packages by name; those with corrupt metadata are left out."""
    named = {}
    for distribution in importlib.metadata.distributions():
        with contextlib.suppress(Exception):  # see `_metadata`
            if distribution.name:
                named[distribution.name] = distribution
    return tuple(named[name] for name in sorted(named))


def _files(distribution: importlib.metadata.Distribution) -> list[importlib.metadata.PackagePath]:
    try:
        return sorted(distribution.files or [], key=str)
    except Exception:  # a list of files that cannot be read
        return []
