"""Headings are kept, found and forgotten; `test_verified` holds them to the records in full."""

import random
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import headings as headings_module
from harness import store as store_module
from harness.cache import Cache
from harness.headings import Headings
from harness.record import Heading, Record
from harness.store import Store
from harness.suite import Suite

ROOT = Path(harness.__file__).parents[1]


@pytest.fixture
def suite(toy_suite: Any) -> Suite:
    made: Suite = toy_suite()
    return made


@pytest.fixture
def filled(tmp_path: Path, suite: Suite, make_record: Any) -> Store:
    """A store with eight records, one of them failed, whose headings were asked for once."""
    store = Store(tmp_path / "results", tmp_path / "cache")
    for method in ("ant", "bee"):
        for seed in range(4):
            status = "oom" if (method, seed) == ("bee", 3) else "ok"
            store.commit(make_record(suite, method, "deep-x", seed, {"accuracy": 0.5}, status))
    store.headings("toy")
    return store


def paths(store: Store) -> list[Path]:
    return sorted(store.results.glob("*/*/*.json"))


def in_full(store: Store) -> tuple[list[str], list[tuple[str, str]]]:
    """What the records say that a store without any cache reads."""
    records, damaged = Store(store.results, store.results.parent / "no cache").load("*")
    return [repr(r.heading) for r in records], [(p.name, reason) for p, reason in damaged]


def shown(store: Store) -> tuple[list[str], list[tuple[str, str]]]:
    found, damaged = store.headings("toy")
    return [repr(h) for h in found], [(p.name, reason) for p, reason in damaged]


def kept(store: Store) -> Path:
    """The one file that holds values: the headings."""
    (path,) = (store.cache / "verified" / "values").iterdir()
    return path


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a record that is parsed is an error."""

    def refuse(*_: Any) -> Record:
        raise AssertionError("parsed")

    monkeypatch.setattr(store_module, "parse_record", refuse)
    monkeypatch.setattr(store_module.Shared, "read", refuse)


def test_a_heading_holds_what_a_plan_asks_of_a_record(filled: Store) -> None:
    records = Store(filled.results, filled.results.parent / "no cache").load("toy").records
    for record, heading in zip(records, filled.headings("toy").headings, strict=True):
        assert heading == record.heading
        for field in Heading._fields[:1] + Heading._fields[4:-1]:
            assert getattr(heading, field) == getattr(record, field)
        assert heading.source_digest == record.provenance.source_digest
        assert heading.wall_seconds == record.cost.wall_seconds
    assert {heading.status for heading in filled.headings("toy").headings} == {"ok", "oom"}


def test_a_record_is_parsed_once(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = in_full(filled)
    forbid(monkeypatch)
    assert shown(filled) == before


def test_one_that_is_added_is_parsed_alone(
    filled: Store, suite: Suite, make_record: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.commit(make_record(suite, "ant", "deep-y", 9, {"accuracy": 0.5}))
    before = in_full(filled)
    asked: list[bytes] = []
    parse = store_module.parse_record
    monkeypatch.setattr(
        store_module, "parse_record", lambda data: asked.append(data) or parse(data)
    )
    assert shown(filled) == before
    assert len(asked) == 1


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "noise", "empty", "a folder"])
def test_a_corrupt_cache_is_rebuilt_without_a_word(
    filled: Store, damage: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = kept(filled)
    data = path.read_bytes()
    path.unlink()
    rng = random.Random(1)  # noqa: S311
    if damage == "a folder":
        path.mkdir()
    elif damage != "gone":
        flipped = bytearray(data)
        flipped[len(data) // 2] ^= 1
        cut, noise = data[:-5], rng.randbytes(1000)
        path.write_bytes({"cut": cut, "flipped": flipped, "noise": noise}.get(damage, b""))
    before = in_full(filled)
    assert shown(filled) == before
    assert capfd.readouterr() == ("", "")
    if damage != "a folder":
        forbid(monkeypatch)
        assert shown(filled) == before


def test_another_engine_believes_nothing(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch)
    monkeypatch.setattr(headings_module, "rules", lambda: b"others")
    with pytest.raises(AssertionError, match="parsed"):
        filled.headings("toy")


def test_headings_of_other_folders_are_kept_up_to_a_bound(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known() -> set[str]:
        return set(Headings(Cache(filled.cache), "toy")._rows)

    every = known()
    assert len(every) == 8
    elsewhere = Store(filled.results.parent / "elsewhere", filled.cache)
    for path in paths(filled)[:2]:
        copy = elsewhere.results / path.relative_to(filled.results)
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text()
        copy.write_text(text + " ")  # other bytes of an equal record
    elsewhere.headings("toy")
    assert len(known()) == 10
    assert known() > every
    monkeypatch.setattr(headings_module, "SPARE", 0)
    copy.write_text(text + "  ")
    elsewhere.headings("toy")
    assert len(known()) == 2


def test_headings_of_committed_records_are_those_of_the_records(tmp_path: Path) -> None:
    store = Store(ROOT / "results", tmp_path / "cache")
    for _ in range(2):
        found = store.headings("gate")
        assert [repr(h) for h in found.headings] == [
            repr(record.heading) for record in store.load("gate").records
        ]
