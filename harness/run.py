"""Runs one trial or makes one artifact, in the process that it is called in.

`execute` rebuilds the trial from its coordinates, holds its lock, calls the method with a
`Context`, and commits the record: whatever happens, a trial ends as a record or stays resumable.
"""

import hashlib
import math
import random
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from filelock import Timeout
from pydantic import JsonValue, ValidationError

from harness import provenance, registry
from harness.cost import Meter
from harness.data import Sources
from harness.errors import DataError, Diverged, HarnessError, MethodError, SpecError, StoreError
from harness.inputs import Inputs
from harness.plan import Filters, Node, Trial, trials
from harness.record import Cost, Record, Series, Status
from harness.store import Checkpoint, Store, write_atomic
from harness.suite import Artifact, Method, Task

if TYPE_CHECKING:
    import numpy as np
    import torch

DONE, FAILED, BUSY, INTERRUPTED = 0, 1, 75, 130
"""Exit codes of a trial's process: record `ok`; record of a failure; locked elsewhere; stopped."""

_CHECKPOINT_SECONDS = 20.0
_PROGRESS_SECONDS = 0.5
_CURVE_POINTS = 40


class Job(NamedTuple):
    """The coordinates of a trial, or of an artifact that this trial needs; plain strings."""

    suite: str
    scale: str
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
    force: bool = False
    """Run although there is a record."""

    @property
    def title(self) -> str:
        """How people name it."""
        if self.artifact is not None:
            return f"artifact {self.artifact}"
        return f"{self.method} on {self.task}, seed {self.seed}"


class Outcome(NamedTuple):
    """How a job ended."""

    code: int
    """`DONE`, `FAILED`, `BUSY` or `INTERRUPTED`."""
    line: str = ""
    """What went wrong, in one line."""
    recorded: bool = True
    """False where a failure left no record: the environment was at fault, not the trial."""


class Progress(NamedTuple):
    """How far a job is."""

    step: int
    total: int


class Resumable(Protocol):
    """What `Context.tick` saves and `Context.restore` fills; see `harness.training.State`."""

    def pack(self) -> tuple[bytes, dict[str, JsonValue]]:
        """The state as safetensors bytes and JSON."""
        ...

    def unpack(self, checkpoint: Checkpoint) -> None:
        """Takes the state back from a verified checkpoint."""
        ...


class Interrupted(BaseException):
    """The trial was asked to stop and has saved its state. Not an error, so not an Exception."""


class TimeLimit(MethodError):
    """The trial passed its wall-clock limit."""


