"""A small suite with awkward labels, its records, and drawing functions for its figures."""

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.analysis import frame
from harness.identity import digest
from harness.record import Cost, Provenance, Record
from harness.suite import (
    Beats,
    Dataset,
    Equivalent,
    Exact,
    Figure,
    LowerSpread,
    Method,
    Metric,
    Paper,
    Reference,
    Scale,
    Suite,
    Table,
    Task,
    Trend,
)

SPECIALS = r"_ % & # $ { } ~ ^ \ < > | [x] *y* `z` -- é ş α ⊕"


def _suite(**changes: Any) -> Suite:
    fields: dict[str, Any] = {
        "name": "lab",
        "paper": Paper(
            title="Gates & Graphs", authors="A. Author", arxiv="2406.00418", venue="ICML", year=2024
        ),
        "summary": "Whether a gate helps on deep tasks.",
        "methods": (
            Method(
                name="gate", run="x:run", label="Gate", kind="proposed",
                deviations=("No warm-up.",),
            ),
            Method(name="plain", run="x:run", label="<script>alert(1)</script>"),
            Method(name="odd", run="x:run", label=SPECIALS, note="Odd by design."),
        ),
        "tasks": (
            Task(name="shallow", params={"depth": 2}, metrics=("acc", "steps"), datasets=("cora",)),
            Task(name="deep", params={"depth": 8}, metrics=("acc", "steps"), label="a_b%&#"),
            Task(name="deep-code", params={"depth": 8}, metrics=("acc",), protocol="code"),
            Task(name="made", metrics=("acc",), fallback=True, label="Made"),
        ),
        "metrics": (
            Metric(
                name="acc", label="Accuracy", unit="%", better="higher", split="test",
                select="best-val",
            ),
            Metric(
                name="steps", label="Steps", unit="", better="lower", split="train", select="last",
                digits=0,
            ),
        ),
        "scales": (
            Scale(name="smoke", seeds=(0,), expected_seconds=1),
            Scale(
                name="laptop", seeds=tuple(range(6)), expected_seconds=9,
                deviations=("Smaller.",),
            ),
        ),
        "datasets": (
            Dataset(
                name="cora", files={}, licence="CC0", source="Planetoid", sizes="2,708 nodes",
                splits="140/500/1000",
            ),
        ),
        "claims": (
            Beats(
                name="gate-wins", text="The gate beats the plain one.", source="Table 2",
                metric="acc", tasks=("shallow", "deep"), a="gate", b="plain", margin=0.5,
            ),
            Trend(
                name="gap-grows", text="The gap grows with depth.", source="Figure 3",
                metric="acc", tasks=("shallow", "deep"), a="gate", b="plain", over="depth",
                direction="up", margin=0.1,
            ),
            LowerSpread(
                name="steadier", text="Seeds scatter less.", source="Section 5", metric="acc",
                tasks=("deep",), a="gate", b="plain",
            ),
            Equivalent(
                name="same", text="Odd is as good.", source="control: none", metric="acc",
                tasks=("shallow",), a="gate", b="odd", margin=2.0,
            ),
            Exact(
                name="budget", text="Always a hundred steps.", source="Section 4",
                metric="steps", tasks=("shallow",), a="gate", value=100,
            ),
        ),
        "tables": (
            Table(name="accuracy", title="Accuracy of all", metric="acc", note="Main table."),
            Table(name="steps", title="Steps_to & fit", metric="steps", rows="tasks"),
        ),
        "figures": (
            Figure(
                name="scatter", title="Scatter", draw="lab_figures:scatter", caption="Each dot."
            ),
            Figure(name="broken", title="Broken", draw="lab_figures:broken"),
        ),
        "deviations": ("Generated data <b>only</b>.",),
        "defects": ("The code selects on test.",),
        "headline": "accuracy",
    }  # fmt: skip
    return Suite(**(fields | changes))


