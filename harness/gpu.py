"""What a plan takes on one GPU, by FLOPs, bytes and kernels: an estimate before anything has run.

Each suite says what a trial or an artifact makes a GPU do (`Suite.effort`). The time is that of the
resource which is used up last; trials that share a GPU overlap, so that launches and the work of
the CPU are divided among them.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from harness import number
from harness.identity import Node
from harness.plan import Plan, reachable, trials
from harness.registry import call
from harness.suite import Artifact, Method, Task

Precision = Literal["float32", "bfloat16"]
Bound = Literal["arithmetic", "memory traffic", "kernel launches", "the CPU"]


class Effort(NamedTuple):
    """What one trial or artifact makes a GPU and its host do."""

    flops: float
    """Floating-point operations; a multiply-add is two."""
    moved: float
    """Bytes read from and written to the GPU's memory."""
    kernels: float
    """Kernels launched."""
    memory: float
    """Bytes of the GPU's memory held at once."""
    host: float = 0.0
    """CPU-seconds that the GPU takes nothing of, such as simulated physics."""
    precision: Precision = "float32"
    """Of the matrix products."""


class Card(NamedTuple):
    """What a GPU and its host reach in practice, not on paper."""

    name: str
    flops: dict[Precision, float]
    """Per second."""
    moved: float
    """Bytes per second."""
    launch: float
    """Seconds from one launch of a process to its next."""
    memory: float
    """Bytes."""
    cores: int
    """CPU cores beside it."""


H200 = Card(
    name="H200-class GPU",
    # 40 % of the data sheet's dense peaks (67 and 989 TFLOP/s), 70 % of its 4.8 TB/s.
    flops={"float32": 27e12, "bfloat16": 396e12},
    moved=3.4e12,
    launch=6e-6,
    memory=141e9,
    cores=16,
)
CONTEXT = 6e8
"""Bytes that CUDA holds for each process before it computes anything."""
PACKED = 8
"""Trials at a time on one GPU, at most, in an estimate."""


class Estimate(NamedTuple):
    """The time of a plan on one GPU."""

    seconds: float
    bound: Bound
    """What it is spent on."""
    packed: int
    """Trials at a time (`--per-gpu`)."""
    flops: float
    moved: float
    kernels: float
    memory: float
    """Bytes that the largest job holds."""


def estimate(efforts: Sequence[Effort], card: Card = H200) -> Estimate:
    """The time of jobs on one GPU, with as many at a time as its memory holds."""
    largest = max((effort.memory for effort in efforts), default=0.0)
    fits = int(0.9 * card.memory / largest) if largest else PACKED
    packed = max(1, min(PACKED, fits, card.cores, len(efforts)))
    spent: dict[Bound, float] = {
        "arithmetic": sum(e.flops / card.flops[e.precision] for e in efforts),
        "memory traffic": sum(e.moved for e in efforts) / card.moved,
        "kernel launches": sum(e.kernels for e in efforts) * card.launch / packed,
        "the CPU": sum(e.host for e in efforts) / min(card.cores, packed),
    }
    bound = max(spent, key=lambda name: spent[name])
    return Estimate(
        spent[bound],
        bound,
        packed,
        sum(e.flops for e in efforts),
        sum(e.moved for e in efforts),
        sum(e.kernels for e in efforts),
        largest,
    )


def efforts(made: Plan, first: Iterable[Node]) -> list[Effort]:
    """What all trials of a plan that have no record, and the artifacts before them, take.

    Trials whose data are not here count too: an estimate is asked for before data are fetched.

    Raises:
        SpecError: the suite names a function that is not there.
    """
    if made.suite.effort is None:
        return []
    of = call(made.suite.effort)
    settings = made.scale.settings
    absent = [step.trial for step in made.steps if step.state == "no data"]
    nodes = list(first)
    if absent:
        every = trials(made.suite, made.scale, made.device)[1]
        needed = reachable([trial.needs for trial in absent], every) - {node.id for node in nodes}
        nodes += [every[identity] for identity in sorted(needed)]
    jobs: list[tuple[Method | Artifact, Task | None]] = []
    jobs += [(node.artifact, node.task) for node in nodes]
    jobs += [(trial.method, trial.task) for trial in (*made.todo, *absent)]
    known: dict[Any, Effort] = {}
    found = []
    for thing, task in jobs:
        key = (thing.name, task.name if task else None)
        if key not in known:
            known[key] = of(thing, task, settings)
        found.append(known[key])
    return found


def line(found: Sequence[Effort], card: Card = H200) -> str:
    """The estimate in one line."""
    told = estimate(found, card)
    days = told.seconds / 86_400
    time = number.seconds(told.seconds) if days < 1 else f"{days:,.1f} GPU-days"
    return (
        f"estimate for one {card.name}: {time}, spent on {told.bound} (--per-gpu {told.packed}; "
        f"{told.flops:.1e} FLOP, {told.moved:.1e} bytes, {told.kernels:.1e} kernels, "
        f"{told.memory / 2**30:.1f} GiB a trial)"
    )
