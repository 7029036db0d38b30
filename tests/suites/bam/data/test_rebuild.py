"""Corpora rebuilt, from a server on this machine that hands out what was published."""

import functools
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness import registry
from harness.data import Sources
from harness.errors import DataError
from harness.store import file_digest
from harness.suite import Dataset
from suites.bam.data import convert, corpora, rebuild
from suites.bam.data.books import BOOKS, FEDERALIST
from suites.bam.data.datasets import TEXTS
from suites.bam.data.rebuild import RECIPES

LONG = "A sentence that is long enough to be a document if it is said often. " * 4
Publish = Callable[[str, dict[str, str]], None]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publish]:
    """`publish(name, files)`: from now on the corpus's addresses lead to an archive of these.

    Where it has several addresses, `1:path` is a file of the second one's archive.
    """
    site = tmp_path / "site"
    site.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def put(name: str, files: dict[str, str]) -> None:
        recipe, urls = RECIPES[name], []
        for number, url in enumerate(recipe.urls):
            path = "/".join([*url.split("/")[3:]])
            place = site / path
            place.parent.mkdir(parents=True, exist_ok=True)
            start = f"{number}:" if len(recipe.urls) > 1 else ""
            mine = {k.removeprefix(start): v for k, v in files.items() if k.startswith(start)}
            place.write_bytes(packed(place.name, mine))
            urls.append(f"http://127.0.0.1:{server.server_port}/{path}")
        monkeypatch.setitem(changed, name, recipe._replace(urls=tuple(urls)))

    changed = dict(RECIPES)
    monkeypatch.setattr(rebuild, "RECIPES", changed)
    yield put
    server.shutdown()
    thread.join()
    server.server_close()


def packed(name: str, files: dict[str, str]) -> bytes:
    if name.endswith(".txt"):
        return next(iter(files.values())).encode()
    buffer = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(buffer, "w") as zipped:
            for path, text in files.items():
                zipped.writestr(f"top/{path}", text)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed_tar:
        for path, text in files.items():
            info = tarfile.TarInfo(f"top-1/{path}")
            info.size = len(text.encode())
            packed_tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def dataset(name: str) -> Dataset:
    return next(d for d in registry.load("bam").datasets if d.name == name)


def built(name: str, folder: Path, files: int = 1) -> list[corpora.Document]:
    """What is built of a corpus, all of it in its first file where files are small."""
    wanted = dataset(name).rebuilt
    few = wanted.model_copy(update={"files": dict(list(wanted.files.items())[:files])})
    rebuild.build(few, folder)
    return [one for file in few.files for one in corpora.parse(folder / file)]


def test_every_corpus_has_a_recipe_at_one_revision() -> None:
    named = {text.name for text in TEXTS} - {"gsm8k-train"}
    assert set(RECIPES) == named
    for recipe in RECIPES.values():
        for url in recipe.urls:
            parts = url.removesuffix(".tar.gz").split("/")
            pinned = any(len(part) == 40 for part in parts) or parts[-1] == "v6.12.0"
            assert url.startswith("https://github.com/")
            assert pinned


def xhtml(text: str) -> str:
    return f'<html xmlns="http://www.w3.org/1999/xhtml"><body><p>{text}</p></body></html>'


def section(number: str) -> str:
    return (
        f"<section><num>{number}</num><heading>H.</heading><text>{number} {LONG}</text></section>"
    )


SMALL: dict[str, tuple[dict[str, str], list[str]]] = {
    "federalist-papers": (
        {
            "src/epub/text/chapter-10.xhtml": xhtml(f"10 {LONG}"),
            "src/epub/text/chapter-2.xhtml": xhtml(f"2 {LONG}"),
            "src/epub/text/colophon.xhtml": xhtml(f"C {LONG}"),
            "src/epub/text/short.xhtml": xhtml("S"),
        },
        [f"{FEDERALIST[0]}/chapter-{n}" for n in (2, 10)],
    ),
    "wikitext2-valid": (
        {"valid.txt": f" \n = One = \n \n {LONG}\n = = Part = = \n x \n \n = Two = \n {LONG} 2\n"},
        ["wikitext-2/valid/1", "wikitext-2/valid/2"],
    ),
    "movie-reviews": (
        {"pos/cv753_10875.txt": f"1 {LONG}", "neg/cv217_28707.txt": f"2 {LONG}", "README": LONG,
         "pos/cv901_11017.txt": f"3 {LONG}", "neg/cv000.txt": f"1 {LONG}"},
        ["movie_reviews/pos/cv753_10875.txt", "movie_reviews/neg/cv217_28707.txt",
         "movie_reviews/pos/cv901_11017.txt"],
    ),
    "us-speeches": (
        {"0:1946.txt": f"0 {LONG}", "0:1945.txt": f"5 {LONG}", "1:1801.txt": f"1 {LONG}"},
        ["state_union/1945.txt", "state_union/1946.txt", "inaugural/1801.txt"],
    ),
    "dc-code": (
        {
            f"us/dc/council/code/titles/{path}.xml": section(path)
            for path in ("16/sections/16-1", "28/sections/28-10", "28/sections/28-1", "28/index",
                         "99/sections/99-1")
        },
        ["dc-code/28/28-1", "dc-code/28/28-10", "dc-code/16/16-1"],
    ),
    "stacks-project": (
        {"topology.tex": f"% x\n\\begin{{document}}\n\\title{{T}}{LONG}", "algebra.tex": LONG,
         "other.tex": LONG},
        ["stacks/stacks-project/algebra.tex#0", "stacks/stacks-project/topology.tex#0"],
    ),
    "hott-book": (
        {"introduction.tex": f"\\chapter{{I}}{LONG * 30}\\section{{J}}{LONG * 30}"},
        ["HoTT/book/introduction.tex#0", "HoTT/book/introduction.tex#1"],
    ),
    "open-logic": (
        {"content/b/two.tex": LONG, "content/b/one.tex": "% c\nFirst.", "content/a/x.tex": "short",
         "courses/x.tex": LONG},
        ["OpenLogic/content/b"],
    ),
    "fcla": (
        {"src/section-B.xml": f"<section><p>B {LONG}</p></section>", "src/x/y.xml": LONG},
        ["rbeezer/fcla/src/section-B.xml#0"],
    ),
    "aata": (
        {"src/actions.xml": f"<chapter><p>{LONG}\n</p></chapter>" + f"<p>{LONG}</p>\n" * 60},
        ["twjudson/aata/src/actions.xml#0", "twjudson/aata/src/actions.xml#1"],
    ),
}  # fmt: skip
"""Corpus -> a few files of its source, and the documents they give."""


