"""Time and memory of the GATE layer beside PyG's GATv2Conv, as ratios.

    python benchmarks/gate_conv.py [--width 64 512] [--repeats 15] [--threads 1]

One layer, forward and backward with gradients of inputs and parameters, on a graph of the shape
of minesweeper: a 100 x 100 grid with king moves (10,000 nodes, 78,804 directed edges), random
features, as wide in as out, float32.

Time: wall clock; the four variants take turns inside each round, in an order that rotates, after
two rounds that do not count. The table shows medians; a ratio is the median of the ratios within
a round, so that a slow spell of the machine touches both sides.
Memory: bytes that torch's CPU allocator holds at the worst moment of one pass beyond what it held
before (parameters, features and edges are not in it; outputs and gradients are), a running sum
over the allocations and releases that torch.profiler records. What a library takes outside that
allocator is not seen; the peak resident size of fresh processes agreed with it to 3 MiB for
GATEConv and was never below it by more than that for GATv2Conv.

A ratio is GATEConv over GATv2Conv with the same `share_weights`. Without sharing, GATEConv has
three matrices and GATv2Conv two. Exits with 1 if any ratio is above 1.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from suites.gate.conv import GATEConv
from suites.gate.kernels import warm_up

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from torch_geometric.nn import GATv2Conv

WARM_UP_ROUNDS = 2


class Cost(NamedTuple):
    """What one variant took."""

    seconds: list[float]
    """One entry a round."""
    peak_bytes: int


def king_grid(side: int) -> Tensor:
    """Edges between the cells of a square grid a king's move apart, both directions, [2, E]."""
    cell_RC = torch.arange(side * side).view(side, side)
    pairs = [
        (cell_RC[:, :-1], cell_RC[:, 1:]),
        (cell_RC[:-1], cell_RC[1:]),
        (cell_RC[:-1, :-1], cell_RC[1:, 1:]),
        (cell_RC[:-1, 1:], cell_RC[1:, :-1]),
    ]
    one_way = torch.stack([torch.cat([p[i].flatten() for p in pairs]) for i in (0, 1)])
    return torch.cat([one_way, one_way.flip(0)], dim=1)


def training_pass(
    conv: nn.Module, x_NF: Tensor, edge_index_2E: Tensor, grad_NO: Tensor
) -> Callable[[], None]:
    """A forward and a backward; gradients of the last pass are dropped first."""

    def run() -> None:
        x_NF.grad = None
        conv.zero_grad(set_to_none=True)
        conv(x_NF, edge_index_2E).backward(grad_NO)

    return run


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def peak_bytes(run: Callable[[], None], release: Callable[[], None]) -> int:
    """Largest running sum of allocations minus releases during one pass."""
    release()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    results = profiler.profiler.kineto_results.events()
    events = sorted((e.start_ns(), e.nbytes()) for e in results if e.name() == "[memory]")
    held = peak = 0
    for _, size in events:
        held += size
        peak = max(peak, held)
    return peak


def measure(width: int, repeats: int) -> dict[str, Cost]:
    """Costs of the four variants at one width."""
    edge_index_2E = king_grid(100)
    generator = torch.Generator().manual_seed(0)
    x_NF = torch.randn(10_000, width, generator=generator).requires_grad_()
    grad_NO = torch.randn(10_000, width, generator=generator)
    convs = {
        "GATEConv shared": GATEConv(width, width, share_weights=True),
        "GATv2Conv shared": GATv2Conv(width, width, share_weights=True),
        "GATEConv": GATEConv(width, width),
        "GATv2Conv": GATv2Conv(width, width),
    }
    with torch.no_grad():
        for conv in convs.values():
            # Away from the zero start: a gradient of exactly zero could be cheaper.
            for parameter in conv.parameters():
                parameter.normal_(std=width**-0.5, generator=generator)
    runs = {name: training_pass(conv, x_NF, edge_index_2E, grad_NO) for name, conv in convs.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(WARM_UP_ROUNDS + repeats):
        for name in names[turn % 4 :] + names[: turn % 4]:
            took = seconds(runs[name])
            if turn >= WARM_UP_ROUNDS:
                times[name].append(took)

    def release() -> None:
        x_NF.grad = None
        for conv in convs.values():
            conv.zero_grad(set_to_none=True)

    return {name: Cost(times[name], peak_bytes(runs[name], release)) for name in names}


def main() -> int:
    """Prints the table; returns the exit code."""
    parser = argparse.ArgumentParser(description="GATEConv beside GATv2Conv: time and memory")
    parser.add_argument("--width", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warm_up()

    print(f"10,000 nodes, 78,804 edges, forward + backward, {args.threads} thread(s), float32")
    print(f"{'width':>5}  {'layer':<17} {'ms':>8} {'MiB':>8} {'time':>7} {'memory':>7}")
    worst = 0.0
    for width in args.width:
        costs = measure(width, args.repeats)
        for name, cost in costs.items():
            line = f"{width:>5}  {name:<17} {statistics.median(cost.seconds) * 1e3:>8.1f}"
            line += f" {cost.peak_bytes / 2**20:>8.1f}"
            if name.startswith("GATEConv"):
                peer = costs[name.replace("GATEConv", "GATv2Conv")]
                pairs = zip(cost.seconds, peer.seconds, strict=True)
                in_time = statistics.median(ours / theirs for ours, theirs in pairs)
                in_memory = cost.peak_bytes / peer.peak_bytes
                worst = max(worst, in_time, in_memory)
                line += f" {in_time:>6.2f}x {in_memory:>6.2f}x"
            print(line, flush=True)
    print(f"worst ratio {worst:.2f}: {'ok' if worst <= 1 else 'above 1'}")
    return int(worst > 1)


if __name__ == "__main__":
    sys.exit(main())
