"""Which executor a command line names, and how many trials fit where."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from harness import plan, registry, run
from harness.data import Sources
from harness.errors import UsageError
from harness.executors import work
from harness.executors.local import _placed
from harness.executors.place import Place, _fits, room
from harness.executors.ray import Ray
from harness.store import Store

GIB = 2**30


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`gpus(free...)`: a torch that finds GPUs with so many GiB free; what it was told after."""

    def fake(*free: float) -> list[tuple[float, str]]:
        told: list[tuple[float, str]] = []
        cuda = SimpleNamespace(
            device_count=lambda: len(free),
            mem_get_info=lambda gpu: (int(free[gpu] * GIB), 80 * GIB),
            set_per_process_memory_fraction=lambda share, device: told.append((share, device)),
        )
        torch = SimpleNamespace(
            cuda=cuda, set_num_threads=lambda _: None,
            use_deterministic_algorithms=lambda *_, **__: None,
            utils=SimpleNamespace(deterministic=SimpleNamespace()),
        )  # fmt: skip
        monkeypatch.setitem(sys.modules, "torch", torch)
        return told

    return fake


@pytest.fixture
def made(toys: None, tmp_path: Any) -> Any:
    """`made(gpus)`: the plan of the toy suite on GPUs, so many per trial."""

    def make(gpus: int = 1, device: str = "cuda") -> plan.Plan:
        suite, store = registry.load("toy"), Store(tmp_path / "results", tmp_path / "cache")
        scale = suite.scale("smoke").model_copy(update={"gpus": gpus, "threads": 2})
        return plan.make(suite, scale, [], store, Sources(None, store.cache), device=device)

    return make


def test_room_is_gpus_times_trials_per_gpu_or_cores_by_threads(
    gpus: Any, made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus(70, 70, 70, 70)
    assert [room(made()), room(made(), 8), room(made(2)), room(made(8))] == [4, 32, 2, 1]
    monkeypatch.setattr("os.cpu_count", lambda: 9)
    assert room(made(device="cpu")) == 4
    assert room(made(device="cpu"), 8) == 4


def test_slots_go_round_the_gpus_that_are_there(made: Any, tmp_path: Any) -> None:
    store = Store(tmp_path / "results", tmp_path / "cache")

    def devices(gpus: int, per_trial: int, slots: int, per_gpu: int = 1) -> list[str]:
        job = work(made(per_trial), store, Sources(None, store.cache), per_gpu=per_gpu)[0].job
        return [_placed(job, slot, gpus).device for slot in range(slots)]

    assert devices(2, 1, 5) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:0"]
    assert devices(2, 1, 4, per_gpu=2) == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert devices(4, 2, 3) == ["cuda:0", "cuda:2", "cuda:0"]


def test_a_job_says_what_it_takes(made: Any, tmp_path: Any) -> None:
    store = Store(tmp_path / "results", tmp_path / "cache")
    sources = Sources(None, store.cache)
    assert {w.job.gpus for w in work(made(), store, sources, per_gpu=4)} == {0.25}
    assert {w.job.gpus for w in work(made(2), store, sources)} == {2.0}
    assert {w.job.gpus for w in work(made(device="cpu"), store, sources, per_gpu=4)} == {0.0}


def test_trials_that_do_not_fit_together_are_refused(gpus: Any, made: Any, record_of: Any) -> None:
    gpus(40, 20)
    one = made()
    trial = one.todo[0]
    cost = record_of(trial).cost.model_copy(update={"peak_vram_bytes": int(6.5 * GIB)})
    records = [record_of(trial, cost=cost).heading, record_of(one.todo[1]).heading]
    _fits(one, records, 3)
    with pytest.raises(
        UsageError,
        match=r"--per-gpu 4: .*up to 6\.50 GiB, and GPU 1 has 20\.00 GiB free: at most 3$",
    ):
        _fits(one, records, 4)
    _fits(one, [], 50)  # nothing is known: each is held to its share as it runs
    with pytest.raises(UsageError, match="takes 2 GPUs; leave the option out"):
        _fits(made(2), [], 2)
    _fits(made(device="cpu"), records, 4)


def test_a_trial_is_held_to_its_share_of_a_gpu(gpus: Any) -> None:
    told = gpus(70)
    run.settle_libraries(1, "cuda:1", 0.25)
    run.settle_libraries(1, "cuda:1", 1.0)
    run.settle_libraries(1, "cuda:1", 2.0)
    run.settle_libraries(1, "cpu")
    assert told == [(0.25, "cuda:1")]


def test_ray_that_is_not_installed_is_one_line(
    made: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match="needs Ray: pip install"):
        Ray(Store(tmp_path, tmp_path), None)
    with pytest.raises(UsageError, match="needs Ray"):
        Place("ray").open([], [], Store(tmp_path, tmp_path), None)
