"""Reading of real graphs: good files, every kind of bad file, protocols, download, entries."""

import csv
import gzip
import os
import subprocess
import sys
import urllib.error
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from harness.errors import DataError, SpecError
from harness.suite import Reference
from suites.gate import graphs
from suites.gate.datasets import DATASETS, GraphFile

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # PyG scripts classes while it is imported
    import torch_geometric.data
    from torch_geometric.transforms import NormalizeFeatures
    from torch_geometric.utils import to_undirected

Arrays = dict[str, NDArray[Any]]
SPEC = DATASETS["texas"]._replace(
    sha256=None, nodes=8, edges=6, features=3, classes=2, splits=2, name="tiny"
)
ROOT = Path(__file__).parents[3]


def _arrays() -> Arrays:
    node = np.arange(8)
    masks = [np.stack([(node + shift) % 4 == part for shift in (0, 1)]) for part in range(3)]
    return {
        "node_features": np.arange(24, dtype=np.float32).reshape(8, 3),
        "node_labels": node % 2,
        "edges": np.array([[0, 1], [0, 2], [1, 2], [2, 3], [3, 4], [5, 6]]),
        "train_masks": masks[0],
        "val_masks": masks[1],
        "test_masks": masks[2],
    }


def _write(path: Path, **changes: Any) -> Path:
    arrays = _arrays() | changes
    np.savez_compressed(path, **{key: a for key, a in arrays.items() if a is not None})
    return path


def _changed(key: str, index: Any, value: Any) -> Arrays:
    array = _arrays()[key].copy()
    array[index] = value
    return {key: array}


def test_a_good_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = _write(tmp_path / "tiny.npz")
    arrays = _arrays()
    graph = graphs.read_npz(path, SPEC, 1)
    assert graph.x_NF.dtype == torch.float32
    assert (graph.edge_index_2E.dtype, graph.y_N.dtype) == (torch.int64, torch.int64)
    assert graph.x_NF.tolist() == arrays["node_features"].tolist()
    assert graph.edge_index_2E.T.tolist() == arrays["edges"].tolist()
    assert graph.y_N.tolist() == arrays["node_labels"].tolist()
    assert graph.train_N.tolist() == arrays["train_masks"][1].tolist()
    assert graph.val_N.tolist() == arrays["val_masks"][1].tolist()
    assert graph.test_N.tolist() == arrays["test_masks"][1].tolist()
    assert graph.classes == 2


