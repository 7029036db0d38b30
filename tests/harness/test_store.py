"""Files that are whole or absent, records that verify, locks that die with their holder."""

import errno
import gc
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import harness.store
from harness.cache import MARKER
from harness.checkpoints import KEPT
from harness.errors import MethodError, StoreError
from harness.identity import digest
from harness.store import MANIFEST, Store, file_digest, parse_record, write_atomic


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results", tmp_path / "cache")


@pytest.fixture(scope="session")
def record(toy_suite, make_record):
    metrics = {"accuracy": 81.23456789012345, "loss": 1.5e-07}
    return make_record(toy_suite(), "ant", "deep-x", 3, metrics, note="naïve")


@pytest.fixture(scope="session")
def written(record, tmp_path_factory):
    """The bytes of a committed record."""
    folder = tmp_path_factory.mktemp("written")
    return Store(folder / "results", folder / "cache").commit(record).read_bytes()


def leftovers(folder):
    return sorted(path.name for path in folder.rglob(".tmp-*"))


def run_child(code, *arguments, **options):
    """Runs Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True, text=True, timeout=60, check=False, **options,
    )  # fmt: skip


# -- atomic writes ---------------------------------------------------------------------------------


def test_a_write_makes_its_folders_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "a" / "b" / "file.json"
    write_atomic(path, b"one")
    write_atomic(path, b"two, longer")
    write_atomic(path, b"")
    assert path.read_bytes() == b""
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


def test_a_write_is_flushed_before_it_is_renamed_and_its_folder_after(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(handle):
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")  # noqa: PTH112
        fsync(handle)

    def watched_replace(self, target):
        done.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_atomic(tmp_path / "file", b"data")
    assert done == ["file", "rename", "folder"]


@pytest.mark.parametrize("step", ["fsync", "rename", "write"])
def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch, step):
    path = tmp_path / "file.json"
    write_atomic(path, b"old")

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    elif step == "rename":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        opened = Path.open

        class Full:
            """A file on a full disk: it can be made, but not filled."""

            def __init__(self, file):
                self.file = file

            def __enter__(self):
                return self

            def __exit__(self, *_):
                self.file.close()

            write = fail

        monkeypatch.setattr(Path, "open", lambda self, *a, **k: Full(opened(self, *a, **k)))
    with pytest.raises(StoreError) as error:
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert str(error.value).startswith(f"cannot write {path}: No space left on device; ")
    assert "\n" not in str(error.value)
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


def test_an_interrupted_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    write_atomic(path, b"old")

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_device_is_one_line(tmp_path, monkeypatch):
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, mode: opened(Path("/dev/full"), mode.replace("x", "w"))
    )
    with pytest.raises(StoreError, match=r"cannot write .*file\.json: No space left on device"):
        write_atomic(tmp_path / "file.json", b"new")


def test_a_file_size_limit_leaves_the_old_record(store, record):
    path = store.commit(record)
    old = path.read_bytes()
    assert len(old) > 1000
    done = run_child(
        """
        import resource, signal, sys
        from pathlib import Path
        from harness.errors import StoreError
        from harness.store import Store, parse_record

        results, cache, path = map(Path, sys.argv[1:])
        record = parse_record(path.read_bytes())
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            Store(results, cache).commit(record)
        except StoreError as error:
            print(error)
        """,
        store.results, store.cache, path,
    )  # fmt: skip
    assert done.stdout.startswith(f"cannot write {path}: File too large"), done.stderr
    assert path.read_bytes() == old
    assert leftovers(store.results) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_file_where_a_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "results").write_text("a file")
    for path in (tmp_path / "results" / "x.json", tmp_path / "results" / "deep" / "x.json"):
        with pytest.raises(StoreError, match=r"cannot write .*: (Not a directory|File exists)"):
            write_atomic(path, b"new")


def test_a_folder_where_the_file_should_be_is_one_line(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(StoreError, match=r"cannot write .*x\.json: Is a directory"):
        write_atomic(tmp_path / "x.json", b"new")
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_one_line(tmp_path):
    write_atomic(tmp_path / "x.json", b"old")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match=r"cannot write .*x\.json: Permission denied"):
            write_atomic(tmp_path / "x.json", b"new")
    finally:
        tmp_path.chmod(0o700)
    assert (tmp_path / "x.json").read_bytes() == b"old"


def test_the_longest_names_fit(store, toy_suite, make_record):
    long = "x" * 64
    record = make_record(toy_suite(), long, long, 2**63, {"loss": 1})
    store.commit(record)
    assert store.load().records == [record]


def test_the_digest_of_a_file_is_that_of_its_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert file_digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


# -- records ---------------------------------------------------------------------------------------


def test_what_is_committed_is_loaded_and_found(store, record, toy_suite, make_record):
    path = store.commit(record)
    assert path == store.results / "toy" / "laptop" / record.file_name
    assert path.read_bytes().endswith(b"}\n")
    other = make_record(toy_suite(), "bee", "deep-x", 0, {"loss": 1}, scale="smoke")
    store.commit(other)
    assert store.load() == ([record, other], [])
    assert store.load("toy", "smoke").records == [other]
    assert store.load("none").records == []
    assert store.at("toy", "laptop", record.file_name, record.id) == record
    assert store.at("toy", "smoke", record.file_name, record.id) is None
    assert store.at("toy", "laptop", record.file_name, "0" * 64) is None


def test_an_unsealed_record_is_sealed_when_it_is_committed(store, record):
    store.commit(record.model_copy(update={"checksum": ""}))
    assert store.load().records == [record]


def test_the_same_identity_is_replaced(store, record):
    store.commit(record)
    again = record.model_copy(update={"status": "failed", "metrics": {}}).sealed()
    store.commit(again)
    assert store.load().records == [again]


def test_the_same_record_is_the_same_file_byte_for_byte(store, record, written):
    assert store.commit(record).read_bytes() == written


def test_an_identity_that_shares_twelve_digits_is_not_found(store, record):
    store.commit(record)
    assert store.at("toy", "laptop", record.file_name, record.id[:12] + "0" * 52) is None


def corrupted(written, change):
    content = json.loads(written)
    change(content)
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda w: b"", "not JSON"),
        (lambda w: w[: len(w) // 2], "not JSON"),
        (lambda w: w[:-3], "not JSON"),
        (lambda w: w + w, "not JSON"),
        (lambda w: b"\xff" + w, "not JSON"),
        (lambda w: w.replace(b'"ok"', b'"o\xe9"'), "not JSON"),
        (lambda w: bytes(len(w)), "not JSON"),
        (lambda w: b"[" * 200_000, "not JSON"),
        (lambda w: b"9" * 5000, "not JSON"),
        (lambda w: b"null", "schema version None"),
        (lambda w: b"[]", "schema version None"),
        (lambda w: b"{}", "schema version None"),
        (lambda w: corrupted(w, lambda c: c.update(schema_version=0)),
         "schema version 0, this harness reads 1, 2"),
        (lambda w: corrupted(w, lambda c: c.update(schema_version=True)), "schema version True"),
        (lambda w: corrupted(w, lambda c: c.update(schema_version="3")), "schema version '3'"),
        (lambda w: corrupted(w, lambda c: c.update(seed=-1)), "field seed: "),
        (lambda w: corrupted(w, lambda c: c.pop("status")), "field status: Field required"),
        (lambda w: corrupted(w, lambda c: c.update(more=1)), "field more: Extra inputs"),
        (lambda w: w.replace(b"1.5e-07", b"NaN"), "field metrics.loss: "),
        (lambda w: corrupted(w, lambda c: c.update(seed=4)), "checksum does not match"),
        (lambda w: corrupted(w, lambda c: c.update(checksum="")), "checksum does not match"),
        (lambda w: corrupted(w, lambda c: c["spec"].update(seed=4)), "checksum does not match"),
        (lambda w: corrupted(w, lambda c: c.update(error="\ud800")), "field error: |surrogates"),
        (lambda w: corrupted(w, lambda c: c["spec"].update(a="\ud800")), "surrogates|field spec"),
        (lambda w: b" " * 10_000_000, "not JSON"),
    ],
)  # fmt: skip
def test_damage_is_named_in_one_line(store, record, written, data, reason):
    path = store.commit(record)
    path.write_bytes(data(written))
    loaded = store.load()
    assert loaded.records == []
    assert [item.path for item in loaded.damaged] == [path]
    assert any(part in loaded.damaged[0].reason for part in reason.split("|"))
    assert "\n" not in loaded.damaged[0].reason
    assert store.at("toy", "laptop", record.file_name, record.id) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop("device"), "its spec is not that of a trial (KeyError: 'device')"),
        (
            lambda s: s.update(device=["cpu"]),
            "its spec names the device ['cpu']; there are cpu and",
        ),
        (
            lambda s: s.update(device="tpu"),
            "its spec names the device 'tpu'; there are cpu and cuda",
        ),
        (lambda s: s.clear(), "its spec is not that of a trial (KeyError: 'suite')"),
        (lambda s: s.update(method="ant"), "its spec is not that of a trial (TypeError: string"),
        (lambda s: s.update(method=None), "its spec is not that of a trial (TypeError: 'NoneType'"),
        (lambda s: s.update(method={"name": "bee"}), "its method is 'ant', its spec says 'bee'"),
        (lambda s: s.update(seed=4), "its seed is 3, its spec says 4"),
        (lambda s: s.update(suite="x"), "its suite is 'toy', its spec says 'x'"),
        (lambda s: s.update(scale={"name": "gpu"}), "its scale is 'laptop', its spec says 'gpu'"),
        (lambda s: s["task"].update(name="t"), "its task is 'deep-x', its spec says 't'"),
        (lambda s: s["task"].update(protocol="p"), "its protocol is 'standard', its spec says 'p'"),
    ],
)
def test_an_intact_record_that_contradicts_itself_is_named_in_one_line(
    store, record, change, reason
):
    spec = json.loads(json.dumps(record.spec))
    change(spec)
    odd = record.model_copy(update={"spec": spec, "id": digest(spec)}).sealed()
    assert odd.intact()
    with pytest.raises(StoreError, match="not written"):
        store.commit(odd)
    path = store.results / odd.suite / odd.scale / odd.file_name
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(odd.content()))
    loaded = store.load()
    assert loaded.records == []
    assert [item.path for item in loaded.damaged] == [path]
    assert loaded.damaged[0].reason.startswith(reason)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 2**20), bit=st.integers(0, 7))
@example(place=0, bit=0)
@example(place=2**20, bit=0)
def test_no_flipped_bit_ever_gives_another_record(record, written, place, bit):
    data = bytearray(written)
    data[place % len(data)] ^= 1 << bit
    try:
        read = parse_record(bytes(data))
    except StoreError:
        return
    assert read == record  # the flip spelled the same value, as 1E-07 does 1e-07


@settings(max_examples=100, deadline=None)
@given(cut=st.integers(0, 2**20), insert=st.binary(max_size=3), drop=st.integers(0, 40))
def test_no_cut_or_insertion_ever_gives_another_record(record, written, cut, insert, drop):
    cut %= len(written)
    try:
        read = parse_record(written[:cut] + insert + written[cut + drop :])
    except StoreError:
        return
    assert read == record


@settings(max_examples=100, deadline=None)
@given(
    data=st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))
)
def test_noise_is_never_a_record(data):
    with pytest.raises(StoreError):
        parse_record(data)


def test_records_under_another_name_are_damaged(store, record):
    path = store.commit(record)
    renamed = path.with_name(path.name.replace("ant", "bee"))
    moved = store.results / "toy" / "smoke" / path.name
    foreign = store.results / "yot" / "laptop" / path.name
    for place in (renamed, moved, foreign):
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    loaded = store.load()
    assert loaded.records == [record]
    assert {item.path for item in loaded.damaged} == {renamed, moved, foreign}
    assert {item.reason for item in loaded.damaged} == {
        "the record in it belongs under another name"
    }
    path.unlink()
    assert store.at("toy", "laptop", record.file_name, record.id) is None
    assert store.at("toy", "smoke", record.file_name, record.id) is None


def test_other_files_are_left_alone(store, record):
    path = store.commit(record)
    for name in ("note.txt", f"{path.name}.corrupt-1", ".tmp-1-x.json.part"):
        path.with_name(name).write_text("not a record")
    assert store.load() == ([record], [])


def test_quarantine_keeps_the_content_and_numbers_up(store, record):
    path = store.commit(record)
    for number in (1, 2, 3):
        path.write_text(f"damage {number}")
        aside = store.quarantine(path)
        assert aside.name == f"{path.name}.corrupt-{number}"
        assert aside.read_text() == f"damage {number}"
        assert not path.exists()
    assert store.load() == ([], [])


def test_quarantine_gives_up_at_ten_thousand(store, record, monkeypatch):
    path = store.commit(record)
    monkeypatch.setattr(Path, "exists", lambda _: True)
    with pytest.raises(StoreError, match="ten thousand corrupt copies beside it"):
        store.quarantine(path)
    monkeypatch.undo()
    assert path.exists()


def test_a_file_that_cannot_be_moved_aside_is_one_line(store, record):
    path = store.commit(record)
    path.unlink()
    with pytest.raises(StoreError, match=r"cannot move .* aside: No such file or directory"):
        store.quarantine(path)


def test_the_probe_leaves_nothing_and_names_what_is_in_the_way(store):
    store.probe("toy", "laptop")
    assert [p for p in store.results.rglob("*") if p.is_file()] == []
    left = sorted(p.relative_to(store.cache) for p in store.cache.rglob("*") if p.is_file())
    assert left == [Path(MARKER), Path("suites/toy")]
    blocked = Store(store.results, store.cache / "file" / "below")
    (store.cache / "file").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write .*file/below/\.probe"):
        blocked.probe("toy", "laptop")


# -- locks -----------------------------------------------------------------------------------------

IDENTITY = "ab" * 32


@pytest.fixture
def holder(store):
    """A process that holds the lock of IDENTITY until it is killed."""
    code = (
        "import sys, time; from pathlib import Path; from harness.store import Store\n"
        "with Store(Path(sys.argv[1]), Path(sys.argv[2])).lock(sys.argv[3]):\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, store.results, store.cache, IDENTITY],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_lock_is_held_by_a_living_process_alone(store, holder):
    assert store.locked(IDENTITY)
    assert not store.locked("cd" * 32)
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert not store.locked(IDENTITY)
    with store.lock(IDENTITY):
        assert store.locked(IDENTITY)
    assert not store.locked(IDENTITY)


def test_a_lock_that_cannot_be_made_is_one_line(store):
    store.cache.parent.mkdir(parents=True, exist_ok=True)
    store.cache.write_text("a file")
    with pytest.raises(
        StoreError, match=r"cannot write .*locks: Not a directory; set HARNESS_CACHE"
    ):
        store.lock(IDENTITY).acquire()


# -- artifacts -------------------------------------------------------------------------------------

SPEC = {"artifact": {"name": "gold", "version": 1, "params": {}}, "seed": None}


def make_artifact(store, name="gold", spec=SPEC, text="0.125", info=None):
    """Fills a working folder and commits it; the artifact's folder."""
    identity = digest(spec)
    work = store.trial_folder(identity) / "out"
    (work / "part").mkdir(parents=True)
    (work / "weights.txt").write_text(text)
    (work / "part" / "more.txt").write_text("more")
    folder = store.artifact_folder("toy", name, identity)
    store.commit_artifact(folder, work, spec, {"loss": 0.5} if info is None else info)
    return folder