class Context(Inputs):
    """What a method or artifact function gets: its specification, and the engine's services."""

    def __init__(
        self,
        trial: Trial,
        store: Store,
        sources: Sources,
        *,
        node: Node | None = None,
        seconds: float = math.inf,
        source_digest: str = "",
        notify: Callable[[Progress], None] | None = None,
    ) -> None:
        named = tuple((node or trial).spec["data"])
        reader = node.artifact.name if node else trial.method.name
        super().__init__(reader, named, trial.suite.datasets, sources)
        self.suite = trial.suite
        self.scale = trial.scale
        self.device = trial.device
        """`cpu`, `cuda` or `cuda:<n>`."""
        self.dtype = trial.suite.dtype
        self.subject: Method | Artifact = node.artifact if node else trial.method
        """The method or artifact that is run."""
        self.seed: int = (node.seed or 0) if node else trial.seed
        self.id = node.id if node else trial.id
        self._task = node.task if node else trial.task
        self._needs = node.needs if node else trial.needs
        self._store = store
        self._seconds = seconds
        self.source_digest = source_digest
        """Of what is run; empty where nobody asks."""
        self._notify = notify
        self.out: Path = store.trial_folder(self.id) / "out"
        """Folder that an artifact function fills."""
        self.counts: dict[str, int] = {}
        self.all_series: dict[str, Series] = {}
        self._curves: dict[str, list[tuple[int, float]]] = {}
        self._checkpoint = store.checkpoint(self.id)
        if self._checkpoint and self._checkpoint.meta.get("source_digest") != source_digest:
            store.clear_checkpoints(self.id)  # other code began it
            self._checkpoint = None
        earlier = self._checkpoint.meta.get("cost") if self._checkpoint else None
        self._meter = Meter(self.device, Cost.model_validate(earlier) if earlier else None)
        self.stopping = threading.Event()
        """Set when the trial was asked to stop; `tick` acts on it."""
        self._last_save = time.monotonic()
        self._last_notice = -math.inf

    # -- what is to be done -----------------------------------------------------------------------

    @property
    def task(self) -> Task:
        """The task; an artifact has one only if it is made over tasks."""
        if self._task is None:
            raise MethodError(
                f"artifact {self.subject.name} is not made over tasks: it has no task"
            )
        return self._task

    def param(self, name: str) -> Any:
        """A number or name from the method, else the task, else the scale.

        Raises:
            SpecError: none of them has it.
        """
        layers = (self.subject.params, self._task.params if self._task else {}, self.scale.params)
        for layer in layers:
            if name in layer:
                return layer[name]
        there = ", ".join(sorted({key for layer in layers for key in layer})) or "none"
        raise SpecError(
            f"{self.subject.name} asks for parameter {name!r}; method, task and scale have: {there}"
        )

    def stream(self, purpose: str, *keys: str | int) -> int:
        """A 63-bit seed for one purpose: `data`, `init`, `batch`, `dropout`, `env`, `eval`, ...

        Depends on the trial's seed, the purpose and the keys alone, so that methods with equal
        seeds see equal data: comparisons are paired. Add the method's name as a key to part them.
        """
        text = "\0".join(map(str, (self.suite.name, self.seed, purpose, *keys)))
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

    def torch_generator(self, purpose: str, *keys: str | int) -> "torch.Generator":
        """A private CPU generator on that stream."""
        import torch

        return torch.Generator().manual_seed(self.stream(purpose, *keys))

    def numpy_generator(self, purpose: str, *keys: str | int) -> "np.random.Generator":
        """A private numpy generator on that stream."""
        import numpy as np

        return np.random.default_rng(self.stream(purpose, *keys))

    # -- what it stands on ------------------------------------------------------------------------

    def artifact(self, name: str) -> Path:
        """The folder of an artifact that the method said it needs, verified.

        Raises:
            MethodError: it was not named in `needs`.
            StoreError: it is damaged or gone.
        """
        if name not in self._needs:
            raise MethodError(f"{self.subject.name} reads artifact {name!r} but does not need it")
        folder = self._store.artifact(self.suite.name, name, self._needs[name])
        if folder is None:
            raise MethodError(f"artifact {name!r} has not been made; run the suite again")
        self.contents |= self._store.artifact_contents(folder)
        return folder

    # -- what it leaves ---------------------------------------------------------------------------

    def count(self, **counts: int) -> None:
        """Notes counted budgets: `parameters`, `updates`, `flops`, ..."""
        self.counts.update({name: int(value) for name, value in counts.items()})

    def series(
        self, name: str, x: Sequence[float], y: Sequence[float], x_label: str = "step"
    ) -> None:
        """Keeps a short curve or histogram in the record, to six significant digits."""
        self.all_series[name] = Series(x=_rounded(x), y=_rounded(y), x_label=x_label)

    def log(self, step: int, **scalars: float) -> None:
        """Adds a point to the trial's curves, which the record keeps thinned.

        Raises:
            Diverged: a scalar is NaN or infinite.
        """
        for name, value in scalars.items():
            if not math.isfinite(value):
                raise Diverged(f"{name} is {value} at step {step}")
            self._curves.setdefault(name, []).append((step, float(value)))

    # -- interruption -----------------------------------------------------------------------------

    def restore(self, state: Resumable) -> int:
        """Fills `state` from the trial's checkpoint; returns the steps done, 0 without one."""
        if self._checkpoint is None:
            return 0
        state.unpack(self._checkpoint)
        curves: Any = self._checkpoint.meta["curves"]
        self._curves = {name: [tuple(point) for point in line] for name, line in curves.items()}
        return self._checkpoint.step

    def tick(self, step: int, total: int, state: Resumable | None = None) -> None:
        """To be called after every step: progress, checkpoints, stopping, the time limit.

        `state` must be what a fresh process needs to do step `step + 1`. Without it nothing is
        saved, and a stopped trial starts afresh.

        Raises:
            Interrupted: the trial was asked to stop; its state is saved.
            TimeLimit: it has run longer than it may.
        """
        now = time.monotonic()
        if self._notify and now - self._last_notice > _PROGRESS_SECONDS:
            self._last_notice = now
            self._notify(Progress(step, total))
        stop = self.stopping.is_set()
        if state is not None and (stop or now - self._last_save > _CHECKPOINT_SECONDS):
            tensors, meta = state.pack()
            self._store.save_checkpoint(
                self.id,
                step,
                tensors,
                {
                    **meta,
                    "curves": {name: list(map(list, line)) for name, line in self._curves.items()},
                    "cost": self.cost().model_dump(mode="json"),
                    "source_digest": self.source_digest,
                },
            )
            self._last_save = time.monotonic()
        if stop:
            raise Interrupted
        if self.cost().wall_seconds > self._seconds:
            raise TimeLimit(f"stopped after {self._seconds:.0f} s at step {step} of {total}")

    def cost(self) -> Cost:
        """What the trial has cost so far, earlier sessions included."""
        return self._meter.read()

    def finished_series(self) -> dict[str, Series]:
        """The kept series and the thinned curves."""
        curves = {}
        for name, line in self._curves.items():
            last = len(line) - 1
            count = min(_CURVE_POINTS, len(line))
            kept = sorted({round(i * last / max(count - 1, 1)) for i in range(count)})
            x, y = zip(*(line[i] for i in kept), strict=True)
            curves[name] = Series(x=_rounded(x), y=_rounded(y))
        return curves | self.all_series


