"""Slurm: the plan as job arrays over a shared folder, submitted through `submitit`.

Artifacts are submitted level by level, an array each, and trials behind the level that they need;
`afterany` holds each array back. An element of an array runs its jobs as this machine would: the
same supervisor, limits and locks. Where it is to be requeued, its trial saves first. Artifacts that
are not there when a trial begins, since their element was lost, are built before it.

`run` submits what is not in the queue yet, and watches. To stop it stops watching.
"""

import contextlib
import json
import math
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import UsageError, brief, quoted
from harness.executors import Event, Work, queue
from harness.executors.local import Local
from harness.executors.order import Order
from harness.executors.queue import Element
from harness.executors.remote import heard, packed, told, unpacked
from harness.executors.stops import Stops
from harness.files import entries, write_atomic
from harness.options import seconds as duration
from harness.patience import Patience
from harness.run import BUSY, DONE, FAILED, INTERRUPTED, Job, Outcome
from harness.store import Store

_ELEMENTS = 1000
"""Most that an array may have where nothing else is configured."""
_LOOK = {"slurm": 5.0, "local": 0.2}
"""Seconds between two looks at the queue."""
_PARTING = 10.0
"""Seconds for the last words of an element to reach this machine through the shared folder."""
_REQUEUES = 1000
_WHOLE = ("gpus", "cpus", "mem_gb", "per_job", "nodes", "parallel")
_RENAMED = {"gpus": "gpus_per_node", "cpus": "cpus_per_task", "parallel": "array_parallelism"}


class Options(NamedTuple):
    """What `--slurm key=value` says."""

    cluster: queue.Cluster
    per_job: int
    """Trials per element; 0: as few as the longest array allows."""
    parameters: dict[str, Any]
    """For submitit."""


