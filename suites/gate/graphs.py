"""Real graphs: read from npz or the OGB text files, checked, and put into one of two protocols.

Shape legend: N nodes, F features, E directed edges, M stored edges, S splits.

Every file is read without unpickling. Whatever is not as the entry in `datasets.py` says raises a
`DataError` of one line that names the file.
"""

import csv
import gzip
import hashlib
import http.client
import os
import tempfile
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.errors import DataError, SpecError, brief, unknown
from suites.gate.datasets import CITATION, DATASETS, YANDEX, YANDEX_COMMIT, GraphFile

Protocol = Literal["standard", "paper-code"]

KEYS = ("node_features", "node_labels", "edges", "train_masks", "val_masks", "test_masks")
KINDS = (("buif", "numbers"), *(("ui", "whole numbers"),) * 2, *(("b", "booleans"),) * 3)
"""numpy's letters for the dtypes that each key may have, and the words for them."""
LARGEST_NUMBER = 16
"""Bytes of the widest number that an array may hold; an entry far beyond it is not unpacked."""
DISGUISES = {
    b"version https://git-lfs": "a Git LFS pointer in place of the file; run `git lfs pull`",
    b"<": "a web page in place of the file",
    b"": "an empty file",
}
"""First bytes of what lies where a data file should, and the words for it."""
Array = NDArray[Any]
T = TypeVar("T")


class Graph(NamedTuple):
    """A node-classification task on one graph and one split."""

    x_NF: Tensor
    """float32."""
    edge_index_2E: Tensor
    """int64; messages flow from row 0 to row 1. No self-loops: the layers add their own."""
    y_N: Tensor
    """int64, in [0, classes)."""
    train_N: Tensor
    val_N: Tensor
    test_N: Tensor
    classes: int


def read_npz(path: Path, spec: GraphFile, split: int) -> Graph:
    """Read one split of a graph in the npz layout of the Yandex collection.

    Citation graphs come as the released code has them: symmetric edges, features divided by their
    row sum, and, for citeseer, isolated nodes taken out of the three masks. The other graphs keep
    their edges as stored, each once: `with_protocol` decides what becomes of them.

    Args:
        path: the npz file.
        spec: what it has to hold. The digest is not compared here: see `check_digest`.
        split: number of the split, from 0.

    Raises:
        DataError: the file is missing, corrupt, pickled, or not as `spec` says.
        SpecError: there is no such split.
    """
    if not 0 <= split < spec.splits:
        raise SpecError(
            f"{spec.name}: no split {split}; there are {spec.splits}, numbered from 0; "
            "choose seeds within them"
        )
    x, y, edges_M2, *masks = _load(path, spec)
    # What is too large for float32 becomes infinite, which is refused as every NaN is.
    with np.errstate(over="ignore", invalid="ignore"):
        x = x.astype(np.float32)
    _check_features(path, spec, x)
    _check_labels(path, spec, y)
    _check_edges(path, spec, edges_M2)
    _check_masks(path, spec, masks)
    low, high = edges_M2.min(axis=1), edges_M2.max(axis=1)
    pairs = np.unique(low.astype(np.int64) * spec.nodes + high.astype(np.int64))
    if (low == high).any() or len(pairs) != spec.edges:
        raise _wrong(path, spec, "edges hold self-loops or a pair twice", "every pair once")
    train, val, test = (torch.from_numpy(mask[split].copy()) for mask in masks)
    graph = Graph(
        x_NF=torch.from_numpy(x),
        edge_index_2E=torch.from_numpy(np.ascontiguousarray(edges_M2.T, dtype=np.int64)),
        y_N=torch.from_numpy(y.astype(np.int64)),
        train_N=train,
        val_N=val,
        test_N=test,
        classes=spec.classes,
    )
    if spec.name in CITATION:
        graph = graph._replace(
            x_NF=normalise_rows(graph.x_NF),
            edge_index_2E=symmetrise(graph.edge_index_2E, spec.nodes),
        )
    return drop_isolated(graph) if spec.name == "citeseer" else graph