def execute(
    job: Job,
    notify: Callable[[Progress], None] | None = None,
    *,
    grace: float | None = None,
    held: Callable[[], None] | None = None,
) -> Outcome:
    """Runs a job to its end in this process.

    A method that fails leaves a record that says so. Damaged data, a full disk or a suite that
    does not hold together leave none: they are the environment's, and the trial stays to be run.

    `grace`, for a process that does nothing else: seconds from being asked to stop until the
    kernel ends the process, should its method not have come to a step by then. `held` is called
    once the job's lock is held: until then its working folder is another process's to remove.
    """
    store = Store(Path(job.results), Path(job.cache))
    lock = store.lock(job.id)
    try:
        # A trial can be left to whoever has it. An artifact is waited for: others need it.
        lock.acquire(timeout=0 if job.artifact is None else -1)
    except Timeout:
        return Outcome(BUSY, "another process is at work on it")
    try:
        if held is not None:
            held()
        trial, node = _rebuild(job)
        if not job.force and _finished(job, node, store):
            store.clear_trial(job.id)
            return Outcome(DONE)
        function = registry.call(node.artifact.make if node else trial.method.run)
        settle_libraries(job.threads, job.device)
        sources = Sources.of(Path(job.data) if job.data else None, store.cache)
        context = Context(
            trial,
            store,
            sources,
            node=node,
            seconds=job.seconds,
            source_digest=job.source_digest,
            notify=notify,
        )
        _seed_libraries(context)
        with _Signals(context, grace):
            if node is not None:
                return _make(context, node, function, store)
            record = _run(context, job, trial, function)
            store.commit(record)
        if record.status != "ok":
            return Outcome(FAILED, f"{record.status}: {record.error}")
        store.clear_trial(trial.id)
        return Outcome(DONE)
    except Interrupted:
        return Outcome(INTERRUPTED)
    except HarnessError as error:
        return Outcome(FAILED, str(error), recorded=False)
    finally:
        lock.release()


