"""Runs one trial or makes one artifact, in the process that it is called in.

`execute` rebuilds the trial from its coordinates, holds its lock, calls the method with a
`Context`, and commits the record: whatever happens, a trial ends as a record or stays resumable.
"""

import contextlib
import numbers
import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NamedTuple

from pydantic import JsonValue

from harness import provenance, registry, variants
from harness.context import Context, Interrupted, Progress, Resumable, TimeLimit
from harness.data import Sources
from harness.errors import DataError, Diverged, HarnessError, MethodError, SpecError, StoreError
from harness.failures import classify, here, place, shown, unwritable, without_folders
from harness.identity import Node
from harness.lease import Held, Lock
from harness.plan import Filters, Trial, trials
from harness.record import Cost, Record, Status, file_name
from harness.store import Store, write_atomic

__all__ = [
    "BUSY", "DONE", "FAILED", "FULL", "INTERRUPTED", "STOPS", "Context", "Interrupted", "Job",
    "Outcome", "Progress", "Resumable", "TimeLimit", "execute", "failure", "settle_libraries",
]  # fmt: skip

DONE, FAILED, FULL, BUSY, INTERRUPTED = 0, 1, 4, 75, 130
"""Exit codes of a trial's process: record `ok`; failure; disk full; locked elsewhere; stopped."""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Signals that ask a trial, or a whole run, to save and stop."""

Function = Callable[[Context], Any]
"""What a method or an artifact names: it returns metrics, or what to keep of the artifact."""


class Job(NamedTuple):
    """The coordinates of a trial, or of an artifact that this trial needs; plain strings."""

    suite: str
    scale: str
    settings: dict[str, JsonValue]
    """Of the scale; what a variant is made of."""
    method: str
    task: str
    seed: int
    device: str
    id: str
    """Identity of the trial, or of the artifact."""
    artifact: str | None
    results: str
    cache: str
    data: str | None
    threads: int
    seconds: float
    """Wall-clock limit; a trial that passes it is recorded as `timeout`."""
    commit: str | None
    dirty: bool | None
    source_digest: str
    """Of the method, or of what makes the artifact; see `harness.registry.source_digest`."""
    plugins: tuple[str, ...] = ()
    """What the process needs to have the suite that the plan had; see `harness.registry.use`."""
    marks: tuple[tuple[str, str], ...] = ()
    """Version and digest of each plugin behind the trial, for its provenance."""
    force: bool = False
    """Run although there is a record."""
    gpus: float = 0.0
    """GPUs that it is given: a share of one where several trials have it together."""
    memory: int = 0
    """Bytes of main memory to reserve for it; 0: unknown."""

    def recorded(self, store: Store) -> Record | None:
        """The record that it has left, if it is a trial's."""
        name = file_name(self.method, self.task, self.seed, self.id)
        return store.at(self.suite, self.scale, name, self.id)

    @property
    def title(self) -> str:
        """How people name it."""
        if self.artifact is not None:
            return f"artifact {self.artifact}"
        return f"{self.method} on {self.task}, seed {self.seed}"


class Outcome(NamedTuple):
    """How a job ended."""

    code: int
    """`DONE`, `FAILED`, `FULL`, `BUSY` or `INTERRUPTED`."""
    line: str = ""
    """What went wrong, in one line; of a job that was stopped, what was not saved."""
    recorded: bool = True
    """False where a failure left no record: the environment was at fault, not the trial."""
    elsewhere: bool = False
    """Whether it was done by the time that it began here: by another process."""


def execute(
    job: Job,
    notify: Callable[[Progress], None] | None = None,
    *,
    held: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
    asked: Callable[[], bool] | None = None,
) -> Outcome:
    """Runs a job to its end in this process.

    A method that fails leaves a record that says so. Corrupt data, a full disk or a suite that
    does not hold together leave none: they are the environment's, and the trial stays to be run.

    `held` is called once the job's lock is held: until then its working folder is another
    process's to remove. `clock` measures what the trial costs and its limit; `asked` tells
    whether it is to stop, besides the signals of `STOPS`.
    """
    try:
        store = Store(Path(job.results), Path(job.cache))
        with _locked(store, job) as lock:
            if held is not None:
                held()
            try:
                return _execute(job, store, lock, notify, clock, asked)
            except (HarnessError, OSError):
                lock.check()  # whoever took it over has cleared the folder it worked in
                raise
    except Held as busy:
        return Outcome(BUSY, str(busy))
    except Interrupted as stop:
        return Outcome(INTERRUPTED, str(stop))
    except HarnessError as error:
        return Outcome(FULL if unwritable(error) else FAILED, str(error), recorded=False)
    except OSError as error:
        line = f"{error.filename or 'input/output'}: {error.strerror or error}"
        return Outcome(FULL if unwritable(error) else FAILED, line, recorded=False)


