"""What a process asks of the Linux kernel against itself before it runs code it does not trust.

Every protection belongs to the process and dies with it; none can be taken back. The seccomp
filter names what is allowed and refuses all else with EPERM, because a list of what is forbidden
would be out of date with the next kernel. What it allows is what CPython calls to calculate, read
files and import. A call that a later version makes besides would be refused, and a right program
might fail; never would a wrong one get out.
"""

import ctypes
import os
import resource
import signal
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from typing import Any

MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the tables below, and the number by which the kernel's audit knows the machine."""

_ALLOWED = {
    "access": (21, None), "brk": (12, 214), "clock_getres": (229, 114),
    "clock_gettime": (228, 113), "clock_nanosleep": (230, 115), "close": (3, 57), "dup": (32, 23),
    "exit": (60, 93), "exit_group": (231, 94), "faccessat": (269, 48), "faccessat2": (439, 439),
    "fstat": (5, 80), "futex": (202, 98), "getcwd": (79, 17), "getdents64": (217, 61),
    "getegid": (108, 177), "geteuid": (107, 175), "getgid": (104, 176), "getpid": (39, 172),
    "getrandom": (318, 278), "getrusage": (98, 165), "gettid": (186, 178),
    "gettimeofday": (96, 169), "getuid": (102, 174), "lseek": (8, 62), "lstat": (6, None),
    "madvise": (28, 233), "mmap": (9, 222), "mprotect": (10, 226), "mremap": (25, 216),
    "munmap": (11, 215), "nanosleep": (35, 101), "newfstatat": (262, 79), "poll": (7, None),
    "ppoll": (271, 73), "pread64": (17, 67), "pselect6": (270, 72), "read": (0, 63),
    "readlink": (89, None), "readlinkat": (267, 78), "restart_syscall": (219, 128),
    "rseq": (334, 293), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sched_getaffinity": (204, 123), "sched_yield": (24, 124),
    "select": (23, None), "set_robust_list": (273, 99), "sigaltstack": (131, 132),
    "stat": (4, None), "statx": (332, 291), "time": (201, None), "times": (100, 153),
    "uname": (63, 160), "write": (1, 64),
}  # fmt: skip
"""System calls that a calculating Python needs, with their numbers on both machines."""

_OPENING = {"open": (2, None, 1), "openat": (257, 56, 2)}
"""Calls that may open a file to read; last, which argument holds the flags."""

_ONLY = {
    "fcntl": (72, 25, 1, (0, 1, 2, 3, 1030)),  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC
    # FIONCLEX and FIOCLEX touch this process alone; TCGETS, TIOCGWINSZ and TCGETS2 read
    "ioctl": (16, 29, 1, (0x5450, 0x5451, 0x5401, 0x5413, 0x802C542A)),
}
"""Calls that do many things; last, which argument says what, and its allowed values."""

_REAPING = {"kill": (62, 129), "wait4": (61, 260)}
"""Calls by which the judge ends its one child."""

_TIMERS = {"timer_create": (222, 107), "timer_settime": (223, 110)}
_LANDLOCK = {"create_ruleset": 444, "add_rule": 445, "restrict_self": 446}
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3

_LIBRARIES = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store", "/gnu/store",
    "/etc/ld.so.cache", "/usr/share/zoneinfo", "/etc/localtime",
)  # fmt: skip
"""Where extension modules find shared libraries, and `datetime` its time zones."""

_libc = ctypes.CDLL(None, use_errno=True)


def limit(seconds: int, memory: int) -> None:
    """Limits processor time in seconds, address space in bytes, writing, core files and files."""
    for kind, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        resource.setrlimit(kind, (value, value))


def expire(seconds: int) -> None:
    """SIGKILL from a timer of this process after so many seconds, awake or asleep.

    A process can neither catch nor block SIGKILL, and the filter refuses to change the timer.
    """
    notify_by_signal, monotonic, timer = 0, 1, ctypes.c_int(0)
    event = struct.pack("QiiQQQQQQ", 0, signal.SIGKILL, notify_by_signal, *[0] * 6)
    _syscall(_TIMERS["timer_create"], monotonic, event, ctypes.byref(timer))
    _syscall(_TIMERS["timer_settime"], timer.value, 0, struct.pack("4q", 0, 0, seconds, 0), None)


def follow(parent: int) -> None:
    """SIGKILL to this process as soon as its parent is dead."""
    _prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:  # it died before
        os._exit(1)


def renounce() -> None:
    """Gives up all capabilities, root's too, and any way to new ones; hides memory and environment.

    Without capabilities root is an ordinary user who owns root's files.
    """
    _prctl(38, 1)  # PR_SET_NO_NEW_PRIVS
    for capability in range(64):  # as far as the kernel knows and lets
        _libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    _libc.prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT, all
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _checked(_libc.capset(header, nothing))
    _prctl(4, 0)  # PR_SET_DUMPABLE