def test_a_committed_artifact_is_whole_and_found(store):
    folder = make_artifact(store)
    assert folder == store.cache / "artifacts" / "toy" / f"gold-{digest(SPEC)[:12]}"
    assert store.artifact("toy", "gold", digest(SPEC)) == folder
    assert (folder / "part" / "more.txt").read_text() == "more"
    manifest = json.loads((folder / MANIFEST).read_bytes())
    assert manifest["id"] == digest(SPEC)
    assert manifest["spec"] == SPEC
    assert manifest["info"] == {"loss": 0.5}
    assert set(manifest["files"]) == {"weights.txt", "part/more.txt"}
    assert list(store.artifacts()) == [folder]
    assert store.artifact("toy", "gold", "0" * 64) is None
    assert store.artifact("toy", "lead", digest(SPEC)) is None
    assert not (store.trial_folder(digest(SPEC)) / "out").exists()


def test_the_source_of_an_artifact_is_what_its_manifest_says(store):
    assert store.artifact_source("toy", "gold", digest(SPEC)) is None
    folder = make_artifact(store, info={"source_digest": "ab"})
    assert store.artifact_source("toy", "gold", digest(SPEC)) == "ab"
    make_artifact(store)
    assert store.artifact_source("toy", "gold", digest(SPEC)) == ""
    (folder / MANIFEST).write_text("[")
    assert store.artifact_source("toy", "gold", digest(SPEC)) == ""


