"""GATE against GAT: can graph attention switch its neighbours off, and does that help?

The experiment on a few screens: methods, tasks, seeds, scales, tables, figures; the claims stand
in `claims.py`.
"""

from harness.suite import (
    Dataset,
    Figure,
    Kind,
    Method,
    Metric,
    Paper,
    Params,
    Scale,
    Suite,
    Table,
    Task,
)
from suites.gate.claims import SMALL, claims
from suites.gate.datasets import DATASETS

_BASE = ("gat", "gat-shared", "gate", "gate-shared", "mlp", "residual-gat")
_LARGE = ("tolokers", "roman-empire", "amazon-ratings", "questions")
_CITATION = ("cora", "citeseer", "pubmed")
_OPTIONAL = ("alpha-middle", "energy", "mad")


def _methods() -> tuple[Method, ...]:
    def method(name: str, label: str, kind: Kind = "baseline", *deviations: str) -> Method:
        return Method(
            name=name,
            label=label,
            kind=kind,
            run="suites.gate.train:run",
            params={"network": name},
            deviations=deviations,
        )

    return (
        method("gat", "GAT"),
        method("gat-shared", "GAT, shared weights"),
        method("gate", "GATE", "proposed"),
        method("gate-shared", "GATE, shared weights", "proposed"),
        method("mlp", "MLP"),
        method("mlp-gat", "MLP+GAT, fixed layers"),
        method(
            "residual-gat",
            "GAT with a linear residual",
            "control",
            "Not in the paper: a residual is the cheapest way to keep a node's own features.",
        ),
        method(
            "gat-sep",
            "GAT-sep",
            "control",
            "Not in the paper: own and neighbours' messages kept apart, as Platonov et al. (2023) "
            "do, here without their feed-forward blocks, norms and dropout.",
        ),
        method("gcn", "GCN", "baseline", "In the setting of the other methods, not tuned."),
        method("sage", "GraphSAGE", "baseline", "In the setting of the other methods, not tuned."),
        method("fagcn", "FAGCN", "baseline", "In the setting of the other methods, not tuned."),
    )


def _task(name: str, depth: int, family: str, metric: str, **more: object) -> Task:
    protocol = str(more.pop("protocol", "standard"))
    datasets = tuple(str(d) for d in more.pop("datasets", ()))  # type: ignore[attr-defined]
    params: Params = {"family": family, "depth": depth, "metric": metric, "graph": name, **more}  # type: ignore[dict-item]
    suffix = "" if protocol == "standard" else f"-{protocol}"
    return Task(
        name=f"{name}-l{depth}{suffix}",
        label=f"{name}, {depth} layer{'s' if depth > 1 else ''}",
        params=params,
        metrics=(metric, f"{metric}-last"),
        optional=_OPTIONAL,
        datasets=datasets,
        protocol=protocol,
        fallback=family == "minesweeper-generated",
    )


def _tasks() -> tuple[Task, ...]:
    tasks = []
    paper = {"paper-hidden": 64, "paper-lr": 0.005, "paper-epochs": 10_000}
    for name, structure, labels, classes in (
        ("self-er2", "erdos-renyi", "random", 2),
        ("self-er8", "erdos-renyi", "random", 8),
        ("self-cora-own", "cora", "own", 7),
        ("self-cora-random", "cora", "random", 7),
    ):
        needs = ("cora",) if structure == "cora" else ()
        for depth in (1, 2, 5):
            more = {"structure": structure, "labels": labels, "classes": classes, **paper}
            tasks.append(_task(name, depth, "self-sufficient", "accuracy", datasets=needs, **more))
    for hops in (1, 2, 3):
        more = {"hops": hops, **paper, "paper-hidden": 256 if hops == 3 else 64}
        for depth in range(hops, hops + 3):
            name = f"neighbour{hops}"
            tasks.append(_task(name, depth, "neighbour-dependent", "accuracy", **more))
    for depth in (2, 5):
        more = {"paper-hidden": 64, "paper-lr": 0.001, "paper-epochs": 5_000}
        tasks.append(
            _task("minesweeper-generated", depth, "minesweeper-generated", "roc-auc", **more)
        )
    for name in ("minesweeper", *SMALL, *_LARGE):
        metric = DATASETS[name].metric
        hard = "hard-roc-auc" if metric == "roc-auc" else metric
        for depth in (2, 5, 10):
            lr = 0.0005 if depth == 10 else 0.001
            more = {"dataset": name, "paper-hidden": 64, "paper-lr": lr, "paper-epochs": 5_000}
            tasks += [
                _task(name, depth, "real", metric, datasets=(name,), **more),
                _task(name, depth, "real", hard, datasets=(name,), protocol="paper-code", **more),
            ]
    for name in _CITATION:
        for depth in (2, 5, 10, 20):
            slow = 0.0005 if name == "cora" else 0.0001
            lr = slow if depth > 5 else 0.005
            more = {"dataset": name, "paper-hidden": 64, "paper-lr": lr, "paper-epochs": 5_000}
            tasks.append(_task(name, depth, "real", "accuracy", datasets=(name,), **more))
    more = {
        "dataset": "ogbn-arxiv", "paper-hidden": 256, "paper-lr": 0.001, "paper-epochs": 2_000,
    }  # fmt: skip
    tasks.append(_task("ogbn-arxiv", 12, "real", "accuracy", datasets=("ogbn-arxiv",), **more))
    return tuple(tasks)


