"""A graph of one's own as a task of the suite, for plugins: `graph_task`.

Shape legend: N nodes, F features, M undirected edges, S splits.

The graph is checked and stored once, without pickles, under the digest of its contents; the digest
is part of the identity of its trials.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError, SpecError
from harness.plugins import Plugin, keep
from harness.suite import Dataset, Table
from suites.gate.settings import Own, Released
from suites.gate.tasks import task

if TYPE_CHECKING:
    from suites.gate.graphs import Graph

Array = NDArray[Any]
PARTS = ("train", "val", "test")
_KEYS = {
    "node_features": "x",
    "node_labels": "y",
    "edges": "edge_index",
    **{f"{part}_masks": f"{part}_mask" for part in PARTS},
}
"""Names in the npz files of the suite -> attributes of PyG's `Data`."""
_SHARES = (0.5, 0.25)
"""Of random splits: train and val; the rest is test."""


def graph_task(
    name: str,
    data: object,
    *,
    splits: int | Mapping[str, object] | None = None,
    depths: Sequence[int] = (2,),
    metric: Literal["accuracy", "roc-auc"] = "accuracy",
    licence: str = "not stated",
    source: str = "a plugin's own",
    scales: Sequence[str] = ("*",),
    methods: Sequence[str] = ("*",),
) -> Plugin:
    """Tasks on a graph of one's own, one for each depth, and a table of them.

    Args:
        name: of the graph; its tasks are `<name>-l<depth>`.
        data: a PyG `Data` (or anything with `x`, `edge_index` and `y`), or the path of an npz or
            safetensors file with node_features (N, F), node_labels (N), edges (M, 2) and, where
            `splits` is None, train_masks, val_masks and test_masks (S, N). Edges count both ways.
        splits: None: the masks that the data have; a number: that many random splits of 50, 25
            and 25 % of the nodes; or masks by name: train, val, test. Seed s uses split s mod S.
        depths: layers of the network.
        metric: what selects the epoch and is reported; ROC-AUC wants two classes.
        licence: of the data.
        source: where the data were published, in words.
        scales: names or globs of the scales at which the tasks run.
        methods: names or globs of the methods that meet them.

    Raises:
        DataError: the data are not a graph with labels and splits; one line says what.
        SpecError: a depth below 1, or ROC-AUC of more than two classes.
    """
    graph = _checked(name, _arrays(name, data), splits)
    nodes, features = graph["x"].shape
    classes, count = int(graph["y"].max()) + 1, len(graph["train"])
    if not depths or min(depths) < 1:
        raise SpecError(f"graph {name}: depths {tuple(depths)}; each must be at least 1")
    if metric == "roc-auc" and classes != 2:
        raise SpecError(f"graph {name}: ROC-AUC wants 2 classes, found {classes}; use accuracy")
    from safetensors.numpy import save

    stored = keep(save(graph), ".safetensors")
    own = Own(dataset=name, file=stored.file, classes=classes, splits=count)
    released = Released(hidden=64, lr=0.005, epochs=5_000)
    overlap: dict[str, object] = {}
    if count > 1:  # splits of one graph: intervals are those of the corrected t
        train, test = (round(float(graph[part].mean()), 4) for part in ("train", "test"))
        overlap = {"splits": "resampled", "train_share": train, "test_share": test}
    tasks = tuple(
        task(name, own, depth, metric, released, (name,)).model_copy(update=overlap)
        for depth in depths
    )
    return Plugin(
        suite="gate",
        tasks=tasks,
        datasets=(
            Dataset(
                name=name,
                files={stored.file: stored.sha256},
                folder=stored.folder,
                licence=licence,
                source=source,
                sizes=f"{nodes:,} nodes, {len(graph['edges']):,} edges, {features} features, "
                f"{classes} classes",
                splits=f"{count} random splits" if isinstance(splits, int) else f"{count} splits",
            ),
        ),
        tables=(
            Table(
                name=name, title=name, metric=metric, tasks=tuple(t.name for t in tasks),
                rows="tasks",
            ),
        ),
        scales=tuple(scales),
        pairs=tuple(f"{method}/*" for method in methods),
    )  # fmt: skip


def read(folder: Path, own: Own, split: int) -> "Graph":
    """One split of a graph that `graph_task` has stored; each edge once, as other graphs have it.

    Args:
        folder: of the dataset, verified.
        own: which graph.
        split: number of the split, from 0.
    """
    from safetensors.torch import load_file

    from suites.gate.graphs import Graph

    found = load_file(folder / own.file)
    return Graph(
        x_NF=found["x"],
        edge_index_2E=found["edges"].t().contiguous(),
        y_N=found["y"],
        train_N=found["train"][split].bool(),
        val_N=found["val"][split].bool(),
        test_N=found["test"][split].bool(),
        classes=own.classes,
    )


def _arrays(name: str, data: object) -> dict[str, Array]:
    """The arrays of some data, by the names that PyG has for them; masks where there are any."""
    if isinstance(data, str | Path):
        return _from_file(name, Path(data))
    given = {key: getattr(data, key, None) for key in _KEYS.values()}
    return {key: _array(name, key, value) for key, value in given.items() if value is not None}