def test_small_dtypes_are_widened(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "tiny.npz",
        node_features=_arrays()["node_features"].astype(np.uint8),
        edges=_arrays()["edges"].astype(np.int32),
        node_labels=_arrays()["node_labels"].astype(np.uint8),
    )
    wide = graphs.read_npz(_write(tmp_path / "wide.npz"), SPEC, 0)
    for a, b in zip(graphs.read_npz(path, SPEC, 0)[:6], wide[:6], strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


BAD: dict[str, tuple[Arrays | dict[str, None], str]] = {
    "missing key": ({"val_masks": None}, "key val_masks missing; expected keys node_features"),
    "fewer nodes": ({"node_labels": np.zeros(7, dtype=int)}, r"node_labels has shape \(7,\)"),
    "other features": ({"node_features": np.zeros((8, 4))}, r"shape \(8, 4\); expected \(8, 3\)"),
    "other edges": ({"edges": _arrays()["edges"][:5]}, r"edges has shape \(5, 2\)"),
    "edges on their side": ({"edges": _arrays()["edges"].T}, r"edges has shape \(2, 6\)"),
    "one split": ({"test_masks": _arrays()["test_masks"][:1]}, r"test_masks has shape \(1, 8\)"),
    "masks of integers": ({"val_masks": np.zeros((2, 8), dtype=int)}, "expected booleans"),
    "labels of floats": ({"node_labels": np.zeros(8)}, "dtype float64; expected whole numbers"),
    "features of text": ({"node_features": np.full((8, 3), "a")}, "dtype <U1; expected numbers"),
    "complex features": ({"node_features": np.zeros((8, 3), dtype=complex)}, "complex128"),
    "NaN": (_changed("node_features", (2, 1), np.nan), "NaN or infinity"),
    "infinity": (_changed("node_features", (2, 1), np.inf), "NaN or infinity"),
    "beyond float32": (
        {"node_features": np.full((8, 3), 1e300)},
        "NaN or infinity; expected finite numbers",
    ),
    "label too large": (_changed("node_labels", 3, 2), "labels from 0 to 2; expected 0 to 1"),
    "negative label": (_changed("node_labels", 3, -1), "labels from -1 to 1"),
    "edge too far": (_changed("edges", (5, 1), 8), "nodes from 0 to 8; expected 0 to 7"),
    "negative edge": (_changed("edges", (0, 0), -1), "nodes from -1 to 6"),
    "self-loop": (_changed("edges", 5, 3), "self-loops or a pair twice"),
    "pair twice": (_changed("edges", 5, [1, 0]), "self-loops or a pair twice"),
    "overlap": (_changed("val_masks", (1, 3), True), "masks of split 1 overlap"),
    "empty mask": (_changed("train_masks", 1, False), "a mask is empty"),
    "objects": ({"node_labels": np.array([{}] * 8, dtype=object)}, "unreadable"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    changes, message = BAD[kind]
    path = _write(tmp_path / "tiny.npz", **changes)
    with pytest.raises(DataError, match=message) as caught:
        graphs.read_npz(path, SPEC, 0)
    line = str(caught.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    assert "; expected " in line
    assert "harness data" in line
    assert SPEC.name in line


def _truncated(path: Path) -> None:
    path.write_bytes(_write(path).read_bytes()[:-200])


def _flipped(path: Path) -> None:
    data = bytearray(_write(path).read_bytes())
    data[90:100] = bytes(255 - byte for byte in data[90:100])
    path.write_bytes(bytes(data))


def _bare_array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.zeros(3))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "truncated": _truncated,
    "flipped bytes": _flipped,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<html>not found</html>"),
    "pickle": lambda path: path.write_bytes(b"\x80\x04K\x01."),
    "bare array": _bare_array,
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "tiny.npz"
    DAMAGE[kind](path)
    with pytest.raises(DataError, match=r"; expected an npz") as caught:
        graphs.read_npz(path, SPEC, 0)
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no such file.*yandex-research.*HARNESS_DATA"):
        graphs.read_npz(tmp_path / "none.npz", SPEC, 0)


@pytest.mark.parametrize("split", [-1, 2])
def test_a_split_that_is_not_there_is_refused(tmp_path: Path, split: int) -> None:
    with pytest.raises(SpecError, match=f"no split {split}; there are 2"):
        graphs.read_npz(_write(tmp_path / "tiny.npz"), SPEC, split)


def test_digest_may_be_whole_a_prefix_or_unknown(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    for good in (digest, digest[:12], None):
        graphs.check_digest(path, SPEC._replace(sha256=good))
    with pytest.raises(DataError, match=r"sha256 ba7816bf8f01\.\.\.; expected bb7816"):
        graphs.check_digest(path, SPEC._replace(sha256="bb7816"))


def test_citation_graphs_are_symmetric_and_normalised(tmp_path: Path) -> None:
    path = _write(tmp_path / "tiny.npz")
    cora = graphs.read_npz(path, SPEC._replace(name="cora"), 0)
    assert cora.edge_index_2E.shape == (2, 12)
    data = torch_geometric.data.Data(x=torch.from_numpy(_arrays()["node_features"]))
    assert torch.equal(cora.x_NF, NormalizeFeatures()(data).x)  # once: twice moves last bits
    assert torch.equal(cora.train_N, graphs.read_npz(path, SPEC, 0).train_N)


def test_rows_of_zeros_stay_zeros() -> None:
    x_NF = torch.tensor([[0.0, 0.0], [1.0, 3.0], [0.2, 0.2]])
    assert graphs.normalise_rows(x_NF).tolist() == [[0, 0], [0.25, 0.75], x_NF[2].tolist()]


def test_citeseer_loses_isolated_nodes_from_its_masks(tmp_path: Path) -> None:
    path = _write(tmp_path / "tiny.npz")
    whole = graphs.read_npz(path, SPEC, 1)
    assert whole.train_N[7]
    citeseer = graphs.read_npz(path, SPEC._replace(name="citeseer"), 1)
    assert citeseer.x_NF.shape == (8, 3)  # node 7 is isolated and stays in the graph
    for before, after in zip(whole[3:6], citeseer[3:6], strict=True):
        assert after.tolist() == [*before.tolist()[:7], False]
    graph = whole._replace(train_N=torch.ones(8, dtype=torch.bool))
    assert graphs.drop_isolated(graph).train_N.tolist() == [True] * 7 + [False]


def test_protocols_decide_the_direction_of_edges(tmp_path: Path) -> None:
    graph = graphs.read_npz(_write(tmp_path / "tiny.npz"), SPEC, 0)
    one_way = graphs.with_protocol(graph, "paper-code").edge_index_2E
    both = graphs.with_protocol(graph, "standard").edge_index_2E
    assert (one_way[0] < one_way[1]).all()
    pairs = {tuple(pair) for pair in one_way.T.tolist()}
    assert both.T.tolist() == sorted([*map(list, pairs), *([v, u] for u, v in pairs)])
    again = graphs.with_protocol(graph._replace(edge_index_2E=both), "standard")
    assert torch.equal(again.edge_index_2E, both)
    with pytest.raises(SpecError, match=r"unknown protocol .*paper-code"):
        graphs.with_protocol(graph, "paper")  # type: ignore[arg-type]


def test_symmetrise_is_pygs_to_undirected() -> None:
    edges = torch.randint(30, (2, 200), generator=torch.Generator().manual_seed(0))
    assert torch.equal(graphs.symmetrise(edges, 30), to_undirected(edges, num_nodes=30))


OGB = DATASETS["ogbn-arxiv"]._replace(nodes=5, edges=4, features=2, classes=3)


def _write_ogb(folder: Path, **changes: str) -> Path:
    files = {
        "raw/edge": "0,1\n1,0\n2,1\n3,4\n4,2\n",
        "raw/node-feat": "0.5,1\n1,1\n-2,0\n1e-3,4\n0,0\n",
        "raw/node-label": "0\n1\n2\n0\n1\n",
        "split/time/train": "0\n3\n",
        "split/time/valid": "1\n",
        "split/time/test": "2\n4\n",
    }
    for name, text in (files | changes).items():
        path = folder / f"{name}.csv.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()))
    return folder


def test_ogbn_arxiv_is_symmetric_and_has_its_training_mask(tmp_path: Path) -> None:
    graph = graphs.read_ogbn_arxiv(_write_ogb(tmp_path), OGB)
    expected = [[0, 1], [1, 0], [1, 2], [2, 1], [2, 4], [3, 4], [4, 2], [4, 3]]
    assert graph.edge_index_2E.T.tolist() == expected
    assert graph.x_NF.dtype == torch.float32
    assert graph.x_NF[2].tolist() == [-2, 0]
    assert graph.y_N.tolist() == [0, 1, 2, 0, 1]
    assert graph.train_N.nonzero().flatten().tolist() == [0, 3]
    assert graph.val_N.nonzero().flatten().tolist() == [1]
    assert graph.test_N.nonzero().flatten().tolist() == [2, 4]
    assert graph.classes == 3


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("raw/edge", "0,1\n1,2\n", "2 undirected edges; expected 4"),
        ("raw/edge", "0,1\n1,2\n2,3\n3,5\n", "nodes from 0 to 5"),
        ("raw/edge", "0,1\n1,x\n", "unreadable"),
        ("raw/edge", "0,1,2\n", r"shape \(1, 3\); expected \(any, 2\)"),
        ("raw/node-feat", "1,1\n" * 4, r"shape \(4, 2\); expected \(5, 2\)"),
        ("raw/node-feat", "1,nan\n" * 5, "unreadable"),
        ("raw/node-label", "0\n1\n2\n3\n1\n", "labels from 0 to 3"),
        ("raw/node-label", "0\n1\n\n2.5\n1\n", "unreadable"),
        ("split/time/train", "0\n5\n", "out of range; expected 0 to 4"),
        ("split/time/train", "0\n1\n", "masks of split 0 overlap"),
        ("split/time/test", "", "unreadable"),
    ],
)
def test_bad_ogb_text_is_refused_in_one_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        graphs.read_ogbn_arxiv(_write_ogb(tmp_path, **{name: text}), OGB)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))


