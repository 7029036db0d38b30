"""Where external datasets lie, whether they are intact, and what to do when they are not."""

import hashlib
import sys
from pathlib import Path

import pytest

from harness import registry
from harness.data import Found, Sources, arriving, library
from harness.errors import DataError, SpecError
from harness.suite import Dataset

ROWS, LABELS = b"1,2\n3,4\n", b"0\n1\n"


def dataset(fetch=None, **files):
    return Dataset(
        name="sums",
        files=files,
        licence="CC0",
        source="here",
        sizes="2",
        splits="none",
        fetch=fetch,
    )


WHOLE = dataset(
    **{"sums/rows.csv": hashlib.sha256(ROWS).hexdigest(), "sums/labels.csv": None},
    fetch="toy:fetch",
)


def put(folder, rows=ROWS, labels=LABELS):
    (folder / "sums").mkdir(parents=True, exist_ok=True)
    (folder / "sums" / "rows.csv").write_bytes(rows)
    if labels is not None:
        (folder / "sums" / "labels.csv").write_bytes(labels)


@pytest.fixture
def sources(tmp_path, monkeypatch):
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    (tmp_path / "local").mkdir()
    return Sources.of(tmp_path / "local", tmp_path / "cache")


def line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


def test_the_local_folder_comes_before_what_was_fetched(sources):
    assert sources.hub.name == "data"
    assert sources.find(WHOLE) is None
    put(sources.hub)
    assert sources.find(WHOLE) == Found(sources.hub, "hub")
    assert sources.verified(WHOLE) == Found(sources.hub, "hub")
    put(sources.local)
    assert sources.verified(WHOLE) == Found(sources.local, "local")


def test_a_folder_with_half_of_the_files_does_not_count(sources):
    put(sources.local, labels=None)
    assert sources.find(WHOLE) is None
    put(sources.hub)
    assert sources.verified(WHOLE).origin == "hub"


def test_a_folder_in_a_files_place_does_not_count(sources):
    put(sources.local, labels=None)
    (sources.local / "sums" / "labels.csv").mkdir()
    assert sources.find(WHOLE) is None


def test_a_damaged_file_is_named_with_both_digests(sources):
    put(sources.local, rows=b"1,2\n3,5\n")
    put(sources.hub)
    with pytest.raises(DataError) as error:
        sources.verified(WHOLE)
    assert line(error) == (
        f"dataset sums: {sources.local / 'sums' / 'rows.csv'} is corrupt (sha256 "
        f"{hashlib.sha256(b'1,2' + bytes([10]) + b'3,5' + bytes([10])).hexdigest()[:12]}..., "
        f"expected {hashlib.sha256(ROWS).hexdigest()[:12]}...); replace it by the original"
    )


def test_files_without_a_digest_are_taken_as_they_are(sources):
    put(sources.local, labels=b"anything")
    assert sources.verified(WHOLE).origin == "local"


def test_what_is_missing_says_what_to_do(sources):
    with pytest.raises(DataError) as error:
        sources.verified(WHOLE)
    assert line(error) == (
        "dataset sums: sums/rows.csv not found; point --data or HARNESS_DATA at a folder that has "
        "it, or `harness data prepare sums` online"
    )
    assert sources.missing(dataset(**{"rows.csv": None})) == (
        "rows.csv not found; point --data or HARNESS_DATA at a folder that has it"
    )
    assert sources.missing(dataset()).startswith("sums not found")


def test_without_a_local_folder_there_is_what_was_fetched(tmp_path, monkeypatch):
    for value in (None, ""):
        if value is None:
            monkeypatch.delenv("HARNESS_DATA", raising=False)
        else:
            monkeypatch.setenv("HARNESS_DATA", value)
        sources = Sources.of(None, tmp_path)
        assert sources == Sources(None, tmp_path / "data")
        assert sources.find(WHOLE) is None
    put(sources.hub)
    assert sources.find(WHOLE) == Found(tmp_path / "data", "hub")


def test_the_option_comes_before_the_environment(tmp_path, monkeypatch):
    for name in ("given", "variable"):
        put(tmp_path / name)
    monkeypatch.setenv("HARNESS_DATA", str(tmp_path / "variable"))
    assert Sources.of(None, tmp_path).verified(WHOLE).folder == tmp_path / "variable"
    assert Sources.of(tmp_path / "given", tmp_path).verified(WHOLE).folder == tmp_path / "given"


@pytest.mark.parametrize("by", ["option", "environment", "file"])
def test_a_folder_that_does_not_exist_is_one_line(tmp_path, monkeypatch, by):
    given = tmp_path / "nowhere"
    monkeypatch.setenv("HARNESS_DATA", str(given))
    if by == "file":
        given.write_text("a file")
    with pytest.raises(DataError) as error:
        Sources.of(None if by == "environment" else Path(given), tmp_path)
    assert line(error) == (
        f"data folder {given} does not exist; set --data or HARNESS_DATA, or leave both out"
    )


# -- fetching --------------------------------------------------------------------------------------


@pytest.fixture
def hub(monkeypatch):
    """`hub(function)`: what the import path of a dataset's `fetch` leads to."""

    def put(function):
        monkeypatch.setattr(registry, "call", lambda path: {"toy:fetch": function}[path])

    return put


def test_a_fetched_dataset_is_verified_in_its_place(sources, hub):
    hub(lambda dataset, folder: put(folder))
    assert sources.fetch(WHOLE) == Found(sources.hub, "hub")
    assert sources.find(WHOLE) == Found(sources.hub, "hub")


def test_a_damaged_fetch_leaves_nothing_behind(sources, hub):
    hub(lambda dataset, folder: put(folder, rows=b"<html>"))
    with pytest.raises(DataError, match=r"rows\.csv is corrupt"):
        sources.fetch(WHOLE)
    assert sources.find(WHOLE) is None
    assert [path for path in sources.hub.rglob("*") if path.is_file()] == []


def test_a_failed_fetch_is_one_line(sources, hub):
    def offline(dataset, folder):
        raise ConnectionError("no route\nto host")

    hub(offline)
    with pytest.raises(DataError) as error:
        sources.fetch(WHOLE)
    assert line(error) == (
        "dataset sums: not fetched (ConnectionError: no route); go online and try again"
    )


def test_a_fetch_that_ends_the_program_ends_only_itself(sources, hub):
    hub(lambda dataset, folder: sys.exit(0))
    with pytest.raises(DataError, match=r"^dataset sums: not fetched \(SystemExit: 0\); go online"):
        sources.fetch(WHOLE)


def test_what_the_fetching_function_says_itself_is_passed_on(sources, hub):
    def refuse(dataset, folder):
        raise SpecError("install something first")

    hub(refuse)
    with pytest.raises(SpecError, match=r"^install something first$"):
        sources.fetch(WHOLE)


def test_what_cannot_be_fetched_says_so(sources):
    with pytest.raises(DataError, match=r"dataset sums: cannot be fetched; rows\.csv not found"):
        sources.fetch(dataset(**{"rows.csv": None}))


def test_a_fetched_file_takes_its_place_only_once_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "set.txt"
    with arriving(path) as place:
        place.write_text("old")
        assert not path.exists()

    def broken() -> None:
        with arriving(path) as place:
            place.write_text("half")
            raise ConnectionError

    with pytest.raises(ConnectionError):
        broken()
    assert path.read_text() == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_package_is_one_clear_line() -> None:
    with pytest.raises(DataError, match=r"^words: package no_such is not installed; run `pip"):
        library("no_such", "words")
    assert library("json", "words").dumps([]) == "[]"