def test_checkpoints_are_cleared_alone(store):
    store.save_checkpoint("a" * 64, 3, b"state", {})
    (store.trial_folder("a" * 64) / "log.txt").write_text("")
    store.clear_checkpoints("a" * 64)
    store.clear_checkpoints("b" * 64)
    assert store.checkpoint("a" * 64) is None
    assert [path.name for path in store.trial_folder("a" * 64).iterdir()] == ["log.txt"]


def test_an_artifact_made_again_replaces_the_old_one_whole(store):
    folder = make_artifact(store)
    (folder / "stray.txt").write_text("left over")
    make_artifact(store, text="0.25")
    assert (folder / "weights.txt").read_text() == "0.25"
    assert not (folder / "stray.txt").exists()
    store.check_artifact(folder)


def test_an_artifact_killed_as_it_replaces_the_old_one_is_absent(store, monkeypatch):
    folder = make_artifact(store)

    def killed(path):
        (path / "weights.txt").unlink()
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(SystemExit):
            make_artifact(store, text="0.25")
    assert folder.exists()
    assert store.artifact("toy", "gold", digest(SPEC)) is None
    shutil.rmtree(store.trial_folder(digest(SPEC)))
    assert make_artifact(store, text="0.25") == store.artifact("toy", "gold", digest(SPEC))


