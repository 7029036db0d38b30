"""What the engine itself costs: commands over many records, a trial's overhead, a cold start.

    python -m benchmarks engine [--trials 10000] [--rounds 3] [--peers /tmp/peers/bin]

Records of a toy suite (`toy-large`: 20 methods on 50 tasks, two metrics, four counts and a curve of
ten points each; 2.9 kB a file) are written once, by the store's own writer, into a temporary
folder. Every command is a process of its own; seconds and memory are those of `wait4`: wall clock,
and the largest resident set of the command and what it waited for. All ways of a row take turns.

`--peers` names a folder with `snakemake` and `doit`: a no-op of each over as many targets.
"""

import os
from pathlib import Path

from harness import plan, registry
from harness.record import Cost, Provenance, Record, Series
from harness.store import Store
from harness.suite import Beats, Method, Metric, Paper, Scale, Suite, Table, Task

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / "tests" / "toy"
NAME = "toy-large"
METHODS, TASKS = 20, 50


def suite() -> Suite:
    """Twenty walks on fifty tasks; never run: their records are written down."""
    number = int(os.environ.get("TOY_LARGE_TRIALS", "10000"))
    seeds = max(number // (METHODS * TASKS), 1)

    def metric(name: str) -> Metric:
        return Metric(name=name, label=name, unit="m", better="higher", split="test", select="last")

    return Suite(
        name=NAME,
        paper=Paper(title="Walks", authors="A. Toy", arxiv="0000.00000", venue="N", year=2024),
        summary="Many walks.",
        methods=tuple(
            Method(name=f"walk-{n}", run="toy_suite_package.methods:walk", params={"lift": n / 10})
            for n in range(METHODS)
        ),
        tasks=tuple(
            Task(
                name=f"steps-{n}", params={"steps": n}, metrics=("height",), optional=("noise",)
            )
            for n in range(1, TASKS + 1)
        ),
        metrics=(metric("height"), metric("noise")),
        scales=(Scale(name="laptop", seeds=tuple(range(seeds)), expected_seconds=0.2),),
        claims=tuple(
            Beats(
                name=f"higher-{n}", text="It ends higher.", source="table 1", metric="height",
                tasks=("*",), a=f"walk-{n}", b="walk-0", margin=0.05,
                role="primary" if n < 4 else "secondary",
            )
            for n in range(1, 10)
        ),
        tables=(Table(name="heights", title="Heights", metric="height"),),
        headline="heights",
        references="none.csv",
    )  # fmt: skip


def record_of(trial: plan.Trial, digest: str) -> Record:
    """What a trial would have left."""
    number = int(trial.id[:8], 16) / 2**32
    lift = float(trial.method.params["lift"])
    curve = tuple(lift * step / 10 + number for step in range(10))
    return Record(
        id=trial.id, suite=NAME, method=trial.method.name, task=trial.task.name, seed=trial.seed,
        scale=trial.scale.name, protocol="standard", spec=trial.spec, status="ok",
        metrics={"height": lift + number, "noise": number},
        counts={"parameters": 1000, "updates": 40, "tokens": 100_000, "flops": 12_000_000},
        series={"height": Series(x=tuple(range(10)), y=curve)},
        cost=Cost(wall_seconds=1 + number, cpu_seconds=1 + number, peak_memory_bytes=100_000_000),
        provenance=Provenance(
            started=f"2025-01-01T00:00:{int(60 * number):02}+00:00",
            finished="2025-01-01T00:01:00+00:00", commit="0" * 40, dirty=False,
            source_digest=digest, python="3.11.9",
            packages={"numpy": "2.0.0", "torch": "2.10.0", "scipy": "1.14.0"},
            platform="Linux", processor="toy", cores=2, memory_bytes=8_000_000_000,
            accelerator=None, threads=1, flags={"PYTHONHASHSEED": "0"}, command=("harness", "run"),
        ),
    )  # fmt: skip


def write_records(results: Path, cache: Path) -> int:
    """Fills a results folder through the store's own writer; how many records it has then."""
    made = registry.load(NAME)
    store = Store(results, cache)
    trials, _ = plan.trials(made, made.scale("laptop"))
    digest = registry.source_digest(trials[0].method.run)
    for trial in trials:
        store.commit(record_of(trial, digest))
    return len(trials)