def _metrics() -> tuple[Metric, ...]:
    def score(name: str, label: str, select: str) -> Metric:
        return Metric(
            name=name, label=label, unit="%", better="higher", split="test", select=select
        )

    best, last = "best validation epoch", "last epoch"
    return (
        score("accuracy", "accuracy", best),
        score("accuracy-last", "accuracy", last),
        score("roc-auc", "ROC-AUC of scores", best),
        score("roc-auc-last", "ROC-AUC of scores", last),
        score("hard-roc-auc", "ROC-AUC of predicted labels", best),
        score("hard-roc-auc-last", "ROC-AUC of predicted labels", last),
        Metric(
            name="alpha-middle",
            label="mean alpha_vv of the middle layers",
            unit="",
            better="neither",
            split="all nodes",
            select=best,
            digits=3,
        ),
        Metric(
            name="energy",
            label="log10 neighbour Dirichlet energy of the last hidden layer",
            unit="",
            better="higher",
            split="all nodes",
            select=best,
            digits=2,
        ),
        Metric(
            name="mad",
            label="neighbour MAD of the last hidden layer",
            unit="",
            better="higher",
            split="all nodes",
            select=best,
            digits=3,
        ),
    )


def _scales() -> tuple[Scale, ...]:
    small = tuple(f"{name}-l[25]" for name in (*SMALL, "cora", "citeseer"))
    synthetic = ("self-*", "neighbour*")
    codes = ("minesweeper-l[25]*", *(f"{name}-l5-paper-code" for name in SMALL))
    return (
        Scale(
            name="smoke",
            seeds=(0, 1),
            tasks=("self-er8-l2", "neighbour1-l2", "minesweeper-generated-l2"),
            params={
                "nodes": 200,
                "p": 0.05,
                "side": 16,
                "hidden": 16,
                "epochs": 20,
                "lr": 0.005,
                "fitted": 1e-4,
            },
            trial_seconds=120,
            expected_seconds=0.5,
            deviations=("Tiny graphs, 20 epochs: it shows that everything runs, nothing else.",),
        ),
        Scale(
            name="laptop",
            seeds=tuple(range(10)),
            tasks=(*synthetic, *small, "minesweeper-l[25]", "minesweeper-l5-paper-code"),
            methods=(*_BASE, "gat-sep"),
            exclude=(
                "*/actor-l2",
                "*/squirrel-filtered-l2",
                "gat-sep/neighbour*",
                "gat-sep/*-paper-code",
                *(f"gat-sep/{name}-*" for name in (*SMALL, *_CITATION)),
            ),
            params={
                "nodes": 1000,
                "p": 0.01,
                "side": 100,
                "hidden": 64,
                "epochs": {"self-sufficient": 500, "neighbour-dependent": 2000, "real": 200},
                "lr": 0.005,
                "fitted": 1e-4,
            },
            trial_seconds=1800,
            expected_seconds=5,
            deviations=(
                "500 epochs at most on self-sufficient tasks, 2,000 on neighbour-dependent and 200 "
                "on real graphs, against 10,000, 10,000 and 5,000; learning rate 0.005 throughout.",
                "Actor and squirrel at five layers only, the others at two and five: their tasks "
                "of two layers were dropped for time after seed 0; its twelve records are listed "
                "as superseded.",
                "Width 64 also where the released settings use 256 (three-hop teacher).",
                "Ten synthetic graphs, one for each seed, where the paper draws one graph and "
                "varies the initial weights only.",
            ),
        ),
        Scale(
            name="gpu",
            seeds=tuple(range(10)),
            tasks=("minesweeper-l*", "tolokers-l[25]*", *small, *codes),
            params={
                "nodes": 1000,
                "p": 0.01,
                "side": 100,
                "hidden": 64,
                "epochs": 1000,
                "lr": 0.005,
                "fitted": 1e-4,
            },
            trial_seconds=1800,
            expected_seconds=20,
            deviations=("1,000 epochs and learning rate 0.005 throughout.",),
        ),
        Scale(
            name="paper",
            seeds=tuple(range(10)),
            exclude=("*/minesweeper-generated*",),
            params={
                "nodes": 1000,
                "p": 0.01,
                "side": 100,
                "hidden": "paper",
                "epochs": "paper",
                "lr": "paper",
                "fitted": 1e-4,
            },
            trial_seconds=6 * 3600,
            expected_seconds=600,
            deviations=(
                "Ten seeds everywhere; the released settings use 5 on synthetic graphs and one on "
                "Cora and Citeseer.",
            ),
        ),
    )


