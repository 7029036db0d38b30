"""Planetoid's files as Python 2 wrote them: read without running them, and what is refused."""

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from harness import registry
from harness.errors import DataError
from harness.store import file_digest
from suites.gate import hub, planetoid
from suites.gate.datasets import DATASETS

Array = NDArray[Any]


def text(value: bytes) -> bytes:
    return b"T" + struct.pack("<I", len(value)) + value


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def array(value: Array) -> bytes:
    """As `numpy` pickles itself in Python 2, protocol 2."""
    code = {"f": "f", "i": "i", "u": "u"}[value.dtype.kind] + str(value.dtype.itemsize)
    return b"".join(
        (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n", number(0), b"\x85",
            text(b"b"), b"tR(", number(1), b"(", *map(number, value.shape), b"t",
            b"cnumpy\ndtype\n(", text(code.encode()), number(0), number(1), b"tR(", number(3),
            text(b"<"), b"NNN", number(-1), number(-1), number(0), b"tb", b"\x89",
            text(value.tobytes()), b"tb",
        )
    )  # fmt: skip


def sparse(value: Array, protocol: int = 2) -> bytes:
    """As scipy pickles a csr_matrix in Python 2."""
    rows, columns = np.nonzero(value)
    indptr = np.searchsorted(rows, np.arange(len(value) + 1)).astype(np.int32)
    new = b"cscipy.sparse.csr\ncsr_matrix\n)\x81"
    if protocol < 2:
        new = (
            b"ccopy_reg\n_reconstructor\n(cscipy.sparse.csr\ncsr_matrix\nc__builtin__\nobject\nNtR"
        )
    parts = {
        b"_shape": b"(" + b"".join(map(number, value.shape)) + b"t",
        b"maxprint": number(50),
        b"indices": array(columns.astype(np.int32)),
        b"indptr": array(indptr),
        b"data": array(value[rows, columns]),
    }
    return new + b"}q\x01(" + b"".join(text(k) + v for k, v in parts.items()) + b"ub"


def links(graph: dict[int, list[int]]) -> bytes:
    items = (
        number(node) + b"](" + b"".join(map(number, others)) + b"e"
        for node, others in graph.items()
    )
    return b"ccollections\ndefaultdict\n(c__builtin__\nlist\ntR(" + b"".join(items) + b"u"


def write(path: Path, program: bytes) -> Path:
    path.write_bytes(b"\x80\x02" + program + b".")
    return path


def planetoid_files(folder: Path, name: str, npz: Any) -> None:
    """The files that a graph of the suite comes from: the inverse of `convert`."""
    x_NF = npz["node_features"].astype(np.float32)
    y_NC = np.eye(npz["node_labels"].max() + 1, dtype=np.int32)[npz["node_labels"]]
    place = np.flatnonzero(npz["test_masks"][0])
    order = np.random.default_rng(0).permutation(place)
    known, first = int(npz["train_masks"].sum()), int(place[0])
    graph: dict[int, list[int]] = {node: [node] for node in range(0, len(x_NF), 7)}
    for one, other in npz["edges"].tolist():
        graph.setdefault(one, []).append(other)
        graph.setdefault(other, []).extend((one, one))
    parts = {
        "x": sparse(x_NF[:known], 1), "allx": sparse(x_NF[:first]), "tx": sparse(x_NF[order]),
        "y": array(y_NC[:known]), "ally": array(y_NC[:first]), "ty": array(y_NC[order]),
        "graph": links(graph),
    }  # fmt: skip
    # A row's true place is in `order`; the files hold the rows in the order of test.index.
    for part, program in parts.items():
        write(folder / f"ind.{name}.{part}", program)
    (folder / f"ind.{name}.test.index").write_text("".join(f"{n}\n" for n in order))


@pytest.mark.parametrize("name", ["cora", "citeseer"])
def test_real_graphs_come_out_byte_for_byte(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data := os.environ.get("HARNESS_DATA")):
        pytest.skip("needs the data folder")
    spec = DATASETS[name]
    raw = tmp_path / "raw"
    raw.mkdir()
    with np.load(Path(data) / spec.path) as npz:
        planetoid_files(raw, name, npz)
    asked = []

    def get(address: str, target: Path) -> None:
        asked.append(address)
        target.write_bytes((raw / target.name).read_bytes())

    monkeypatch.setattr(planetoid.download, "get", get)
    entry = next(d for d in registry.load("gate").datasets if d.name == name)
    facts = hub.fetch(entry, tmp_path)
    assert facts["revision"] == planetoid.COMMIT
    assert file_digest(tmp_path / spec.path) == spec.sha256
    assert len(asked) == 8
    assert all(planetoid.COMMIT in address for address in asked)


def test_arrays_and_matrices_are_what_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dense = rng.integers(0, 2, (5, 7)).astype(np.float64) * rng.random((5, 7))
    for made in (sparse(dense), sparse(dense, 1), array(dense)):
        assert np.array_equal(planetoid.read_pickle(write(tmp_path / "a", made)), dense)
    graph = {0: [1, 2], 7: []}
    assert planetoid.read_pickle(write(tmp_path / "a", links(graph))) == graph


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (b"cos\nsystem\n" + text(b"touch {flag}") + b"\x85R", "asks for 'os system'"),
        (b"c__builtin__\neval\n" + text(b"1") + b"\x85R", "asks for '__builtin__ eval'"),
        (b"(S'touch {flag}'\nios\nsystem\n", "with the instruction INST"),
        (b"c__builtin__\nlist\n)R", "calls '__builtin__ list'"),
        (b"]" + b"}b", "fills a list"),
        (array(np.zeros(3, np.float32)).replace(b"f4", b"O8"), "an array of object"),
        (b"", "not a pickle of arrays"),
        (b"h\x07", "not a pickle of arrays"),
        (b"NN", "not a pickle of arrays"),
    ],
)
def test_nothing_of_a_pickle_runs(program: bytes, message: str, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    path = write(tmp_path / "ind.cora.x", program.replace(b"{flag}", str(flag).encode()))
    with pytest.raises(DataError) as caught:
        planetoid.read_pickle(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not flag.exists()


@pytest.mark.parametrize("content", [b"", b"<html>", b"\x80\x02", bytes(range(256))])
def test_what_is_no_pickle_is_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "ind.cora.x"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"ind\.cora\.x: (not a pickle|a pickle)"):
        planetoid.read_pickle(path)


def test_files_that_do_not_belong_together_leave_nothing(tmp_path: Path) -> None:
    for part in planetoid.PARTS[:-2]:
        write(tmp_path / f"ind.cora.{part}", array(np.zeros((3, 2), np.float32)))
    (tmp_path / "ind.cora.test.index").write_text("x\n")
    write(tmp_path / "ind.cora.graph", links({0: [1]}))
    target = tmp_path / "out" / "cora.npz"
    with pytest.raises(DataError, match=r"ind\.cora\.\* do not belong together \(ValueError"):
        planetoid.convert("cora", tmp_path, target)
    write(tmp_path / "ind.cora.graph", number(1))
    with pytest.raises(DataError, match=r"ind\.cora\.graph: holds a int, not a dictionary"):
        planetoid.convert("cora", tmp_path, target)
    assert not target.exists()
