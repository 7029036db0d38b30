"""Methods that end, stop, fork, block or attack processes."""

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from harness.run import Context
from toy_suite_package.misbehaving.ending import ends

Metrics = dict[str, float]
GOOD = {"height": 1.0}
LONG = 100.0
"""Seconds that what is left behind would live: longer than any run, and not for ever."""


class Unusual(BaseException):
    """What no `except Exception` catches."""


# -- ends of the process --------------------------------------------------------------------------


@ends("failed", "code 0")
def exits_0(ctx: Context) -> Metrics:
    """Ends without a word, as if all were well."""
    os._exit(0)


@ends("failed", "code 1")
def exits_1(ctx: Context) -> Metrics:
    """Ends without a word."""
    os._exit(1)


@ends("failed", "code 87")
def exits_87(ctx: Context) -> Metrics:
    """Ends with a code that means something elsewhere."""
    os._exit(87)


@ends("failed", "code 75")
def exits_75(ctx: Context) -> Metrics:
    """Ends with the code that says `another process is at work on it`."""
    os._exit(75)


@ends("failed", "code 130")
def exits_130(ctx: Context) -> Metrics:
    """Ends with the code that says `stopped, to be resumed`."""
    os._exit(130)


@ends("failed", "code 255")
def exits_255(ctx: Context) -> Metrics:
    """Ends with the code that a process seems to have whose fork server died."""
    os._exit(255)


@ends("failed", "code 0|SystemExit")
def sys_exit_0(ctx: Context) -> Metrics:
    """Ends as a script would."""
    sys.exit(0)


@ends("failed", "code 1|SystemExit")
def sys_exit_1(ctx: Context) -> Metrics:
    """Ends as a script would that failed."""
    sys.exit(1)


@ends("failed", "code 1|SystemExit")
def sys_exit_text(ctx: Context) -> Metrics:
    """Ends with a last word."""
    sys.exit("no more")


@ends("ok")
def sys_exit_in_thread(ctx: Context) -> Metrics:
    """A thread ends as a script would."""
    thread = threading.Thread(target=sys.exit, args=(3,))
    thread.start()
    thread.join()
    return GOOD


@ends("failed", "code 1|KeyboardInterrupt")
def keyboard_interrupt(ctx: Context) -> Metrics:
    """Raises what Ctrl-C raises elsewhere."""
    raise KeyboardInterrupt


@ends("failed", "code 1|GeneratorExit")
def generator_exit(ctx: Context) -> Metrics:
    """Raises what generators raise."""
    raise GeneratorExit


@ends("failed", "code 1|Unusual")
def base_exception(ctx: Context) -> Metrics:
    """Raises what is no Exception."""
    raise Unusual("so there")


@ends("failed", "SIGABRT")
def aborts(ctx: Context) -> Metrics:
    """A failed assertion in compiled code."""
    os.abort()


@ends("failed", "SIGSEGV")
def reads_address_0(ctx: Context) -> Metrics:
    """A wild pointer."""
    ctypes.string_at(0)
    return GOOD


@ends("failed", "SIGKILL|killed")
def kills_itself(ctx: Context) -> Metrics:
    """What looks like the kernel's doing, without the kernel's count of it."""
    os.kill(os.getpid(), signal.SIGKILL)
    return GOOD


@ends("ok")
def terminates_itself(ctx: Context) -> Metrics:
    """Is asked to stop, comes to no step and ends well."""
    os.kill(os.getpid(), signal.SIGTERM)
    return GOOD


@ends("failed", "SIGUSR1")
def sends_itself_a_signal(ctx: Context) -> Metrics:
    """A signal that nobody handles."""
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(1)
    return GOOD


# -- does not come back: a limit of one second ends all -------------------------------------------


@ends("timeout", "limit|stopped after", group="endless")
def stops_itself(ctx: Context) -> Metrics:
    """Is suspended and never continued."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return GOOD


@ends("timeout", "limit|stopped after", group="endless")
def loops_in_python(ctx: Context) -> Metrics:
    """Never comes to a step."""
    while True:
        pass


@ends("timeout", "limit|stopped after", group="endless")
def loops_in_c(ctx: Context) -> Metrics:
    """Blocks in a C function, which sees no signal of Python's."""
    ctypes.CDLL(None).pause()
    while True:
        ctypes.PyDLL(None).sleep(1000)


@ends("timeout", "limit|stopped after", group="endless")
def sleeps(ctx: Context) -> Metrics:
    """Waits for what does not come."""
    time.sleep(1e6)
    return GOOD


@ends("timeout", "limit|stopped after", group="endless")
def blocks_signals(ctx: Context) -> Metrics:
    """Lets no signal through and waits."""
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
    while True:
        time.sleep(1)


