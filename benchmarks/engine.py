"""What the engine itself costs: commands over many records, a trial's overhead, a cold start.

    python -m benchmarks engine [--records 10000 100000] [--rounds 3] [--peers /tmp/peers/bin]

Records of a toy suite (`toy-large`: 20 methods on 50 tasks, two metrics, four counts and a curve of
ten points each; 2.2 kB a file) are written once, by the store's own writer, into a temporary
folder. Every command is a process of its own; all ways of a row take turns in every round, and the
numbers are medians over the rounds. Seconds are those of the wall clock, CPU seconds and memory
those of the command and what it waited for. `cold`: with an empty cache folder. `verified`: with
what an earlier command noted in it.

`--peers` names a folder with `snakemake` and `doit`: nothing to do over as many targets. Needs the
committed records beside it; two cores.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from harness import plan, registry
from harness.record import Cost, Provenance, Record, Series
from harness.store import Store
from harness.suite import Beats, Method, Metric, Paper, Scale, Suite, Table, Task

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / "tests" / "toy"
NAME = "toy-large"
METHODS, TASKS = 20, 50
SIZE = "TOY_LARGE_RECORDS"
"""Environment variable: how many trials the suite has."""
FEW, MANY = 100, 300
"""Trials of two runs, whose difference is the overhead without the start."""


def suite() -> Suite:
    """Twenty walks on fifty tasks; never run: their records are written down."""
    number = int(os.environ.get(SIZE, "10000"))
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


def write_records(results: Path, cache: Path) -> None:
    """Fills a results folder through the store's own writer."""
    made = registry.load(NAME)
    store = Store(results, cache)
    trials, _ = plan.trials(made, made.scale("laptop"))
    digest = registry.source_digest(trials[0].method.run)
    for trial in trials:
        store.commit(record_of(trial, digest))


class Spent(NamedTuple):
    """What one command took."""

    seconds: float
    cpu: float
    memory: int
    """Bytes; the largest resident set of the command and of what it waited for."""


class Bench:
    """A temporary folder in which commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        offer = folder / "offer" / "toy_large-1.0.dist-info"
        offer.mkdir(parents=True)
        (offer / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {NAME}\nVersion: 1.0\n")
        (offer / "entry_points.txt").write_text(
            f"[harness.suites]\n{NAME} = benchmarks.engine:suite\n"
        )
        (offer.parent / "toy_suite_package").symlink_to(TOY / "toy_suite_package")
        self.env = os.environ | {
            "PYTHONPATH": os.pathsep.join(map(str, (ROOT, offer.parent))),
            "HARNESS_CACHE": str(folder / "cache"),
            "MPLBACKEND": "agg",
        }

    def time(self, *words: object, **env: str) -> Spent:
        """Runs a command to its end; 4 says that reports differ from the records.

        Raises:
            RuntimeError: it failed.
        """
        started = time.perf_counter()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [*map(str, words)], cwd=ROOT, env=self.env | env, stdout=said, stderr=said
            )
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode not in (0, 4):
                said.seek(0)
                raise RuntimeError(f"{words}: {said.read()[-2000:].decode(errors='replace')}")
        return Spent(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * 1024)

    def harness(self, *words: object, **env: str) -> Spent:
        """Runs a command of the harness."""
        code = "from harness.cli import main; main()"
        return self.time(sys.executable, "-c", code, *words, **env)

    def cold(self) -> None:
        """Forgets what was verified."""
        shutil.rmtree(self.folder / "cache" / "verified", ignore_errors=True)

    def records(self, count: int) -> Path:
        """A results folder with so many records."""
        results = self.folder / f"results-{count}"
        code = "import sys; from pathlib import Path; from benchmarks.engine import write_records; "
        code += "write_records(Path(sys.argv[1]), Path(sys.argv[2]))"
        if not results.exists():
            cache = self.folder / "cache"
            self.time(sys.executable, "-c", code, results, cache, **{SIZE: str(count)})
        return results


def median(spent: Sequence[Spent]) -> Spent:
    """Of each number by itself."""
    return Spent(*(statistics.median(column) for column in zip(*spent, strict=True)))


def line(what: str, spent: Spent, note: str = "") -> str:
    """A row of the table."""
    cells = (
        what, f"{spent.seconds:.2f}", f"{spent.cpu:.2f}", f"{spent.memory / 2**20:.0f}", note
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


def over_records(bench: Bench, count: int, rounds: int) -> Iterator[str]:
    """Commands over so many records of the toy suite."""
    results = bench.records(count)
    size = {SIZE: str(count)}
    folder = ("--results", results)
    commands: dict[str, tuple[object, ...]] = {
        "run, nothing to do": ("run", NAME, "--scale", "laptop", *folder),
        "claims": ("claims", NAME, *folder),
        "report": ("report", *folder, "--reports", bench.folder / f"reports-{count}"),
    }
    yield from ways(bench, f"{count:,} records", commands, size, rounds)


def over_committed(bench: Bench, rounds: int) -> Iterator[str]:
    """Commands over the records of this project."""
    env = {"PYTHONPATH": str(ROOT)}
    commands: dict[str, tuple[object, ...]] = {
        "claims": ("claims",),
        "report --check": ("report", "--check"),
    }
    yield from ways(bench, "committed records", commands, env, rounds)


def ways(
    bench: Bench,
    over: str,
    commands: dict[str, tuple[object, ...]],
    env: dict[str, str],
    rounds: int,
) -> Iterator[str]:
    """Each command with an empty cache and with what it left there, in turns."""
    spent: dict[tuple[str, str], list[Spent]] = {}
    for _ in range(rounds):
        for what, words in commands.items():
            bench.cold()
            for way in ("cold", "verified"):
                spent.setdefault((what, way), []).append(bench.harness(*words, **env))
    for (what, way), times in spent.items():
        yield line(f"`{what}`, {over}, {way}", median(times))


def overhead(bench: Bench, rounds: int, workers: int = 2) -> Iterator[str]:
    """Milliseconds that a worker spends on a trial beyond the trial's own work."""
    found = []
    env = {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, TOY)))}
    for number in range(rounds):
        spent = {}
        for trials in (FEW, MANY):
            results = bench.folder / f"run-{number}-{trials}"
            words = ("run", "toy-many", "--jobs", workers, "--seeds", f"0-{trials // 100 - 1}")
            spent[trials] = bench.harness(*words, "--results", results, **env).seconds
            files = list(results.glob("toy-many/smoke/*.json"))
            assert len(files) == trials
            own = statistics.fmean(
                json.loads(path.read_bytes())["cost"]["wall_seconds"] for path in files
            )
        found.append(workers * (spent[MANY] - spent[FEW]) / (MANY - FEW) - own)
    each = ", ".join(f"{1000 * seconds:.1f}" for seconds in found)
    middle = f"{statistics.median(found):.4f}"
    yield f"| overhead of a trial, {workers} workers | {middle} | | | {each} ms |"