def _tables() -> tuple[Table, ...]:
    return (
        Table(
            name="self-sufficient",
            title="Self-sufficient tasks: neighbours are noise",
            metric="accuracy",
            tasks=("self-*",),
            rows="tasks",
            note="GATE on self-er2 with 5 layers is two groups of seeds at laptop scale (4 at 99.6 "
            "to 100, 6 at 82 to 88 that never fit): its mean and interval describe neither.",
        ),
        Table(
            name="neighbour-dependent",
            title="Neighbour-dependent tasks: labels come from k hops away",
            metric="accuracy",
            tasks=("neighbour*",),
            rows="tasks",
        ),
        Table(
            name="minesweeper",
            title="Minesweeper",
            metric="roc-auc",
            tasks=("minesweeper*", "tolokers*", "questions*"),
            rows="tasks",
            note="At laptop scale training stops in mid-climb: at 1,000 epochs and two layers GAT "
            "reaches 88.5 and GATE 87.7. Ten splits of one graph overlap, which intervals without "
            "a correction ignore. To be tested again at 1,000 epochs or more.",
        ),
        Table(
            name="paper-code-auc",
            title="The released code's protocol: one-way edges, ROC-AUC of predicted labels",
            metric="hard-roc-auc",
            tasks=("*-paper-code",),
            rows="tasks",
            note="Compare with the same graph and depth in the table above: that difference is "
            "what the choice of protocol costs.",
        ),
        Table(
            name="heterophilic",
            title="Heterophilic graphs",
            metric="accuracy",
            tasks=tuple(f"{name}-l*" for name in (*SMALL, "roman-empire", "amazon-ratings")),
            rows="tasks",
            note="Rows that end in paper-code use edges one way, as the released loader does. "
            "Graphs other than roman-empire and amazon-ratings are beyond the paper: they are not "
            "in the released settings. Ten splits of one graph overlap, which intervals without a "
            "correction ignore.",
        ),
        Table(
            name="homophilic",
            title="Homophilic graphs",
            metric="accuracy",
            tasks=("cora-l*", "citeseer-l*", "pubmed-l*", "ogbn-arxiv-l*"),
            rows="tasks",
        ),
        Table(
            name="alpha",
            title="Mean attention to the node itself (alpha_vv), middle layers",
            metric="alpha-middle",
            methods=("gat*", "gate*", "residual-gat"),
            tasks=("*-l5",),
            rows="tasks",
        ),
        Table(
            name="smoothing",
            title="Distance between neighbours in the last hidden layer",
            metric="mad",
            tasks=("*-l5",),
            rows="tasks",
        ),
        Table(
            name="energy",
            title="Dirichlet energy of the last hidden layer",
            metric="energy",
            tasks=("*-l5",),
            rows="tasks",
        ),
        Table(
            name="selection",
            title="Without selection: the last epoch of the same runs",
            metric="accuracy-last",
            tasks=("self-*", "neighbour*", *(f"{name}-l*" for name in (*SMALL, *_CITATION))),
            rows="tasks",
        ),
    )