def options(pairs: Sequence[str]) -> Options:
    """Reads `key=value` pairs: submitit's own, short forms of them, and any other of sbatch.

    Raises:
        UsageError: one is no such pair, or its value is none of the kind.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        key = key.replace("-", "_")
        if not (key.isidentifier() and equals and value):
            raise UsageError(
                f"--slurm {quoted(pair)}: give key=value, e.g. partition=gpu, account=lab, "
                "time=4h, gpus=1, qos=low"
            )
        if key in _WHOLE:
            if not (value.isascii() and value.isdigit() and int(value)):
                raise UsageError(f"--slurm {quoted(pair)}: {key} is a whole number above 0")
            found[key] = int(value)
        elif key == "time":
            found[key] = max(math.ceil(duration(value) / 60), 1)
        else:
            found[key] = value
    cluster = found.pop("cluster", "slurm")
    if cluster not in ("slurm", "local"):
        raise UsageError(f"--slurm cluster={quoted(cluster)}: allowed are slurm, local")
    per_job = found.pop("per_job", 0)
    if "mem_gb" in found:
        found["mem"] = f"{found.pop('mem_gb')}GB"
    return Options(cluster, per_job, {_RENAMED.get(k, k): v for k, v in found.items()})


class Slurm:
    """Runs work in a queue."""

    parting = (
        "stopped watching; what is in the queue goes on (`harness status` shows it, `harness "
        "cancel` ends it), watch it again with"
    )

    def __init__(self, store: Store, given: Options, deadline: float | None = None) -> None:
        self._store = store
        self._given = given
        self._deadline = deadline
        """On the monotonic clock; then it stops watching."""
        self.stops = Stops()

    def run(self, work: Sequence[Work], observe: Callable[[Event], None]) -> bool:
        """See `harness.executors.Executor.run`.

        Raises:
            UsageError: submitit or Slurm is not here, or refuses an option.
        """
        if not work:
            return True
        queue.tidy(self._store.cache)
        there = queue.noted(self._store.cache)
        alive = queue.states(there)
        mine = {item.job.id for item in work}
        known = [e for e in there if e.number in alive and mine.intersection(e.jobs)]
        waiting = {key for element in known for key in element.jobs}
        new = [item for item in work if item.job.id not in waiting]
        with self.stops.caught():
            submitted = self._submitted(new, work, known)
            return self._watch(_Watched(self._store, work, known, observe), submitted)

    def _submitted(
        self, new: Sequence[Work], work: Sequence[Work], known: Sequence[Element]
    ) -> Iterator[list[Element]]:
        """Submits array after array; yields the elements of each."""
        if not new:
            return
        run = queue.location(self._store.cache.absolute()) / uuid.uuid4().hex[:12]
        run.mkdir(parents=True)
        every: list[Element] = []
        before: dict[int, list[Element]] = {}
        by_id = {item.job.id: item for item in work}
        for level, items in _arrays(new):
            needs = {key for item in items for key in item.after}
            after = [e for e in known if needs.intersection(e.jobs)] + before.get(level - 1, [])
            elements = self._array(run, items, by_id, after)
            if items[0].job.artifact is not None:
                before[level] = elements
            every += elements
            queue.note(run, self._given.cluster, every)
            yield elements

    def _array(
        self, run: Path, items: Sequence[Work], by_id: Mapping[str, Work], after: Sequence[Element]
    ) -> list[Element]:
        """Submits one array."""
        size = self._given.per_job or math.ceil(len(items) / _ELEMENTS)
        chunks = [items[first : first + size] for first in range(0, len(items), size)]
        files = []
        for chunk in chunks:
            file = run / f"{uuid.uuid4().hex[:12]}.json"
            needs = _needs(chunk, by_id)
            content = {
                "command": sys.argv,
                "needs": list(map(packed, needs)),
                "jobs": list(map(packed, chunk)),
            }
            write_atomic(file, json.dumps(content).encode())
            files.append(str(file))
        executor = self._executor(run / "log", items[0].job, size, after)
        try:
            jobs = executor.map_array(Carrier(), files)
        except Exception as error:  # of submitit's own kinds: sbatch said no
            raise UsageError(f"Slurm refused the jobs: {_reason(error)}") from None
        return [
            Element(run, self._given.cluster, str(job.job_id), tuple(w.job.id for w in chunk))
            for job, chunk in zip(jobs, chunks, strict=True)
        ]

    def _executor(self, log: Path, job: Job, size: int, after: Sequence[Element]) -> Any:
        try:
            import submitit
        except ImportError:
            raise UsageError(
                "--executor slurm needs submitit: pip install 'attention-harness[slurm]'"
            ) from None
        limit = job.seconds * size + Patience.read().grace + 60
        usual: dict[str, Any] = {
            "time": max(math.ceil(limit / 60), 5),
            "cpus_per_task": job.threads * (max(round(1 / job.gpus), 1) if job.gpus else 1),
            "job_name": f"harness-{job.suite}",
        }
        if job.gpus:
            usual["gpus_per_node"] = math.ceil(job.gpus)
        if job.memory and "mem" not in self._given.parameters:
            usual["mem"] = f"{math.ceil(job.memory / 2**20)}M"
        parameters = usual | self._given.parameters
        if self._given.cluster == "local":
            executor: Any = submitit.LocalExecutor(log, max_num_timeout=_REQUEUES)
            executor.update_parameters(timeout_min=parameters["time"], signal_delay_s=30)
            return executor
        try:
            executor = submitit.SlurmExecutor(log, max_num_timeout=_REQUEUES)
        except RuntimeError:
            raise UsageError(
                "--executor slurm: there is no srun here; run this where jobs are submitted from"
            ) from None
        known = executor._valid_parameters()
        more = {key: value for key, value in parameters.items() if key not in known}
        parameters = {key: value for key, value in parameters.items() if key in known}
        parameters["additional_parameters"] = {"requeue": True} | more
        if numbers := sorted({element.number.partition("_")[0] for element in after}):
            parameters["dependency"] = "afterany:" + ":".join(numbers)
        executor.update_parameters(**parameters)
        return executor

    def _watch(self, watched: "_Watched", submitted: Iterator[list[Element]]) -> bool:
        """Submits and looks by turns until all has ended; False where it was stopped before."""
        at_once = self._given.cluster == "slurm"  # submitit's own queue knows no `afterany`
        more = True
        while more or watched.left:
            if self.stops.count or (self._deadline and time.monotonic() > self._deadline):
                return False
            if more and (at_once or not watched.left):
                elements = next(submitted, None)
                more = elements is not None
                watched.left |= dict.fromkeys(elements or ())
                if more and at_once:
                    continue
            watched.look()
            time.sleep(_LOOK[self._given.cluster])
        return not any(outcome.code == INTERRUPTED for outcome in watched.ended.values())


class _Watched:
    """What is in the queue, and what has become of it."""

    def __init__(
        self,
        store: Store,
        work: Sequence[Work],
        known: Sequence[Element],
        observe: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._jobs = {item.job.id: item.job for item in work}
        self._order = Order(work)
        self._observe = observe
        self._began: set[str] = set()
        self.ended: dict[str, Outcome] = {}
        self.left: dict[Element, float | None] = dict.fromkeys(known)
        """Elements that are not done -> since when they are out of the queue."""

    def look(self) -> None:
        """Asks the queue and reads what the elements have left."""
        there = queue.states(self.left)
        marks = {run: _marks(run) for run in {element.run for element in self.left}}
        for element in list(self.left):
            for key in element.jobs:
                if key not in self.ended:
                    self._read(element, key, marks[element.run])
            if element.number in there:
                self.left[element] = None
            elif all(key in self.ended for key in element.jobs):
                del self.left[element]
            elif (since := self.left[element]) is None:
                self.left[element] = time.monotonic()
            elif time.monotonic() - since > min(_PARTING, 10 * _LOOK[element.cluster]):
                del self.left[element]
                for key in element.jobs:
                    if key not in self.ended:
                        self._end(key, self._lost(element, self._jobs.get(key)), 0.0)

    def _read(self, element: Element, key: str, marks: set[str]) -> None:
        if f"began-{key[:32]}" in marks and key in self._jobs and key not in self._began:
            self._began.add(key)
            self._observe(Event(self._jobs[key]))
        if (mark := f"ended-{key[:32]}") in marks:
            self._end(key, *heard((element.run / mark).read_text()))

    def _end(self, key: str, outcome: Outcome, took: float) -> None:
        self.ended[key] = outcome
        if key in self._jobs:
            self._observe(Event(self._jobs[key], outcome=outcome, seconds=took))
        for job, how in self._order.end(key, outcome):
            if job.id not in self.ended:
                self.ended[job.id] = how
                self._observe(Event(job, outcome=how))

    def _lost(self, element: Element, job: Job | None) -> Outcome:
        """The outcome of a job whose element has left the queue without a word."""
        if job and job.artifact is None and job.recorded(self._store):
            return Outcome(DONE)
        fate = queue.fate(element)
        if fate in ("", "CANCELLED", "PREEMPTED", "COMPLETED"):
            return Outcome(INTERRUPTED)
        where = element.run / "log" / f"{element.number}_0_log.err"
        return Outcome(
            FAILED,
            f"job {element.number} left the queue as {fate.lower()}; log: {where}",
            recorded=False,
        )


class Carrier:
    """What an element of an array does, on the machine that it got."""

    def __init__(self) -> None:
        self._local: Local | None = None

    def __call__(self, path: str) -> None:
        """Runs the jobs in a file."""
        file = Path(path)
        content = json.loads(file.read_bytes())
        sys.argv[:] = content["command"]  # of which records tell
        needs, own = (list(map(unpacked, content[part])) for part in ("needs", "jobs"))
        order = Order([*needs, *own])
        for item in needs:  # those that failed in their own element fail again
            with contextlib.suppress(OSError):
                outcome, _ = heard((file.parent / f"ended-{item.job.id[:32]}").read_text())
                if outcome.code == FAILED:
                    for job, how in order.end(item.job.id, outcome):
                        _end(file, job, how, 0.0)
        there = _marks(file.parent)  # of jobs that this element ran before it was requeued
        own = [item for item in own if f"ended-{item.job.id[:32]}" not in there]
        self._run(file, [item for item in (*needs, *own) if item.job.id in order])

    def _run(self, file: Path, left: list[Work]) -> None:
        """Runs jobs; one whose lock may be that of a node that died waits for its lease to end."""
        until = time.monotonic() + Patience.read().lease + _PARTING
        work = {item.job.id: item for item in left}
        busy: list[Work] = []

        def observe(event: Event) -> None:
            if event.outcome and event.outcome.code == BUSY and time.monotonic() < until:
                busy.append(work[event.job.id])
            else:
                _observe(file, event)

        self._local = Local(max((_together(item.job) for item in left), default=1))
        while left and self._local.run(left, observe):
            left, busy = busy, []
            if left:
                time.sleep(_LOOK["slurm"])

    def checkpoint(self, path: str) -> Any:
        """Called by submitit before the element is requeued: saves."""
        from submitit.helpers import DelayedSubmission

        if self._local is not None:
            self._local.halt()
        return DelayedSubmission(Carrier(), path)


def _together(job: Job) -> int:
    """How many jobs like this one run at a time in an element: as its GPU or CPUs have room for."""
    if job.gpus:
        return max(round(1 / job.gpus), 1)
    return max(int(os.environ.get("SLURM_CPUS_PER_TASK", job.threads)) // job.threads, 1)


def _observe(file: Path, event: Event) -> None:
    if event.outcome is not None:
        _end(file, event.job, event.outcome, event.seconds)
    elif event.progress is None:
        write_atomic(file.parent / f"began-{event.job.id[:32]}", b"")


def _end(file: Path, job: Job, outcome: Outcome, took: float) -> None:
    """Notes how a job ended; one that was stopped has not ended, and is run again."""
    if outcome.code != INTERRUPTED:
        write_atomic(file.parent / f"ended-{job.id[:32]}", told(outcome, took).encode())


def _marks(run: Path) -> set[str]:
    return {entry.name for entry in entries(run) or ()}


def _arrays(new: Sequence[Work]) -> list[tuple[int, list[Work]]]:
    """Work parted into arrays, with the level of each: artifacts, then the trials behind them."""
    levels: dict[str, int] = {}
    arrays: dict[tuple[int, bool], list[Work]] = {}
    for item in new:  # artifacts come first, each after what it needs
        if item.job.id not in levels:
            level = 1 + max((levels.get(key, 0) for key in item.after), default=0)
            levels[item.job.id] = level
            arrays.setdefault((level, item.job.artifact is None), []).append(item)
    return [(level, arrays[level, trials]) for level, trials in sorted(arrays)]


def _needs(chunk: Sequence[Work], by_id: Mapping[str, Work]) -> list[Work]:
    """The artifacts of a plan that a chunk needs, each after what it needs itself."""
    found: dict[str, Work] = {}
    pending = [key for item in chunk for key in item.after]
    while pending:
        key = pending.pop()
        if key in by_id and key not in found:
            found[key] = by_id[key]
            pending += by_id[key].after
    return [item for key, item in by_id.items() if key in found]


def _reason(error: Exception) -> str:
    """The last line that sbatch wrote, else the whole."""
    lines = [line.strip() for line in str(error).split("\n") if "sbatch" in line]
    return lines[-1] if lines else brief(error)
