"""This machine: one process per job, forked from a server that has imported heavy modules once.

Each job has a supervisor, which ends all of it; see `harness.executors.supervisor`.
"""

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType

from harness import provenance
from harness.errors import MethodError, StoreError
from harness.executors import Event, Work, family
from harness.executors.order import Order
from harness.executors.stops import Stops
from harness.executors.supervisor import TRIAL, Command, End, supervise
from harness.failures import shown, unwritable
from harness.patience import Patience
from harness.record import Status
from harness.run import (
    BUSY,
    DONE,
    FAILED,
    FULL,
    INTERRUPTED,
    STOPS,
    Job,
    Outcome,
    Progress,
    failure,
)
from harness.store import Store

PRELOAD = "HARNESS_PRELOAD"
"""Environment variable that tells the fork server which suites to load before it forks."""
PLUGINS = "HARNESS_PLUGINS"
"""Environment variable that tells it with which plugins, a JSON list."""
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


@dataclass
class _Running:
    job: Job
    process: ForkServerProcess
    """Its supervisor."""
    messages: Connection
    slot: int
    since: float
    started: str


class Local:
    """At most `workers` jobs at a time on this machine."""

    parting = "stopped; {kept}, resume with"

    def __init__(self, workers: int, deadline: float | None = None, gpus: int = 0) -> None:
        self._workers = workers
        self._gpus = max(gpus, 1)
        self._deadline = deadline
        """On the monotonic clock; jobs that run at that moment are asked to stop."""
        self._running: list[_Running] = []
        self._stops = Stops()
        self._full = False
        """Whether nothing more can be written."""
        self._patience = Patience()

    def run(self, work: Sequence[Work], observe: Callable[[Event], None]) -> bool:
        """See `harness.executors.Executor.run`."""
        if not work:
            return True
        self._patience = Patience.read()
        threads = str(max(item.job.threads for item in work))
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, threads), PYTHONHASHSEED="0")
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = (
            os.environ.get("CUBLAS_WORKSPACE_CONFIG") or ":4096:8"
        )
        context = multiprocessing.get_context("forkserver")
        os.environ[PRELOAD] = ",".join(sorted({item.job.suite for item in work}))
        os.environ[PLUGINS] = json.dumps(work[0].job.plugins)
        context.set_forkserver_preload(["harness.executors.local", "harness.executors.preload"])
        self._full = False
        with self._stops.caught({signal.SIGTSTP: self._pause}):
            family.adopt()
            try:
                return self._drive(Order(work), context, self._shielded(observe))
            finally:
                self._end_all()
                family.adopt(False)

    def halt(self) -> None:
        """Asks all jobs to save and stop, and waits for that; for handlers of signals."""
        self._stops.ask()
        self._tell("stop")
        until = time.monotonic() + self._patience.grace + 2 * self._patience.exit
        for item in self._running:
            _ends(item, until)

    def stop(self) -> None:
        """Lets `run` stop in good order; for other threads."""
        self._stops.ask()

    def _drive(
        self,
        order: Order,
        context: multiprocessing.context.ForkServerContext,
        observe: Callable[[Event], None],
    ) -> bool:
        asked = cut = False
        while order or self._running:
            stop = self._stops.count > 0 or self._full or _passed(self._deadline)
            if self._stops.count > 1:
                return False
            if stop and not asked:
                asked = True
                self._tell("stop")
            if stop and not self._running:
                return False
            if not stop:
                self._launch(order, context, observe)
            if not self._running:
                continue
            wait([item.messages for item in self._running], timeout=0.5)
            for item in list(self._running):
                outcome = self._hear(item, observe)
                if outcome is not None:
                    self._full = self._full or outcome.code == FULL
                    cut = cut or outcome.code in (INTERRUPTED, FULL)
                    self._running.remove(item)
                    seconds = time.monotonic() - item.since
                    observe(Event(item.job, outcome=outcome, seconds=seconds))
                    for job, how in order.end(item.job.id, outcome):
                        observe(Event(job, outcome=how))
        return not cut

    def _launch(
        self,
        order: Order,
        context: multiprocessing.context.ForkServerContext,
        observe: Callable[[Event], None],
    ) -> None:
        while len(self._running) < self._workers and (item := order.next()) is not None:
            slots = {other.slot for other in self._running}
            slot = next(n for n in range(self._workers) if n not in slots)
            self._running.append(_start(_placed(item.job, slot, self._gpus), slot, context))
            observe(Event(item.job))

    def _hear(self, item: _Running, observe: Callable[[Event], None]) -> Outcome | None:
        """Passes on a job's messages; its outcome once it and all that it started are gone."""
        end: End | None = None
        try:
            while end is None and item.messages.poll():
                message: Progress | End = item.messages.recv()
                if isinstance(message, Progress):
                    seconds = time.monotonic() - item.since
                    observe(Event(item.job, progress=message, seconds=seconds))
                else:
                    end = message
        except (EOFError, OSError):  # the supervisor was killed, and the kernel killed the trial
            end = End()
            self._end_orphans(item)
        if end is None:
            return None
        _close(item, self._patience.exit)
        outcome = end.outcome or _post_mortem(item, end)
        if outcome.code == FAILED and not outcome.recorded:
            store = Store(Path(item.job.results), Path(item.job.cache))
            try:
                store.probe(item.job.suite, item.job.scale)
            except StoreError as error:  # no fault of this one
                return Outcome(FULL, str(error), recorded=False)
        return outcome

    def _tell(self, command: Command) -> None:
        for item in self._running:
            with contextlib.suppress(OSError):  # it has just ended
                item.messages.send(command)

    def _end_all(self) -> None:
        """Kills what still runs; in a second as a rule, and never later than patience lasts."""
        self._tell("kill")
        until = time.monotonic() + 2 * self._patience.exit
        for item in self._running:
            if not _ends(item, until):
                item.process.kill()
                self._end_orphans(item)
            _close(item, self._patience.exit)
        self._running.clear()

    def _end_orphans(self, item: _Running) -> None:
        """Ends what a job started when its supervisor was killed before it could."""
        supervisors = {other.process.pid for other in self._running if other is not item}
        family.await_end(item.process.pid or 0, self._patience.exit)  # then we have adopted them
        family.end(
            self._patience.exit,
            lambda child: child not in supervisors and family.from_fork_server(child, TRIAL),
        )

    def _pause(self, _number: int, _frame: FrameType | None) -> None:
        """Stops with all jobs, as Ctrl-Z asks; resumes with all jobs."""
        self._tell("pause")
        os.kill(os.getpid(), signal.SIGSTOP)
        self._tell("resume")

    def _shielded(self, observe: Callable[[Event], None]) -> Callable[[Event], None]:
        """The observer; a terminal or pipe that is gone stops the run, which saves first."""

        def shielded(event: Event) -> None:
            try:
                observe(event)
            except OSError:
                self._stops.ask()

        return shielded


