"""Tunes one learning rate a method of the mixup suite, on seeds that are never reported.

    python benchmarks/mixup_tune.py --data <folder> [--methods vanilla lora] [--jobs 2]

Every method is tried with every rate of the grid on a few tasks and seeds from 100 on, at laptop
scale; the rate with the best mean score wins. Methods that search or repeat are not tried
themselves: they take the rate of vanilla finetuning, which is what they run inside.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from harness import plan, registry
from harness.data import Sources
from harness.run import Context
from harness.store import Store
from suites.mixup import trials

GRID = (2e-4, 4e-4, 8e-4, 1.6e-3)
SEEDS = (100, 101)
TASKS = ("sst-2-n300", "trec-n300", "sts-b-n300")
METHODS = (
    "vanilla", "l2-sp", "mixout", "child-tuning-d", "r-drop", "lora", "joint",
)  # fmt: skip
FASTER = {"lora": 16.0}
"""LoRA trains few weights from zero: its grid is that of the others times this."""


def score(job: tuple[str, str, int, float, str]) -> tuple[str, float, float, float]:
    """Trains once; returns method, rate, score and CPU-seconds."""
    method, task, seed, rate, data = job
    torch.set_num_threads(1)
    suite = registry.load("mixup")
    laptop = suite.scale("laptop")
    scale = laptop.model_copy(
        update={
            "seeds": (seed,),
            "exclude": (),
            "settings": laptop.settings.model_copy(
                update={"learning_rate": rate, "learning_rates": {}}
            ),
        }
    )
    wanted = plan.Filters((method,), (task,), (seed,))
    trial = plan.trials(suite, scale, "cpu", wanted)[0][0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = Store(folder / "results", folder / "cache")
        ctx = Context(trial, store, Sources(Path(data), folder))
        torch.manual_seed(ctx.stream("libraries"))
        start = time.process_time()
        found = trials.run(ctx)["score"]
    return method, rate, found, time.process_time() - start


def jobs(methods: Sequence[str], data: str) -> list[tuple[str, str, int, float, str]]:
    """Every method, task, seed and rate."""
    return [
        (method, task, seed, rate * FASTER.get(method, 1.0), data)
        for method in methods
        for task in TASKS
        for seed in SEEDS
        for rate in GRID
    ]


def main() -> None:
    """Prints a table of mean scores and the best rate of each method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default=os.environ.get("HARNESS_DATA"), help="data folder")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    given = parser.parse_args()
    if not given.data:
        parser.error("no data folder: give --data or set HARNESS_DATA")
    scores: dict[str, dict[float, list[float]]] = {}
    seconds = 0.0
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
        for method, rate, found, spent in pool.imap_unordered(
            score, jobs(given.methods, given.data)
        ):
            scores.setdefault(method, {}).setdefault(rate, []).append(found)
            seconds += spent
            print(f"{method} {rate:g} {found:.2f}", file=sys.stderr, flush=True)
    print(f"mean score over {', '.join(TASKS)}, seeds {', '.join(map(str, SEEDS))}")
    for method in given.methods:
        means = {rate: sum(v) / len(v) for rate, v in sorted(scores[method].items())}
        best = max(means, key=lambda rate: means[rate])
        cells = "  ".join(f"{rate:g}: {mean:.2f}" for rate, mean in means.items())
        print(f"{method:16s} {cells}  best {best:g}")
    print(f"{seconds:.0f} CPU-seconds")


if __name__ == "__main__":
    main()
