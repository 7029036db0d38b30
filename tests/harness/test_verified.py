"""What is known of records that were read before changes no answer: only the time that it takes."""

import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import harness
from harness import files, registry, source, verified
from harness import store as store_module
from harness.cache import Cache
from harness.errors import Unreadable
from harness.record import Record, Shared
from harness.store import Store, parse_record
from harness.suite import Suite
from harness.verified import Verified, finding, remembered, rules

ROOT = Path(harness.__file__).parents[1]
SEEDS = range(4)


@pytest.fixture
def suite(toy_suite: Any) -> Suite:
    made: Suite = toy_suite()
    return made


@pytest.fixture
def filled(tmp_path: Path, suite: Suite, make_record: Any) -> Store:
    """A store with twelve records, read once."""
    store = Store(tmp_path / "results", tmp_path / "cache")
    for method in ("ant", "bee", "cat"):
        for seed in SEEDS:
            store.commit(make_record(suite, method, "deep-x", seed, {"accuracy": seed + 0.25}))
    store.load("toy")
    return store


def paths(store: Store) -> list[Path]:
    return sorted(store.results.glob("*/*/*.json"))


def plainly(store: Store) -> tuple[list[str], list[tuple[str, str]]]:
    """What a store without any cache reads: records to the last type, and what is corrupt."""
    return shown(Store(store.results, store.results.parent / "no cache").load("*"))


def shown(loaded: Any) -> tuple[list[str], list[tuple[str, str]]]:
    return [repr(r) for r in loaded.records], [(p.name, reason) for p, reason in loaded.damaged]


def agree(store: Store) -> None:
    """Records and their headings are those that a store without any cache reads."""
    records, damaged = plainly(store)
    whole = Store(store.results, store.results.parent / "no cache").load("*").records
    found = store.headings("toy")
    assert [repr(heading) for heading in found.headings] == [repr(r.heading) for r in whole]
    assert [(item.path.name, item.reason) for item in found.damaged] == damaged
    assert shown(store.load("toy")) == (records, damaged)


def flip(path: Path, bit: int) -> None:
    """Flips a bit and leaves size, times and inode as they were."""
    state = path.stat()
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (state.st_size, state.st_mtime_ns)