def _placed(job: Job, slot: int, gpus: int) -> Job:
    """The job with the GPU of a worker slot; one that wants several has the first of them."""
    if job.device != "cuda":
        return job
    first = slot * max(int(job.gpus), 1) % gpus
    return job._replace(device=f"cuda:{first}")


def _start(job: Job, slot: int, context: multiprocessing.context.ForkServerContext) -> _Running:
    for attempt in (1, 2):  # the server may have been killed a moment ago
        ours, theirs = context.Pipe(duplex=True)
        process = context.Process(target=supervise, args=(job, theirs), daemon=True)
        try:
            with _no_script():
                _start_server()
                process.start()
            break
        except (EOFError, ConnectionError) as error:
            ours.close()
            if attempt == 2:
                raise MethodError(
                    "the process that trials fork from died as it loaded "
                    f"{os.environ[PRELOAD]} ({type(error).__name__}); what it said is above"
                ) from None
        finally:
            theirs.close()
    return _Running(job, process, ours, slot, time.monotonic(), provenance.now())


def _close(item: _Running, seconds: float) -> None:
    """Lets a supervisor that has said its last word end, and waits for it no longer than that."""
    item.messages.close()
    item.process.join(seconds)
    if item.process.is_alive():
        item.process.kill()
        item.process.join(seconds)
    with contextlib.suppress(OSError):  # the fork server's child, unless that was killed
        os.waitpid(item.process.pid or 0, os.WNOHANG)


def _ends(item: _Running, until: float) -> bool:
    """Whether a supervisor says its last word by then."""
    try:
        while item.messages.poll(max(0.0, until - time.monotonic())):
            if isinstance(item.messages.recv(), End):
                return True
    except (EOFError, OSError):
        pass
    return False


def _post_mortem(item: _Running, end: End) -> Outcome:
    """The outcome of a job whose process died without a word."""
    job, store = item.job, Store(Path(item.job.results), Path(item.job.cache))
    if (left := _left(item, store)) is not None:
        return left
    code = end.code
    if end.cause == "stop" or (code is not None and -code in STOPS):
        return Outcome(INTERRUPTED, "it was killed before it reached its next step")
    if end.cause == "lost":
        return Outcome(BUSY, "its lease ran out; another machine took it over")
    status: Status = "failed"
    if end.cause == "limit":
        status, line = "timeout", f"no step within its limit of {job.seconds:.0f} s; killed"
    elif code is None:
        line = "the process that supervises it was killed"
    elif code == -signal.SIGKILL and end.memory:
        status, line = "oom", "killed by the system, which was out of memory"
    elif code == -signal.SIGKILL:
        line = "killed by signal 9 (by the system or another process)"
    elif code < 0:
        line = f"the process died of {_signal_name(-code)}"
    else:
        line = f"the process ended with code {code} and left no record"
    log = store.trial_folder(job.id) / "log.txt"
    where = f"; log: {shown(log)}" if log.exists() else ""
    if job.artifact is not None:
        return Outcome(FAILED, line + where, recorded=False)
    try:
        store.commit(failure(job, status, line, item.started))
    except StoreError as error:
        return Outcome(FULL if unwritable(error) else FAILED, str(error), recorded=False)
    return Outcome(FAILED, f"{status}: {line}{where}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has none
        return f"signal {number}"


def _left(item: _Running, store: Store) -> Outcome | None:
    """What the process committed before it died: the record or artifact counts, not its end."""
    job = item.job
    if job.artifact is not None:
        source = store.artifact_source(job.suite, job.artifact, job.id)
        return Outcome(DONE) if source == job.source_digest else None
    found = job.recorded(store)
    if found is None or found.provenance.started < item.started:
        return None
    if found.status == "ok":
        return Outcome(DONE)
    return Outcome(FAILED, f"{found.status}: {found.error}")


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline


def _start_server() -> None:
    """Starts the fork server with the stopping signals held back.

    Sent to the whole group, as Ctrl-C and `timeout` do, they would end it and with it the means to
    start or hear of a process. What it forks lets them through when it is ready to act on them.
    """
    resource_tracker.ensure_running()  # would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _no_script() -> Iterator[None]:
    """Hides the script that started the run: every process would execute it once more."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
