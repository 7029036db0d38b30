"""One trial on several GPUs: a process for each, started by torchrun.

The trial's own process trains nothing: it starts the others, keeps the checkpoints that they hand
over and tells them when to stop. So limits, locks, records and resuming are those of any trial.

    def run(ctx: Context) -> dict[str, float]:
        return launch(ctx, "my_suite.trials:train", {"steps": 1000})

    def train(member: Member) -> dict[str, float]:
        network = member.wrap(Network().to(member.device))
        state = State(modules={"network": member.bare(network)}, ...)
        for step in member.steps(member.arguments["steps"], state):
            loss = update(network, batch(step)[member.part(64)])
        return {"loss": member.mean(loss)}

Every process runs the same function on its part of each batch; gradients are averaged. Without
GPUs the processes speak `gloo`, and compute what one of them would.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from harness import registry
from harness.context import Context, Resumable
from harness.errors import MethodError
from harness.files import write_atomic
from harness.patience import Patience
from harness.store import Checkpoint

if TYPE_CHECKING:
    import torch

_LOOK = 0.05
"""Seconds between two looks of the trial at its processes."""
_ORDER, _STOP, _STATE, _RESULT = "order.json", "stop", "state", "result.json"


def launch(
    ctx: Context, function: str, arguments: Mapping[str, JsonValue], processes: int = 0
) -> Any:
    """Runs a function in a process per GPU of the trial; what it returns in the first of them.

    Args:
        ctx: of the trial.
        function: import path; it gets a `Member` and returns what JSON holds.
        arguments: what all of them get, as JSON.
        processes: how many; 0: as many as the scale gives GPUs, one without any.

    Raises:
        MethodError: one of them failed; the trial's log says why.
        Interrupted: the trial was asked to stop; its state is saved.
    """
    cuda = ctx.device.startswith("cuda")
    count = processes or (ctx.scale.gpus if cuda else 1)
    folder = ctx.out.parent / "parallel"
    relay = _Relay(folder)
    for left in (_STOP, _RESULT, f"{_STATE}.json"):
        (folder / left).unlink(missing_ok=True)
    step = ctx.restore(relay)
    order = {
        "function": function,
        "arguments": dict(arguments),
        "cuda": cuda,
        "threads": int(os.environ.get("OMP_NUM_THREADS", "1")),
        "step": step,
    }
    write_atomic(folder / _ORDER, json.dumps(order).encode())
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone",
        f"--nproc-per-node={count}", "-m", "harness.parallel", str(folder),
    ]  # fmt: skip
    torchrun = subprocess.Popen(command, env=os.environ | _visible(ctx.device, count))
    try:
        while torchrun.poll() is None:
            time.sleep(_LOOK)
            if ctx.asked():
                (folder / _STOP).touch()
            elif relay.moved():
                ctx.tick(relay.step, relay.total, relay)
    finally:
        if torchrun.poll() is None:
            torchrun.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                torchrun.wait(Patience.read().exit)
            torchrun.kill()
    if ctx.asked() and relay.moved():
        ctx.tick(relay.step, relay.total, relay)
    if torchrun.returncode or not (folder / _RESULT).exists():
        raise MethodError(
            f"{function}: one of its {count} processes failed (torchrun ended with code "
            f"{torchrun.returncode}); the trial's log says why"
        )
    return json.loads((folder / _RESULT).read_bytes())


class _Relay:
    """The state that the first process hands over, as if the trial had trained it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._note: dict[str, Any] = {}

    @property
    def step(self) -> int:
        """Steps that it holds."""
        return int(self._note["step"])

    @property
    def total(self) -> int:
        """Steps that there will be."""
        return int(self._note["total"])

    def moved(self) -> bool:
        """Takes in the newest state; whether it is another one."""
        with contextlib.suppress(OSError, ValueError):
            note = json.loads((self._folder / f"{_STATE}.json").read_bytes())
            if note != self._note:
                self._note = note
                return True
        return False

    def pack(self) -> tuple[bytes, dict[str, JsonValue]]:
        """See `harness.context.Resumable`."""
        return (self._folder / self._note["tensors"]).read_bytes(), self._note["meta"]

    def unpack(self, checkpoint: Checkpoint) -> None:
        """Leaves a checkpoint where the processes find it."""
        write_atomic(self._folder / f"{_STATE}-0", checkpoint.tensors.read_bytes())
        write_atomic(self._folder / f"{_STATE}-0.json", json.dumps(checkpoint.meta).encode())


