"""Rebuilds the twelve corpora from where they were published; `harness data prepare` calls it.

Each comes from one commit, as the recorded files did. How those were cut and converted was written
down in words only, so that what is built here is their equivalent: nearly the same documents, in
the same order, under the same names. `spdx-licences` is built byte for byte.
"""

import hashlib
import itertools
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import NamedTuple

from pydantic import JsonValue

from harness import download
from harness.data import arriving
from harness.errors import DataError
from harness.suite import Dataset
from suites.bam.data import convert
from suites.bam.data.archives import Member, members
from suites.bam.data.books import BOOKS, FEDERALIST, FRONT_MATTER

SHORTEST = 200
"""Characters below which a text is no document."""
FILE = 3_900_000
"""Bytes of a file of a corpus; what is more goes into the next one."""

Pair = tuple[str, str]
"""Name and text of a document."""
Archives = Mapping[str, Path]


class Recipe(NamedTuple):
    """How a corpus is made."""

    urls: tuple[str, ...]
    documents: Callable[[Archives], Iterator[Pair]]
    """Address -> the file from there, to documents."""
    most: int | None = None
    """Bytes of a corpus that is only the beginning of its source."""


def build(dataset: Dataset, folder: Path) -> dict[str, JsonValue]:
    """Writes the files of a corpus below `folder`; returns where they come from.

    Raises:
        DataError: offline, an archive that cannot be read, or too little text in it.
    """
    recipe = RECIPES.get(dataset.name)
    if recipe is None:
        raise DataError(f"{dataset.name}: no recipe; {dataset.source} has it")
    digests: dict[str, JsonValue] = {}
    with tempfile.TemporaryDirectory() as scratch:
        there = {}
        for number, url in enumerate(recipe.urls):
            there[url] = Path(scratch) / f"{number}-{url.rpartition('/')[2]}"
            digests[url] = download.get(url, there[url])
        lines = rows(recipe.documents(there), recipe.most)
        write(dataset, folder, lines)
    return {"sha256 of what was downloaded": digests}


