"""Small suites and records made by hand, for the tests of the engine."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

from harness.identity import digest
from harness.record import Cost, Provenance, Record
from harness.suite import Claim, Method, Metric, Paper, Scale, Suite, Task

SuiteFactory = Callable[..., Suite]
RecordFactory = Callable[..., Record]


@pytest.fixture(scope="session")
def toy_suite() -> SuiteFactory:
    """`toy_suite(claims=(), **changes)`: methods ant, bee, cat; accuracy and loss on four tasks.

    Tasks shallow-x, deep-x, shallow-y, deep-y have the parameters depth (2 or 8) and set (x or y).
    Scales smoke (1 seed), laptop (5 seeds) and paper (10 seeds). Keywords replace whole fields.
    """

    def make(claims: Iterable[Claim] = (), **changes: Any) -> Suite:
        fields: dict[str, Any] = {
            "name": "toy",
            "paper": Paper(title="T", authors="A", arxiv="0000.00000", venue="V", year=2024),
            "summary": "A toy.",
            "methods": tuple(Method(name=n, run="toy:run") for n in ("ant", "bee", "cat")),
            "metrics": (
                Metric(
                    name="accuracy", label="Accuracy", unit="%", better="higher", split="test",
                    select="last",
                ),
                Metric(
                    name="loss", label="Loss", unit="nats", better="lower", split="test",
                    select="last",
                ),
            ),
            "tasks": tuple(
                Task(
                    name=f"{word}-{data}",
                    params={"depth": depth, "set": data},
                    metrics=("accuracy", "loss"),
                )
                for data in ("x", "y")
                for word, depth in (("shallow", 2), ("deep", 8))
            ),
            "scales": (
                Scale(name="smoke", seeds=(0,), expected_seconds=1),
                Scale(name="laptop", seeds=tuple(range(5)), expected_seconds=10),
                Scale(name="paper", seeds=tuple(range(10)), expected_seconds=1000),
            ),
            "claims": tuple(claims),
        }  # fmt: skip
        return Suite(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def provenance() -> Provenance:
    """Of a run that never was."""
    return Provenance(
        started="2025-01-01T00:00:00+00:00", finished="2025-01-01T00:00:01+00:00", commit=None,
        dirty=None, source_digest="0" * 64, python="3.11", packages={}, platform="Linux",
        processor="toy", cores=1, memory_bytes=1, accelerator=None, threads=1, flags={},
        command=("harness", "run", "toy"),
    )  # fmt: skip


@pytest.fixture(scope="session")
def make_record(provenance: Provenance) -> RecordFactory:
    """`make_record(suite, method, task, seed, metrics, status="ok", scale="laptop")`: sealed."""
    cost = Cost(wall_seconds=1, cpu_seconds=1, peak_memory_bytes=1)

    def make(
        suite: Suite, method: str, task: str, seed: int, metrics: Mapping[str, float],
        status: str = "ok", scale: str = "laptop", **spec: Any,
    ) -> Record:  # fmt: skip
        known = {t.name: t for t in suite.tasks}
        protocol = known[task].protocol if task in known else "standard"
        identity = {
            "suite": suite.name, "method": {"name": method}, "seed": seed, "device": "cpu",
            "task": {"name": task, "protocol": protocol}, "scale": {"name": scale},
        } | spec  # fmt: skip
        return Record(
            id=digest(identity), suite=suite.name, method=method, task=task, seed=seed,
            scale=scale, protocol=protocol,
            spec=identity, status=status, error=None if status == "ok" else "it broke",
            metrics=dict(metrics) if status == "ok" else {}, cost=cost, provenance=provenance,
        ).sealed()  # fmt: skip

    return make