def test_damaged_and_missing_ogb_files_are_refused(tmp_path: Path) -> None:
    path = _write_ogb(tmp_path) / "raw" / "node-feat.csv.gz"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"node-feat\.csv\.gz: unreadable"):
        graphs.read_ogbn_arxiv(tmp_path, OGB)
    path.write_text("1,1\n" * 5)
    with pytest.raises(DataError, match="unreadable"):
        graphs.read_ogbn_arxiv(tmp_path, OGB)
    path.unlink()
    with pytest.raises(DataError, match=r"no such file.*unpack"):
        graphs.read_ogbn_arxiv(tmp_path, OGB)


class Web:
    """Stands in for PyG's downloader: writes `content`, or a part of it, or fails."""

    def __init__(self, content: bytes, error: Exception | None = None) -> None:
        self.content, self.error, self.urls = content, error, list[str]()

    def __call__(self, url: str, folder: str, log: bool = True) -> str:
        self.urls.append(url)
        path = Path(folder) / url.rpartition("/")[2]
        path.write_bytes(self.content)
        if self.error:
            raise self.error
        return str(path)


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> GraphFile:
    """The tiny graph as if it were roman-empire."""
    spec = SPEC._replace(name="roman-empire", path="graphs/roman_empire/roman_empire.npz")
    monkeypatch.setattr(graphs, "DATASETS", dict(DATASETS) | {"roman-empire": spec})
    return spec