def test_an_artifact_never_stands_without_its_manifest(store, monkeypatch):
    real = Path.replace

    def replace(path, target):
        done = real(path, target)
        if path.name == "out":
            store.check_artifact(target)
            stood.append(target)
        return done

    stood = []
    monkeypatch.setattr(Path, "replace", replace)
    assert [make_artifact(store)] == stood


@pytest.mark.parametrize(
    "damage",
    [
        lambda f: (f / "weights.txt").write_text("0.126"),
        lambda f: (f / "weights.txt").write_bytes(b""),
        lambda f: (f / "part" / "more.txt").unlink(),
        lambda f: shutil.rmtree(f / "part"),
        lambda f: (f / MANIFEST).write_bytes(b""),
        lambda f: (f / MANIFEST).write_bytes(b"\xff\xfe{"),
        lambda f: (f / MANIFEST).write_text("[" * 200_000),
        lambda f: (f / MANIFEST).write_text("[]"),
        lambda f: (f / MANIFEST).write_text("{}"),
        lambda f: (f / MANIFEST).write_text('{"checksum": "", "files": 3, "id": ""}'),
        lambda f: (f / MANIFEST).write_text((f / MANIFEST).read_text().replace("0.5", "0.6")),
        lambda f: (f / MANIFEST).write_text((f / MANIFEST).read_text().replace("0.5", "NaN")),
        lambda f: (f / MANIFEST).write_text((f / MANIFEST).read_text()[:-20]),
    ],
)
def test_a_damaged_artifact_is_one_line_with_the_way_out(store, damage):
    folder = make_artifact(store)
    damage(folder)
    with pytest.raises(StoreError) as error:
        store.artifact("toy", "gold", digest(SPEC))
    assert str(error.value).startswith(str(folder))
    assert "`harness doctor --repair` removes it, `harness run` rebuilds it" in str(error.value)
    assert "\n" not in str(error.value)


