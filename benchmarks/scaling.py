"""Seconds per trial of what the engine does beside the training, as plans grow.

    python benchmarks/scaling.py --trials 1000 10000 --run 200

Plans the toy suite of a thousand trials with more and more seeds; times planning, ordering,
locking, committing and loading apart, and some whole trials on two workers. `--folder` puts the
records and the cache on the file system that is asked about.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

TOY = Path(__file__).parents[1] / "tests" / "toy"


def main() -> None:
    parser = argparse.ArgumentParser(description="Seconds per trial as plans grow.")
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--run", type=int, default=200, help="whole trials")
    parser.add_argument("--folder", type=Path, help="where records and cache are put")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rows = [measured(number, Path(folder) / str(number)) for number in args.trials]
        overhead = whole(args.run, Path(folder) / "run")
    print("| trials | " + " | ".join(rows[0]) + " |")
    print("|---" * (len(rows[0]) + 1) + "|")
    for number, row in zip(args.trials, rows, strict=True):
        print(f"| {number:,} | " + " | ".join(f"{ms:.2f}" for ms in row.values()) + " |")
    print(f"a whole trial of a few steps on two workers: {overhead:.0f} ms of the machine")


def measured(number: int, folder: Path) -> dict[str, float]:
    """Milliseconds per trial of each part."""
    from harness import executors, plan, registry, variants
    from harness.data import Sources
    from harness.executors.order import Order
    from harness.run import DONE, Outcome, failure
    from harness.store import Store

    suite, store = registry.load("toy-many"), Store(folder / "results", folder / "cache")
    scale = variants.seeded(suite.scale("smoke"), tuple(range(-(-number // 100))))
    sources, found = Sources(None, store.cache), {}

    def part(name: str, count: int, function: Callable[[], object]) -> object:
        began = time.perf_counter()
        result = function()
        found[name] = (time.perf_counter() - began) / count * 1000
        return result

    made = part("plan", number, lambda: plan.make(suite, scale, [], store, sources))
    work = part("jobs", number, lambda: executors.work(made, store, sources))

    def ordered() -> None:
        order = Order(work)
        while (item := order.next()) is not None:
            order.end(item.job.id, Outcome(DONE))

    part("order", number, ordered)
    few = min(number, 1000)

    def locked() -> None:
        for item in itertools.islice(work, few):
            with store.lock(item.job.id) as lock:
                lock.check()

    part("lock", few, locked)
    records = [failure(item.job, "failed", "", "2026-01-01T00:00:00+00:00") for item in work]

    def committed(some: Iterable) -> None:
        for record in some:
            store.commit(record)

    part("commit", few, lambda: committed(records[:few]))
    committed(records[few:])
    there = part("load", number, lambda: store.load("toy-many").records)
    part("plan again", number, lambda: plan.make(suite, scale, there, store, sources))
    return found


def whole(number: int, folder: Path) -> float:
    """Milliseconds of the machine per trial of a few steps, all in all."""
    from harness import executors, plan, registry
    from harness.data import Sources
    from harness.executors.local import Local
    from harness.store import Store

    suite, store = registry.load("toy-many"), Store(folder / "results", folder / "cache")
    made = plan.make(suite, suite.scale("smoke"), [], store, Sources(None, store.cache))
    work = executors.work(made, store, Sources(None, store.cache))[:number]
    Local(2).run(work[:4], lambda _: None)  # starts the fork server
    began = time.perf_counter()
    Local(2).run(work[4:], lambda _: None)
    return (time.perf_counter() - began) / (len(work) - 4) * 1000


if __name__ == "__main__":
    sys.path.insert(0, str(TOY))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TOY), os.environ.get("PYTHONPATH", "")])
    os.environ["TOY_STEP_SECONDS"] = "0"
    main()