def test_fetch_downloads_once_checks_and_puts_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: GraphFile
) -> None:
    web = Web(_write(tmp_path / "there.npz").read_bytes())
    monkeypatch.setattr(torch_geometric.data, "download_url", web)
    path = graphs.fetch("roman-empire", tmp_path)
    assert path == tmp_path / entry.path
    assert graphs.read_npz(path, entry, 0).classes == 2
    assert list(path.parent.iterdir()) == [path]
    assert graphs.fetch("roman-empire", tmp_path) == path
    (url,) = web.urls
    assert url.startswith("https://github.com/yandex-research/heterophilous-graphs/raw/a431395")
    assert url.endswith("/data/roman_empire.npz")


@pytest.mark.usefixtures("entry")
@pytest.mark.parametrize("part", [0, -200])
def test_fetch_leaves_nothing_of_a_damaged_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int
) -> None:
    content = _write(tmp_path / "there.npz").read_bytes()[:part]
    monkeypatch.setattr(torch_geometric.data, "download_url", Web(content))
    with pytest.raises(DataError, match="unreadable"):
        graphs.fetch("roman-empire", tmp_path)
    assert not list((tmp_path / "graphs" / "roman_empire").iterdir())


def test_fetch_refuses_another_file_than_the_known_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = Web(_write(tmp_path / "there.npz").read_bytes())
    monkeypatch.setattr(torch_geometric.data, "download_url", web)
    with pytest.raises(DataError, match=r"expected a58ba741d123\.\.\. for roman-empire"):
        graphs.fetch("roman-empire", tmp_path)
    assert not list((tmp_path / "graphs" / "roman_empire").iterdir())