def test_an_artifact_under_another_identity_is_damaged(store):
    folder = make_artifact(store)
    other = store.artifact_folder("toy", "gold", "f" * 64)
    shutil.copytree(folder, other)
    with pytest.raises(StoreError, match="corrupt"):
        store.artifact("toy", "gold", "f" * 64)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(place=st.integers(0, 2**20), bit=st.integers(0, 7))
def test_no_flipped_bit_in_a_manifest_changes_what_it_says(store, place, bit):
    folder = store.artifact_folder("toy", "gold", digest(SPEC))
    if not folder.exists():
        make_artifact(store)
    path = folder / MANIFEST
    whole = path.read_bytes()
    data = bytearray(whole)
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    try:
        store.check_artifact(folder)
        assert json.loads(data) == json.loads(whole)
    except StoreError:
        pass
    finally:
        path.write_bytes(whole)


def test_an_unfinished_artifact_is_none(store):
    folder = make_artifact(store)
    (folder / MANIFEST).unlink()
    assert store.artifact("toy", "gold", digest(SPEC)) is None
    assert list(store.artifacts()) == [folder]
    with pytest.raises(StoreError, match=r"artifact\.json: missing"):
        store.check_artifact(folder)
    work = store.trial_folder("0" * 64) / "out"
    work.mkdir(parents=True)
    assert list(store.artifacts()) == [folder]


