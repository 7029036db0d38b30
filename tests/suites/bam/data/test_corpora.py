"""Documents: where they come from, that each counts once, that the split follows the text alone."""

import json
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from suites.bam.data import corpora
from suites.bam.data.corpora import Document
from suites.bam.data.datasets import DOMAINS, PUBLIC, TEXTS

Write = Callable[[dict[str, list[str]]], dict[str, Path]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Folders of texts; the first file of each domain holds the given ones, the others nothing."""

    def write(texts: dict[str, list[str]]) -> dict[str, Path]:
        left = {domain: list(lines) for domain, lines in texts.items()}
        for text in TEXTS:
            for file in text.files:
                path = tmp_path / file
                path.parent.mkdir(parents=True, exist_ok=True)
                rows = [{"id": f"{n}", "text": t} for n, t in enumerate(left.pop(text.domain, []))]
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return {text.name: tmp_path for text in TEXTS}

    return write


def test_a_text_counts_once_and_file_order_does_not_matter(write: Write) -> None:
    first = corpora.read("law", write({"law": ["b", "a", "b", "c", "a"]}))
    second = corpora.read("law", write({"law": ["c", "a", "b"]}))
    assert [d.text for d in first] == [d.text for d in second]
    assert sorted(d.text for d in first) == ["a", "b", "c"]


def test_an_empty_domain_is_one_clear_line(write: Write) -> None:
    with pytest.raises(DataError, match=r"^domain math has no document; .*data folder") as caught:
        corpora.read("math", write({"law": ["a"]}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_one_document_cannot_be_split(share: float) -> None:
    with pytest.raises(DataError, match=r"^domain law: no (training|held-out) document among 1"):
        corpora.split("law", [Document("x", "text")], share)


def test_unknown_domains_are_named_with_those_that_exist() -> None:
    with pytest.raises(DataError, match="unknown domain 'poetry': there are code, general"):
        corpora.read("poetry", {})


@pytest.mark.parametrize(
    "line", ['{"id": 1}', "[1]", '{"id": 1, "text": 2}', "{", '{"id": 1, "text": "\\ud800"}']
)
def test_a_line_that_is_no_document_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"id": "a", "text": "b"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"bad\.jsonl:2: .*; replace the file"):
        list(corpora.parse(path))
    with pytest.raises(DataError, match=r"gone\.jsonl not found"):
        list(corpora.parse(tmp_path / "gone.jsonl"))


def test_a_document_stays_on_its_side_whatever_stands_around_it() -> None:
    documents = [Document(str(n), f"text {n}") for n in range(2000)]
    whole = corpora.split("law", documents, 0.1)
    part = corpora.split("law", documents[::-3], 0.1)
    assert {d.text for d in part.held_out} <= {d.text for d in whole.held_out}
    assert {d.text for d in part.train} <= {d.text for d in whole.train}
    assert not {d.text for d in whole.train} & {d.text for d in whole.held_out}
    assert 150 < len(whole.held_out) < 250
    wider = corpora.split("law", documents, 0.2)
    assert {d.text for d in whole.held_out} < {d.text for d in wider.held_out}


def test_the_order_of_documents_says_nothing_of_their_side() -> None:
    documents = corpora.distinct("law", (Document(str(n), f"text {n}") for n in range(4000)))
    first = corpora.split("law", documents[:2000], 0.1)
    assert 150 < len(first.held_out) < 250


def test_take_stops_after_the_document_that_fills_the_measure() -> None:
    documents = [Document(str(n), "x" * 10) for n in range(5)]
    assert [len(corpora.take(documents, n)) for n in (0, 1, 20, 21, 50, 99)] == [0, 1, 2, 3, 5, 5]


def test_a_document_has_half_of_the_measure_at_most() -> None:
    huge = [Document("huge", "x" * 9_000), *(Document(str(n), f"{n:02}" * 50) for n in range(50))]
    taken = corpora.take(huge, 8_000)
    assert len(taken[0].text) == corpora.LARGEST * 8_000
    assert len(taken) == 1 + 40
    assert corpora.take(huge[1:], 8_000) == huge[1:]


@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.jsonl.gz", "x.txt", "x.csv"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_documents_or_one_line(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    for content in (data, b'{"id": 1, "text": "a"}\n' + data):
        path.write_bytes(content)
        try:
            found = list(corpora.parse(path))
        except DataError as error:
            message = str(error)
            found = []
            assert message.startswith(str(path))
            assert "\n" not in message
        assert all(d.digest and isinstance(d.id, str) for d in found)


def test_plain_text_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    assert list(corpora.parse(tmp_path / "book.txt")) == [Document("book.txt", "one\ntwo")]


@pytest.mark.parametrize(
    "metadata",
    [
        "Name: legacy\nAuthor: José\n\n".encode("latin-1"),
        "Name: legacy\nAuthor: José\n\n".encode("utf-16"),
        b"Author: nobody\n\n",
        b"",
        b"\0" * 100,
    ],
    ids=["Latin-1", "UTF-16", "no name", "empty", "zeros"],
)
def test_packages_with_corrupt_metadata_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metadata: bytes
) -> None:
    folder = tmp_path / "legacy-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_bytes(metadata + b"word " * 100 * bool(metadata))
    (folder / "RECORD").write_bytes("legacy/José.py,,\n".encode("latin-1"))
    monkeypatch.syspath_prepend(tmp_path)
    corpora._distributions.cache_clear()
    try:
        for domain in ("general", "law"):
            assert not [d for d in corpora.read(domain, {}) if "legacy" in d.id]
    finally:
        corpora._distributions.cache_clear()


def test_code_is_the_standard_library_without_its_tests(tmp_path: Path) -> None:
    found = {d.id: d for d in corpora.read("code", {"fcla": tmp_path})}
    root = Path(sysconfig.get_paths()["stdlib"])
    assert found["json/decoder.py"].text == (root / "json" / "decoder.py").read_text()
    assert not [name for name in found if {"test", "site-packages"} & set(name.split("/"))]


@pytest.mark.parametrize("domain", DOMAINS)
def test_built_in_text_is_there_for_every_domain(domain: str) -> None:
    documents = corpora.read(domain, {})
    assert len(documents) >= 20
    assert sum(len(d.text) for d in documents) > 200_000
    assert min(len(d.text) for d in documents) >= corpora.SHORTEST


@pytest.mark.data
@pytest.mark.parametrize("domain", ["general", "law", "math"])
def test_the_data_folder_has_what_its_entries_say(data_folder: Path, domain: str) -> None:
    stated = sum(text.documents for text in TEXTS if text.domain == domain)
    folders = {text.name: data_folder for text in TEXTS}
    assert 0.99 * stated <= len(corpora.read(domain, folders)) <= stated


def test_public_code_takes_the_place_of_the_standard_library(tmp_path: Path) -> None:
    (text,) = (text for text in PUBLIC if text.domain == "code")
    (file,) = text.files
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text('{"id": "a", "text": "print()"}\n')
    assert [d.text for d in corpora.read("code", {text.name: tmp_path})] == ["print()"]