def against(bench: Bench, peers: Path, count: int, rounds: int) -> Iterator[str]:
    """Nothing to do, beside other tools that know as many targets."""
    results = bench.records(count)
    folder = bench.folder / f"targets-{count}"
    out = folder / "out"
    if not folder.exists():
        out.mkdir(parents=True)
        (folder / "Snakefile").write_text(
            f"N = range({count})\n"
            "rule all:\n    input: expand('out/{n}', n=N)\n"
            "rule one:\n    input: 'source'\n    output: 'out/{n}'\n    shell: 'touch {output}'\n"
        )
        (folder / "dodo.py").write_text(
            f"def task_one():\n    for n in range({count}):\n"
            "        yield {'name': str(n), 'targets': [f'out/{n}'], 'file_dep': ['source'],\n"
            "               'actions': [f'touch out/{n}']}\n"
        )
        (folder / "source").write_text("what every target is made by\n")
        for number in range(count):
            (out / str(number)).touch()
    snakemake = (peers / "snakemake", "--quiet", "all", "--cores", "2", "-d", folder)
    doit = (peers / "doit", "run", "--verbosity", "0", "-f", folder / "dodo.py", "-d", folder)
    plain = {"PYTHONPATH": ""}
    bench.time(peers / "doit", "reset-dep", "-f", folder / "dodo.py", "-d", folder, **plain)
    size = {SIZE: str(count)}
    own = ("run", NAME, "--scale", "laptop", "--results", results)
    bench.harness(*own, **size)  # each tool has seen its targets once
    spent: dict[str, list[Spent]] = {}
    for _ in range(rounds):
        spent.setdefault("ours", []).append(bench.harness(*own, **size))
        spent.setdefault("snakemake", []).append(
            bench.time(*snakemake, "-s", folder / "Snakefile", **plain)
        )
        spent.setdefault("doit", []).append(bench.time(*doit, **plain))
    for name in ("snakemake", "doit"):
        pairs = zip(spent["ours"], spent[name], strict=True)
        ratio = statistics.median(one.seconds / other.seconds for one, other in pairs)
        what = f"{name}, nothing to do, {count:,} targets"
        yield line(what, median(spent[name]), f"ours takes {ratio:.2f} of it")


def starts(bench: Bench, rounds: int) -> Iterator[str]:
    """What a command of one smoke trial takes beyond the trial, and the memory of its worker."""
    for name in ("bam", "gate", "merging", "mixup"):
        suite = registry.load(name)
        trials, _ = plan.trials(suite, suite.scale("smoke"))
        trial = min(trials, key=lambda t: len(t.needs))
        words = ("--methods", trial.method.name, "--tasks", trial.task.name, "--seeds", trial.seed)
        whole, rest, memory = [], [], []
        for number in range(rounds):
            results = bench.folder / f"start-{name}-{number}"
            folder = ("--scale", "smoke", "--jobs", 1, "--results", results)
            whole.append(bench.harness("run", name, *folder, *words, PYTHONPATH=str(ROOT)))
            (path,) = results.glob("*/smoke/*.json")
            cost = json.loads(path.read_bytes())["cost"]
            rest.append(whole[-1].seconds - cost["wall_seconds"])
            memory.append(cost["peak_memory_bytes"])
        note = f"{statistics.median(rest):.1f} s beyond the trial" if not trial.needs else ""
        note = ", ".join(
            filter(None, (note, f"{statistics.median(memory) / 2**20:.0f} MiB a worker"))
        )
        yield line(f"{name}: {trial.title}, smoke", median(whole), note)


def main() -> None:
    """Prints the table, a line as soon as it is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, nargs="*", default=[10_000])
    parser.add_argument("--targets", type=int, default=10_000, help="beside snakemake and doit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, help="folder with snakemake and doit")
    kinds = ("records", "committed", "overhead", "peers", "start")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds)
    args = parser.parse_args()
    print("| what | seconds | CPU seconds | MiB | |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(Path(temporary))
        sys.path[:0] = [str(bench.folder / "offer")]  # where this process finds the toy suite
        rows = {
            "records": (r for n in args.records for r in over_records(bench, n, args.rounds)),
            "committed": over_committed(bench, args.rounds),
            "overhead": overhead(bench, args.rounds),
            "peers": against(bench, args.peers, args.targets, args.rounds) if args.peers else (),
            "start": starts(bench, args.rounds),
        }
        for kind in args.only:
            for row in rows[kind]:
                print(row, flush=True)


if __name__ == "__main__":
    main()
