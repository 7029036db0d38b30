"""The real graphs of the suite as plain data: file, digest, sizes, licence, metric.

Importing this module needs neither numpy nor torch.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from harness.suite import Dataset


class GraphFile(NamedTuple):
    """One real graph, as its file has to be."""

    name: str
    path: str
    """Inside the data folder; a folder for ogbn-arxiv, an npz file for all others."""
    sha256: str | None
    """Digest of the file, its first digits where no more is known, None where nothing is."""
    licence: str
    source: str
    nodes: int
    edges: int
    """Undirected edges: each pair once, no self-loops."""
    features: int
    classes: int
    splits: int
    metric: Literal["accuracy", "roc-auc"]
    note: str = ""


SMALL = ("texas", "wisconsin", "cornell", "actor", "chameleon-filtered", "squirrel-filtered")
"""Heterophilic graphs of at most 8,000 nodes, whose metric is accuracy."""
LARGE = ("tolokers", "roman-empire", "amazon-ratings", "questions")
"""The other heterophilic graphs besides minesweeper."""
CITATION = ("cora", "citeseer", "pubmed")
"""Citation graphs: symmetric in the released code too, with row-normalised features."""

YANDEX_COMMIT = "a431395582e929d88271309716bea4fe24ce6318"
YANDEX = f"github.com/yandex-research/heterophilous-graphs @ {YANDEX_COMMIT[:7]}"
PLANETOID_SOURCE = "github.com/kimiyoung/planetoid @ af6abf4"
YANDEX_LICENCE = "MIT (repository); the licence of the underlying content is not stated"
PLANETOID_LICENCE = "MIT (repository); the licence of the LINQS originals is not stated"
NPZ_ONLINE = "PyG HeterophilousGraphDataset downloads the same file"


def _yandex(
    stem: str,
    sha256: str | None,
    sizes: tuple[int, int, int, int],
    metric: Literal["accuracy", "roc-auc"] = "accuracy",
    note: str = "",
) -> GraphFile:
    nodes, edges, features, classes = sizes
    return GraphFile(
        name=stem.replace("_", "-"),
        path=f"graphs/{stem}/{stem}.npz",
        sha256=sha256,
        licence=YANDEX_LICENCE,
        source=YANDEX,
        nodes=nodes,
        edges=edges,
        features=features,
        classes=classes,
        splits=10,
        metric=metric,
        note=note,
    )


def _planetoid(
    name: str, sha256: str | None, sizes: tuple[int, int, int, int], note: str
) -> GraphFile:
    nodes, edges, features, classes = sizes
    return GraphFile(
        name=name,
        path=f"graphs/{name}/{name}.npz",
        sha256=sha256,
        licence=PLANETOID_LICENCE,
        source=PLANETOID_SOURCE,
        nodes=nodes,
        edges=edges,
        features=features,
        classes=classes,
        splits=1,
        metric="accuracy",
        note=note,
    )


_ROWS = (
    _yandex(
        "minesweeper",
        "e664c8dacf1e8ac466c2c09ed4b237bd2c5541f47a6eae9c6092cb87f16412b3",
        (10_000, 39_402, 7, 2),
        "roc-auc",
        "20 % mines in every part; averaging visible neighbours unlearnt gives ROC-AUC 0.83",
    ),
    _yandex(
        "tolokers",
        "dacf3ac94cec53d03cd2adb5255c08b33dee1656c33ca8164a464bd9450a1667",
        (11_758, 519_000, 10, 2),
        "roc-auc",
        "mean degree 88; 930 nodes hear nobody when edges are used one way",
    ),
    _yandex(
        "texas",
        "b164b99e6c3d43e4ab07488ec59bd8c815f90cbc1bd4cf425ce587d2b534d844",
        (183, 279, 1703, 5),
        note="one class has a single node",
    ),
    _yandex(
        "wisconsin",
        "2543c89838cfc75f737f7c4664cc1d097f8268602c20b2d1bd4f21407df9c074",
        (251, 450, 1703, 5),
    ),
    _yandex(
        "cornell",
        "684c54ba3daa13b0ba1f04a3d6dd1b1175c1ae9bdeb982851fd4ff96d3aac298",
        (183, 277, 1703, 5),
    ),
    _yandex(
        "actor",
        "c350eef06b2c2a9bf8218be2b57cac6d4003d0922eb597a039e9123f75817816",
        (7_600, 26_659, 932, 5),
        note="undirected re-issue; not comparable with numbers on the 33,544 directed edges",
    ),
    _yandex(
        "chameleon_filtered",
        "bf46f07e1fb5249280447e5fe3100f3e82fc4b93ad1e13ffcfdec924b6ac0bb5",
        (890, 8_854, 2325, 5),
        note="without the twin nodes that leak labels across the splits of the original",
    ),
    _yandex(
        "squirrel_filtered",
        "f06370ffb3116c5de8b7a600005400b2293c025e0ce2f6916d8201a825505ac7",
        (2_223, 46_998, 2089, 5),
        note="without the twin nodes that leak labels across the splits of the original",
    ),
    _planetoid(
        "cora",
        "42e62028c8e11e3ec7fabedd76a2f5c450ee8ff58e068011b78c1fbd75d690e9",
        (2_708, 5_278, 1433, 7),
        "public split 140/500/1000; npz derived from the ind.cora files",
    ),
    _planetoid(
        "citeseer",
        "6c96d64d0e2194749893b3ca6e4a22c7cfabf61dfa30869907d557d6d978eb2c",
        (3_327, 4_552, 3703, 6),
        "public split 120/500/1000; 48 isolated nodes, 15 rows without any feature; npz derived "
        "from the ind.citeseer files",
    ),
    _yandex(
        "roman_empire",
        "a58ba741d123",
        (22_662, 32_927, 300, 18),
        note=f"{NPZ_ONLINE}; the digest is a prefix from a third party",
    ),
    _yandex(
        "amazon_ratings",
        "4c3a3e3b9d9f",
        (24_492, 93_050, 300, 5),
        note=f"{NPZ_ONLINE}; the digest is a prefix from a third party",
    ),
    _yandex(
        "questions",
        None,
        (48_921, 153_540, 301, 2),
        "roc-auc",
        f"{NPZ_ONLINE}; no digest known",
    ),
    _planetoid(
        "pubmed",
        None,
        (19_717, 44_324, 500, 3),
        "public split 60/500/1000; npz derived from the ind.pubmed files; no digest known",
    ),
    GraphFile(
        name="ogbn-arxiv",
        path="graphs/ogbn_arxiv",
        sha256=None,
        licence="ODC-BY",
        source="Open Graph Benchmark, snap.stanford.edu/ogb/data/nodeproppred/arxiv.zip",
        nodes=169_343,
        edges=1_157_799,
        features=128,
        classes=40,
        splits=1,
        metric="accuracy",
        note="unpack arxiv.zip so that raw/ and split/ lie in the folder; 1,166,243 directed "
        "citations in raw/edge.csv.gz; PygNodePropPredDataset of the ogb package gets the same",
    ),
)

DATASETS: Mapping[str, GraphFile] = MappingProxyType({row.name: row for row in _ROWS})
"""All real graphs of the suite by name; `harness data` tells which of them are at hand."""

_OGB_FILES = (
    "raw/edge.csv.gz",
    "raw/node-feat.csv.gz",
    "raw/node-label.csv.gz",
    "split/time/train.csv.gz",
    "split/time/valid.csv.gz",
    "split/time/test.csv.gz",
)


def datasets(fetch: str) -> tuple[Dataset, ...]:
    """The graphs as the engine lists, checks and fetches them; `fetch` is an import path."""
    return tuple(
        Dataset(
            name=file.name,
            files=_files(file),
            licence=file.licence,
            source=file.source,
            sizes=f"{file.nodes:,} nodes, {file.edges:,} edges, {file.features} features, "
            f"{file.classes} classes",
            splits="public split" if file.splits == 1 else f"{file.splits} splits in the file",
            fetch=fetch,
            note=file.note,
        )
        for file in DATASETS.values()
    )


def _files(file: GraphFile) -> dict[str, str | None]:
    """Paths and digests; a digest of which only the first digits are known does not count."""
    if file.name == "ogbn-arxiv":
        return {f"{file.path}/{part}": None for part in _OGB_FILES}
    return {file.path: file.sha256 if file.sha256 and len(file.sha256) == 64 else None}
