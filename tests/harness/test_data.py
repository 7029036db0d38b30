"""Where external datasets lie, whether they are intact, and what to do when they are not."""

import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness import registry
from harness.data import Found, Sources, arriving, library, pinned
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


def test_files_without_a_digest_are_taken_as_they_are_at_first(sources):
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


# -- files whose digest nobody knows ---------------------------------------------------------------


def test_a_local_file_is_held_to_what_it_was_when_it_was_first_seen(sources):
    put(sources.local)
    before = sorted(sources.local.rglob("*"))
    assert sources.verified(WHOLE).origin == "local"
    assert sources.first_seen(WHOLE) == {"sums/labels.csv": hashlib.sha256(LABELS).hexdigest()}
    assert sorted(sources.local.rglob("*")) == before, "the local folder is not ours to write to"
    assert sources.verified(WHOLE).origin == "local"
    path = sources.local / "sums" / "labels.csv"
    path.write_bytes(b"1\n1\n")
    with pytest.raises(DataError) as error:
        sources.verified(WHOLE)
    (note,) = (sources.hub.parent / "digests").iterdir()
    assert line(error).startswith(f"dataset sums: {path} is not what it was when it was first seen")
    assert line(error).endswith(f"restore it, or remove {note} to take it as it is")
    note.unlink()
    assert sources.verified(WHOLE).origin == "local"


def test_another_folder_with_other_contents_is_refused_too(sources, tmp_path):
    put(sources.local)
    sources.verified(WHOLE)
    put(tmp_path / "other", labels=b"1\n1\n")
    with pytest.raises(DataError, match="not what it was when it was first seen"):
        Sources(tmp_path / "other", sources.hub).verified(WHOLE)


def test_what_is_noted_is_checked_itself(sources):
    put(sources.local)
    sources.verified(WHOLE)
    (note,) = (sources.hub.parent / "digests").iterdir()
    note.write_text(note.read_text().replace("labels", "labelz"))
    with pytest.raises(DataError) as error:
        sources.verified(WHOLE)
    assert line(error).startswith(f"{note}: corrupt; restore it, or remove it")


def test_a_fetched_file_keeps_its_digest_and_revision_beside_it(sources, hub):
    def fetch(dataset, folder):
        put(folder)
        return {"repository": "some/words", "revision": "c0ffee"}

    hub(fetch)
    path = sources.hub / "sums" / "labels.csv"
    assert pinned(path) is None
    sources.fetch(WHOLE)
    note = json.loads(path.with_name("labels.csv.origin.json").read_text())
    assert note.items() >= {
        "sha256": hashlib.sha256(LABELS).hexdigest(), "repository": "some/words",
        "revision": "c0ffee", "file": "sums/labels.csv", "dataset": "sums",
    }.items()  # fmt: skip
    assert pinned(path) == "c0ffee"
    assert sources.first_seen(WHOLE) == {"sums/labels.csv": note["sha256"]}
    path.write_bytes(b"0\n0\n")
    with pytest.raises(DataError, match=r"labels\.csv is not what it was .* first seen"):
        sources.verified(WHOLE)


def test_a_second_download_has_to_be_the_first_one_again(sources, hub):
    contents = [LABELS, b"1\n1\n", LABELS]
    hub(lambda dataset, folder: put(folder, labels=contents.pop(0)))
    sources.fetch(WHOLE)
    (sources.hub / "sums" / "rows.csv").unlink()
    with pytest.raises(DataError, match=r"labels\.csv is not what it was"):
        sources.fetch(WHOLE)
    assert sources.find(WHOLE) is None
    assert sources.fetch(WHOLE).origin == "hub"


def test_a_fetch_that_fails_holds_nobody_to_it(sources, hub):
    rows = [b"<html>", ROWS]
    hub(lambda dataset, folder: put(folder, rows=rows[0], labels=rows.pop(0)))
    with pytest.raises(DataError, match=r"rows\.csv is corrupt"):
        sources.fetch(WHOLE)
    assert sources.fetch(WHOLE).origin == "hub"


def test_a_file_that_was_fetched_before_digests_were_kept_is_held_from_now_on(sources):
    put(sources.hub)
    sources.verified(WHOLE)
    (sources.hub / "sums" / "labels.csv").write_bytes(b"1\n1\n")
    with pytest.raises(DataError, match="not what it was"):
        sources.verified(WHOLE)


def test_a_file_that_a_dataset_does_not_list_is_held_all_the_same(sources):
    put(sources.local)
    some = dataset()
    assert sources.file(some, "sums/rows.csv") == sources.local / "sums" / "rows.csv"
    sources.recheck(some)
    (sources.local / "sums" / "rows.csv").write_bytes(b"")
    for look in (lambda: sources.file(some, "sums/rows.csv"), lambda: sources.recheck(some)):
        with pytest.raises(DataError, match=r"rows\.csv is not what it was"):
            look()
    with pytest.raises(DataError, match=r"dataset sums: sums/none\.csv not found; point --data"):
        sources.file(some, "sums/none.csv")