@pytest.mark.parametrize("name", SMALL)
def test_a_corpus_is_built_from_its_source(name: str, publish: Publish, tmp_path: Path) -> None:
    files, wanted = SMALL[name]
    publish(name, files)
    found = built(name, tmp_path / "once")
    assert [one.id for one in found] == wanted
    assert [convert.clean(one.text) for one in found] == [one.text for one in found]
    assert built(name, tmp_path / "twice") == found
    digests = [
        [file_digest(path) for path in sorted((tmp_path / folder).rglob("*.jsonl"))]
        for folder in ("once", "twice")
    ]
    assert digests[0] == digests[1]
    assert not list(tmp_path.rglob(".download-*"))


def test_books_come_in_their_order(publish: Publish, tmp_path: Path) -> None:
    page = "src/epub/text/chapter-1.xhtml"
    publish("standard-ebooks", {f"{n}:{page}": xhtml(f"{n} {LONG}") for n in range(len(BOOKS))})
    found = [one.id for one in built("standard-ebooks", tmp_path)]
    assert found == [f"{book}/chapter-1" for book, _ in BOOKS]


def test_files_are_filled_one_after_the_other(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("dc-code", SMALL["dc-code"][0])
    monkeypatch.setattr(rebuild, "FILE", 500)
    built("dc-code", tmp_path, files=2)
    counts = [len(path.read_text().splitlines()) for path in sorted(tmp_path.rglob("docs-*"))]
    assert counts == [1, 2]
    publish("dc-code", {})
    with pytest.raises(DataError, match="dataset dc-code: its source has too little text for lm/"):
        built("dc-code", tmp_path / "none")


def test_only_the_beginning_of_a_large_source_is_taken() -> None:
    pairs = [(str(n), f"{n} {LONG}") for n in range(9)]
    whole = [len(line) for line in rebuild.rows(pairs, None)]
    assert len(whole) == 9
    assert len(list(rebuild.rows(pairs, sum(whole[:4])))) == 4
    assert len(list(rebuild.rows([*pairs, pairs[0], ("x", "short")], None))) == 9


def recorded(name: str, folder: Path) -> dict[str, str]:
    """The source of a corpus, as far as the recorded documents have it."""
    texts = [(folder / file).read_text(encoding="utf-8") for file in dataset(name).files]
    documents = [json.loads(line) for line in "".join(texts).split("\n") if line]
    if name == "spdx-licences":
        return {
            f"licenses/{d['id'].removeprefix('spdx/')}.json": json.dumps({"licenseText": d["text"]})
            for d in documents
        }
    if name == "wikitext2-valid":
        articles = (f" {d['text']}".replace("\n", " \n") for d in documents)
        return {"valid.txt": "".join(f" \n{text} \n \n" for text in articles)}
    return {d["id"].partition("/")[2]: d["text"] for d in documents}


@pytest.mark.parametrize("name", ["movie-reviews", "spdx-licences", "wikitext2-valid"])
def test_order_and_names_are_those_of_the_recorded_file(
    name: str, publish: Publish, data_folder: Path, tmp_path: Path
) -> None:
    """Byte for byte, where the source holds what the recorded documents say."""
    publish(name, recorded(name, data_folder))
    rebuild.build(dataset(name), tmp_path)
    ((file, digest),) = dataset(name).files.items()
    assert file_digest(tmp_path / file) == digest


def test_another_text_is_refused_where_the_very_bytes_are_asked_for(
    publish: Publish, tmp_path: Path
) -> None:
    publish("spdx-licences", {"licenses/A.json": json.dumps({"licenseText": LONG})})
    sources = Sources(None, tmp_path / "cache" / "data")
    with pytest.raises(DataError, match="is corrupt"):
        sources.fetch(dataset("spdx-licences"))
    publish("spdx-licences", {"licenses/A.json": "{}"})
    with pytest.raises(DataError, match=r"licenses/A\.json: holds no licence text"):
        sources.fetch(dataset("spdx-licences"))


def test_an_equivalent_lies_apart_and_is_held_to_its_first_digest(
    publish: Publish, tmp_path: Path
) -> None:
    publish("fcla", SMALL["fcla"][0])
    sources, whole = Sources(None, tmp_path / "cache" / "data"), dataset("fcla")
    found = sources.fetch(whole.rebuilt)
    assert sources.find(whole) is None
    assert found.folder == sources.hub / "rebuilt"
    (file,) = whole.files
    note = json.loads((found.folder / f"{file}.origin.json").read_text())
    assert list(note["sha256 of what was downloaded"]) == list(rebuild.RECIPES["fcla"].urls)
    (found.folder / file).write_text("changed")
    with pytest.raises(DataError, match="is not what it was when it was first seen"):
        sources.verified(whole.rebuilt)