@ends("timeout", "limit|stopped after", group="endless")
def ignores_signals(ctx: Context) -> Metrics:
    """Ignores every signal that can be ignored, and waits."""
    for number in {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(1)


@ends("timeout", "limit|stopped after", group="endless")
def clears_timers(ctx: Context) -> Metrics:
    """Switches off the clocks that may end it, and waits."""
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0)
    signal.alarm(0)
    while True:
        time.sleep(1)


@ends("timeout", "limit|stopped after", group="endless")
def catches_everything(ctx: Context) -> Metrics:
    """Goes on whatever is raised in it."""
    while True:
        try:
            time.sleep(0.05)
            ctx.tick(1, 10)
        except BaseException:  # noqa: S110
            pass


@ends("timeout", "limit|stopped after", group="endless")
def hangs_with_a_child_that_hangs(ctx: Context) -> Metrics:
    """Waits for a child that ignores every request to end."""
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
        time.sleep(LONG)
        os._exit(0)
    os.wait()
    return GOOD


@ends("timeout|ok", "limit|stopped after", group="endless")
def returns_after_its_limit(ctx: Context) -> Metrics:
    """Comes to no step, and to its end a little too late."""
    time.sleep(1.3)
    return GOOD


@ends("ok|timeout", "limit|stopped after", group="endless")
def hangs_when_collected(ctx: Context) -> Metrics:
    """An object whose end does not end."""

    class Slow:
        def __del__(self) -> None:
            time.sleep(LONG)

    ctx.kept = Slow()  # type: ignore[attr-defined]
    return GOOD


# -- leaves processes and threads behind ----------------------------------------------------------


@ends("ok", group="leaving")
def forks_and_both_return(ctx: Context) -> Metrics:
    """Two processes come back with a number each; only the first was asked."""
    child = os.fork()
    if child == 0:
        return {"height": 2.0}
    time.sleep(0.5)  # the other one has ended by then, and what it left would lie there
    return GOOD


@ends("ok", group="leaving")
def forks_and_returns_first(ctx: Context) -> Metrics:
    """The copy comes back with another number when the trial has long ended."""
    if os.fork() == 0:
        time.sleep(0.5)
        return {"height": 2.0}
    return GOOD


@ends("failed", "code 3", group="leaving")
def forks_and_only_the_child_returns(ctx: Context) -> Metrics:
    """The process that was asked dies; the copy's number is nobody's."""
    if os.fork() == 0:
        return {"height": 2.0}
    time.sleep(0.3)
    os._exit(3)


@ends("ok", group="leaving")
def leaves_a_fork(ctx: Context) -> Metrics:
    """A copy of the process lives on."""
    if os.fork() == 0:
        time.sleep(LONG)
        os._exit(0)
    return GOOD


@ends("ok", group="leaving")
def leaves_a_fork_that_ignores_signals(ctx: Context) -> Metrics:
    """A copy of the process lives on and listens to nobody."""
    if os.fork() == 0:
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
        time.sleep(LONG)
        os._exit(0)
    return GOOD


@ends("ok", group="leaving")
def leaves_many_forks(ctx: Context) -> Metrics:
    """Copies that copy themselves."""
    for _ in range(4):
        os.fork()
        if os.getpid() != int(os.environ.setdefault("FIRST", str(os.getpid()))):
            time.sleep(0.05)
    if os.environ["FIRST"] != str(os.getpid()):
        time.sleep(LONG)
        os._exit(0)
    return GOOD


@ends("ok", group="leaving")
def leaves_a_command(ctx: Context) -> Metrics:
    """A command lives on, with the streams of the trial."""
    subprocess.Popen(["sleep", str(LONG)])
    return GOOD


@ends("failed", "code 1|RuntimeError", group="leaving")
def dies_with_a_command_left(ctx: Context) -> Metrics:
    """A failing trial leaves a command."""
    subprocess.Popen(["sleep", str(LONG)])
    raise RuntimeError("not today")


@ends("ok", group="leaving")
def leaves_a_multiprocessing_child(ctx: Context) -> Metrics:
    """A worker is never joined."""
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(LONG,)).start()
    return GOOD


@ends("ok", group="leaving")
def leaves_a_thread(ctx: Context) -> Metrics:
    """A thread that holds up the end of a Python process."""
    threading.Thread(target=time.sleep, args=(LONG,), daemon=False).start()
    return GOOD


@ends("failed", "RuntimeError", raised=True, group="leaving")
def fails_with_a_thread_left(ctx: Context) -> Metrics:
    """The same, and it fails."""
    threading.Thread(target=time.sleep, args=(LONG,), daemon=False).start()
    raise RuntimeError("the thread goes on")