def read_ogbn_arxiv(folder: Path, spec: GraphFile = DATASETS["ogbn-arxiv"]) -> Graph:
    """Read ogbn-arxiv from the text files of the OGB archive, with symmetric edges.

    Args:
        folder: holds `raw/{edge,node-feat,node-label}.csv.gz` and
            `split/time/{train,valid,test}.csv.gz`, as arxiv.zip unpacks.
        spec: sizes to check against; `edges` counts undirected pairs.

    Raises:
        DataError: a file is missing, corrupt, or not as `spec` says.
    """
    # DEVIATION: the loss has to be taken over train_N. The released OGB script applies no training
    # mask, so that labels of validation and test nodes are trained on.
    n = spec.nodes
    raw, time = folder / "raw", folder / "split" / "time"
    x = _csv(raw / "node-feat.csv.gz", spec, "float32", (n, spec.features))
    _check_features(raw / "node-feat.csv.gz", spec, x)
    y = _csv(raw / "node-label.csv.gz", spec, "int64", (n, 1))[:, 0]
    _check_labels(raw / "node-label.csv.gz", spec, y)
    edges_M2 = _csv(raw / "edge.csv.gz", spec, "int64", (None, 2))
    _check_edges(raw / "edge.csv.gz", spec, edges_M2)
    masks = []
    for path in (time / f"{part}.csv.gz" for part in ("train", "valid", "test")):
        index = _csv(path, spec, "int64", (None, 1))[:, 0]
        if index.min(initial=0) < 0 or index.max(initial=0) >= n:
            raise _wrong(path, spec, "node numbers out of range", f"0 to {n - 1}")
        if len(np.unique(index)) != len(index):
            raise _wrong(path, spec, "a node twice", "every node once")
        mask = np.zeros((1, n), dtype=bool)
        mask[0, index] = True
        masks.append(mask)
    _check_masks(time, spec, masks)
    edge_index_2E = symmetrise(torch.from_numpy(edges_M2.T.copy()), n)
    if edge_index_2E.shape[1] != 2 * spec.edges:
        found = f"{edge_index_2E.shape[1] / 2:g} undirected edges"
        raise _wrong(raw / "edge.csv.gz", spec, found, str(spec.edges))
    train, val, test = (torch.from_numpy(mask[0]) for mask in masks)
    return Graph(
        torch.from_numpy(x), edge_index_2E, torch.from_numpy(y), train, val, test, spec.classes
    )


def with_protocol(graph: Graph, protocol: Protocol) -> Graph:
    """The graph with the edges of a protocol.

    `standard`: symmetric, each direction once. `paper-code`: untouched, as the released code has
    them: one way (from the lower to the higher node number) for the Yandex collection, which
    stores each pair once, and symmetric for citation and generated graphs, which were read or
    made so. There is no way back from `standard`: start from the graph as read.

    Raises:
        SpecError: an unknown protocol.
    """
    if protocol == "standard":
        nodes = len(graph.y_N)
        return graph._replace(edge_index_2E=symmetrise(graph.edge_index_2E, nodes))
    if protocol == "paper-code":
        return graph
    raise SpecError(unknown("protocol", protocol, get_args(Protocol)))


