"""Where a command runs its work: what the command line says of it, turned into an executor."""

import math
import os
from collections.abc import Sequence
from typing import Literal, NamedTuple

from harness.errors import UsageError
from harness.executors import Executor
from harness.plan import Plan
from harness.record import Heading
from harness.store import Store

Kind = Literal["local", "ray", "slurm"]


class Place(NamedTuple):
    """This machine, or a cluster."""

    kind: Kind = "local"
    jobs: int = 0
    """Trials at a time; 0: as many as there is room for."""
    per_gpu: int = 1
    """Trials at a time on one GPU."""
    address: str | None = None
    """Of a Ray cluster; None: the one that the environment names, else one on this machine."""
    slurm: tuple[str, ...] = ()
    """`key=value` pairs."""

    @property
    def here(self) -> bool:
        """Whether trials run on this machine, so that its GPUs are those that count."""
        return self.kind == "local"

    def check(self) -> None:
        """Whether the options belong together.

        Raises:
            UsageError: one of them is of another kind of executor, or no option of it.
        """
        if self.address is not None and self.kind != "ray":
            raise UsageError("--address belongs to --executor ray")
        if self.slurm and self.kind != "slurm":
            raise UsageError("--slurm belongs to --executor slurm")
        if self.jobs and self.kind != "local":
            raise UsageError(
                f"--jobs is for this machine; leave it out with --executor {self.kind}, whose "
                "queue knows what there is"
            )
        if self.kind == "slurm":
            from harness.executors.slurm import options

            options(self.slurm)

    def open(
        self,
        plans: Sequence[Plan],
        records: Sequence[Heading],
        store: Store,
        deadline: float | None,
    ) -> tuple[Executor, int]:
        """An executor, and how many trials at a time it will run, as far as that is known.

        Raises:
            UsageError: so many trials do not fit on a GPU, or the cluster cannot be reached.
        """
        if self.kind == "ray":
            from harness.executors.ray import Ray

            cluster = Ray(store, self.address, deadline)
            return cluster, cluster.workers(plans, self.per_gpu)
        if self.kind == "slurm":
            from harness.executors.slurm import Slurm, options

            return Slurm(store, options(self.slurm), deadline), 1
        from harness.executors.local import Local

        if self.per_gpu > 1:
            for made in plans:
                _fits(made, records, self.per_gpu)
        gpus = max((_gpus() for made in plans if made.device == "cuda"), default=0)
        count = self.jobs or min(room(made, self.per_gpu) for made in plans)
        return Local(count, deadline, gpus), count


def room(made: Plan, per_gpu: int = 1) -> int:
    """Trials at a time on this machine: by its GPUs, or as many as cores allow for the threads."""
    if made.device.startswith("cuda"):
        return max(_gpus() // made.scale.gpus, 1) * per_gpu
    return max((os.cpu_count() or 1) // made.scale.threads, 1)


def _gpus() -> int:
    import torch

    return max(int(torch.cuda.device_count()), 1)


def _fits(made: Plan, records: Sequence[Heading], per_gpu: int) -> None:
    """Whether so many trials fit on each GPU, by what earlier ones took.

    Raises:
        UsageError: they do not, or each of them wants several GPUs.
    """
    if made.device != "cuda" or not made.todo:
        return
    if made.scale.gpus > 1:
        raise UsageError(
            f"--per-gpu {per_gpu}: a trial of {made.suite.name} at {made.scale.name} scale takes "
            f"{made.scale.gpus} GPUs; leave the option out"
        )
    methods = {trial.method.name for trial in made.todo}
    peaks = [
        record.peak_vram_bytes or 0
        for record in records
        if (record.suite, record.scale) == (made.suite.name, made.scale.name)
        and record.method in methods
    ]
    if not (most := max(peaks, default=0)):
        return  # nothing is known; each trial is held to its share
    import torch

    for gpu in range(_gpus()):
        free = int(torch.cuda.mem_get_info(gpu)[0])
        if per_gpu * most > free:
            raise UsageError(
                f"--per-gpu {per_gpu}: trials of {made.suite.name} at {made.scale.name} scale "
                f"have taken up to {most / 2**30:.2f} GiB, and GPU {gpu} has "
                f"{free / 2**30:.2f} GiB free: at most {math.floor(free / most)}"
            )
