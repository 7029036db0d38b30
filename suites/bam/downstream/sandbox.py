"""Runs code that a model wrote, behind a wall; this file is also the program of the child process.

The child has limits on processor time, memory and files, a wall-clock limit, an empty environment,
a fresh temporary folder, and a seccomp filter: the kernel refuses every system call that is not on
a short list, so there is no network, no other process, no signal to one, and no file to write.
"""

import ctypes
import os
import platform
import resource
import runpy
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PASSED, UNGUARDED = 87, 88
"""Exit codes of the child: the program came to its end; the kernel gave no filter.

A program that exits by itself, even with 0, has not come to its end.
"""

_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""Column of the tables below, and the number by which the kernel's audit knows the machine."""

_ALLOWED = {
    "access": (21, None), "brk": (12, 214), "clock_getres": (229, 114),
    "clock_gettime": (228, 113), "clock_nanosleep": (230, 115), "close": (3, 57), "dup": (32, 23),
    "exit": (60, 93), "exit_group": (231, 94), "faccessat": (269, 48), "faccessat2": (439, 439),
    "fcntl": (72, 25), "fstat": (5, 80), "futex": (202, 98), "getcwd": (79, 17),
    "getdents64": (217, 61), "getegid": (108, 177), "geteuid": (107, 175), "getgid": (104, 176),
    "getpid": (39, 172), "getrandom": (318, 278), "getrusage": (98, 165), "gettid": (186, 178),
    "gettimeofday": (96, 169), "getuid": (102, 174), "ioctl": (16, 29), "lseek": (8, 62),
    "lstat": (6, None), "madvise": (28, 233), "mmap": (9, 222), "mprotect": (10, 226),
    "mremap": (25, 216), "munmap": (11, 215), "nanosleep": (35, 101), "newfstatat": (262, 79),
    "poll": (7, None), "ppoll": (271, 73), "pread64": (17, 67), "pselect6": (270, 72),
    "read": (0, 63), "readlink": (89, None), "readlinkat": (267, 78), "rseq": (334, 293),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123), "sched_yield": (24, 124), "select": (23, None),
    "set_robust_list": (273, 99), "sigaltstack": (131, 132), "stat": (4, None),
    "statx": (332, 291), "time": (201, None), "times": (100, 153), "uname": (63, 160),
    "write": (1, 64),
}  # fmt: skip
"""System calls that a calculating Python needs, with their numbers on both machines."""

_OPENING = {"open": (2, None, 1), "openat": (257, 56, 2)}
"""Calls that may open a file to read; last, which argument holds the flags."""


def humaneval(document: Mapping[str, Any], completion: str) -> str:
    """The program that tests a completion of a HumanEval prompt."""
    check = f"check({document['entry_point']})"
    return f"{document['prompt']}{completion}\n{document['test']}\n{check}\n"


def mbpp(document: Mapping[str, Any], completion: str) -> str:
    """The program that tests an answer to an MBPP task."""
    return "\n".join([completion, str(document["test_setup_code"]), *document["test_list"]])


def passes(program: str, *, seconds: int = 10, memory: int = 1 << 30) -> bool:
    """Whether a program runs to its end.

    Args:
        program: Python source.
        seconds: limit of processor time, and half the limit of wall-clock time.
        memory: limit of address space in bytes.

    Raises:
        MethodError: this machine cannot wall it off; nothing was run.
    """
    from harness.errors import MethodError  # not in the child

    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        raise MethodError(
            f"code of models is only run on Linux on {' or '.join(_MACHINES)}, and this is "
            f"{platform.system()} on {platform.machine()}; leave the code benchmarks out"
        )
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "program.py"
        source.write_text(program, encoding="utf-8", errors="surrogatepass")
        command = [sys.executable, "-I", "-S", "-B", __file__, str(source)]
        try:
            done = subprocess.run(
                [*command, str(seconds), str(memory)],
                cwd=folder,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=2 * seconds,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            return False
    if done.returncode == UNGUARDED:
        raise MethodError(
            "this kernel lets no process set a seccomp filter, so that code of models is not run; "
            "leave the code benchmarks out"
        )
    return done.returncode == PASSED


def _child(source: str, seconds: int, memory: int) -> int:
    """Walls this process off and runs the file."""
    for limit, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        resource.setrlimit(limit, (value, value))
    if not _filter():
        return UNGUARDED
    try:
        runpy.run_path(source, run_name="__main__")
    except BaseException:  # SystemExit too: a program that leaves early has not passed
        return 1
    return PASSED


def _filter() -> bool:
    """Asks the kernel to refuse all but the listed calls from here on; False if it does not."""
    filters = b"".join(_instructions(*_MACHINES[platform.machine()]))
    code = ctypes.create_string_buffer(filters, len(filters))
    program = struct.pack("HxxxxxxP", len(filters) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, mode_filter = 38, 22, 2
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(set_seccomp, mode_filter, program, 0, 0) == 0)


def _instructions(column: int, machine: int) -> Iterator[bytes]:
    """The filter in classic BPF: instructions of (code, jump if true, jump if false, operand)."""
    load, jump_equal, jump_set, end = 0x20, 0x15, 0x45, 0x06
    allow, refuse = 0x7FFF0000, 0x00050001  # with EPERM
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def op(code: int, operand: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, operand)

    yield op(load, 4)  # the machine that the call's number belongs to
    yield op(jump_equal, machine, yes=1)
    yield op(end, refuse)
    yield op(load, 0)  # the number
    for numbers in _ALLOWED.values():
        if (call := numbers[column]) is not None:
            yield op(jump_equal, call, no=1)
            yield op(end, allow)
    for *opening, argument in _OPENING.values():
        if (call := opening[column]) is not None:
            yield op(jump_equal, call, no=4)
            yield op(load, 16 + 8 * argument)
            yield op(jump_set, writing, no=1)
            yield op(end, refuse)
            yield op(end, allow)
    yield op(end, refuse)


if __name__ == "__main__":
    # At once: what the interpreter does on its way out is not the program's business.
    os._exit(_child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
