"""This machine: a process a job, forked from a server that has imported the heavy modules once."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType
from typing import Any

from harness import provenance
from harness.errors import MethodError
from harness.executors import Event, Work
from harness.run import DONE, FAILED, INTERRUPTED, Job, Outcome, Progress, execute, failure
from harness.store import Store

PRELOAD = "HARNESS_PRELOAD"
"""Environment variable that tells the fork server which suites to load before it forks."""
_STOPS = (signal.SIGINT, signal.SIGTERM)
_EXIT_SECONDS = 5.0
"""How long a process that has said its last word may take to end."""
_GRACE_SECONDS = 60.0
"""How long a job may take to reach its next step after it was asked to stop."""
_MONTH = 30 * 86400.0
_SERVER_DIED = 255
"""Exit code that a process seems to have when the fork server died before it."""
_NOT_RUN = "not run: an artifact that it needs failed"
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
    messages: Connection
    slot: int
    since: float
    started: str
    outcome: Outcome | None = None
    """Kept until the process has ended, which is a moment after it said how."""


class Local:
    """At most `workers` jobs at a time on this machine."""

    def __init__(self, workers: int, deadline: float | None = None) -> None:
        self._workers = workers
        self._deadline = deadline
        """On the monotonic clock; jobs that run at that moment are asked to stop."""
        self._stops = 0

    def run(self, work: Sequence[Work], observe: Callable[[Event], None]) -> bool:
        """See `harness.executors.Executor.run`."""
        if not work:
            return True
        threads = str(max(item.job.threads for item in work))
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, threads), PYTHONHASHSEED="0")
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = (
            os.environ.get("CUBLAS_WORKSPACE_CONFIG") or ":4096:8"
        )
        context = multiprocessing.get_context("forkserver")
        os.environ[PRELOAD] = ",".join(sorted({item.job.suite for item in work}))
        context.set_forkserver_preload(["harness.executors.local", "harness.executors.preload"])
        self._stops = 0
        before = {number: signal.signal(number, self._count_stop) for number in _STOPS}
        running: list[_Running] = []
        try:
            _start_server()
            return self._drive(list(work), running, context, observe)
        finally:
            for item in running:
                item.process.kill()
                item.process.join()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _drive(
        self,
        waiting: list[Work],
        running: list[_Running],
        context: multiprocessing.context.ForkServerContext,
        observe: Callable[[Event], None],
    ) -> bool:
        ended: dict[str, Outcome] = {}
        asked: float | None = None
        while waiting or running:
            stop = self._stops > 0 or _passed(self._deadline)
            if self._stops > 1:
                return False
            if stop and asked is None:
                asked = time.monotonic()
                for item in running:
                    item.process.terminate()
            if stop and not running:
                return False
            if not stop:
                self._launch(waiting, running, ended, context, observe)
            if not running:
                continue
            # Without the fork server a process seems to have ended; then its pipe is what counts.
            handles: list[Any] = [i.process.sentinel for i in running if i.process.is_alive()]
            wait([*handles, *(item.messages for item in running)], timeout=0.5)
            for item in list(running):
                late = _late(item, asked)
                if late:
                    item.process.kill()
                    item.process.join()
                outcome = _hear(item, observe, late)
                if outcome is not None:
                    running.remove(item)
                    ended[item.job.id] = outcome
                    seconds = time.monotonic() - item.since
                    observe(Event(item.job, outcome=outcome, seconds=seconds))
        return not any(outcome.code == INTERRUPTED for outcome in ended.values())

    def _launch(
        self,
        waiting: list[Work],
        running: list[_Running],
        ended: dict[str, Outcome],
        context: multiprocessing.context.ForkServerContext,
        observe: Callable[[Event], None],
    ) -> None:
        pending = {item.job.id for item in waiting} | {item.job.id for item in running}
        for item in list(waiting):
            if len(running) >= self._workers:
                return
            if item.after & pending:
                continue
            waiting.remove(item)
            broken = [key for key in item.after if key in ended and ended[key].code != 0]
            if broken and ended[broken[0]].code != FAILED:
                ended[item.job.id] = ended[broken[0]]
                observe(Event(item.job, outcome=ended[item.job.id]))
                continue
            if broken:
                line = ended[broken[0]].line
                if not line.startswith(_NOT_RUN):
                    line = f"{_NOT_RUN} ({line})"
                ended[item.job.id] = Outcome(FAILED, line, recorded=False)
                observe(Event(item.job, outcome=ended[item.job.id]))
                continue
            slots = {other.slot for other in running}
            slot = next(n for n in range(self._workers) if n not in slots)
            running.append(_start(item.job, slot, context))
            observe(Event(item.job))

    def _count_stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stops += 1


def _start(job: Job, slot: int, context: multiprocessing.context.ForkServerContext) -> _Running:
    if job.device == "cuda":
        job = job._replace(device=f"cuda:{slot}")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(job, theirs), daemon=False)
    try:
        with _no_script():
            process.start()
    except (EOFError, ConnectionError) as error:
        raise MethodError(
            f"the process that trials fork from died as it loaded {os.environ[PRELOAD]} "
            f"({type(error).__name__}); what it said is above"
        ) from None
    theirs.close()
    return _Running(job, process, ours, slot, time.monotonic(), provenance.now())


def _child(job: Job, messages: Connection) -> None:
    """Runs one job in its own process; what libraries print goes to the trial's log."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the owner passes it on
    _end_with_owner()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    # The last resort for a method that is stuck outside Python when its owner is gone.
    signal.setitimer(signal.ITIMER_REAL, min(job.seconds, _MONTH) + 3 * _GRACE_SECONDS)

    def redirect() -> None:
        with Store(Path(job.results), Path(job.cache)).open_log(job.id) as log:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
                os.dup2(log.fileno(), stream.fileno())

    def notify(progress: Progress) -> None:
        try:
            messages.send(progress)
        except OSError:  # the owner is gone
            signal.raise_signal(signal.SIGTERM)

    outcome = execute(job, notify, grace=2 * _GRACE_SECONDS, held=redirect)
    with contextlib.suppress(OSError):  # the record or the checkpoint is on the disk
        messages.send(outcome)
    sys.exit(outcome.code)


