"""The executor of this machine: order, workers, dependents, locks, deadlines."""

import errno
import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from harness import executors, plan, registry
from harness.data import Sources
from harness.errors import StoreError
from harness.executors import Event, Work
from harness.executors.local import Local
from harness.executors.supervisor import End
from harness.run import BUSY, DONE, FAILED, FULL, INTERRUPTED, Outcome
from harness.store import Store

TOY = Path(__file__).parents[2] / "toy"


@pytest.fixture(scope="module", autouse=True)
def server(short_folder: Path) -> Iterator[None]:
    """A fork server that knows the toy suites; others' is put away, and this one afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP", "MKL", "OPENBLAS", "NUMBA"):
            patch.setenv(f"{name}_NUM_THREADS", "1")
        for name, value in {
            "PYTHONPATH": f"{TOY}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "TMPDIR": str(short_folder),
            "TOY_STEP_SECONDS": "0.01",
            "TOY_CHECKPOINT_SECONDS": "0.05",
            "PYTHONHASHSEED": "0",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
            "HARNESS_PRELOAD": "",
        }.items():
            patch.setenv(name, value)
        forkserver._forkserver._stop()  # type: ignore[attr-defined]
        yield
        forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", tmp_path / "cache")


Worker = Callable[..., list[Work]]


@pytest.fixture
def work(toys: None, store: Store) -> Worker:
    """`work(suite, methods=(), tasks=(), seeds=(), scale="smoke")`."""

    def make(
        name: str, methods: tuple[str, ...] = (), tasks: tuple[str, ...] = (),
        seeds: tuple[int, ...] = (), scale: str = "smoke", device: str = "cpu",
    ) -> list[Work]:  # fmt: skip
        suite, sources = registry.load(name), Sources(None, store.cache)
        made = plan.make(
            suite, suite.scale(scale), [], store, sources, device=device,
            filters=plan.Filters(methods, tasks, seeds),
        )  # fmt: skip
        return executors.work(made, store, sources)

    return make


class Log(list[Event]):
    """Keeps all events, in order."""

    def __call__(self, event: Event) -> None:
        self.append(event)

    def ended(self) -> dict[str, Event]:
        """The last event of each job by its title and what identifies it."""
        return {f"{e.job.title} {e.job.id[:6]}": e for e in self if e.outcome is not None}

    def started(self) -> list[str]:
        """Identities in the order of their starts."""
        return [e.job.id for e in self if e.outcome is None and e.progress is None]


def test_no_work_is_done_at_once() -> None:
    log = Log()
    assert Local(1).run([], log) is True
    assert log == []


def test_artifacts_come_first_and_after_what_they_need(work: Any, store: Store) -> None:
    todo, log = work("toy-chain", ("read-both", "walk")), Log()
    assert [w.job.artifact for w in todo[:8]].count(None) == 0
    assert len(todo) == 8 + 8
    for item in todo:
        needs = {w.job.id: w.job.artifact for w in todo if w.job.id in item.after}
        wanted = {"combined": {"by-seed", "by-task"}, None: {"combined"}}
        if item.job.method == "read-both":
            assert set(needs.values()) == wanted.get(item.job.artifact, set())
    assert Local(3).run(todo, log) is True
    assert {e.outcome.code for e in log.ended().values() if e.outcome} == {DONE}
    order = [(e.job.id, e.outcome is not None) for e in log if e.progress is None]
    for item in todo:
        for need in item.after:
            assert order.index((need, True)) < order.index((item.job.id, False))
    assert len(store.load().records) == 8
    assert work("toy-chain", ("read-both",))[0].job.artifact is None  # all are made


def test_trials_start_in_the_order_of_the_plan_and_no_more_than_workers(work: Any) -> None:
    todo, log = work("toy", tasks=("short",)), Log()
    assert Local(2).run(todo, log) is True
    assert log.started() == [w.job.id for w in todo]
    running = peak = 0
    for event in log:
        running += (event.progress is None) * (1 if event.outcome is None else -1)
        peak = max(peak, running)
    assert (running, peak) == (0, 2)
    assert any(e.progress is not None and e.progress.total == 40 for e in log)
    assert all(e.seconds > 0.3 for e in log.ended().values())


def test_dependents_of_a_broken_artifact_do_not_run(work: Any, store: Store) -> None:
    todo, log = work("toy-chain", ("read-broken", "walk"), ("short",), (0,)), Log()
    assert Local(2).run(todo, log) is True
    ended = {e.job.artifact or e.job.method: e.outcome for e in log.ended().values() if e.outcome}
    assert ended["broken"].code == FAILED
    for name in ("after-broken", "read-broken"):
        assert ended[name] == Outcome(
            FAILED, f"not run: an artifact that it needs failed ({ended['broken'].line})", False
        )  # fmt: skip
    assert ended["walk"].code == DONE
    assert [r.method for r in store.load().records] == ["walk"]
    assert len(log.started()) == 2


def test_a_card_for_every_worker(work: Any) -> None:
    todo, log = work("toy", tasks=("short",), device="cuda"), Log()
    assert {w.job.device for w in todo} == {"cuda"}
    Local(2, gpus=2).run(todo, log)
    used = [e.job.device for e in log.ended().values()]
    assert set(used) == {"cuda:0", "cuda:1"}
    busy: set[str] = set()
    for event in (e for e in log if e.progress is not None or e.outcome is not None):
        (busy.add if event.outcome is None else busy.discard)(event.job.device)
        assert len(busy) <= 2


def test_what_another_process_has_is_left_to_it(work: Any, store: Store) -> None:
    todo, log = work("toy", ("walk",), ("short",)), Log()
    with store.lock(todo[0].job.id):
        assert Local(2).run(todo, log) is True
    assert [e.outcome.code for e in log.ended().values() if e.outcome] == [BUSY, DONE]
    assert not store.trial_folder(todo[0].job.id).exists()  # its owner may be removing it
    assert [r.seed for r in store.load().records] == [1]


def test_an_artifact_that_another_process_makes_is_waited_for(work: Any, store: Store) -> None:
    todo, log = work("toy-chain", ("read-seed",), ("short",), (0,)), Log()
    lock = store.lock(todo[0].job.id)
    lock.acquire()

    def observe(event: Event) -> None:
        log(event)
        if event.outcome is None:
            time.sleep(0.3)
            assert log.ended() == {}
            lock.release()

    assert Local(2).run(todo[:1], observe) is True
    assert [e.outcome.code for e in log.ended().values() if e.outcome] == [DONE]


def test_a_deadline_stops_what_runs_and_what_waits(work: Any, store: Store) -> None:
    todo, log = work("toy", tasks=("long",)), Log()
    local = Local(2, math.inf)

    def observe(event: Event) -> None:
        log(event)
        if event.progress is not None:
            local._deadline = time.monotonic()

    assert local.run(todo, observe) is False
    ended = [e.outcome for e in log.ended().values() if e.outcome]
    assert {o.code for o in ended} <= {INTERRUPTED, DONE}
    assert any(o.code == INTERRUPTED for o in ended)
    assert len(store.load().records) < 4
    assert list(store.cache.glob("trials/*/checkpoint-*.json"))
    again = Log()
    assert Local(2).run(work("toy", tasks=("long",)), again) is True
    assert len(store.load().records) == 4


def test_a_deadline_in_the_past_starts_nothing(work: Any) -> None:
    log = Log()
    assert Local(1, time.monotonic() - 1).run(work("toy"), log) is False
    assert log == []


def test_a_process_that_says_nothing_is_judged_by_its_end(work: Any, store: Store) -> None:
    methods = ("exits", "sigkill", "sigsegv")
    log = Log()
    assert Local(3).run(work("toy-faults", methods), log) is True
    lines = {e.job.method: e.outcome.line for e in log.ended().values() if e.outcome}
    records = {r.method: r for r in store.load().records}
    assert lines == {
        name: f"{r.status}: {r.error}; log: {store.trial_folder(r.id) / 'log.txt'}"
        for name, r in records.items()
    }
    assert {name: r.status for name, r in records.items()} == dict.fromkeys(methods, "failed")
    assert records["sigkill"].error == "killed by signal 9 (by the system or another process)"


def test_a_good_record_outlives_a_process_that_dies_right_after_it(
    work: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import harness.executors.local as module

    (item,) = work("toy", ("walk",), ("short",), (0,))
    heard = module.Connection.recv

    def deaf(connection: Any) -> Any:
        message = heard(connection)
        return message._replace(outcome=None, code=3) if isinstance(message, End) else message

    monkeypatch.setattr(module.Connection, "recv", deaf)
    log = Log()
    assert Local(1).run([item], log) is True
    assert [e.outcome.code for e in log.ended().values() if e.outcome] == [DONE]
    assert [r.status for r in store.load().records] == ["ok"]


@pytest.mark.parametrize(("memory", "status"), [(True, "oom"), (False, "failed")])
def test_a_killed_process_was_out_of_memory_only_if_the_kernel_counted_it(
    work: Any, store: Store, monkeypatch: pytest.MonkeyPatch, memory: bool, status: str
) -> None:
    import harness.executors.local as module

    (item,) = work("toy-faults", ("sigkill",))
    heard = module.Connection.recv

    def told(connection: Any) -> Any:
        message = heard(connection)
        return message._replace(memory=memory) if isinstance(message, End) else message

    monkeypatch.setattr(module.Connection, "recv", told)
    Local(1).run([item], Log())
    assert [r.status for r in store.load().records] == [status]


def test_a_terminal_that_is_gone_stops_the_run_which_saves(work: Any, store: Store) -> None:
    def observe(event: Event) -> None:
        if event.progress is not None and event.progress.step > 5:
            raise BrokenPipeError("nobody reads")

    assert Local(1).run(work("toy", ("walk",), ("long",)), observe) is False
    assert len({path.parent for path in store.cache.glob("trials/*/checkpoint-*.json")}) == 1
    assert store.load().records == []


def test_a_record_that_only_the_owner_cannot_write_is_a_full_disk(
    work: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit(*_: object) -> None:
        raise StoreError("cannot write it") from OSError(errno.ENOSPC, "full")

    todo, log = work("toy-faults", ("sigkill", "walk")), Log()
    monkeypatch.setattr(Store, "commit", commit)
    assert Local(1).run([w for w in todo if w.job.method == "sigkill"], log) is False
    (outcome,) = [e.outcome for e in log.ended().values()]
    assert outcome == Outcome(FULL, "cannot write it", recorded=False)


def test_jobs_name_absolute_folders(
    work: Any, toys: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    suite, sources = registry.load("toy"), Sources(Path("data"), Path("cache"))
    store = Store(Path("results"), Path("cache"))
    made = plan.make(suite, suite.scale("smoke"), [], store, sources)
    job = executors.work(made, store, sources)[0].job
    assert (job.results, job.cache, job.data) == tuple(
        str(tmp_path / name) for name in ("results", "cache", "data")
    )


def test_a_hangup_that_is_ignored_stays_so(work: Any) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    seen = []

    def observe(_: Event) -> None:
        seen.append(signal.getsignal(signal.SIGHUP))

    try:
        assert Local(1).run(work("toy", ("walk",), ("short",), (0,)), observe) is True
    finally:
        signal.signal(signal.SIGHUP, before)
    assert set(seen) == {signal.SIG_IGN}


def test_children_run_with_fixed_threads_hashes_and_no_terminal(work: Any, store: Store) -> None:
    todo = [
        item._replace(job=item.job._replace(threads=2))
        for item in work("toy-faults", ("prints", "raises"))
    ]
    Local(2).run(todo, Log())
    records = {r.method: r for r in store.load().records}
    flags = records["prints"].provenance.flags
    assert flags["PYTHONHASHSEED"] == "0"
    assert records["prints"].provenance.threads == 2
    assert os.environ["OMP_NUM_THREADS"] == "2"
    log = store.trial_folder(records["raises"].id) / "log.txt"
    assert log.read_bytes() == b""