class Hub:
    """A hub with one repository, as its library hands out snapshots."""

    def __init__(self, root):
        self.root, self.asked, self.revision = root, [], "1" * 40

    def snapshot_download(self, repository, *, revision, allow_patterns):
        self.asked.append((repository, revision, allow_patterns))
        folder = self.root / (revision or self.revision)
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.bin").write_text("a pickle")
        return str(folder)


def test_a_snapshot_stays_at_its_first_revision(sources, tmp_path, monkeypatch):
    there = Hub(tmp_path / "there")
    there.root.mkdir()
    monkeypatch.setitem(sys.modules, "huggingface_hub", there)
    first = sources.snapshot("some/encoder", "*.json")
    assert (first.folder, first.revision) == (there.root / ("1" * 40), "1" * 40)
    there.revision = "2" * 40
    assert sources.snapshot("some/encoder", "*.json") == first
    assert [revision for _, revision, _ in there.asked] == [None, "1" * 40]
    monkeypatch.setattr(Hub, "snapshot_download", lambda *_, **__: str(first.folder))
    (first.folder / "model.bin").write_text("never looked at")
    assert sources.snapshot("some/encoder", "*.json") == first
    (first.folder / "config.json").write_text("[]")
    with pytest.raises(DataError) as error:
        sources.snapshot("some/encoder", "*.json")
    assert line(error).startswith(f"{first.folder / 'config.json'}: not what it was when")


def test_a_snapshot_that_cannot_be_had_is_one_line(sources, monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("no route\nto host")

    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=offline))
    with pytest.raises(DataError) as error:
        sources.snapshot("some/encoder", "*.json")
    assert line(error) == "some/encoder: not to be had from the hub (no route); go online"


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


# -- rebuilt editions -----------------------------------------------------------------------------


def rebuild(wanted, folder):
    put(folder, rows=b"1,2\n3,4.0\n")
    return {"made of": "its source"}


EITHER = WHOLE.model_copy(update={"fetch": None, "rebuild": "toy:rebuild"})


@pytest.fixture
def rebuilding(monkeypatch):
    monkeypatch.setattr(registry, "call", lambda path: rebuild)


def test_a_rebuilt_edition_never_takes_the_place_of_the_files_themselves(sources, rebuilding):
    assert EITHER.rebuilt.files == dict.fromkeys(EITHER.files)
    with pytest.raises(DataError, match="cannot be fetched"):
        sources.fetch(EITHER)
    found = sources.fetch(EITHER.rebuilt)
    assert found == Found(sources.hub / "rebuilt", "hub")
    assert (sources.find(EITHER), sources.find(EITHER.rebuilt)) == (None, found)
    put(sources.local)
    assert sources.verified(EITHER) == Found(sources.local, "local")
    assert sources.verified(EITHER.rebuilt) == found
    assert set(sources.first_seen(EITHER.rebuilt)) == set(EITHER.files)
    put(found.folder)
    with pytest.raises(DataError, match="is not what it was when it was first seen"):
        sources.verified(EITHER.rebuilt)


def test_a_local_folder_may_have_both_editions(sources):
    put(sources.local)
    put(sources.local / "rebuilt", rows=b"other")
    assert sources.verified(EITHER).folder == sources.local
    assert sources.verified(EITHER.rebuilt).folder == sources.local / "rebuilt"
    put(sources.local, labels=b"changed")
    with pytest.raises(DataError, match=r"sums.labels\.csv is not what it was"):
        sources.verified(EITHER)
    sources.verified(EITHER.rebuilt)
    sources.recheck(EITHER.rebuilt)


def test_a_set_that_nothing_rebuilds_keeps_its_digests_in_either_edition(sources):
    assert WHOLE.rebuilt.files == WHOLE.files
    assert WHOLE.rebuilt.fetch == WHOLE.fetch
    assert WHOLE.rebuilt.rebuilt == WHOLE.rebuilt
    assert dataset().rebuilt.edition == ""
    put(sources.local / "rebuilt", rows=b"other")
    with pytest.raises(DataError, match="is corrupt"):
        sources.verified(WHOLE.rebuilt)


def test_what_is_missing_says_how_to_rebuild_it(sources):
    both = EITHER.model_copy(update={"note": "A note."})
    assert sources.missing(both).endswith(
        "a folder that has it; `harness data prepare sums --rebuilt` builds an equivalent, which "
        "scales `*-rebuilt` read"
    )
    assert sources.missing(both.rebuilt) == (
        "rebuilt/sums/rows.csv not found; point --data or HARNESS_DATA at a folder that has it, "
        "or `harness data prepare sums --rebuilt` online"
    )
    neither = both.model_copy(update={"rebuild": None})
    assert sources.missing(neither).endswith("a folder that has it. A note.")