def forbid(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on a record that is verified in full is an error."""

    def refuse(data: bytes) -> Record:
        raise AssertionError("verified once more")

    monkeypatch.setattr(store_module, "parse_record", refuse)


# -- records ---------------------------------------------------------------------------------------


def test_a_record_is_verified_once(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plainly(filled)
    forbid(monkeypatch)
    assert shown(filled.load("toy")) == before


def test_a_bit_that_flips_behind_equal_times_is_found(filled: Store) -> None:
    rng = random.Random(0)  # noqa: S311
    for path in paths(filled):
        whole = path.read_bytes()
        for _ in range(8):
            flip(path, rng.randrange(len(whole) * 8))
            agree(filled)
            assert path.read_bytes() != whole
            path.write_bytes(whole)
    assert filled.load("toy").damaged == []


@pytest.mark.parametrize(
    ("written", "instead"),
    [
        ('"seed": 1,', '"seed": 1.0,'),
        ('"seed": 1,', '"seed": true,'),
        ('"cores": 1,', '"cores": "1",'),
    ],
)
def test_a_record_of_other_types_is_read_alike_every_time(
    filled: Store, written: str, instead: str
) -> None:
    path = next(path for path in paths(filled) if "--s1--" in path.name)
    text = path.read_text()
    assert written in text
    path.write_text(text.replace(written, instead))
    before = plainly(filled)
    for _ in range(2):
        assert shown(filled.load("toy")) == before


def test_bytes_are_known_under_their_own_name_alone(filled: Store) -> None:
    path = paths(filled)[0]
    other = path.with_name(path.name.replace("ant", "bee"))
    shutil.copy(path, other)
    assert [item.path.name for item in filled.load("toy").damaged] == [other.name]
    assert [item.path.name for item in filled.load("toy").damaged] == [other.name]


def test_the_doctor_verifies_every_record_in_full(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid(monkeypatch)
    with pytest.raises(AssertionError, match="once more"):
        filled.load()


def test_another_engine_believes_nothing(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid(monkeypatch)
    monkeypatch.setattr(store_module, "rules", lambda: b"others")
    with pytest.raises(AssertionError, match="once more"):
        filled.load("toy")


@pytest.mark.parametrize("damage", ["gone", "cut", "flipped", "noise", "empty", "a folder"])
def test_a_corrupt_cache_is_rebuilt_without_a_word(
    filled: Store, damage: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = filled.cache / "verified" / "records-toy"
    data = path.read_bytes()
    assert len(data) == 12 * 32
    path.unlink()
    rng = random.Random(1)  # noqa: S311
    if damage == "a folder":
        path.mkdir()
    elif damage != "gone":
        flipped = bytearray(data)
        flipped[40] ^= 1
        cut, noise = data[:-5], rng.randbytes(1000)
        path.write_bytes({"cut": cut, "flipped": flipped, "noise": noise}.get(damage, b""))
    before = plainly(filled)
    flip(paths(filled)[3], 999)
    assert len(filled.load("toy").damaged) == 1
    flip(paths(filled)[3], 999)
    assert shown(filled.load("toy")) == before
    assert capfd.readouterr() == ("", "")
    if damage != "a folder":
        forbid(monkeypatch)
        assert shown(filled.load("toy")) == before


def test_a_cache_that_is_not_ours_or_cannot_be_written_is_done_without(filled: Store) -> None:
    foreign = filled.results.parent / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    under_a_file = foreign / "thesis.tex" / "cache"
    for cache in (foreign, under_a_file):
        agree(Store(filled.results, cache))
    assert [path.name for path in foreign.iterdir()] == ["thesis.tex"]


def test_reading_writes_nothing_into_the_results_folder(filled: Store) -> None:
    def state() -> list[tuple[str, int, int]]:
        found = sorted(filled.results.rglob("*"))
        return [(str(p), p.stat().st_mtime_ns, p.stat().st_ctime_ns) for p in found]

    before = state()
    shutil.rmtree(filled.cache)
    filled.load("toy")
    filled.load("toy")
    assert state() == before


def test_each_file_is_opened_once_and_each_folder_listed_once(
    filled: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    listed: list[str] = []
    open_, scandir, there = os.open, os.scandir, paths(filled)

    def counting_open(path: Any, *rest: Any, **named: Any) -> int:
        opened.append(os.fspath(path))
        return open_(path, *rest, **named)

    def counting_scandir(path: Any) -> Any:
        listed.append(os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(files.os, "open", counting_open)
    monkeypatch.setattr(files.os, "scandir", counting_scandir)
    found = filled.load("toy").records
    monkeypatch.undo()
    assert len(found) == 12
    records = [path for path in opened if path.endswith(".json")]
    assert sorted(records) == [str(path) for path in there]
    assert len(opened) <= 12 + 4
    assert len([path for path in listed if "results" in path]) <= 4


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "corrupt", "supersede", "damage the cache", "read"]),
        st.integers(0, 2**20),
    ),
    min_size=1,
    max_size=12,
)


@given(steps=STEPS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_what_is_read_is_what_is_there(
    steps: list[tuple[str, int]], suite: Suite, make_record: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    shutil.rmtree(folder, ignore_errors=True)
    store = Store(folder / "results", folder / "cache")
    for what, number in [("add", 0), *steps]:
        there = paths(store)
        path = there[number % len(there)] if there else None
        cached = sorted(p for p in (store.cache / "verified").rglob("*") if p.is_file())
        if what == "add":
            metrics = {"accuracy": float(number % 7), "loss": number / 3}
            store.commit(make_record(suite, "ant", "deep-x", number % 50, metrics))
        elif what == "remove" and path is not None:
            path.unlink()
        elif what == "corrupt" and path is not None:
            flip(path, number)
        elif what == "supersede" and path is not None:
            old = store.load("toy").records
            if old:
                own = old[number % len(old)]
                cost = own.cost.model_copy(update={"wall_seconds": number / 7})
                store.commit(own.model_copy(update={"cost": cost, "counts": {"tokens": number}}))
        elif what == "damage the cache" and cached:
            flip(cached[number % len(cached)], number)
        agree(store)


def test_writers_and_readers_at_once_lose_nothing(
    tmp_path: Path, suite: Suite, make_record: Any
) -> None:
    code = """
    import sys
    from pathlib import Path
    from harness.store import Store, parse_record
    store = Store(Path(sys.argv[1]), Path(sys.argv[2]))
    for number, path in enumerate(sorted(Path(sys.argv[3]).glob("*.json"))):
        if number % 3 == int(sys.argv[4]):
            store.commit(parse_record(path.read_bytes()))
        assert not store.load("toy").damaged
    """
    made = Store(tmp_path / "made", tmp_path / "cache of made")
    for seed in range(45):
        made.commit(make_record(suite, "bee", "deep-x", seed, {"accuracy": seed / 9}))
    store = Store(tmp_path / "results", tmp_path / "cache")
    store.commit(make_record(suite, "ant", "deep-x", 0, {"accuracy": 1.0}))
    words = [store.results, store.cache, made.results / "toy" / "laptop"]
    running = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, words), str(n)])
        for n in range(3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    assert shown(store.load("toy")) == plainly(store)
    assert len(store.load("toy").records) == 46


def test_findings_of_others_are_kept_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path / "cache")

    def note(*words: bytes) -> set[bytes]:
        made = Verified(cache, "things")
        for word in words:
            made.add(finding(word))
        made.save()
        data = (cache.cache / "verified" / "things").read_bytes()
        return {data[i : i + 32] for i in range(0, len(data), 32)}

    assert note(b"a", b"b") == {finding(b"a"), finding(b"b")}
    assert note(b"c") == {finding(b"a"), finding(b"b"), finding(b"c")}
    monkeypatch.setattr(verified, "SPARE", 3)
    assert note(b"d") == {finding(b"d")}


def test_parts_of_a_finding_cannot_be_moved_between_each_other() -> None:
    assert len({finding(b"a", b"b"), finding(b"ab"), finding(b"", b"ab"), finding(b"ab", b"")}) == 4
    assert rules() == rules()


# -- records that share parts ----------------------------------------------------------------------


def test_records_that_share_parts_are_the_same_records(suite: Suite, make_record: Any) -> None:
    shared = Shared()
    for number in range(6):
        # True, 1 and 1.0 are equal and not the same.
        odd: Any = [True, 1, 1.0, False, 0, -0.0][number]
        own = make_record(suite, "ant", "deep-x", number, {"accuracy": 0.5}, artifacts={"x": odd})
        data = store_module._verified_bytes(own)
        own = Record.model_validate_json(data)
        slim = shared.read(data)
        assert repr(slim) == repr(own)
        assert slim == own
        assert slim.model_dump_json() == own.model_dump_json()
        assert slim.sealed().checksum == own.sealed().checksum
        assert slim.model_fields_set == own.model_fields_set
    one, other = (
        shared.read(
            store_module._verified_bytes(make_record(suite, "ant", "deep-x", n, {"accuracy": 0.5}))
        )
        for n in (7, 8)
    )
    assert one.spec["task"] is other.spec["task"]


def test_committed_records_are_read_alike_both_ways() -> None:
    shared = Shared()
    for path in sorted((ROOT / "results").glob("*/*/*.json"))[::9]:
        data = path.read_bytes()
        read, parsed = shared.read(data), parse_record(data)
        assert repr(read) == repr(parsed), path
        assert (read, read.model_fields_set) == (parsed, parsed.model_fields_set), path
        assert parsed.is_exact(json.loads(data)), path


# -- values ----------------------------------------------------------------------------------------


def test_a_value_is_worked_out_once_for_each_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    made: list[str] = []

    def make(word: str) -> list[str]:
        made.append(word)
        return [word]

    for word in ("one", "one", "two", "two", "one"):
        assert remembered("place", finding(word.encode()), lambda w=word: make(w)) == [word]
    assert made == ["one", "two", "one"]
    (path,) = (tmp_path / "cache" / "verified" / "values").iterdir()
    whole = path.read_bytes()
    for data in (b"", whole[:-1], whole + b" ", whole[:35], bytes(32) + b'["forged"]'):
        path.write_bytes(data)
        assert remembered("place", finding(b"one"), lambda: make("again")) == ["again"]
        path.write_bytes(whole)
    for bit in range(len(whole) * 8):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert remembered("place", finding(b"one"), lambda: ["again"]) == ["again"]


def test_a_source_digest_is_the_same_from_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = registry.load("gate").methods[0].run

    def digest() -> str:
        source._parsed.cache_clear()
        return source.digest(run)

    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    first = digest()

    def refuse(*_: Any) -> Any:
        raise AssertionError("parsed once more")

    with monkeypatch.context() as patch:
        patch.setattr(source, "_apart", refuse)
        assert digest() == first
    for path in (tmp_path / "cache" / "verified" / "values").iterdir():
        flip(path, 300)
    assert digest() == first


def test_what_cannot_be_read_stays_an_error(filled: Store) -> None:
    path = paths(filled)[0]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Unreadable, match="a pipe, not a plain file"):
        filled.load("toy")
    path.unlink()
    path.symlink_to(paths(filled)[-1])
    with pytest.raises(Unreadable, match="a symbolic link, not a plain file"):
        filled.load("toy")
    path.unlink()
    path.write_text(json.dumps({"schema_version": 99}))
    with pytest.raises(Unreadable, match="schema version 99"):
        filled.load("toy")