def confine(folder: str) -> int:
    """Takes away all of the file system but Python's own library and one folder, to read.

    Returns:
        Version of the kernel's Landlock; 0 where it has none, and nothing was taken away.
    """
    version = int(_libc.syscall(_LANDLOCK["create_ruleset"], None, 0, 1))
    if version < 1:
        return 0
    rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    network, scopes = 3 * (version >= 4), 3 * (version >= 6)  # no TCP; signals and sockets inside
    size = 8 + 8 * (version >= 4) + 8 * (version >= 6)
    rules = struct.pack("QQQ", rights, network, scopes)[:size]
    ruleset = _checked(_libc.syscall(_LANDLOCK["create_ruleset"], rules, size, 0))
    for path in {*sys.path, f"{sys.base_prefix}/lib", *_LIBRARIES, folder}:
        _readable(ruleset, path)
    _checked(_libc.syscall(_LANDLOCK["restrict_self"], ruleset, 0))
    os.close(ruleset)
    return version


def _readable(ruleset: int, path: str) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # there is none here, or it was not readable anyway
        return
    folder = stat.S_ISDIR(os.fstat(opened).st_mode)
    rights = _READ_FILE | _READ_FOLDER if folder else _READ_FILE
    rule = struct.pack("=Qi", rights, opened)
    _checked(_libc.syscall(_LANDLOCK["add_rule"], ruleset, 1, rule, 0))
    os.close(opened)


def refuse(child: int | None = None) -> None:
    """Asks the kernel to refuse all but the listed calls from here on.

    Args:
        child: a process that may still be killed and waited for.

    Raises:
        OSError: this kernel takes no filter.
    """
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    filters = b"".join(_instructions(*MACHINES[_machine()], child))
    code = ctypes.create_string_buffer(filters, len(filters))
    program = struct.pack("HxxxxxxP", len(filters) // 8, ctypes.addressof(code))
    _prctl(22, 2, program)  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def _machine() -> str:
    """The machine's name as `platform.machine()` says it, without loading that module."""
    return os.uname().machine


def _instructions(column: int, machine: int, child: int | None) -> Iterator[bytes]:
    """The filter in classic BPF."""
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
    writing |= os.O_TMPFILE & ~os.O_DIRECTORY
    yield _op(_LOAD, 4)  # the machine that the call's number belongs to
    yield _op(_EQUAL, machine, yes=1)
    yield _op(_END, _REFUSE)
    yield _op(_LOAD, 0)  # the number
    for numbers in _ALLOWED.values():
        yield from _case(numbers[column], [_op(_END, _ALLOW)])
    for *opening, argument in _OPENING.values():
        test = [_load(argument), _op(_SET, writing, yes=1), _op(_END, _ALLOW)]
        yield from _case(opening[column], test)
    for x86, arm, argument, values in _ONLY.values():
        tests = [op for value in values for op in _equal(value)]
        yield from _case((x86, arm)[column], [_load(argument), *tests])
    if child is not None:
        kill, wait = (numbers[column] for numbers in _REAPING.values())
        only = [_load(0), _op(_EQUAL, child, no=3), _load(1), *_equal(signal.SIGKILL)]
        yield from _case(kill, only)
        yield from _case(wait, [_load(0), *_equal(child)])
    yield _op(_END, _REFUSE)


_LOAD, _EQUAL, _SET, _END = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # with EPERM


def _op(code: int, operand: int, yes: int = 0, no: int = 0) -> bytes:
    """One instruction: code, how many to skip if true and if false, operand."""
    return struct.pack("HBBI", code, yes, no, operand)


def _load(argument: int) -> bytes:
    """Loads the lower half of an argument; those tested here are C ints, which have no other."""
    return _op(_LOAD, 16 + 8 * argument)


def _equal(value: int) -> list[bytes]:
    return [_op(_EQUAL, value, no=1), _op(_END, _ALLOW)]


def _case(number: int | None, then: Iterable[bytes]) -> Iterator[bytes]:
    """Instructions for one call: those given, which refuse at their end."""
    if number is not None:
        block = [*then, _op(_END, _REFUSE)]
        yield _op(_EQUAL, number, no=len(block))
        yield from block


def _prctl(*arguments: Any) -> None:
    _checked(_libc.prctl(*arguments, *[0] * (5 - len(arguments))))


def _syscall(numbers: tuple[int, int], *arguments: Any) -> int:
    column, _ = MACHINES[_machine()]
    return _checked(_libc.syscall(numbers[column], *arguments))


def _checked(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