def _hear(item: _Running, observe: Callable[[Event], None], late: str) -> Outcome | None:
    """Passes on a job's messages; its outcome once its process has ended."""
    ended = not item.process.is_alive()  # before reading, so that nothing is said after it
    try:
        while item.messages.poll():
            message = item.messages.recv()
            if isinstance(message, Progress):
                seconds = time.monotonic() - item.since
                observe(Event(item.job, progress=message, seconds=seconds))
            else:
                item.outcome = message
        ended = ended and (bool(late) or item.process.exitcode != _SERVER_DIED)
    except (EOFError, OSError):
        item.process.join(timeout=_EXIT_SECONDS)
        ended = not item.process.is_alive()
    if not ended:
        return None
    item.process.join()
    item.messages.close()
    return item.outcome or _post_mortem(item, late)


def _post_mortem(item: _Running, late: str) -> Outcome:
    """The outcome of a job whose process died without a word."""
    code = item.process.exitcode or 0
    if _left_record(item):
        return Outcome(DONE)
    if late == "stop" or -code in (signal.SIGTERM, signal.SIGINT):
        return Outcome(INTERRUPTED)
    if late == "limit":
        status, line = "timeout", f"no step within its limit of {item.job.seconds:.0f} s; killed"
    elif code == -signal.SIGKILL:
        status, line = "oom", "killed by the system, most likely for want of memory"
    elif code < 0:
        status, line = "failed", f"the process died of {signal.Signals(-code).name}"
    else:
        status, line = "failed", f"the process ended with code {code} and left no record"
    if item.job.artifact is not None:
        return Outcome(FAILED, line, recorded=False)
    store = Store(Path(item.job.results), Path(item.job.cache))
    store.commit(failure(item.job, status, line, item.started))  # type: ignore[arg-type]
    return Outcome(FAILED, f"{status}: {line}")


def _left_record(item: _Running) -> bool:
    """Whether the process died between its good record and its last word."""
    if item.job.artifact is not None:
        return False
    store = Store(Path(item.job.results), Path(item.job.cache))
    found = store.find(item.job.id, item.job.suite, item.job.scale)
    return found is not None and found.status == "ok" and found.provenance.started >= item.started


def _late(item: _Running, asked: float | None) -> str:
    now = time.monotonic()
    if asked is not None and now - asked > _GRACE_SECONDS:
        return "stop"
    if now - item.since > item.job.seconds + _GRACE_SECONDS:
        return "limit"
    return ""


def _passed(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline


def _start_server() -> None:
    """Starts the fork server with the stopping signals held back.

    Sent to the whole group, as Ctrl-C and `timeout` do, they would end it and with it the means to
    start or hear of a process. What it forks lets them through when it is ready to act on them.
    """
    resource_tracker.ensure_running()  # would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
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


def _end_with_owner() -> None:
    """Asks this process to stop once the one that started the run is gone, by whatever means."""

    def watch() -> None:
        if (owner := multiprocessing.parent_process()) is not None:
            owner.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
