"""Several seeds of a small training: one process each, beside one run after another.

    python -m benchmarks seeds -- [--rounds 5] [--only gate lm]

| row        | trainings                                           | peer                     |
|------------|-----------------------------------------------------|--------------------------|
| gate       | 10 seeds of a five-layer GATE on one graph          | with PyG's GATv2Conv     |
| classifier | 5 finetunings of a two-layer text classifier        | the same runs            |
| search     | 5 bilevel searches of it                            | the same runs            |
| lm         | 5 seeds of a language model of 0.7 million weights  | the same runs            |

Ours is how a suite runs: a process for each core, with one thread, that has loaded what it needs
and takes the next seed. The peer makes one run after another in one process, with a thread for each
core or with one thread; both are timed, the faster counts. What a process loads is timed on neither
side. Wall clock; the sides take turns in every round, in an order that rotates, after a round that
does not count; a ratio is the median of the ratios within a round. Weights and data are random, of
the shapes that laptop scale has.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import nn

CORES = len(os.sched_getaffinity(0))


def gate(seed: int, peer: bool) -> None:
    """Twenty epochs of five layers of width 64 on a grid of 10,000 nodes."""
    from torch_geometric.nn import GATv2Conv

    from benchmarks.gate_conv import king_grid
    from suites.gate.model import Network, build

    draws = torch.Generator().manual_seed(seed)
    edges, x_NF = king_grid(100), torch.randn(10_000, 7, generator=draws)
    labels_N = torch.randint(0, 2, (10_000,), generator=draws)
    network: nn.Module = build("gate", 7, 64, 2, 5, draws)
    if peer:
        widths = [7, 64, 64, 64, 64, 2]
        # Two matrices where GATE has three; no loops beside those that attention adds itself.
        network = Network([GATv2Conv(a, b) for a, b in itertools.pairwise(widths)])
    optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
    for _ in range(20):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x_NF, edges), labels_N).backward()
        optimizer.step()


def classifier(seed: int, peer: bool) -> None:
    """Ten updates of vanilla finetuning."""
    from benchmarks.mixup import Bench

    del peer
    torch.manual_seed(seed)
    step = Bench(layers=2, tokens=32, batch=16).vanilla()
    for _ in range(10):
        step()


def search(seed: int, peer: bool) -> None:
    """Three bilevel steps."""
    from benchmarks.mixup import Bench

    del peer
    torch.manual_seed(seed)
    step = Bench(layers=2, tokens=32, batch=16).bilevel()
    for _ in range(3):
        step()


def lm(seed: int, peer: bool) -> None:
    """Fifteen updates of 16 sequences of 64 tokens: width 64, 2 layers, a vocabulary of 5,120."""
    from suites.bam.model.causal_lm import BamForCausalLM
    from suites.bam.model.configuration import BamConfig

    del peer
    torch.manual_seed(seed)
    config = BamConfig(
        vocab_size=5120, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=2, head_dim=32,
    )  # fmt: skip
    model = BamForCausalLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, fused=True)
    for _ in range(15):
        ids_BT = torch.randint(5120, (16, 64))
        optimizer.zero_grad()
        model(ids_BT, labels=ids_BT).loss.backward()
        optimizer.step()


class Work(NamedTuple):
    """One row."""

    run: Callable[[int, bool], None]
    seeds: int
    at_most: float
    """What the ratio may be."""


ROWS = {
    "gate": Work(gate, 10, 0.2),
    "classifier": Work(classifier, 5, 0.7),
    "search": Work(search, 5, 0.7),
    "lm": Work(lm, 5, 0.7),
}


def alone(threads: int) -> None:
    """What a process of either side does first."""
    torch.set_num_threads(threads)


def one(job: tuple[str, int, bool]) -> None:
    """Trains one seed; `job` is the row, the seed, and whether it is the peer's."""
    name, seed, peer = job
    ROWS[name].run(seed, peer)


def timed(pool: Any, name: str, peer: bool) -> float:
    """Seconds for all seeds of a row, as the pool's processes become free."""
    jobs = [(name, seed, peer) for seed in range(ROWS[name].seeds)]
    start = time.perf_counter()
    for _ in pool.imap_unordered(one, jobs):
        pass
    return time.perf_counter() - start


def main() -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=list(ROWS), choices=ROWS)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    worst = 0.0
    print("row         ours s  peer, all threads s  peer, 1 thread s   ratio  at most")
    with (
        context.Pool(CORES, alone, (1,)) as ours,
        context.Pool(1, alone, (CORES,)) as wide,
        context.Pool(1, alone, (1,)) as narrow,
    ):
        for name in given.only:
            sides = {"ours": (ours, False), "wide": (wide, True), "narrow": (narrow, True)}
            order, times = list(sides), {side: list[float]() for side in sides}
            for turn in range(given.rounds + 1):
                for side in order[turn % 3 :] + order[: turn % 3]:
                    took = timed(sides[side][0], name, sides[side][1])
                    if turn:
                        times[side].append(took)
            pairs = zip(times["ours"], times["wide"], times["narrow"], strict=True)
            ratio = statistics.median(a / min(b, c) for a, b, c in pairs)
            shown = [statistics.median(times[side]) for side in order]
            print(
                f"{name:10s}  {shown[0]:6.2f}  {shown[1]:19.2f}  {shown[2]:16.2f}  {ratio:6.2f}"
                f"  {ROWS[name].at_most:7g}",
                flush=True,
            )
            worst = max(worst, ratio / ROWS[name].at_most)
    return int(worst > 1)


if __name__ == "__main__":
    sys.exit(main())