def test_what_an_artifact_returns_must_be_json(store):
    with pytest.raises(MethodError, match=r"artifact gold-.*: nan has no place"):
        make_artifact(store, info={"loss": float("nan")})
    assert store.artifact("toy", "gold", digest(SPEC)) is None


def test_an_artifact_that_cannot_be_put_in_place_is_one_line(store):
    store.claim()
    (store.cache / "artifacts").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write .*gold-\w{12}: "):
        make_artifact(store)


# -- logs ------------------------------------------------------------------------------------------


def test_a_log_is_added_to(store):
    for said in (b"one", b"two"):
        with store.open_log(IDENTITY) as log:
            log.write(said)
    assert (store.trial_folder(IDENTITY) / "log.txt").read_bytes() == b"onetwo"


def test_a_log_that_cannot_be_written_is_one_line(store):
    store.claim()
    (store.cache / "trials").write_text("a file")
    with pytest.raises(StoreError, match=r"cannot write .*log\.txt: .*; free space or make the "):
        store.open_log(IDENTITY)


# -- checkpoints -----------------------------------------------------------------------------------


def files(store):
    folder = store.trial_folder(IDENTITY)
    return sorted(path.name for path in folder.iterdir())


def save(store, *steps):
    for step in steps:
        store.save_checkpoint(IDENTITY, step, f"tensors {step}".encode(), {"best": [step, 0.5]})


def test_the_newest_state_comes_back_and_two_are_kept(store):
    assert store.checkpoint(IDENTITY) is None
    save(store, 1, 2, 9, 10)
    assert files(store) == [
        "checkpoint-000000000009.json", "checkpoint-000000000009.safetensors",
        "checkpoint-000000000010.json", "checkpoint-000000000010.safetensors",
    ]  # fmt: skip
    found = store.checkpoint(IDENTITY)
    assert found.step == 10
    assert found.meta == {"best": [10, 0.5]}
    assert found.tensors.read_bytes() == b"tensors 10"
    store.clear_trial(IDENTITY)
    assert not store.trial_folder(IDENTITY).exists()
    assert store.checkpoint(IDENTITY) is None
    store.clear_trial(IDENTITY)


def test_a_step_saved_again_replaces_the_old_state(store):
    save(store, 5)
    store.save_checkpoint(IDENTITY, 5, b"other", {})
    assert store.checkpoint(IDENTITY).tensors.read_bytes() == b"other"


def test_values_before_the_first_score_may_be_infinite(store):
    store.save_checkpoint(IDENTITY, 1, b"tensors", {"best": float("-inf")})
    assert store.checkpoint(IDENTITY).meta == {"best": float("-inf")}


def damaged_json(folder, stem):
    path = folder / f"{stem}.json"
    path.write_bytes(path.read_bytes().replace(b"0.5", b"0.6"))


def damaged_tensors(folder, stem):
    (folder / f"{stem}.safetensors").write_bytes(b"tensors 1X")


def no_tensors(folder, stem):
    (folder / f"{stem}.safetensors").unlink()


def cut_json(folder, stem):
    path = folder / f"{stem}.json"
    path.write_bytes(path.read_bytes()[:-5])


def other_json(folder, stem):
    (folder / f"{stem}.json").write_text("[1, 2]")


def deep_json(folder, stem):
    (folder / f"{stem}.json").write_text("[" * 200_000)


