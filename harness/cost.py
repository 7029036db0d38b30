"""What a trial costs: seconds, memory, and on a GPU its memory and energy."""

import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

from harness.record import Cost


class Meter:
    """Measures the process that it is made in, from then on.

    `earlier` is the cost of the sessions before an interruption. `clock` gives the seconds of the
    wall clock; one that stands still while the process is stopped keeps that time out.
    """

    def __init__(
        self,
        device: str,
        earlier: Cost | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._device = device
        self._earlier = earlier
        self._clock = clock
        self._wall = clock()
        self._cpu = _cpu_seconds()
        self._joules = _joules(device)

    def read(self) -> Cost:
        """The cost so far, earlier sessions included."""
        cost = Cost(
            wall_seconds=self._clock() - self._wall,
            cpu_seconds=_cpu_seconds() - self._cpu,
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            peak_vram_bytes=_peak_vram(self._device),
            joules=_difference(_joules(self._device), self._joules),
        )
        before = self._earlier
        if before is None:
            return cost
        return Cost(
            wall_seconds=before.wall_seconds + cost.wall_seconds,
            cpu_seconds=before.cpu_seconds + cost.cpu_seconds,
            peak_memory_bytes=max(before.peak_memory_bytes, cost.peak_memory_bytes),
            peak_vram_bytes=_largest(before.peak_vram_bytes, cost.peak_vram_bytes),
            joules=_total(before.joules, cost.joules),
            sessions=before.sessions + 1,
        )


def _cpu_seconds() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


def _peak_vram(device: str) -> int | None:
    torch = sys.modules.get("torch")
    if torch is None or not device.startswith("cuda"):
        return None
    return int(torch.cuda.max_memory_allocated(device))


def _joules(device: str) -> float | None:
    """The GPU's total energy counter; None without a GPU, the counter or `nvidia-ml-py`."""
    if not device.startswith("cuda"):
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        handle = _handle(pynvml, int(device.partition(":")[2] or 0))
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except pynvml.NVMLError:
        return None


def _handle(nvml: Any, index: int) -> Any:
    """The GPU that CUDA calls `index`: NVML numbers all GPUs, CUDA the visible ones."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    cards = [card.strip() for card in visible.split(",") if card.strip()]
    card = cards[index] if index < len(cards) else str(index)
    if card.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(card))
    return nvml.nvmlDeviceGetHandleByUUID(card)


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _largest(a: int | None, b: int | None) -> int | None:
    return max((x for x in (a, b) if x is not None), default=None)


def _total(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b