def rows(documents: Iterable[Pair], most: int | None) -> Iterator[bytes]:
    """JSON lines of documents: none shorter than `SHORTEST`, each text once, `most` bytes."""
    seen, length = set[str](), 0
    for name, text in documents:
        if len(text) < SHORTEST or text in seen:
            continue
        seen.add(text)
        line = (json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n").encode()
        length += len(line)
        if most is not None and length > most:
            return
        yield line


def write(dataset: Dataset, folder: Path, lines: Iterable[bytes]) -> None:
    """Fills the dataset's files one after the other, the last one with all that is left.

    Raises:
        DataError: there is nothing for one of them.
    """
    pending = iter(lines)
    following = next(pending, None)
    for number, file in enumerate(sorted(dataset.files), 1):
        if following is None:
            raise DataError(f"dataset {dataset.name}: its source has too little text for {file}")
        with arriving(folder / file) as place, place.open("wb") as target:
            length = 0
            while following is not None:
                if number < len(dataset.files) and length and length + len(following) > FILE:
                    break
                length += target.write(following)
                following = next(pending, None)


def _github(repository: str, commit: str) -> str:
    return f"https://github.com/{repository}/archive/{commit}.tar.gz"


def _raw(repository: str, commit: str, path: str) -> str:
    return f"https://github.com/{repository}/raw/{commit}/{path}"


def _below(folder: str, ending: str) -> Callable[[str], bool]:
    return lambda path: path.startswith(folder) and path.endswith(ending)


# -- general ---------------------------------------------------------------------------------------


def _natural(text: str) -> list[tuple[int, str]]:
    """A key by which `chapter-2` comes before `chapter-10`."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def books(archives: Archives) -> Iterator[Pair]:
    """Chapters of Standard Ebooks, a document each; no front and back matter."""
    for url, archive in archives.items():
        book = PurePosixPath(url).parts[3]
        pages = members(archive, _below("src/epub/text/", ".xhtml"))
        for page in sorted(pages, key=lambda one: _natural(one.stem)):
            if page.stem not in FRONT_MATTER:
                yield f"{book}/{page.stem}", convert.xhtml(page.text, f"{book}/{page.stem}")


def wikitext(archives: Archives) -> Iterator[Pair]:
    """The articles of WikiText-2's validation part."""
    (file,) = archives.values()
    for number, text in enumerate(convert.articles(file.read_text(encoding="utf-8")), 1):
        yield f"wikitext-2/valid/{number}", text


def _nltk(archive: Path) -> Iterator[Pair]:
    """The texts of a corpus of NLTK, named by their path in it."""
    name = archive.stem.partition("-")[2]
    for member in members(archive, lambda path: path.endswith(".txt")):
        yield f"{name}/{member.path}", convert.clean(member.text)


def reviews(archives: Archives) -> Iterator[Pair]:
    """Movie reviews, mixed by the sha1 of their names."""
    (archive,) = archives.values()
    return iter(sorted(_nltk(archive), key=lambda pair: _sha1(pair[0])))


def _sha1(name: str) -> str:
    return hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()


def speeches(archives: Archives) -> Iterator[Pair]:
    """Addresses on the state of the union, then inaugural ones, by year."""
    return itertools.chain.from_iterable(map(_nltk, archives.values()))


# -- law -------------------------------------------------------------------------------------------

_TITLES = ("28", "16", "22", "23", "11", "12", "13", "14", "15", "19", "29", "42", "47")


def statutes(archives: Archives) -> Iterator[Pair]:
    """Sections of the Code of the District of Columbia, titles of private law first."""
    (archive,) = archives.values()
    folder = "us/dc/council/code/titles/"
    of: dict[str, list[Member]] = {title: [] for title in _TITLES}
    for section in members(archive, _below(folder, ".xml")):
        title, _, rest = section.path.removeprefix(folder).partition("/")
        if title in of and rest.startswith("sections/"):
            of[title].append(section)
    for title, found in of.items():
        for section in found:
            name = f"dc-code/{title}/{section.path.rpartition('/')[2].removesuffix('.xml')}"
            yield name, convert.statute(section.text, name)


def licences(archives: Archives) -> Iterator[Pair]:
    """Licence texts, by the names of their files.

    Raises:
        DataError: a file that holds no licence text.
    """
    (archive,) = archives.values()
    for member in members(archive, _below("licenses/", ".json")):
        try:
            text = json.loads(member.content)["licenseText"]
        except (ValueError, KeyError, TypeError, RecursionError):
            text = None
        if not isinstance(text, str):
            raise DataError(f"{member.path}: holds no licence text; download it again")
        yield f"spdx/{member.stem}", convert.clean(text)


# -- mathematics -----------------------------------------------------------------------------------


def _pieces(prefix: str, member: Member, texts: Iterable[str]) -> Iterator[Pair]:
    for number, text in enumerate(texts):
        yield f"{prefix}/{member.path}#{number}", text


def _chapters(repository: str, *names: str) -> Callable[[Archives], Iterator[Pair]]:
    """LaTeX chapters in that order, cut at sections."""

    def read(archives: Archives) -> Iterator[Pair]:
        (archive,) = archives.values()
        order = {f"{name}.tex": place for place, name in enumerate(names)}
        found = members(archive, order.__contains__)
        for chapter in sorted(found, key=lambda one: order[one.path]):
            pieces = convert.sections(convert.latex(chapter.text))
            yield from _pieces(repository, chapter, pieces)

    return read


def folders(archives: Archives) -> Iterator[Pair]:
    """The sources of the Open Logic Project, those of a folder together."""
    (archive,) = archives.values()
    found = members(archive, _below("content/", ".tex"))
    by_folder: dict[str, list[str]] = {}
    for member in found:
        folder = member.path.rpartition("/")[0]
        by_folder.setdefault(folder, []).append(convert.latex(member.text))
    for folder in sorted(by_folder):
        yield f"OpenLogic/{folder}", convert.clean("\n\n".join(filter(None, by_folder[folder])))


def _pretext(repository: str) -> Callable[[Archives], Iterator[Pair]]:
    """The sources of a PreTeXt book, cut at lines."""

    def read(archives: Archives) -> Iterator[Pair]:
        (archive,) = archives.values()
        for member in members(archive, lambda path: bool(re.fullmatch(r"src/[^/]+\.xml", path))):
            pieces = convert.lines(convert.pretext(member.text))
            yield from _pieces(repository, member, pieces)

    return read


_NLTK = ("nltk/nltk_data", "5db857e6f7df11eabb5e5665836db9ec8df07e28")
_STACKS = (
    "algebra", "topology", "categories", "fields", "sets", "homology", "modules", "sheaves",
    "schemes", "exercises", "examples", "simplicial", "varieties", "derived",
)  # fmt: skip
_HOTT = (
    "introduction", "preliminaries", "basics", "logic", "equivalences", "induction", "hits",
    "hlevels", "homotopy", "categories", "setmath", "reals", "formal", "exercise_solutions",
)  # fmt: skip

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "standard-ebooks": Recipe(
            tuple(_github(f"standardebooks/{book}", commit) for book, commit in BOOKS),
            books,
            11_500_000,
        ),
        "wikitext2-valid": Recipe(
            (
                _raw(
                    "pytorch/examples",
                    "77f55b912142e11fcfdf5b530231fb9c52f181e8",
                    "word_language_model/data/wikitext-2/valid.txt",
                ),
            ),
            wikitext,
        ),
        "movie-reviews": Recipe(
            (_raw(*_NLTK, "packages/corpora/movie_reviews.zip"),), reviews, 3_800_000
        ),
        "us-speeches": Recipe(
            tuple(_raw(*_NLTK, f"packages/corpora/{n}.zip") for n in ("state_union", "inaugural")),
            speeches,
        ),
        "dc-code": Recipe(
            (_github("DCCouncil/law-xml", "9123af018003a6666851734d92eb3a81862a0f33"),),
            statutes,
            7_500_000,
        ),
        "spdx-licences": Recipe(
            ("https://github.com/sindresorhus/spdx-license-list/archive/refs/tags/v6.12.0.tar.gz",),
            licences,
            3_800_000,
        ),
        "federalist-papers": Recipe(
            (_github(f"standardebooks/{FEDERALIST[0]}", FEDERALIST[1]),), books
        ),
        "stacks-project": Recipe(
            (_github("stacks/stacks-project", "4ac4815d5a00dc2eacab7824cf4e4baafe2773ac"),),
            _chapters("stacks/stacks-project", *_STACKS),
            5_000_000,
        ),
        "hott-book": Recipe(
            (_github("HoTT/book", "578b85cc8d586b1677ec4335148adeb443057d24"),),
            _chapters("HoTT/book", *_HOTT),
        ),
        "open-logic": Recipe(
            (_github("OpenLogicProject/OpenLogic", "9620cc73f9c8e0ad003c514a5d3748f29611c4c0"),),
            folders,
            3_000_000,
        ),
        "fcla": Recipe(
            (_github("rbeezer/fcla", "918167904a4b457d69565fcf73c27ed515faa5bb"),),
            _pretext("rbeezer/fcla"),
        ),
        "aata": Recipe(
            (_github("twjudson/aata", "b6f3949c438331bd5a7cc625a54461aae15b1583"),),
            _pretext("twjudson/aata"),
        ),
    }
)