def _execute(
    job: Job,
    store: Store,
    lock: Lock,
    notify: Callable[[Progress], None] | None,
    clock: Callable[[], float],
    asked: Callable[[], bool] | None,
) -> Outcome:
    trial, node = _rebuild(job)
    if not job.force and _finished(job, node, store):
        store.clear_trial(job.id)
        return Outcome(DONE, elsewhere=True)
    path = node.artifact.make if node else trial.method.run
    function = _imported(path)
    settle_libraries(job.threads, job.device, job.gpus)
    context = Context(
        trial,
        store,
        Sources.of(Path(job.data) if job.data else None, store.cache),
        node=node,
        seconds=job.seconds,
        source_digest=job.source_digest,
        notify=notify,
        clock=clock,
        asked=asked,
    )
    _seed_libraries(context)
    with _Signals(context):
        if node is not None:
            return _make(context, node, function, store, lock)
        return _run(context, job, trial, function, store, lock)


def _imported(path: str) -> Function:
    try:
        return registry.call(path)
    except HarnessError:
        raise
    except BaseException as problem:  # a module may do anything as it is imported
        raise SpecError(
            f"{path}: the module cannot be imported: {classify(problem)[1]}{place(problem, None)}"
        ) from None


def _run(
    context: Context, job: Job, trial: Trial, function: Function, store: Store, lock: Lock
) -> Outcome:
    started = provenance.now()
    line = where = ""
    try:
        metrics = _checked(_called(context, function), trial)
        record = _record(job, trial, started, status="ok", metrics=metrics, **_left(context))
    except (DataError, SpecError, StoreError, Interrupted):
        raise
    except BaseException as problem:  # every failure of a method becomes a record
        if unwritable(problem):
            store.probe(job.suite, job.scale)  # the disk's failure, not the method's
        status, line = classify(problem)
        error = without_folders(line)
        where = place(problem, function) + _keep_traceback(context, problem)
        try:
            record = _record(job, trial, started, status=status, error=error, **_left(context))
        except Exception:  # what it left is part of what is wrong
            cost = context.cost()
            record = _record(job, trial, started, status=status, error=error, cost=cost)
    lock.check()
    store.commit(record)
    if record.status != "ok":
        return Outcome(FAILED, f"{record.status}: {line}{where}")
    store.clear_trial(trial.id)
    return Outcome(DONE)


def _make(context: Context, node: Node, function: Function, store: Store, lock: Lock) -> Outcome:
    shutil.rmtree(context.out, ignore_errors=True)  # what an interrupted attempt left
    context.out.mkdir(parents=True, exist_ok=True)
    try:
        info: dict[str, JsonValue] = dict(_called(context, function) or {})
        if not context.out.is_dir():
            raise MethodError(f"artifact {node.artifact.name} removed the folder it was to fill")
    except (HarnessError, Interrupted):
        raise
    except BaseException as problem:  # one line for people, the traceback in a file
        line = classify(problem)[1] + place(problem, function)
        line += _keep_traceback(context, problem)
        return Outcome(FULL if unwritable(problem) else FAILED, line, recorded=False)
    info["cost"] = context.cost().model_dump(mode="json")
    info["source_digest"] = context._source_digest
    info["contents"] = dict(context.contents)
    folder = store.artifact_folder(context._suite.name, node.artifact.name, node.id)
    lock.check()
    store.commit_artifact(folder, context.out, node.spec, info)
    store.clear_trial(node.id)
    return Outcome(DONE)


def _called(context: Context, function: Function) -> Any:
    """What a method or artifact function returns, to the process that it began in.

    A process that it forked off, and that comes out of it too, ends here without a word.
    """
    try:
        with _steady():
            return function(context)
    finally:
        if os.getpid() != context._process:
            os._exit(0)
        context._closed = True


def _left(context: Context) -> dict[str, Any]:
    """What the trial leaves besides its metrics."""
    return {
        "counts": context.counts,
        "series": context.finished_series(),
        "data": context.origins,
        "contents": context.contents,
        "cost": context.cost(),
    }


def failure(job: Job, status: Status, error: str, started: str) -> Record:
    """The record of a trial whose process died without leaving one."""
    cost = Cost(wall_seconds=0, cpu_seconds=0, peak_memory_bytes=0)
    return _record(job, _rebuild(job)[0], started, status=status, error=error, cost=cost)


def _record(
    job: Job,
    trial: Trial,
    started: str,
    contents: Mapping[str, str] = MappingProxyType({}),
    **outcome: Any,
) -> Record:
    """A record, built of nothing that the method can have changed but what it left."""
    return Record(
        id=trial.id,
        suite=trial.suite.name,
        method=trial.method.name,
        task=trial.task.name,
        seed=trial.seed,
        scale=trial.scale.name,
        protocol=trial.task.protocol,
        spec=trial.spec,
        provenance=provenance.capture(
            started,
            provenance.Commit(job.commit, job.dirty),
            job.source_digest,
            job.device,
            job.threads,
            {**dict(job.marks), **contents},
        ),
        **outcome,
    )


