"""Seconds, memory and joules, and their sums over the sessions of an interrupted trial."""

import sys
import time
import types

import pytest

from harness import cost
from harness.cost import Meter
from harness.record import Cost

EARLIER = Cost(
    wall_seconds=100, cpu_seconds=50, peak_memory_bytes=2**60, peak_vram_bytes=700, joules=30,
    sessions=2,
)  # fmt: skip


class Card:
    """A fake `pynvml`: GPUs that count energy, by index and by name."""

    class NVMLError(Exception):
        """As in the real module."""

    def __init__(self, broken=False):
        self.millijoules = {0: 1_000, 1: 50_000, "GPU-abc": 9_000}
        self.broken = broken

    def nvmlInit(self):
        if self.broken:
            raise self.NVMLError("Driver Not Loaded")

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetHandleByUUID(self, name):
        return name

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):
        if handle not in self.millijoules:
            raise self.NVMLError("Invalid Argument")
        return self.millijoules[handle]


@pytest.fixture
def card(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    torch = types.ModuleType("torch")
    torch.cuda = types.SimpleNamespace(
        max_memory_allocated=lambda device: {"cuda": 500, "cuda:0": 500, "cuda:1": 900}[device]
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    made = Card()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    return made


def test_time_is_counted_from_the_start_of_the_meter():
    meter = Meter("cpu")
    start = time.process_time()
    while time.process_time() - start < 0.05:
        pass
    time.sleep(0.05)
    read = meter.read()
    assert 0.1 <= read.wall_seconds < 60
    assert 0.04 <= read.cpu_seconds <= 0.5
    assert 2**23 < read.peak_memory_bytes < 2**40
    assert read.sessions == 1
    assert meter.read().wall_seconds >= read.wall_seconds


def test_time_of_children_counts(monkeypatch):
    used = {cost.resource.RUSAGE_SELF: 10.0, cost.resource.RUSAGE_CHILDREN: 5.0}
    usage = lambda who: types.SimpleNamespace(ru_utime=used[who], ru_stime=1.0, ru_maxrss=3)  # noqa: E731
    monkeypatch.setattr(cost.resource, "getrusage", usage)
    meter = Meter("cpu")
    used[cost.resource.RUSAGE_SELF] += 2
    used[cost.resource.RUSAGE_CHILDREN] += 4
    read = meter.read()
    assert read.cpu_seconds == 6
    assert read.peak_memory_bytes == 3 * 1024


def test_on_the_processor_there_is_no_card_to_measure(card):
    read = Meter("cpu").read()
    assert read.peak_vram_bytes is None
    assert read.joules is None


def test_a_card_gives_its_memory_and_the_joules_since_the_start(card):
    meter = Meter("cuda:1")
    card.millijoules[1] += 2_500
    card.millijoules[0] += 77_000
    assert meter.read().joules == 2.5
    assert meter.read().peak_vram_bytes == 900
    card.millijoules[1] += 500
    assert meter.read().joules == 3.0
    first = Meter("cuda")
    card.millijoules[0] += 1_000
    assert first.read().joules == 1.0
    assert first.read().peak_vram_bytes == 500


@pytest.mark.parametrize(
    ("visible", "handle"), [("1", 1), ("1,0", 1), ("GPU-abc", "GPU-abc"), ("", 0)]
)
def test_the_card_is_the_one_that_cuda_sees(card, monkeypatch, visible, handle):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    meter = Meter("cuda:0")
    card.millijoules[handle] += 4_000
    assert meter.read().joules == 4.0


def test_a_card_that_does_not_count_has_no_joules(card, monkeypatch):
    del card.millijoules[1]
    assert Meter("cuda:1").read().joules is None
    monkeypatch.setitem(sys.modules, "pynvml", Card(broken=True))
    assert Meter("cuda:0").read().joules is None
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    assert Meter("cuda:0").read().joules is None


def test_without_torch_there_is_no_memory_of_the_card(card, monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    assert Meter("cuda:0").read().peak_vram_bytes is None


def test_sessions_add_up(card):
    meter = Meter("cuda:0", EARLIER)
    card.millijoules[0] += 5_000
    read = meter.read()
    assert 100 <= read.wall_seconds < 105
    assert 50 <= read.cpu_seconds < 55
    assert read.peak_memory_bytes == 2**60
    assert read.peak_vram_bytes == 700
    assert read.joules == 35
    assert read.sessions == 3


def test_the_highest_peak_counts_and_half_known_joules_are_unknown(card):
    earlier = EARLIER.model_copy(
        update={"peak_memory_bytes": 1, "peak_vram_bytes": None, "joules": None}
    )
    read = Meter("cuda:0", earlier).read()
    assert read.peak_memory_bytes > 1
    assert read.peak_vram_bytes == 500
    assert read.joules is None
    on_processor = Meter("cpu", EARLIER).read()
    assert on_processor.peak_vram_bytes == 700
    assert on_processor.joules is None
    assert Meter("cpu", earlier).read().peak_vram_bytes is None