def symmetrise(edge_index_2E: Tensor, nodes: int) -> Tensor:
    """Both directions of every edge, each once, sorted by source, then by target."""
    source_E, target_E = edge_index_2E
    key_E = torch.cat([source_E * nodes + target_E, target_E * nodes + source_E]).sort().values
    first_E = torch.ones_like(key_E, dtype=torch.bool)
    first_E[1:] = key_E[1:] != key_E[:-1]
    key_E = key_E[first_E]
    return torch.stack([key_E // nodes, key_E % nodes])


def normalise_rows(x_NF: Tensor) -> Tensor:
    """Divide each row by its sum; a row that sums to less than 1 is divided by 1 (as PyG does)."""
    return x_NF / x_NF.sum(dim=1, keepdim=True).clamp(min=1.0)


def drop_isolated(graph: Graph) -> Graph:
    """Take nodes without any edge out of the masks; they stay in the graph."""
    linked_N = torch.zeros(len(graph.y_N), dtype=torch.bool)
    linked_N[graph.edge_index_2E.flatten()] = True
    return graph._replace(
        train_N=graph.train_N & linked_N,
        val_N=graph.val_N & linked_N,
        test_N=graph.test_N & linked_N,
    )


def check_digest(path: Path, spec: GraphFile) -> None:
    """Compare the file's sha256 with the digits that are known; DataError where they differ."""
    if spec.sha256 is None:
        return
    digest = _parsed(
        path, spec, "a file", lambda stream: hashlib.file_digest(stream, "sha256").hexdigest()
    )
    if not digest.startswith(spec.sha256):
        raise _wrong(path, spec, f"sha256 {digest[:12]}...", f"{spec.sha256[:12]}...")


def fetch(name: str, cache_dir: Path) -> Path:
    """Download a graph of the Yandex collection into `cache_dir`, or check the one that is there.

    Nothing else in the suite goes online. The file is checked (digest where known, contents
    always) before it takes its place. PyG's downloader does not check certificates: only the
    digest vouches for the bytes.

    Args:
        name: of an entry of `DATASETS`.
        cache_dir: a data folder; the file goes to `cache_dir / entry.path`.

    Returns:
        The path of the file.

    Raises:
        DataError: offline, corrupted on the way, or a graph that cannot be fetched in this way.
        SpecError: an unknown name.
    """
    if name not in DATASETS:
        raise SpecError(unknown("graph", name, DATASETS, "harness data list"))
    spec = DATASETS[name]
    target = cache_dir / spec.path
    if spec.source != YANDEX:
        raise DataError(
            f"{name}: not of the Yandex collection; `harness data prepare {name}` gets it from "
            f"{spec.source}"
        )
    if not target.exists():
        _download(spec, target)
    check_digest(target, spec)
    read_npz(target, spec, 0)
    return target


def _download(spec: GraphFile, target: Path) -> None:
    from torch_geometric.data import download_url

    url = (
        "https://github.com/yandex-research/heterophilous-graphs/raw/"
        f"{YANDEX_COMMIT}/data/{target.name}"
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    # In a folder of its own: the downloader takes any file that is there for a finished one.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as scratch:
        try:
            got = Path(download_url(url, scratch, log=False))
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise DataError(
                f"{spec.name}: cannot download {url} ({brief(error)}); go online, or put the "
                f"file at {target}"
            ) from None
        check_digest(got, spec)
        read_npz(got, spec, 0)
        os.replace(got, target)  # noqa: PTH105 - one atomic step, over a file another may have put


def _load(path: Path, spec: GraphFile) -> list[Array]:
    """The arrays of `KEYS`, in that order, of the shapes and kinds that they have to have."""
    n, masks = spec.nodes, (spec.splits, spec.nodes)
    shapes = ((n, spec.features), (n,), (spec.edges, 2), masks, masks, masks)

    def parse(stream: BufferedReader) -> list[Array]:
        archive = np.load(stream, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise _wrong(path, spec, "a bare npy array", "an npz archive")
        if missing := [key for key in KEYS if key not in archive.files]:
            expected = f"keys {', '.join(KEYS)}"
            raise _wrong(path, spec, f"key {', '.join(missing)} missing", expected)
        return [
            _member(archive, key, np.prod(shape, dtype=int))
            for key, shape in zip(KEYS, shapes, strict=True)
        ]

    arrays = _parsed(path, spec, "an npz of plain arrays", parse)
    for key, array, shape, (kinds, words) in zip(KEYS, arrays, shapes, KINDS, strict=True):
        if array.shape != shape:
            raise _wrong(path, spec, f"{key} has shape {array.shape}", f"{shape}")
        if array.dtype.kind not in kinds:
            raise _wrong(path, spec, f"{key} has dtype {array.dtype}", words)
    return arrays


def _member(archive: Any, key: str, numbers: int) -> Array:
    """One array of an npz, unpacked only where it is not far larger than it has to be."""
    entries = {info.filename: info.file_size for info in archive.zip.infolist()}
    size = entries.get(f"{key}.npy", entries.get(key, 0))
    if size > LARGEST_NUMBER * max(numbers, 4096):
        raise ValueError(f"{key} unpacks to {size} bytes")
    array = archive[key]
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{key} is no array")
    return array


def _csv(
    path: Path, spec: GraphFile, dtype: Literal["float32", "int64"], shape: tuple[int | None, int]
) -> Array:
    rows, columns = shape

    def parse(stream: BufferedReader) -> Array:
        # Every line is a row of numbers: nothing is quoted, missing, skipped or a header. One row
        # more than there may be tells that there are too many.
        with gzip.open(stream) as text:
            return pd.read_csv(
                text,
                header=None,
                dtype=dtype,
                nrows=1 + (rows or max(spec.nodes, 4 * spec.edges)),
                na_filter=False,
                skip_blank_lines=False,
                quoting=csv.QUOTE_NONE,
                encoding="ascii",
            ).to_numpy(dtype=dtype, copy=True)

    array = _parsed(path, spec, f"gzipped {dtype} text", parse)
    if array.shape != (len(array) if rows is None else rows, columns):
        expected = f"({'any' if rows is None else rows}, {columns})"
        raise _wrong(path, spec, f"shape {array.shape}", expected)
    return array


def _parsed(path: Path, spec: GraphFile, expected: str, parse: Callable[[BufferedReader], T]) -> T:
    """What a foreign parser makes of a file; whatever it raises is one line that names the file."""
    try:
        with path.open("rb") as stream:
            return parse(stream)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file; expected {spec.name} from {spec.source}; set HARNESS_DATA to "
            "the folder that holds graphs/, unpack an archive there, or run `harness data`"
        ) from None
    except Exception as error:  # zip, zlib, pickle, tokenizer, memory: there is no list of them
        found = f"unreadable ({_disguise(path) or brief(error)})"
        raise _wrong(path, spec, found, expected) from None


def _disguise(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            start = stream.read(64).lstrip()
    except OSError:
        return None
    fitting = (words for head, words in DISGUISES.items() if start.startswith(head) and head)
    return next(fitting, None) if start else DISGUISES[b""]


def _check_features(path: Path, spec: GraphFile, x: Array) -> None:
    if not np.isfinite(x).all():
        raise _wrong(path, spec, "features hold NaN or infinity", "finite numbers")


def _check_labels(path: Path, spec: GraphFile, y: Array) -> None:
    if y.min() < 0 or y.max() >= spec.classes:
        found = f"labels from {y.min()} to {y.max()}"
        raise _wrong(path, spec, found, f"0 to {spec.classes - 1}")
    if absent := sorted(set(range(spec.classes)) - set(np.unique(y).tolist())):
        listed = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
        raise _wrong(path, spec, f"no node of class {listed}", f"{spec.classes} classes")


def _check_edges(path: Path, spec: GraphFile, edges_M2: Array) -> None:
    if edges_M2.size and (edges_M2.min() < 0 or edges_M2.max() >= spec.nodes):
        found = f"edges name nodes from {edges_M2.min()} to {edges_M2.max()}"
        raise _wrong(path, spec, found, f"0 to {spec.nodes - 1}")


def _check_masks(path: Path, spec: GraphFile, masks_SN: list[Array]) -> None:
    count_SN = sum(mask.astype(np.int64) for mask in masks_SN)
    if np.max(count_SN) > 1:
        split = int(np.argwhere(count_SN > 1)[0][0])
        raise _wrong(path, spec, f"masks of split {split} overlap", "disjoint train, val and test")
    if not all(mask.any(axis=1).all() for mask in masks_SN):
        raise _wrong(path, spec, "a mask is empty", "nodes in train, val and test of every split")


def _wrong(path: Path, spec: GraphFile, found: str, expected: str) -> DataError:
    return DataError(
        f"{path}: {found}; expected {expected} for {spec.name}; replace it by the original from "
        f"{spec.source}, then run `harness data`"
    )
