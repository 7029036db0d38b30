"""The process above each trial: it starts the trial in a session of its own and ends all of it.

    owner (`harness run`) -> fork server -> supervisor -> trial -> whatever the trial starts

The trial's orphans become the supervisor's children, so that none escapes when it ends the trial:
once its outcome is there, when it is late, when it is to stop, when the owner is gone. Should the
supervisor be killed, the kernel kills the trial with it.
"""

import contextlib
import faulthandler
import math
import multiprocessing
import os
import select
import signal
import sys
import time
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Literal, NamedTuple

from harness.executors import family
from harness.executors.page import Page
from harness.failures import classify
from harness.patience import Patience
from harness.run import FAILED, STOPS, Job, Outcome, Progress, execute
from harness.store import Store

TRIAL = "HARNESS_TRIAL"
"""Environment variable by which whatever a trial starts is known: the trial's identity."""
Command = Literal["stop", "kill", "pause", "resume"]
"""What the owner sends to a supervisor."""
Cause = Literal["", "stop", "limit", "lost"]
"""It was to stop; it was late; its lock has been taken over by another machine."""
_TICK = 0.1
"""Seconds between two looks at the trial."""
_LOG_BYTES = 2**26
"""Most that the log of what a trial prints may hold; then it begins afresh."""


class End(NamedTuple):
    """The supervisor's last message: the trial and all that it started are gone."""

    outcome: Outcome | None = None
    """None where the trial did not say."""
    code: int | None = None
    """Exit code of its process, negative for a signal; None where nobody knows."""
    cause: Cause = ""
    """Why the supervisor killed it, if it did."""
    memory: bool = False
    """Whether the kernel killed something for lack of memory meanwhile."""


def supervise(job: Job, owner: Connection) -> None:
    """Runs a job in a process that it forks off; returns in both."""
    multiprocessing.current_process().daemon = False  # a trial may have workers of its own
    sys.excepthook = sys.__excepthook__  # the fork server's keeps silent of some
    os.setsid()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    family.adopt()
    page, kills, me = Page(), family.kernel_kills(), os.getpid()
    trial = os.fork()
    if trial == 0:
        owner.close()
        _run(job, page, me)
    _replace(os.devnull, (0, 1, 2))
    end = _Supervisor(job, owner, page, trial).watch()
    memory = end.code == -signal.SIGKILL and family.kernel_kills() != kills
    with contextlib.suppress(OSError):  # the owner is gone
        owner.send(end._replace(memory=memory))
    owner.close()


def _run(job: Job, page: Page, supervisor: int) -> None:
    """The trial's process; what libraries print goes to the trial's log."""
    os.setsid()
    family.die_with_parent(supervisor)
    os.environ[TRIAL] = job.id
    _replace(os.devnull, (0,))
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    me = os.getpid()

    def redirect() -> None:
        with Store(Path(job.results), Path(job.cache)).open_log(job.id) as log:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for handle in (1, 2):
                os.dup2(log.fileno(), handle)
        faulthandler.enable(2)

    def notify(progress: Progress) -> None:
        if os.getpid() == me:
            page.progress(progress)

    try:
        outcome = execute(job, notify, held=redirect, clock=page.clock, asked=page.asked)
    except BaseException as problem:  # the engine's own fault, or the interpreter's
        outcome = Outcome(FAILED, f"the trial's process failed: {classify(problem)[1]}", False)
        with contextlib.suppress(Exception):
            sys.excepthook(type(problem), problem, problem.__traceback__)
    page.end(outcome)
    sys.exit(outcome.code)