class Member:
    """One of the processes of a trial."""

    def __init__(self, folder: Path, order: Mapping[str, Any]) -> None:
        from torch import distributed

        self._folder = folder
        self._start = int(order["step"])
        self._saved = time.monotonic()
        self._every = Patience.read().checkpoint
        self._turn = 0
        self.arguments: dict[str, Any] = order["arguments"]
        self.rank: int = distributed.get_rank()
        """Its number, from 0; the first one's result counts."""
        self.world: int = distributed.get_world_size()
        """How many there are."""
        self.device = f"cuda:{os.environ['LOCAL_RANK']}" if order["cuda"] else "cpu"

    def wrap(self, module: "torch.nn.Module") -> "torch.nn.Module":
        """The module with its gradients averaged over all processes."""
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module)

    @staticmethod
    def bare(module: "torch.nn.Module") -> "torch.nn.Module":
        """What was wrapped: its state has the names that it has in one process."""
        return getattr(module, "module", module)

    def part(self, count: int) -> slice:
        """Its part of a batch of so many items.

        Raises:
            MethodError: they cannot be shared out evenly.
        """
        if count % self.world:
            raise MethodError(f"a batch of {count} cannot be shared by {self.world} processes")
        own = count // self.world
        return slice(self.rank * own, (self.rank + 1) * own)

    def mean(self, value: float) -> float:
        """The mean of a number over all processes."""
        import torch
        from torch import distributed

        total = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(total)
        return float(total) / self.world

    def steps(self, total: int, state: Resumable) -> Iterator[int]:
        """The updates that are still to be made, from 0; restores, saves and stops in between."""
        if self._start:
            meta = json.loads((self._folder / f"{_STATE}-0.json").read_bytes())
            state.unpack(Checkpoint(self._start, self._folder / f"{_STATE}-0", meta))
        for step in range(self._start, total):
            yield step
            self._tick(step + 1, total, state)

    def _tick(self, step: int, total: int, state: Resumable) -> None:
        """All save and stop after the same step: the first process decides."""
        import torch
        from torch import distributed

        now = time.monotonic()
        stop = (self._folder / _STOP).exists()
        wish = torch.tensor([int(stop), int(stop or now - self._saved > self._every)])
        distributed.broadcast(wish, 0)
        if wish[1] and self.rank == 0:
            self._turn = 3 - self._turn if self._turn else 1  # the one before stays until then
            tensors, meta = state.pack()
            name = f"{_STATE}-{self._turn}"
            write_atomic(self._folder / name, tensors)
            note = {"step": step, "total": total, "tensors": name, "meta": meta}
            write_atomic(self._folder / f"{_STATE}.json", json.dumps(note).encode())
        if wish[1]:
            self._saved = time.monotonic()
        if wish[0]:
            raise SystemExit(0)


def _visible(device: str, count: int) -> dict[str, str]:
    """The environment in which a trial sees its own GPUs alone."""
    if not device.startswith("cuda"):
        return {}
    first = int(device.partition(":")[2] or 0)
    names = [n for n in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if n]
    own = names[first : first + count] or [str(first + n) for n in range(count)]
    return {"CUDA_VISIBLE_DEVICES": ",".join(own)}


def main(folder: Path) -> None:
    """What torchrun starts."""
    import torch
    from torch import distributed

    order = json.loads((folder / _ORDER).read_bytes())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if order["cuda"] else "gloo")
    try:
        if order["cuda"]:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.set_num_threads(order["threads"])
        torch.use_deterministic_algorithms(True, warn_only=order["cuda"])
        function: Callable[[Member], Any] = registry.call(order["function"])
        result = function(Member(folder, order))
        if distributed.get_rank() == 0:
            write_atomic(folder / _RESULT, json.dumps(result).encode())
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