def _figures() -> tuple[Figure, ...]:
    return (
        Figure(
            name="depth",
            title="Accuracy against depth",
            draw="suites.gate.figures:depth",
            caption="Mean and 95 % interval over seeds.",
        ),
        Figure(
            name="alpha",
            title="Attention of nodes to themselves (alpha_vv), by layer",
            draw="suites.gate.figures:alpha",
            caption="Share of nodes by alpha_vv, all seeds together; 1 switches neighbours off.",
        ),
        Figure(
            name="energy",
            title="Neighbour Dirichlet energy by layer",
            draw="suites.gate.figures:energy",
            caption="Median over seeds, shaded from the lowest to the highest; layer 0 is the "
            "input.",
        ),
        Figure(
            name="protocols",
            title="What the released code's protocol costs",
            draw="suites.gate.figures:protocols",
            caption="The same methods on the same graphs: symmetric edges and ROC-AUC of scores, "
            "against one-way edges and ROC-AUC of labels.",
        ),
    )


def _datasets() -> tuple[Dataset, ...]:
    datasets = []
    for spec in DATASETS.values():
        whole = spec.sha256 if spec.sha256 and len(spec.sha256) == 64 else None
        files = (
            {f"{spec.path}/{file}": None for file in _OGB_FILES}
            if spec.name == "ogbn-arxiv"
            else {spec.path: whole}
        )
        datasets.append(
            Dataset(
                name=spec.name,
                files=files,
                licence=spec.licence,
                source=spec.source,
                sizes=f"{spec.nodes:,} nodes, {spec.edges:,} edges, {spec.features} features, "
                f"{spec.classes} classes",
                splits="public split" if spec.splits == 1 else f"{spec.splits} splits in the file",
                fetch="suites.gate.hub:fetch" if spec.name in _FETCHED else None,
                note=spec.note,
            )
        )
    return tuple(datasets)


_FETCHED = frozenset({"minesweeper", *SMALL, *_LARGE, "ogbn-arxiv"})
_OGB_FILES = (
    "raw/edge.csv.gz",
    "raw/node-feat.csv.gz",
    "raw/node-label.csv.gz",
    "split/time/train.csv.gz",
    "split/time/valid.csv.gz",
    "split/time/test.csv.gz",
)


def suite() -> Suite:
    """The suite, for `harness.registry`."""
    return Suite(
        name="gate",
        paper=Paper(
            title="GATE: How to Keep Out Intrusive Neighbors",
            authors="Nimrah Mustafa, Rebekka Burkholz",
            arxiv="2406.00418",
            venue="ICML",
            year=2024,
        ),
        summary="Graph attention with separate attention vectors for a node and its neighbours "
        "can switch the neighbours off. Does it, and does it beat GAT thereby?",
        methods=_methods(),
        tasks=_tasks(),
        metrics=_metrics(),
        scales=_scales(),
        datasets=_datasets(),
        claims=claims(),
        tables=_tables(),
        figures=_figures(),
        headline="self-sufficient",
        preload=("suites.gate.train:warm_up",),
        deviations=(
            "The full text of the paper was not available: claims are phrased from its abstract, "
            "its released code and excerpts, and its tables of accuracy are not quoted.",
            "Measures that the released code prints at the epoch of the best validation accuracy "
            "are taken at the epoch that the task's own score selects.",
        ),
        defects=(
            "The released loader uses heterophilic graphs one way (each undirected edge is stored "
            "once and never mirrored). Protocol `standard` mirrors them, `paper-code` does not.",
            "The released code computes ROC-AUC on predicted labels, which is balanced accuracy. "
            "Protocol `standard` ranks scores, `paper-code` follows the code.",
            "The released ogbn-arxiv and ogbn-products scripts take the loss over validation and "
            "test nodes too. This suite trains on the training nodes alone; the printed 79.57 % is "
            "not a target.",
            "GAT uses LeakyReLU inside the attention and GATE uses ReLU, so that they differ in "
            "more than the second attention vector; kept, as in the released code.",
        ),
    )
