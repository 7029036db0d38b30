"""Tunes the learning rates of the mixup suite at laptop scale, on seeds that are never reported.

    python -m benchmarks.mixup_tune --data <folder> [--methods vanilla lora] [--jobs 2]

Every method is tried with every rate of its grid on two tasks; the rate with the best mean score
wins. Methods that are vanilla finetuning with something added, and those that repeat or average it,
are not tried themselves: they take its rate. `mixup-convex-k1` is tried with rates of alpha, W's
being vanilla's, and the mean learnt alpha is printed beside the score: what stays near 1 is the
finetuned model. The score is that of the tasks' test sets, so the rates have seen their texts, but
no training that is reported.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from harness import digits, plan, registry
from harness.data import Sources
from harness.run import Context
from harness.store import Store
from suites.mixup import checks, trials

SEEDS = (1000, 1001)
TASKS = ("sst-2-n300", "trec-n300")
WHOLE = (5e-5, 1e-4, 2e-4, 4e-4)
GRIDS = {
    "vanilla": WHOLE,
    **dict.fromkeys(
        ("mixout", "child-tuning-d", "child-tuning-f", "dps-dense", "dps-mix"), WHOLE[1:]
    ),
    "top-k": (8e-4, 1.6e-3, 3.2e-3, 6.4e-3),
    "bit-fit": (1e-3, 4e-3, 1.6e-2),
    "lora": (1.6e-3, 3.2e-3, 6.4e-3),
    "mixup-convex-k1": (2e-3, 1e-2, 5e-2, 1e-1),
}
"""Few weights, or weights that begin at zero, take higher rates. Of mixup these are alpha's."""


class Try(NamedTuple):
    """One training."""

    method: str
    task: str
    seed: int
    rate: float
    data: str


class Found(NamedTuple):
    """What came of it."""

    tried: Try
    score: float
    alpha: float | None
    """Mean learnt alpha, of methods that have one."""
    seconds: float
    """CPU time."""


def train(job: Try) -> Found:
    """Trains once."""
    torch.set_num_threads(1)
    suite = registry.load("mixup")
    laptop = suite.scale("laptop")
    what = "alpha_rate" if job.method.startswith("mixup") else "learning_rate"
    rates = {} if what == "learning_rate" else laptop.settings.plain()["learning_rates"]
    settings = laptop.settings.model_copy(update={what: job.rate, "learning_rates": rates})
    update = {"seeds": (job.seed,), "exclude": (), "axes": (), "settings": settings}
    scale = laptop.model_copy(update=update)
    wanted = plan.Filters((job.method,), (job.task,), (job.seed,))
    trial = plan.trials(suite, scale, "cpu", wanted)[0][0]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        store = Store(folder / "results", folder / "cache")
        ctx = Context(trial, store, Sources(Path(job.data), folder))
        torch.manual_seed(ctx.stream("libraries"))
        start = time.process_time()
        found = trials.run(ctx)["score"]
        seconds = time.process_time() - start
    alphas = checks.learnt(ctx.finished_series())
    return Found(job, found, digits.mean(alphas) if alphas else None, seconds)


def jobs(methods: Sequence[str], seeds: Sequence[int], data: str) -> list[Try]:
    """Every method, rate, task and seed."""
    return [
        Try(method, task, seed, rate, data)
        for seed in seeds
        for task in TASKS
        for method in methods
        for rate in GRIDS[method]
    ]


def main() -> None:
    """Prints a table of mean scores and the best rate of each method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default=os.environ.get("HARNESS_DATA"), help="data folder")
    parser.add_argument("--methods", nargs="+", default=list(GRIDS), choices=GRIDS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    given = parser.parse_args()
    if not given.data:
        parser.error("no data folder: give --data or set HARNESS_DATA")
    cells: dict[tuple[str, float], list[Found]] = {}
    with multiprocessing.get_context("spawn").Pool(given.jobs) as pool:
        tries = jobs(given.methods, given.seeds, given.data)
        for found in pool.imap_unordered(train, tries):
            cells.setdefault((found.tried.method, found.tried.rate), []).append(found)
            tried = found.tried
            print(
                f"{tried.method} {tried.rate:g} on {tried.task}, seed {tried.seed}: "
                f"{found.score:.2f}" + (f", alpha {found.alpha:.3f}" if found.alpha else ""),
                file=sys.stderr,
                flush=True,
            )
    print(f"mean score over {', '.join(TASKS)}, seeds {', '.join(map(str, given.seeds))}")
    for method in given.methods:
        means = {r: digits.mean([f.score for f in cells[method, r]]) for r in GRIDS[method]}
        best = max(means, key=lambda rate: means[rate])
        words = []
        for rate, mean in means.items():
            alphas = [f.alpha for f in cells[method, rate] if f.alpha is not None]
            shown = f" (alpha {digits.mean(alphas):.2f})" if alphas else ""
            words.append(f"{rate:g}: {mean:.2f}{shown}")
        print(f"{method:16s} {'  '.join(words)}  best {best:g}")
    print(f"{sum(f.seconds for them in cells.values() for f in them):.0f} CPU-seconds")


if __name__ == "__main__":
    main()