def _record(
    suite: Suite,
    method: str,
    task: str,
    seed: int,
    status: str = "ok",
    scale: str = "laptop",
    version: int = 1,
    **changes: Any,
) -> Record:
    rng = np.random.default_rng([seed, *f"{method}/{task}".encode()])
    depth = 8 if "deep" in task else 2
    base = 80 - depth * (0.3 if method == "gate" else 1.0)
    spec = {
        "method": method, "task": task, "seed": seed, "scale": scale, "version": version,
        "suite": suite.name,
    }  # fmt: skip
    protocols = {t.name: t.protocol for t in suite.tasks}
    ok = status == "ok"
    fields: dict[str, Any] = {
        "id": digest(spec),
        "suite": suite.name,
        "method": method,
        "task": task,
        "seed": seed,
        "scale": scale,
        "protocol": protocols.get(task, "standard"),
        "spec": spec,
        "status": status,
        "error": None if ok else "loss became inf at step 7 <oops>",
        "metrics": {"acc": base + float(rng.normal()), "steps": 100.0} if ok else {},
        "counts": {"parameters": 1234567, "flops": 2 * 10**12 if method == "gate" else 10**12},
        "data": {"cora": "local"} if task == "shallow" else {},
        "cost": Cost(
            wall_seconds=90 + seed, cpu_seconds=80, peak_memory_bytes=300 << 20, joules=512.0
        ),
        "provenance": Provenance(
            started="2025-01-01T00:00:00+00:00",
            finished=f"2025-01-0{version}T00:01:00+00:00",
            commit="c0ffee" * 6 + "c0ff",
            dirty=seed == 0,
            source_digest="ab" * 32,
            python="3.11.2",
            packages={"torch": "2.6.0"},
            platform="Linux",
            processor="toy",
            cores=2,
            memory_bytes=8 << 30,
            accelerator=None,
            threads=1,
            flags={"deterministic": "1"},
            command=("harness", "run", "lab"),
        ),
    }
    return Record(**(fields | changes)).sealed()


@pytest.fixture(scope="session")
def lab() -> Callable[..., Suite]:
    """`lab(**changes)`: three methods on four tasks, two protocols, five claims, two tables."""
    return _suite


@pytest.fixture(scope="session")
def record() -> Callable[..., Record]:
    """`record(suite, method, task, seed, status, scale, version, **changes)`, sealed."""
    return _record


@pytest.fixture(scope="session")
def records() -> list[Record]:
    """Six seeds of everything but `odd` on `made`; two of `plain` on `deep` failed."""
    suite = _suite()
    failed = {("plain", "deep", 1): "diverged", ("plain", "deep", 2): "oom"}
    return [
        _record(suite, m.name, t.name, seed, failed.get((m.name, t.name, seed), "ok"))
        for m in suite.methods
        for t in suite.tasks
        for seed in range(6)
        if (m.name, t.name) != ("odd", "made")
    ]


@pytest.fixture(scope="session")
def printed() -> dict[str, list[Reference]]:
    """The paper's number and a stranger's for one cell, and one without a place."""

    def row(**fields: Any) -> Reference:
        return Reference(**({"table": "Table 2", "task": "shallow", "metric": "acc"} | fields))

    return {
        "lab": [
            row(method="gate", value=81.25, spread=1.1, n=10),
            row(method="plain", value=77.0, source="DGL", table="its README", note="its own split"),
            row(method="stranger", value=70.0),
            row(method="gate", task="gone", value=1.0),
        ]
    }


@pytest.fixture(autouse=True)
def _figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module that the suite's figures name."""
    module = types.ModuleType("lab_figures")

    def scatter(records: Any, suite: Any, figure: Any) -> Any:
        from matplotlib.figure import Figure as Drawing

        drawing = Drawing()
        axes = drawing.subplots()
        part = frame(records, suite)
        part = part[(part["metric"] == "acc") & part["value"].notna()]
        for method, group in part.groupby("method", sort=True):
            axes.scatter(group["seed"], group["value"], label=method.upper())
        axes.set(xlabel="Seed", ylabel="Accuracy, %")
        axes.legend()
        return drawing

    def broken(records: Any, suite: Any, figure: Any) -> Any:
        raise KeyError("no <such> method")

    module.scatter, module.broken = scatter, broken  # type: ignore[attr-defined]
    module.nothing = lambda records, suite, figure: None  # type: ignore[attr-defined]
    module.wrong = lambda records, suite, figure: 3  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lab_figures", module)