def _keep_traceback(context: Context, problem: BaseException) -> str:
    path = context.out.parent / "error.txt"
    text = "".join(traceback.format_exception(problem))
    write_atomic(path, text.encode(errors="backslashreplace"))
    return f"; log: {shown(path)}"


def _rebuild(job: Job) -> tuple[Trial, Node | None]:
    registry.use(job.plugins)
    suite = registry.load(job.suite)
    scale = variants.restored(suite, job.scale, job.settings, job.seed)
    if scale is None:
        raise SpecError(f"{job.title}: the suite lost scale {job.scale} while it ran; run again")
    found, nodes = trials(
        suite,
        scale,
        job.device,
        Filters((job.method,), (job.task,), (job.seed,)),
    )
    node = nodes[job.id] if job.artifact is not None and job.id in nodes else None
    if not found or (node is None and found[0].id != job.id):
        raise SpecError(f"{job.title}: the suite changed while it was running; run again")
    return found[0], node


def _finished(job: Job, node: Node | None, store: Store) -> bool:
    if node is not None:
        whole = store.artifact(job.suite, node.artifact.name, node.id) is not None
        source = store.artifact_source(job.suite, node.artifact.name, node.id)
        return whole and source == job.source_digest
    return job.recorded(store) is not None


def _checked(metrics: Any, trial: Trial) -> dict[str, float]:
    if not isinstance(metrics, Mapping):
        raise MethodError(
            f"method {trial.method.name} returned {type(metrics).__name__}, not metrics by name"
        )
    must, may = trial.task.metrics, trial.task.optional
    # Read once, and past what a class of the method's own may do when it is read.
    given = dict(dict.items(metrics) if isinstance(metrics, dict) else metrics.items())
    if odd := [name for name in given if not isinstance(name, str)]:
        raise MethodError(
            f"method {trial.method.name} returned a metric named by {type(odd[0]).__name__}, "
            "not by text"
        )
    if not set(must) <= set(given) <= {*must, *may}:
        raise MethodError(
            f"method {trial.method.name} returned metrics {sorted(given)}, task "
            f"{trial.task.name} wants {sorted(must)} and allows {sorted(may)}"
        )
    values = {name: _number(name, value) for name, value in given.items()}
    return {name: values[name] for name in (*must, *may) if name in values}


def _number(name: str, value: Any) -> float:
    if callable(item := getattr(value, "item", None)):
        value = item()  # of numpy or torch
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise MethodError(f"metric {name} is of type {type(value).__name__}, not a number")
    try:
        number = float(value)
    except OverflowError:
        raise MethodError(f"metric {name} is beyond what a float holds") from None
    if not -sys.float_info.max <= number <= sys.float_info.max:
        raise Diverged(f"metric {name} is {number}")
    return number


def settle_libraries(threads: int, device: str, gpus: float = 0.0) -> None:
    """Caps threads and asks for deterministic kernels, where torch has been imported.

    A trial that has a share of a GPU, `gpus` between 0 and 1, is held to that share of its memory.
    """
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=device != "cpu")
        # By default that switch also fills every fresh tensor with NaN, a debugging aid that
        # costs a tenth of a training step.
        torch.utils.deterministic.fill_uninitialized_memory = False
        if 0 < gpus < 1 and device.startswith("cuda"):
            torch.cuda.set_per_process_memory_fraction(gpus, device)


def _seed_libraries(context: Context) -> None:
    """Libraries that draw from global states draw the same in every run; our code never does."""
    seed = context.stream("libraries")
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % 2**32)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


@contextlib.contextmanager
def _locked(store: Store, job: Job) -> Iterator[Lock]:
    """Holds the job's lock. A trial can be left to whoever has it; others need an artifact."""
    lock = store.lock(job.id)
    lock.acquire(wait=job.artifact is not None)
    try:
        yield lock
    finally:
        lock.release()


@contextlib.contextmanager
def _steady() -> Iterator[None]:
    """Puts back what a method changes of its process, so that its record is written as ever."""
    folder, mask = here(), os.umask(0o022)
    os.umask(mask)
    try:
        yield
    finally:
        os.umask(mask)
        with contextlib.suppress(OSError):  # it is gone
            os.chdir(folder or "/")
        for handle in range(3):
            try:
                os.fstat(handle)
            except OSError:  # closed: the next file, a record, would get what is printed
                os.open(os.devnull, os.O_RDWR)


class _Signals:
    """While it is open, the signals of `STOPS` ask the trial to stop at its next step."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in STOPS:
                self._before[number] = signal.signal(number, self._stop)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._context.stopping.set()