@ends("ok", group="leaving")
def raises_in_a_thread(ctx: Context) -> Metrics:
    """An exception that nobody waits for."""

    def fail() -> None:
        raise ValueError("in a thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    return GOOD


@ends("ok", group="leaving")
def hangs_at_exit(ctx: Context) -> Metrics:
    """Has something to do when the process ends, and does not end doing it."""
    atexit.register(time.sleep, LONG)
    multiprocessing.util.Finalize(None, time.sleep, (LONG,), exitpriority=1)
    return GOOD


@ends("ok", group="leaving")
def raises_at_exit(ctx: Context) -> Metrics:
    """Fails when all is done."""

    def fail() -> None:
        raise ValueError("at exit")

    atexit.register(fail)
    return GOOD


@ends("ok", group="leaving")
def leads_a_group_of_its_own(ctx: Context) -> Metrics:
    """Tries to leave its process group, and leaves a command in the new one."""
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)
    subprocess.Popen(["sleep", str(LONG)])
    return GOOD


@ends("ok", group="leaving")
def leaves_a_daemon(ctx: Context) -> Metrics:
    """A process that left its group and session on purpose; where it ends is not promised."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(20)
        os._exit(0)
    os.wait()
    return GOOD


# -- attacks other processes ----------------------------------------------------------------------


def _ours(pid: int) -> bool:
    """Whether a process belongs to this very run: nothing else may be killed."""
    mine = os.environ.get("TOY_LOG")
    try:
        return (
            bool(mine) and f"TOY_LOG={mine}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
        )
    except OSError:
        return False


@ends("failed|ok|no record", group="attacking")
def kills_its_parent(ctx: Context) -> Metrics:
    """Kills what it was forked from."""
    if _ours(os.getppid()):
        os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(0.2)
    return GOOD


@ends("failed|ok|no record", group="attacking")
def terminates_its_parent(ctx: Context) -> Metrics:
    """Asks what it was forked from to end."""
    if _ours(os.getppid()):
        os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(0.2)
    return GOOD


@ends("failed", "SIGKILL|killed", group="attacking")
def kills_its_group(ctx: Context) -> Metrics:
    """Kills everything in its process group."""
    os.killpg(0, signal.SIGKILL)
    return GOOD


@ends("failed|ok|no record", group="attacking")
def interrupts_its_group(ctx: Context) -> Metrics:
    """Sends its process group what Ctrl-C sends."""
    os.killpg(0, signal.SIGINT)
    time.sleep(0.1)
    return GOOD


# -- descriptors ----------------------------------------------------------------------------------


@ends("ok|failed|no record")
def closes_all_descriptors(ctx: Context) -> Metrics:
    """Lock, pipe and log are gone."""
    os.closerange(3, 4096)
    return GOOD


@ends("ok")
def closes_its_streams(ctx: Context) -> Metrics:
    """Nothing can be printed."""
    os.close(1)
    os.close(2)
    return GOOD


def _pipes() -> list[int]:
    """Descriptors of pipes and sockets that are no standard stream."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if int(link.name) > 2 and str(link.readlink()).startswith(("pipe:", "socket:")):
                found.append(int(link.name))
    return found


@ends("ok|failed")
def replaces_its_pipe(ctx: Context) -> Metrics:
    """What the trial says reaches nobody."""
    hole = os.open(os.devnull, os.O_RDWR)
    for number in _pipes():
        os.dup2(hole, number)
    return GOOD


@ends("ok|failed|no record", group="attacking")
def speaks_on_its_pipe(ctx: Context) -> Metrics:
    """Writes rubbish to every pipe that it holds."""
    for number in _pipes():
        with contextlib.suppress(OSError):
            os.set_blocking(number, False)
            os.write(number, b"\x00\x00\x00\x05hello" + b"\xff" * 100)
    return GOOD


# -- the command line inside ----------------------------------------------------------------------


@ends("ok")
def calls_the_command_line(ctx: Context) -> Metrics:
    """Lists suites from inside a trial."""
    from harness.cli import main

    before, sys.argv = sys.argv, ["harness", "list"]
    try:
        main()
    except SystemExit:
        sys.argv = before
    return GOOD


@ends("ok")
def runs_a_suite_inside(ctx: Context) -> Metrics:
    """Runs another suite from inside a trial."""
    from harness.cli import main

    here = ctx.out.parent / "inside"
    words = ["harness", "run", "toy", "--methods", "walk", "--tasks", "short", "--seeds", "0"]
    before, sys.argv = sys.argv, [*words, "--results", str(here)]
    os.environ["HARNESS_CACHE"] = str(here / "cache")
    try:
        main()
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"inside it ended with code {end.code}") from None
    finally:
        sys.argv = before
    return GOOD


@ends("ok")
def lowers_its_priority(ctx: Context) -> Metrics:
    """Asks for less of the processor."""
    os.setpriority(os.PRIO_PROCESS, 0, 10)
    return GOOD