@pytest.mark.usefixtures("entry")
def test_fetch_offline_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web = Web(b"part", urllib.error.URLError("no route"))
    monkeypatch.setattr(torch_geometric.data, "download_url", web)
    with pytest.raises(DataError, match=r"cannot download https.*no route.*go online"):
        graphs.fetch("roman-empire", tmp_path)
    assert not list((tmp_path / "graphs" / "roman_empire").iterdir())


def test_fetch_explains_what_it_cannot_get(tmp_path: Path) -> None:
    for name in ("pubmed", "ogbn-arxiv"):
        with pytest.raises(
            DataError, match=f"{name}: not of .* `harness data prepare {name}` gets"
        ):
            graphs.fetch(name, tmp_path)
    with pytest.raises(SpecError, match="unknown graph 'reddit': there are actor"):
        graphs.fetch("reddit", tmp_path)


def test_entries_are_plain_and_need_no_torch() -> None:
    code = "import suites.gate.datasets, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
    assert len(DATASETS) == 15
    for name, spec in DATASETS.items():
        assert spec.name == name
        assert spec.path.startswith("graphs/")
        assert spec.sha256 is None or set(spec.sha256) <= set("0123456789abcdef")
        assert (spec.metric == "roc-auc") == (spec.classes == 2)


HOMOPHILY = {
    "minesweeper": 0.683,
    "tolokers": 0.595,
    "texas": 0.061,
    "wisconsin": 0.178,
    "cornell": 0.123,
    "actor": 0.217,
    "chameleon-filtered": 0.236,
    "squirrel-filtered": 0.207,
    "cora": 0.810,
    "citeseer": 0.736,
}
SIZES = {
    "minesweeper": [5000, 2500, 2500],
    "tolokers": [5879, 2939, 2940],
    "texas": [87, 59, 37],
    "actor": [3648, 2432, 1520],
    "cora": [140, 500, 1000],
    "citeseer": [120, 494, 988],
}


@pytest.mark.data
@pytest.mark.parametrize("name", DATASETS)
def test_the_published_file_is_what_its_entry_says(name: str) -> None:
    spec = DATASETS[name]
    folder = os.environ.get("HARNESS_DATA")
    if not folder or not (path := Path(folder) / spec.path).exists():
        pytest.skip(f"HARNESS_DATA does not lead to {spec.path}")
    if name == "ogbn-arxiv":
        graph = graphs.read_ogbn_arxiv(path)
    else:
        graphs.check_digest(path, spec)
        graph = graphs.read_npz(path, spec, spec.splits - 1)
        graph = graphs.read_npz(path, spec, 0)
    source, target = graphs.with_protocol(graph, "standard").edge_index_2E
    assert len(source) == 2 * spec.edges
    assert set(graph.y_N.tolist()) == set(range(spec.classes))
    if name in HOMOPHILY:
        same = (graph.y_N[source] == graph.y_N[target]).double().mean().item()
        assert same == pytest.approx(HOMOPHILY[name], abs=6e-4)
    if name in SIZES:
        assert [int(mask.sum()) for mask in graph[3:6]] == SIZES[name]
    if name == "tolokers":
        heard = graphs.with_protocol(graph, "paper-code").edge_index_2E[1]
        assert int((heard.bincount(minlength=spec.nodes) == 0).sum()) == 930


def test_reference_numbers_are_well_formed_and_tell_paper_from_anchor() -> None:
    with (ROOT / "suites" / "gate" / "reference.csv").open(newline="") as stream:
        rows = [
            Reference.model_validate({key: value for key, value in row.items() if value != ""})
            for row in csv.DictReader(stream)
        ]
    keys = [(row.source, row.table, row.task, row.method, row.metric) for row in rows]
    assert len(set(keys)) == len(keys)
    (paper,) = [row for row in rows if row.source == "paper"]
    assert (paper.task, paper.method, paper.value) == ("ogbn-arxiv", "gate", 79.57)
    assert paper.spread == 0.84
    for row in rows:
        assert row.task in DATASETS
        assert row.metric == DATASETS[row.task].metric
        assert 0 < row.value < 100
        assert row.source == "paper" or row.source.endswith("(anchor, not the paper)")
