"""Whatever bytes lie where a graph should: a graph that keeps its promises, or one line."""

import gzip
import io
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.errors import DataError
from suites.gate import graphs

NAMES = ("stored", "compressed", "ogb")


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, graph_files: Any) -> Any:
    return graph_files.readers(tmp_path_factory.mktemp("graphs"))


@pytest.mark.parametrize("name", NAMES)
def test_the_files_themselves_are_good(known: Any, graph_files: Any, name: str) -> None:
    reader = known[name]
    for path, data in reader.files.items():
        assert graph_files.verdict(reader, path, data) == "read"


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.binary(max_size=400), seed=st.integers(0, 2**32), broken=st.booleans())
def test_any_bytes_are_a_graph_or_one_line(
    known: Any, graph_files: Any, name: str, data: bytes, seed: int, *, broken: bool
) -> None:
    reader, rng = known[name], random.Random(seed)  # noqa: S311
    path = rng.choice(sorted(reader.files))
    bytes_ = graph_files.broken(rng, reader.files[path]) if broken else data
    assert graph_files.verdict(reader, path, bytes_) in {"read", "refused"}


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    raw = text.encode()
    raw += b" " * ((-len(raw) - 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(raw).to_bytes(2, "little") + raw


MEMBERS = {
    "claims 10^15": header(
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000, 4), }"
    ),
    "claims 10^30": header(
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': (1{'0' * 30}, 4), }}"
    ),
    "negative shape": header("{'descr': '<f8', 'fortran_order': False, 'shape': (-12, 3), }"),
    "header that is no dict": header("[1, ("),
    "header nested deep": header("(" * 300 + ")" * 300),
    "no array": b"hello",
    "empty": b"",
}  # fmt: skip


def replaced(whole: bytes, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name == "node_features.npy" else old.read(name))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", MEMBERS)
def test_arrays_that_are_none(known: Any, graph_files: Any, kind: str) -> None:
    reader = known["stored"]
    (path,) = reader.files
    assert (
        graph_files.verdict(reader, path, replaced(reader.files[path], MEMBERS[kind])) == "refused"
    )


@pytest.mark.parametrize(("word", "value"), [(0, 1), (2, 9), (2, 98)], ids=["encrypted", "9", "98"])
def test_packing_that_cannot_be_undone(known: Any, graph_files: Any, word: int, value: int) -> None:
    """The flag word or the method word of every entry of the zip, replaced."""
    reader = known["compressed"]
    ((path, data),) = reader.files.items()
    changed = bytearray(data)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := changed.find(mark, at + 1)) >= 0:
            changed[at + offset + word] = value
    assert graph_files.verdict(reader, path, bytes(changed)) == "refused"


def test_a_flipped_byte_never_changes_a_value(known: Any, graph_files: Any) -> None:
    reader = known["stored"]
    ((path, data),) = reader.files.items()
    whole = [str(part) for part in reader.read()]
    for at in range(0, len(data), 29):
        path.write_bytes(data[:at] + bytes([data[at] ^ 64]) + data[at + 1 :])
        try:
            assert [str(part) for part in reader.read()] == whole, at
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer.*git lfs pull"),
        (b"\n<!DOCTYPE html>", "a web page in place of the file"),
        (b"", "an empty file"),
    ],
)
def test_what_lies_there_instead_is_named(
    tmp_path: Path, graph_files: Any, content: bytes, words: str
) -> None:
    for read in (
        lambda path: graphs.read_npz(path / "tiny.npz", graph_files.NPZ, 0),
        lambda path: graphs.read_ogbn_arxiv(path, graph_files.OGB),
    ):
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "tiny.npz").write_bytes(content)
        (tmp_path / "raw" / "node-feat.csv.gz").write_bytes(content)
        with pytest.raises(DataError, match=words) as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_an_array_that_unpacks_far_too_large_is_not_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, graph_files: Any
) -> None:
    path, buffer = tmp_path / "bomb.npz", io.BytesIO()
    np.save(buffer, np.zeros((4000, 300)))
    path.write_bytes(replaced(graph_files.npz(False), buffer.getvalue()))
    monkeypatch.setattr(np.lib.npyio.NpzFile, "__getitem__", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(DataError, match=r"unreadable \(node_features unpacks to 9600128 bytes\)"):
        graphs.read_npz(path, graph_files.NPZ, 0)


def test_every_class_has_a_node(tmp_path: Path, graph_files: Any) -> None:
    path = tmp_path / "tiny.npz"
    path.write_bytes(graph_files.npz(True))
    with pytest.raises(DataError, match="no node of class 2, 3; expected 4 classes"):
        graphs.read_npz(path, graph_files.NPZ._replace(classes=4), 0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("raw/edge", "0,1\n1,0\n\n2,1\n3,4\n4,2\n"),
        ("raw/edge", '"0","1"\n1,0\n2,1\n3,4\n4,2\n'),
        ("raw/node-feat", "0.5,1\n1,1\n-2,\n1e-3,4\n0,0\n"),
        ("raw/node-feat", "0.5,1\n1,1\n-2,NA\n1e-3,4\n0,0\n"),
        ("raw/node-feat", "0.5,1\n1,1\n-2,1e400\n1e-3,4\n0,0\n"),
        ("raw/node-label", "0\n1\n2\n0\n1\n1\n"),
        ("raw/node-label", "0\n1\n-1\n0\n1\n"),
        ("raw/node-label", "0\n1\n0\n0\n1\n"),
        ("split/time/train", "0\n0\n3\n"),
        ("split/time/train", "0\n3\x00\n"),
        ("split/time/train", "\ufeff0\n3\n"),
    ],
)
def test_text_that_would_be_read_as_something_else(
    tmp_path: Path, graph_files: Any, name: str, text: str
) -> None:
    for part, whole in (graph_files.OGB_TEXTS | {name: text}).items():
        path = tmp_path / f"{part}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(whole.encode()))
    with pytest.raises(DataError) as caught:
        graphs.read_ogbn_arxiv(tmp_path, graph_files.OGB)
    assert "\n" not in str(caught.value)


def test_digests_of_what_is_no_file(tmp_path: Path, graph_files: Any) -> None:
    known = graph_files.NPZ._replace(sha256="ab")
    with pytest.raises(DataError, match="no such file"):
        graphs.check_digest(tmp_path / "none", known)
    with pytest.raises(DataError, match="unreadable"):
        graphs.check_digest(tmp_path, known)