DAMAGES = [damaged_json, damaged_tensors, no_tensors, cut_json, other_json, deep_json]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_falls_back_to_the_one_before(store, damage):
    save(store, 9, 10)
    damage(store.trial_folder(IDENTITY), "checkpoint-000000000010")
    found = store.checkpoint(IDENTITY)
    assert found.step == 9
    assert found.tensors.read_bytes() == b"tensors 9"
    assert "checkpoint-000000000010.json.corrupt-1" in files(store)
    assert "checkpoint-000000000010.json" not in files(store)
    assert "checkpoint-000000000010.safetensors" not in files(store)
    save(store, 10)
    assert store.checkpoint(IDENTITY).step == 10


@pytest.mark.parametrize("damage", DAMAGES)
def test_with_both_states_damaged_there_is_none_and_both_are_kept_aside(store, damage):
    save(store, 9, 10)
    for step in (9, 10):
        damage(store.trial_folder(IDENTITY), f"checkpoint-{step:012d}")
    assert store.checkpoint(IDENTITY) is None
    assert all(name.endswith(".corrupt-1") for name in files(store))
    assert len(files(store)) == (2 if damage is no_tensors else 4)


def test_tensors_without_their_json_are_no_state(store):
    save(store, 9)
    (store.trial_folder(IDENTITY) / "checkpoint-000000000010.safetensors").write_bytes(b"killed")
    assert store.checkpoint(IDENTITY).step == 9


def test_a_state_that_cannot_be_saved_leaves_the_older_ones(store, monkeypatch):
    save(store, 9, 10)
    before = files(store)

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="No space left"):
        save(store, 11)
    monkeypatch.undo()
    assert files(store) == before
    assert store.checkpoint(IDENTITY).step == 10


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    place=st.integers(0, 2**20),
    bit=st.integers(0, 7),
    kind=st.sampled_from(["json", "safetensors"]),
)
def test_no_flipped_bit_in_a_state_is_ever_loaded(store, place, bit, kind):
    store.clear_trial(IDENTITY)
    save(store, 9, 10)
    path = store.trial_folder(IDENTITY) / f"checkpoint-000000000010.{kind}"
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1 << bit
    path.write_bytes(data)
    found = store.checkpoint(IDENTITY)
    assert found.step in (9, 10)
    assert found.meta == {"best": [found.step, 0.5]}
    assert found.tensors.read_bytes() == f"tensors {found.step}".encode()


# -- sweeping --------------------------------------------------------------------------------------

LEFT = f".tmp-{'0123456789abcdef' * 2}-x.json"


def test_sweeping_removes_what_killed_writers_left(store, record):
    path = store.commit(record)
    save(store, 9)
    for folder in (path.parent, store.results, store.trial_folder(IDENTITY), store.cache):
        (folder / LEFT).write_text("half")
    assert store.sweep() == 4
    assert store.sweep() == 0
    assert store.load().records == [record]
    assert store.checkpoint(IDENTITY).step == 9


def test_what_a_living_writer_may_need_is_left(store, record):
    fresh = store.commit(record).with_name(LEFT)
    fresh.write_text("half")
    assert store.sweep(age=60) == 0
    assert fresh.exists()
    os.utime(fresh, (0, 0))
    assert store.sweep(age=60) == 1
    assert not fresh.exists()


def test_sweeping_where_nothing_was_ever_written_is_nothing(store):
    assert store.sweep() == 0


def test_a_writer_killed_half_way_leaves_the_old_record_and_one_thing_to_sweep(store, record):
    path = store.commit(record)
    old = path.read_bytes()
    done = run_child(
        """
        import os, signal, sys
        from pathlib import Path
        from harness.store import write_atomic

        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        write_atomic(Path(sys.argv[1]), b"new")
        """,
        path,
    )
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == old
    assert len(leftovers(store.results)) == 1
    assert store.load() == ([record], [])
    assert store.sweep() == 1


def test_two_kept_states_are_what_the_docstring_says():
    assert KEPT == 2


@pytest.mark.parametrize("many", [0, 1])
def test_a_search_for_cycles_passes_over_many_records(
    store: Store, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """It would visit every object of 100,000 records, again and again."""
    monkeypatch.setattr(harness.store, "MANY", many)
    before = gc.get_freeze_count()
    try:
        store.load("toy")
        assert gc.isenabled()
        assert (gc.get_freeze_count() > before) == (many == 0)
        gc.disable()
        store.load("toy")
        assert not gc.isenabled()
    finally:
        gc.unfreeze()
        gc.enable()
