"""What the methods meet: generated graphs and real ones, at several depths."""

from collections.abc import Iterator
from typing import Any, Literal

from harness.suite import Task
from suites.gate.datasets import CITATION, DATASETS, LARGE, SMALL
from suites.gate.settings import (
    GraphTask,
    Minesweeper,
    NeighbourDependent,
    Real,
    Released,
    SelfSufficient,
    Source,
)

Score = Literal["accuracy", "roc-auc", "hard-roc-auc"]

SHARES = {
    **dict.fromkeys(("minesweeper", *LARGE), (0.5, 0.25)),
    **dict.fromkeys(SMALL, (0.48, 0.20)),
}
"""Shares of the nodes that train and that test in each of a graph's ten splits, which overlap."""
BEYOND = "a heterophilic graph that the released settings do not have"
DEEP = ("self-er8", "self-cora-random")
"""Self-sufficient graphs that are met at ten layers too."""
OPTIONAL = ("alpha-middle", "switched-off", "energy", "mad")
"""Metrics that only networks deep enough, or with attention, have."""


def rigid(task: GraphTask) -> Released:
    """What the released code's MLP+GAT uses in place of the settings of the other networks.

    Its ten settings have 5,000 epochs and a rate of 0.0005, but for five layers on amazon-ratings
    and questions. Source: `ExpSettings_RigidArch.csv`.
    """
    faster = task.depth == 5 and task.graph in {"amazon-ratings", "questions"}
    return Released(hidden=task.released.hidden, lr=0.001 if faster else 0.0005, epochs=5_000)


def tasks() -> tuple[Task, ...]:
    """All tasks, in the order of tables."""
    return (*_self_sufficient(), *_neighbour_dependent(), *_heterophilic(), *_homophilic())


def task(
    graph: str,
    source: Source,
    depth: int,
    metric: Score,
    released: Released,
    datasets: tuple[str, ...] = (),
    protocol: str = "standard",
    proxy: str = "",
    version: int = 1,
) -> Task:
    """One graph at one depth."""
    suffix = "" if protocol == "standard" else f"-{protocol}"
    shares = SHARES.get(graph)
    resampled: dict[str, Any] = {}
    if shares:
        resampled = {"splits": "resampled", "train_share": shares[0], "test_share": shares[1]}
    return Task(
        name=f"{graph}-l{depth}{suffix}",
        label=f"{graph}, {depth} layer{'s' if depth > 1 else ''}",
        version=version,
        params=GraphTask(
            graph=graph, source=source, depth=depth, metric=metric, released=released
        ).plain(),
        metrics=(metric, f"{metric}-last"),
        optional=OPTIONAL,
        datasets=datasets,
        protocol=protocol,
        fallback=isinstance(source, Minesweeper),
        proxy=proxy,
        **resampled,
    )


def _self_sufficient() -> Iterator[Task]:
    released = Released(hidden=64, lr=0.005, epochs=10_000)
    cora = ("cora",)
    for graph, source, datasets in (
        ("self-er2", SelfSufficient(structure="erdos-renyi", labels="random", classes=2), ()),
        ("self-er8", SelfSufficient(structure="erdos-renyi", labels="random", classes=8), ()),
        ("self-cora-own", SelfSufficient(structure="cora", labels="own", classes=7), cora),
        ("self-cora-random", SelfSufficient(structure="cora", labels="random", classes=7), cora),
    ):
        for depth in (1, 2, 5, *((10,) if graph in DEEP else ())):
            deep = "ten layers, which the released settings of these graphs do not have"
            beyond = deep if depth > 5 else ""
            yield task(graph, source, depth, "accuracy", released, datasets, proxy=beyond)


def _neighbour_dependent() -> Iterator[Task]:
    for hops in (1, 2, 3):
        released = Released(hidden=256 if hops == 3 else 64, lr=0.005, epochs=10_000)
        for depth in range(hops, hops + 3):
            source = NeighbourDependent(hops=hops)
            yield task(f"neighbour{hops}", source, depth, "accuracy", released)


def _heterophilic() -> Iterator[Task]:
    for depth in (2, 5):
        released = Released(hidden=64, lr=0.001, epochs=5_000)
        yield task("minesweeper-generated", Minesweeper(), depth, "roc-auc", released)
    for name in ("minesweeper", *SMALL, *LARGE):
        metric = DATASETS[name].metric
        hard: Score = "hard-roc-auc" if metric == "roc-auc" else metric
        for depth in (2, 5, 10):
            released = Released(hidden=64, lr=0.0005 if depth == 10 else 0.001, epochs=5_000)
            source, beyond = Real(dataset=name), BEYOND if name in SMALL else ""
            yield task(name, source, depth, metric, released, (name,), proxy=beyond)
            # Version 2: MAD averages over the nodes that a node tells, as released.
            code = "paper-code"
            yield task(name, source, depth, hard, released, (name,), code, beyond, version=2)


def _homophilic() -> Iterator[Task]:
    for name in CITATION:
        for depth in (2, 5, 10, 20):
            slow = 0.0005 if name == "cora" else 0.0001
            released = Released(hidden=64, lr=slow if depth > 5 else 0.005, epochs=5_000)
            # Version 2: features are divided by their row sum once; twice moved last bits.
            yield task(name, Real(dataset=name), depth, "accuracy", released, (name,), version=2)
    name, released = "ogbn-arxiv", Released(hidden=256, lr=0.001, epochs=2_000)
    yield task(name, Real(dataset=name), 12, "accuracy", released, (name,))