def _run(
    context: Context, job: Job, trial: Trial, function: Callable[[Context], Mapping[str, float]]
) -> Record:
    started = provenance.now()
    status: Status = "ok"
    error: str | None = None
    metrics: dict[str, float] = {}
    try:
        metrics = _checked(function(context), trial)
    except (DataError, SpecError, StoreError):
        raise
    except Exception as problem:  # every failure of a method becomes a record
        status, error = _classify(problem)
        _keep_traceback(context, problem)
    return _record(
        job,
        trial,
        started,
        status=status,
        error=error,
        metrics=metrics,
        counts=context.counts,
        series=context.finished_series(),
        data=context.origins,
        cost=context.cost(),
        contents=context.contents,
    )


def _make(
    context: Context,
    node: Node,
    function: Callable[[Context], Mapping[str, JsonValue] | None],
    store: Store,
) -> Outcome:
    shutil.rmtree(context.out, ignore_errors=True)  # what an interrupted attempt left
    context.out.mkdir(parents=True, exist_ok=True)
    try:
        info = dict(function(context) or {})
    except HarnessError:
        raise
    except Exception as problem:  # one line for people, the traceback in a file
        path = _keep_traceback(context, problem)
        raise MethodError(f"{_classify(problem)[1]}; the traceback is in {path}") from None
    info["cost"] = context.cost().model_dump(mode="json")
    info["source_digest"] = context.source_digest
    info["contents"] = dict(context.contents)
    folder = store.artifact_folder(context.suite.name, node.artifact.name, node.id)
    store.commit_artifact(folder, context.out, node.spec, info)
    store.clear_trial(node.id)
    return Outcome(DONE)


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
            contents,
        ),
        **outcome,
    )


def _keep_traceback(context: Context, problem: Exception) -> Path:
    path = context.out.parent / "error.txt"
    text = "".join(traceback.format_exception(problem))
    write_atomic(path, text.encode(errors="backslashreplace"))
    return path


def _rebuild(job: Job) -> tuple[Trial, Node | None]:
    suite = registry.load(job.suite)
    found, nodes = trials(
        suite,
        suite.scale(job.scale),
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
    return store.find(job.id, job.suite, job.scale) is not None


def _checked(metrics: Mapping[str, float], trial: Trial) -> dict[str, float]:
    must, may = trial.task.metrics, trial.task.optional
    if not set(must) <= set(metrics) <= {*must, *may}:
        raise MethodError(
            f"method {trial.method.name} returned metrics {sorted(metrics)}, task "
            f"{trial.task.name} wants {sorted(must)} and allows {sorted(may)}"
        )
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise Diverged(f"metric {name} is {value}")
    return {name: float(metrics[name]) for name in (*must, *may) if name in metrics}


def _classify(problem: Exception) -> tuple[Status, str]:
    """The status of an exception, and one line that says what happened."""
    line = _printable((str(problem).splitlines() or [""])[0])
    name = type(problem).__name__
    if isinstance(problem, Diverged):
        return "diverged", line
    if isinstance(problem, TimeLimit):
        return "timeout", line
    if isinstance(problem, MemoryError) or name == "OutOfMemoryError" or "alloc" in line:
        return "oom", f"{name}: {line}"
    if isinstance(problem, ValidationError):
        line = _printable(problem.errors()[0]["msg"])
    return "failed", line if isinstance(problem, HarnessError) else f"{name}: {line}"


def settle_libraries(threads: int, device: str) -> None:
    """Caps threads and asks for deterministic kernels, where torch has been imported."""
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=device != "cpu")
        # By default that switch also fills every fresh tensor with NaN, a debugging aid that
        # costs a tenth of a training step.
        torch.utils.deterministic.fill_uninitialized_memory = False


def _seed_libraries(context: Context) -> None:
    """Libraries that draw from global states draw the same in every run; our code never does."""
    seed = context.stream("libraries")
    random.seed(seed)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(seed % 2**32)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(seed)


class _Signals:
    """While it is open, SIGINT and SIGTERM ask the trial to stop at its next step."""

    def __init__(self, context: Context, grace: float | None) -> None:
        self._context = context
        self._grace = grace
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._context.stopping.set()
        if self._grace is not None:
            signal.setitimer(signal.ITIMER_REAL, self._grace)


def _printable(line: str) -> str:
    """The line with everything that a terminal or JSON would trip over written as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{float(value):.6g}") for value in values)