def _from_file(name: str, path: Path) -> dict[str, Array]:
    try:
        if path.suffix == ".safetensors":
            from safetensors.numpy import load_file

            found = dict(load_file(path))
        else:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                found = {key: archive[key] for key in archive.files}
    except FileNotFoundError:
        raise DataError(f"graph {name}: {path} not found; give the path of an npz file") from None
    except Exception as error:  # whatever a file of another kind makes the readers come up with
        raise DataError(
            f"graph {name}: {path} is not an npz or safetensors file of plain arrays "
            f"({type(error).__name__})"
        ) from None
    arrays = {_KEYS.get(key, key): array for key, array in found.items()}
    if "edge_index" in arrays and arrays["edge_index"].shape[1:] == (2,):
        arrays["edge_index"] = arrays["edge_index"].T
    return arrays


def _array(name: str, key: str, value: object) -> Array:
    for method in ("detach", "cpu", "numpy"):  # of torch's tensors
        value = getattr(value, method, lambda value=value: value)()
    try:
        return np.asarray(value)
    except (TypeError, ValueError):
        raise DataError(
            f"graph {name}: {key} is of type {type(value).__name__}, not an array"
        ) from None


def _checked(
    name: str, arrays: Mapping[str, Array], splits: int | Mapping[str, object] | None
) -> dict[str, Array]:
    """The graph as it is stored: features, edges once, labels from 0, masks by split."""
    missing = [key for key in ("x", "edge_index", "y") if key not in arrays]
    if missing:
        raise DataError(
            f"graph {name}: no {', '.join(missing)}; give PyG Data with x, edge_index and y, or an "
            "npz file with node_features, edges and node_labels"
        )
    x, y, edges = arrays["x"], arrays["y"].squeeze(), arrays["edge_index"]
    if x.ndim != 2 or x.dtype.kind not in "buif" or y.shape != x.shape[:1]:
        raise _wrong(name, f"x of shape {x.shape} and y of shape {y.shape}", "(N, F) and (N)")
    if y.dtype.kind not in "bui" or edges.dtype.kind not in "ui":
        raise _wrong(name, f"y of {y.dtype} and edges of {edges.dtype}", "whole numbers")
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(x).all():
        raise _wrong(name, "NaN or infinity among the features", "finite numbers")
    if edges.ndim != 2 or edges.shape[0] != 2:
        raise _wrong(name, f"edges of shape {edges.shape}", "(2, E), or (M, 2) in a file")
    if edges.size and not 0 <= edges.min() <= edges.max() < len(x):
        raise _wrong(name, f"edges to node {edges.max()}", f"nodes from 0 to {len(x) - 1}")
    seen = np.unique(y)
    if len(seen) < 2 or seen[0] < 0 or seen[-1] != len(seen) - 1:
        found = f"labels from {seen[0]} to {seen[-1]} in {len(seen)} kinds" if len(seen) else "none"
        raise _wrong(name, found, "labels 0, 1, ... with none left out, at least two")
    ends = np.sort(edges.astype(np.int64), axis=0).T
    pairs = np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0)
    masks = _masks(name, len(x), arrays, splits)
    graph = {"x": x, "y": y.astype(np.int64), "edges": np.ascontiguousarray(pairs)}
    return graph | dict(zip(PARTS, masks, strict=True))


def _masks(
    name: str, nodes: int, arrays: Mapping[str, Array], splits: int | Mapping[str, object] | None
) -> list[Array]:
    """Three arrays (S, N) of booleans, disjoint, none empty."""
    if isinstance(splits, int):
        if splits < 1 or nodes < 4:
            raise _wrong(name, f"{splits} splits of {nodes} nodes", "at least 1, of 4 nodes")
        return _random(nodes, splits)
    given = dict(arrays) if splits is None else {f"{k}_mask": v for k, v in splits.items()}
    missing = [part for part in PARTS if given.get(f"{part}_mask") is None]
    if missing:
        raise DataError(
            f"graph {name}: no masks for {', '.join(missing)}; give splits=10 for random splits, "
            "or splits={'train': ..., 'val': ..., 'test': ...}"
        )
    masks = []
    for part in PARTS:
        mask = np.atleast_2d(_array(name, part, given[f"{part}_mask"]))
        mask = mask.T if mask.shape[0] == nodes and mask.shape[1] != nodes else mask
        if mask.dtype.kind != "b" or mask.ndim != 2 or mask.shape[1] != nodes:
            raise _wrong(name, f"{part} mask {mask.dtype} {mask.shape}", "booleans, one per node")
        masks.append(np.ascontiguousarray(mask))
    if len({len(mask) for mask in masks}) > 1:
        raise _wrong(name, "masks with unequal numbers of splits", "as many of each")
    if (np.sum(masks, axis=0) > 1).any():
        raise _wrong(name, "masks that overlap", "disjoint train, val and test")
    if not all(mask.any(axis=1).all() for mask in masks):
        raise _wrong(name, "a mask that is empty", "nodes in train, val and test of every split")
    return masks


def _random(nodes: int, splits: int) -> list[Array]:
    rng = np.random.default_rng(0)  # the same for everybody: the data are stored with their splits
    train, val = (round(share * nodes) for share in _SHARES)
    masks = [np.zeros((splits, nodes), dtype=bool) for _ in PARTS]
    for split in range(splits):
        order = rng.permutation(nodes)
        for mask, part in zip(masks, np.split(order, (train, train + val)), strict=True):
            mask[split, part] = True
    return masks


def _wrong(name: str, found: str, expected: str) -> DataError:
    return DataError(f"graph {name}: {found}; expected {expected}")