class _Supervisor:
    """Watches one trial until it has ended."""

    def __init__(self, job: Job, owner: Connection, page: Page, trial: int) -> None:
        self._job = job
        self._owner: Connection | None = owner
        self._page = page
        self._trial = trial
        self._patience = Patience.read()
        store = Store(Path(job.results), Path(job.cache))
        self._log = store.trial_folder(job.id) / "log.txt"
        self._lock = store.lock(job.id)
        self._beat = -math.inf
        """When the trial's lock was last looked at."""
        self._holds = False
        """Whether the trial had its lock then."""
        self._lost: float | None = None
        """Since when it has it no more: it is about to end, or somebody took it over."""
        self._began = page.clock()
        self._progress: Progress | None = None
        self._cause: Cause = ""
        self._asked: float | None = None
        self._ended: float | None = None
        self._killed: float | None = None
        self._continued = False
        """Whether the supervisor itself was stopped since its last look."""
        self._paused = False
        """Whether the owner has stopped the trial."""
        self._suspended: float | None = None
        """Since when the trial is stopped, of its own or by somebody else."""
        signal.signal(signal.SIGCONT, self._continue)

    def watch(self) -> End:
        """Returns once the trial and all that it started are gone."""
        handle = os.pidfd_open(self._trial) if hasattr(os, "pidfd_open") else None
        while not self._over():
            wait([h for h in (self._owner, handle) if h is not None], timeout=_TICK)
            self._page.look(self._stopped())
            self._obey()
            self._report()
            self._renew()
            self._judge()
        self._kill()  # its group; not waited for, the trial still keeps its number
        process, status = os.waitpid(self._trial, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if process else None
        family.end(self._patience.exit)
        return End(self._page.outcome(), code, self._cause)

    def _over(self) -> bool:
        """Whether the trial's process has ended, or not even killing it helps."""
        if os.waitid(os.P_PID, self._trial, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return True
        return self._killed is not None and self._since(self._killed) > self._patience.exit

    def _stopped(self) -> bool:
        """Whether the time since the last look does not count.

        Nobody can tell who stopped a trial: one that stopped itself must not run for ever, so
        that a trial stopped alone has its time held only for a while.
        """
        found = family.kin(self._trial)
        continued, self._continued = self._continued, False
        if found is None or found.state not in "Tt":
            self._suspended = None
        elif self._suspended is None:
            self._suspended = time.monotonic()
        if continued or self._paused or self._suspended is None:
            return continued or self._paused
        return self._since(self._suspended) < self._patience.suspended

    def _obey(self) -> None:
        try:
            while self._owner is not None and self._owner.poll():
                command: Command = self._owner.recv()
                if command == "stop":
                    self._stop()
                elif command == "kill":
                    self._cause = self._cause or "stop"
                    self._kill()
                else:
                    self._paused = command == "pause"
                    number = signal.SIGSTOP if self._paused else signal.SIGCONT
                    family.tell(family.descendants(os.getpid()), number)
        except (EOFError, OSError):  # the owner is gone
            self._owner = None
            self._stop()

    def _stop(self) -> None:
        """Asks the trial to save and stop; a signal wakes it, the page convinces its next step."""
        if self._asked is None:
            self._asked = time.monotonic()
            self._page.ask()
            family.tell([self._trial], signal.SIGTERM)
            family.tell([self._trial], signal.SIGCONT)

    def _judge(self) -> None:
        """Kills the trial if it is late."""
        if self._killed is not None:
            return
        if self._ended is None and self._page.outcome() is not None:
            self._ended = time.monotonic()
        if self._ended is not None:
            if self._since(self._ended) > self._patience.exit:
                self._kill()
        elif self._asked is not None and self._since(self._asked) > self._patience.grace:
            self._cause = "stop"
            self._kill()
        elif self._lost is not None and self._since(self._lost) > self._patience.exit:
            self._cause = "lost"
            self._kill()
        elif self._page.clock() - self._began > self._job.seconds + self._patience.grace:
            self._cause = "limit"
            self._kill()

    def _kill(self) -> None:
        """Kills the trial's process and its group."""
        if self._killed is None:
            self._killed = time.monotonic()
        family.tell([self._trial, -self._trial], signal.SIGKILL)

    def _report(self) -> None:
        progress = self._page.at()
        if progress is not None and progress != self._progress:
            self._progress = progress
            self._say(progress)
        with contextlib.suppress(OSError):  # there is none, or its folder was removed
            if self._log.stat().st_size > _LOG_BYTES:
                os.truncate(self._log, 0)  # what is appended later is what matters

    def _renew(self) -> None:
        """The trial's heartbeat: other machines see that somebody works on it."""
        if self._since(self._beat) < min(self._patience.lease / 6, 60.0 if self._holds else 1.0):
            return
        before, self._beat = self._holds, time.monotonic()
        self._holds = self._lock.renew(self._trial)
        if before and not self._holds:
            self._lost = self._beat

    def _say(self, message: Progress) -> None:
        """Sends a message unless it would have to wait: an owner that is stopped reads nothing."""
        if self._owner is None:
            return
        poll = select.poll()
        poll.register(self._owner.fileno(), select.POLLOUT)
        with contextlib.suppress(OSError):
            if poll.poll(0):
                self._owner.send(message)

    def _continue(self, _number: int, _frame: FrameType | None) -> None:
        self._continued = True

    @staticmethod
    def _since(moment: float) -> float:
        return time.monotonic() - moment


def _replace(path: str, handles: tuple[int, ...]) -> None:
    """Lets file descriptors stand for the file at `path`."""
    file = os.open(path, os.O_RDWR)
    for handle in handles:
        os.dup2(file, handle)
    if file not in handles:
        os.close(file)
