"""Time and memory of the bilevel search and of mixed weights, as ratios to vanilla finetuning.

    python benchmarks/mixup.py [--layers 3] [--tokens 32] [--batch 16] [--rounds 12] [--threads 1]

The first layers of the packaged MiniLM with frozen embeddings, as at laptop scale; random token
ids; AdamW in its fused form on both sides, the gradient clipped, dropout on.

Time: CPU time of this process; the variants take turns in every round, in an order that rotates,
after two rounds that do not count. A ratio is the median of the ratios within a round, so that a
slow spell of the machine touches both sides.
Memory: what torch's CPU allocator holds at the worst moment of one step beyond an empty process's,
parameters, buffers, optimiser states and activations included: a running sum over the
allocations and releases that torch.profiler records, on top of what lives before the step.

Exits with 1 if a ratio is above its limit.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from suites.mixup import kernels
from suites.mixup.bilevel import Bilevel
from suites.mixup.encoder import Batch, Classifier, load, task_loss
from suites.mixup.mixing import attach, factors, fold, formed, mixed
from suites.mixup.optimizer import groups
from suites.mixup.settings import SearchOptions, passes

LIMITS = {
    "bilevel step, roll-back": 4.5,
    "bilevel step, roll-back, code form": 4.5,
    "bilevel step, first order, no roll-back": 2.6,
    "forward, mixed weights formed once": 1.15,
    "forward, folded": 1.02,  # a plain model; the rest is noise
    "memory of a bilevel step": 2.2,
}
RATE, DECAY, CLIP = 2e-4, 0.01, 1.0


def loss(model: Any, batch: Batch) -> Tensor:
    """Cross-entropy of a batch."""
    return task_loss(model(batch), batch.labels_B, False)


class Bench:
    """Models and batches of one size."""

    def __init__(self, layers: int, tokens: int, batch: int) -> None:
        self.layers = layers
        self.generator = torch.Generator().manual_seed(0)
        self.shape = (batch, tokens)

    def batch(self) -> Batch:
        """Random tokens and labels."""
        ids_BT = torch.randint(1000, 20_000, self.shape, generator=self.generator)
        labels_B = torch.randint(0, 2, self.shape[:1], generator=self.generator)
        return Batch(ids_BT, torch.ones_like(ids_BT), torch.zeros_like(ids_BT), labels_B)

    def model(self) -> Classifier:
        """A classifier in training mode."""
        return Classifier(
            load(f"minilm-{self.layers}", self.generator).model,
            2,
            regression=False,
            generator=self.generator,
            freeze_embeddings=True,
        ).train()

    def vanilla(self) -> Callable[[], object]:
        """One finetuning step."""
        model, batch = self.model(), self.batch()
        optimizer = torch.optim.AdamW(groups(model, RATE, DECAY), fused=True)

        def step() -> float:
            value = loss(model, batch)
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            return value.item()

        return step

    def bilevel(self, form: Any = "convex", **options: Any) -> Callable[[], object]:
        """One step of the search."""
        model = self.model()
        attach(model, r"^encoder\.", form, generator=self.generator)
        weights = torch.optim.AdamW(groups(model, RATE, DECAY, factors(model)), fused=True)
        alphas = torch.optim.AdamW(factors(model), lr=2e-3, weight_decay=0.0)
        level = Bilevel(model, loss, weights, alphas, SearchOptions(**options))
        batches = self.batch(), self.batch()
        return lambda: level.step(*batches)

    def forward(self, kind: str) -> Callable[[], object]:
        """The forward half of a training step: `plain`, `formed` again before it, or `folded`."""
        model, batch = self.model(), self.batch()
        if kind != "plain":
            attach(model, r"^encoder\.", generator=self.generator)
        if kind == "folded":
            fold(model)
        buffers = [torch.empty_like(layer.weight_OI) for layer in mixed(model)]

        def run() -> None:
            with formed(model, buffers):
                loss(model, batch)

        return run


def times(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every variant in every round."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(rounds + 2):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            start = time.process_time()
            variants[name]()
            if turn > 1:
                found[name].append(time.process_time() - start)
    return found


def peak_bytes(make: Callable[[], Callable[[], object]]) -> int:
    """Memory of a step at its worst moment, with all that it needs to exist."""
    activities = [ProfilerActivity.CPU]
    with profile(activities=activities, profile_memory=True) as recorded:
        step = make()
        for _ in range(2):
            step()
    held = peak = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


def main() -> int:
    """Measures, prints, judges."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, value in (("layers", 3), ("tokens", 32), ("batch", 16), ("rounds", 12)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    kernels.warm_up()
    bench = Bench(given.layers, given.tokens, given.batch)
    variants = {
        "vanilla step": bench.vanilla(),
        "bilevel step, roll-back": bench.bilevel(),
        "bilevel step, roll-back, code form": bench.bilevel("code"),
        "bilevel step, no roll-back": bench.bilevel(roll_back=False),
        "bilevel step, first order, no roll-back": bench.bilevel(
            hypergradient="first-order", roll_back=False
        ),
        "bilevel step, central differences": bench.bilevel(differences="central"),
    }
    forwards = {
        "forward": bench.forward("plain"),
        "forward, mixed weights formed once": bench.forward("formed"),
        "forward, folded": bench.forward("folded"),
    }
    ratios = {}
    for group in (variants, forwards):
        found = times(group, given.rounds)
        base = next(iter(found))
        for name, seconds in found.items():
            ratio = statistics.median(a / b for a, b in zip(seconds, found[base], strict=True))
            ratios[name] = ratio
            print(f"{name:42s}{1e3 * statistics.median(seconds):9.1f} ms  {ratio:5.2f}", flush=True)
    del variants, forwards
    plain, mine = peak_bytes(bench.vanilla), peak_bytes(bench.bilevel)
    ratios["memory of a bilevel step"] = mine / plain
    print(f"{'memory of a vanilla step':42s}{plain / 2**20:9.1f} MiB")
    print(f"{'memory of a bilevel step':42s}{mine / 2**20:9.1f} MiB {mine / plain:5.2f}")
    above = {name: limit for name, limit in LIMITS.items() if ratios[name] > limit}
    for name, limit in above.items():
        print(f"above its limit of {limit}: {name}")
    print(f"passes of a step: {passes('finite', 'forward', True)} with roll-back")
    return int(bool(above))


if __name__ == "__main__":
    sys.exit(main())
