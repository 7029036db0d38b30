"""What programs can reach outside of themselves: nothing, and not for long."""

import ctypes
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from suites.bam.downstream import sandbox, wall
from suites.bam.downstream.sandbox import Program

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="code is only run on Linux on two kinds of machine",
)

COLUMN = 0 if platform.machine() == "x86_64" else 1
CALLS = {
    "signals": {
        "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131), "rt_sigqueueinfo": (129, 138),
        "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
        "pidfd_send_signal": (424, 424), "signalfd4": (289, 74),
    },
    "other processes": {
        "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
        "process_madvise": (440, 440), "process_mrelease": (448, 448), "kcmp": (312, 272),
        "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
        "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
        "prlimit64": (302, 261), "setpgid": (109, 154), "setsid": (112, 157),
        "migrate_pages": (256, 238), "move_pages": (279, 239), "set_mempolicy": (238, 237),
    },
    "new processes": {
        "fork": (57, None), "vfork": (58, None), "clone": (56, 220), "clone3": (435, 435),
        "execve": (59, 221), "execveat": (322, 281), "memfd_create": (319, 279),
        "memfd_secret": (447, 447), "userfaultfd": (323, 282), "wait4": (61, 260),
        "waitid": (247, 95),
    },
    "its own wall": {
        "prctl": (157, 167), "seccomp": (317, 277), "setrlimit": (160, 164), "capset": (126, 91),
        "setuid": (105, 146), "setresuid": (117, 147), "personality": (135, 92),
        "setitimer": (38, 103), "alarm": (37, None), "timer_create": (222, 107),
        "timer_settime": (223, 110), "timer_delete": (226, 111), "timerfd_create": (283, 85),
        "landlock_create_ruleset": (444, 444), "landlock_restrict_self": (446, 446),
    },
    "network and queues": {
        "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
        "sendto": (44, 206), "sendmsg": (46, 211), "pipe2": (293, 59), "eventfd2": (290, 19),
        "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186),
        "mq_open": (240, 180), "inotify_init1": (294, 26), "fanotify_init": (300, 262),
    },
    "the kernel": {
        "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_setup": (206, 0),
        "bpf": (321, 280), "perf_event_open": (298, 241), "keyctl": (250, 219),
        "add_key": (248, 217), "request_key": (249, 218), "unshare": (272, 97), "setns": (308, 268),
        "mount": (165, 40), "umount2": (166, 39), "fsopen": (430, 430), "open_tree": (428, 428),
        "move_mount": (429, 429), "mount_setattr": (442, 442), "chroot": (161, 51),
        "pivot_root": (155, 41), "reboot": (169, 142), "kexec_load": (246, 104),
        "init_module": (175, 105), "sethostname": (170, 161), "clock_settime": (227, 112),
        "syslog": (103, 116), "quotactl": (179, 60),
    },
    "files": {
        "creat": (85, None), "openat2": (437, 437), "open_by_handle_at": (304, 265),
        "truncate": (76, 45), "ftruncate": (77, 46), "fallocate": (285, 47), "unlinkat": (263, 35),
        "mkdirat": (258, 34), "mknodat": (259, 33), "renameat2": (316, 276), "linkat": (265, 37),
        "symlinkat": (266, 36), "fchmod": (91, 52), "fchmodat": (268, 53), "fchownat": (260, 54),
        "utimensat": (280, 88), "setxattr": (188, 5), "flock": (73, 32), "sync": (162, 81),
        "splice": (275, 76), "tee": (276, 77), "vmsplice": (278, 75), "sendfile": (40, 71),
        "copy_file_range": (326, 285), "pwrite64": (18, 68), "writev": (20, 66), "dup3": (292, 24),
    },
}  # fmt: skip
"""Calls that must be refused, with their numbers on both machines."""

NATIVE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def refused(number, *arguments):
    arguments = arguments or (0,) * 6
    return libc.syscall(number, *arguments) == -1 and ctypes.get_errno() == 1
"""


def run(code: str, tests: str = "", name: str = "attempt", **limits: int) -> bool:
    return sandbox.passes(Program(code, tests, names=(name,)), **limits)


@pytest.mark.parametrize("group", CALLS)
def test_the_kernel_refuses_a_call(group: str) -> None:
    numbers = {name: pair[COLUMN] for name, pair in CALLS[group].items()}
    known = {name: number for name, number in numbers.items() if number is not None}
    code = f"{NATIVE}def attempt(): return [n for n, i in {known}.items() if not refused(i)]"
    assert run(code, "found = attempt()\nassert found == [], found")


def test_the_kernel_refuses_what_changes_an_open_file() -> None:
    fcntl, ioctl = (numbers[COLUMN] for numbers in ((72, 25), (16, 29)))
    commands = (4, 6, 7, 8, 10, 15, 37, 1024, 1026, 1031, 1033, 1036, 1 << 32 | 8)
    requests = (0x5421, 0x5452, 0x8901, 0x40086602, 0x5412, 0x401C5820, 0x40049409)
    code = f"""{NATIVE}
def attempt():
    file = open(__file__)
    number = file.fileno()
    wrong = [c for c in {commands} if not refused({fcntl}, number, ctypes.c_long(c), 0)]
    wrong += [r for r in {requests} if not refused({ioctl}, number, ctypes.c_long(r), 0)]
    return wrong, file.isatty(), file.read(6)
"""
    assert run(code, "found = attempt()\nassert found == ([], False, '\\nimpor'), found")


OUTWARD = {
    "opens to write": "open(PATH, 'w')",
    "opens to append": "open(PATH, 'a')",
    "opens to update": "open(PATH, 'r+b')",
    "truncates as it opens": "os.open(PATH, os.O_RDONLY | os.O_TRUNC)",
    "makes a nameless file": "os.open(os.path.dirname(PATH), os.O_TMPFILE | os.O_RDWR)",
    "makes a file": "open(PATH + '.new', 'x')",
    "truncates": "os.truncate(PATH, 0)",
    "removes": "os.unlink(PATH)",
    "renames": "os.rename(PATH, PATH + '.new')",
    "links": "os.link(PATH, PATH + '.new')",
    "makes a link": "os.symlink(PATH, PATH + '.new')",
    "makes a folder": "os.mkdir(PATH + '.new')",
    "makes a pipe": "os.mkfifo(PATH + '.new')",
    "changes the mode": "os.chmod(PATH, 0)",
    "changes the owner": "os.chown(PATH, 1, 1)",
    "changes the time": "os.utime(PATH, (0, 0))",
    "changes flags": "fcntl.ioctl(os.open(PATH, 0), 0x40086602, b'\\x40\\0\\0\\0\\0\\0\\0\\0')",
    "locks": "fcntl.flock(os.open(PATH, 0), fcntl.LOCK_EX)",
    "asks for signals of a folder": "fcntl.fcntl(os.open(os.path.dirname(PATH), 0), 1026, 2)",
    "sends a signal": "os.kill(PID, 9)",
    "sends a signal to the group": "os.killpg(os.getpgid(PID), 9)",
    "sends a signal to all": "os.kill(-1, 9)",
    "sends a signal by a handle": "signal.pidfd_send_signal(os.pidfd_open(PID), 9)",
    "sends a queued signal": "libc.sigqueue(PID, 9, 0)",
    "sends a signal to a thread": "libc.tgkill(PID, PID, 9)",
    "has the kernel send it": "[fcntl.fcntl(n, c, a) for n in range(16) "
    "for c, a in ((8, PID), (10, 9), (4, 0o20000))]",
    "traces": "libc.ptrace(16, PID, 0, 0)",
    "limits another": "resource.prlimit(PID, resource.RLIMIT_CPU, (0, 0))",
    "lowers its priority": "os.setpriority(os.PRIO_PROCESS, PID, 19)",
    "moves it": "os.sched_setaffinity(PID, [0])",
    "writes its memory": "open(f'/proc/{PID}/mem', 'r+b')",
    "connects": "socket.create_connection(('127.0.0.1', PORT), 1)",
    "sends a datagram": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
    "starts a program": "subprocess.run(['/bin/kill', '-9', str(PID)])",
    "starts a shell": "-(os.system(f'kill -9 {PID}') == 127 << 8)",
    "starts it in this place": "os.execv('/bin/kill', ['kill', '-9', str(PID)])",
    "starts it from another process": "os.posix_spawn('/bin/kill', ['kill', '-9', str(PID)], {})",
    "forks": "os.fork() or os._exit(0)",
    "starts a thread": "threading.Thread(target=print).start()",
    "starts a worker": "multiprocessing.Process(target=print).start()",
    "runs from memory": "os.memfd_create('x')",
    "shares memory": "multiprocessing.shared_memory.SharedMemory('x', True, 99)",
    "enters a namespace": "libc.unshare(0x10000000)",
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int, socket.socket]]:
    """A file, a process and a server that programs try to reach."""
    path = tmp_path_factory.mktemp("outside") / "file.txt"
    path.write_text("as it was")
    with (
        subprocess.Popen(["sleep", "120"], start_new_session=True) as process,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        server.settimeout(0)
        while "(sleep) S" not in Path(f"/proc/{process.pid}/stat").read_text():
            time.sleep(0.01)  # it is still starting
        yield str(path), process.pid, server
        process.kill()


@pytest.fixture
def without_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall of a kernel that has no Landlock."""
    judge = "from suites.bam.downstream.judge"
    without = f"from suites.bam.downstream import wall\nwall.confine = lambda folder: 0\n{judge}"
    monkeypatch.setattr(sandbox, "_START", sandbox._START.replace(judge, without))
    sandbox.guarantees.cache_clear()
    sandbox.notice.cache_clear()


STEADY = ("State", "TracerPid", "Uid", "SigP", "SigB", "SigI", "SigC", "Shd", "Cpus", "Threads")


@pytest.mark.usefixtures("without_landlock")
@pytest.mark.parametrize("attempt", OUTWARD)
def test_nothing_outside_changes(attempt: str, outside: tuple[str, int, socket.socket]) -> None:
    path, process, server = outside

    def state() -> tuple[object, ...]:
        status, limits = (Path(f"/proc/{process}/{n}").read_text() for n in ("status", "limits"))
        steady = [line for line in status.splitlines() if line.startswith(STEADY)]
        facts = Path(path).stat()
        return (
            *(Path(path).read_text(), facts.st_mode, facts.st_uid, facts.st_mtime_ns),
            *(facts.st_nlink, facts.st_ctime_ns, os.listdir(Path(path).parent)),  # noqa: PTH208
            *(steady, limits, os.getpriority(os.PRIO_PROCESS, process)),
        )

    before = state()
    code = f"""
import ctypes, fcntl, multiprocessing.shared_memory, os, resource, signal, socket, subprocess
import threading
PATH, PID, PORT = {path!r}, {process}, {server.getsockname()[1]}
libc = ctypes.CDLL(None, use_errno=True)
def attempt():
    try:
        return {OUTWARD[attempt]} == -1
    except (OSError, RuntimeError):
        return True
"""
    assert run(code, "assert attempt()")
    assert state() == before
    with pytest.raises(BlockingIOError):
        server.accept()


READING = {
    "the home folder": "os.listdir(HOME)",
    "a file of the user": "open(PATH).read()",
    "a file of the user through a link": "open('/proc/self/root' + PATH).read()",
    "the repository": "open(REPOSITORY).read()",
    "the users": "open('/etc/passwd').read()",
    "the root folder": "os.listdir('/')",
    "temporary files": "os.listdir(os.path.dirname(os.getcwd()))",
    "the environment of the parent": "open(f'/proc/{PARENT}/environ', 'rb').read()",
    "the memory of the parent": "open(f'/proc/{PARENT}/mem', 'rb').read(1)",
    "the map of the parent": "open(f'/proc/{PARENT}/maps').read()",
    "the command of the parent": "open(f'/proc/{PARENT}/cmdline').read()",
    "the judge's memory": "open(f'/proc/{os.getpid() - 1}/mem', 'rb').read(1)",
    "its own memory": "open('/proc/self/mem', 'rb').read(1)",
    "its own environment": "open('/proc/self/environ').read()",
    "the list of processes": "os.listdir('/proc')",
    "devices": "open('/dev/mem', 'rb').read(1)",
}


@pytest.mark.parametrize("what", READING)
def test_only_python_and_the_program_are_read(
    what: str, outside: tuple[str, int, socket.socket]
) -> None:
    code = f"""
import os
HOME, PATH, PARENT = {str(Path.home())!r}, {outside[0]!r}, {os.getpid()}
REPOSITORY = {wall.__file__!r}
def attempt():
    try:
        return {READING[what]}
    except (PermissionError, FileNotFoundError) as error:
        return type(error).__name__
"""
    version = ctypes.CDLL(None).syscall(444, None, 0, 1)
    active = {g.name: g.active for g in sandbox.guarantees()}
    assert active["landlock"] == (version >= 1)
    refused = "attempt() in ('PermissionError', 'FileNotFoundError')"
    assert run(code, f"assert {refused}") or not active["landlock"]


@pytest.mark.usefixtures("without_landlock")
def test_a_kernel_without_landlock_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    assert [g.name for g in sandbox.guarantees() if not g.active] == ["landlock"]
    sandbox.notice()
    sandbox.notice()
    assert caplog.messages == [
        "code of models runs here without landlock (only Python's own files and the program are "
        "read)"
    ]
    sandbox.guarantees.cache_clear()


def test_nothing_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "word")
    code = """
import ctypes, os
def attempt():
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_char_p
    pipes = []
    for number in range(32):
        try: pipes.append((number, os.fstat(number).st_rdev))
        except OSError: pass
    null = os.stat('/dev/null').st_rdev
    return (
        {**os.environ}.keys() - {'LC_CTYPE'}, libc.getenv(b'SECRET'), os.listdir(),
        [rdev == null for number, rdev in pipes if number < 3], len(pipes),
    )
"""
    tests = "found = attempt()\nassert found == (set(), None, ['program.py'], [True] * 3, 5), found"
    assert run(code, tests)


def test_root_has_no_power_left() -> None:
    code = f"""{NATIVE}
class Sets(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint32 * 3) for n in ('low', 'high')]
def attempt(number):
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), Sets()
    return libc.syscall(number, header, ctypes.byref(sets)), bytes(sets)
"""
    # capget is refused as well, so that the walls are looked at before the filter is there.
    assert run(code, f"assert attempt({(125, 90)[COLUMN]})[0] == -1")
    script = """
import ctypes, os
from suites.bam.downstream import wall
wall.renounce()
sets = ctypes.create_string_buffer(24)
assert wall._libc.capget(ctypes.c_uint64(0x20080522).value.to_bytes(8, 'little'), sets) == 0
assert sets.raw == bytes(24)
assert [wall._libc.prctl(n, 0, 0, 0, 0) for n in (3, 39)] == [0, 1]
assert os.geteuid() or [wall._libc.prctl(23, n, 0, 0, 0) for n in range(38)] == [0] * 38
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(wall.__file__).parents[2])


def test_time_and_memory_are_limited() -> None:
    started = time.monotonic()
    stubborn = """
import signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
"""
    assert not run(f"{stubborn}def attempt(): time.sleep(60)", "attempt()", seconds=1)
    assert not run(f"{stubborn}while True: pass", seconds=1)
    assert time.monotonic() - started < 10
    allocate = "def attempt(n): return len(bytearray(n))"
    assert run(allocate, "assert attempt(1 << 26)", memory=1 << 29)
    assert not run(allocate, "assert attempt(1 << 29)", memory=1 << 29)


HOLD = """
import sys
from suites.bam.downstream.sandbox import Program, passes
passes(Program({code!r}, "", names=()), seconds={seconds})
"""


def processes() -> list[str]:
    return [folder.name for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def fields(process: int) -> list[str]:
    """State, parent and what else the kernel says of a process; empty if there is none."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def parent_of(process: int) -> int | None:
    return int(found[1]) if (found := fields(process)) else None


def descendants(process: int) -> list[int]:
    """Processes that a process started, and theirs."""
    children = [child for child in map(int, processes()) if parent_of(child) == process]
    return [found for child in children for found in (child, *descendants(child))]


def alive(process: int) -> bool:
    return bool(found := fields(process)) and found[0] not in "ZX"


@pytest.mark.parametrize(
    ("end", "code", "seconds", "within"),
    [
        (signal.SIGKILL, "import time; time.sleep(99)", 30, 1),
        (signal.SIGKILL, "while True: pass", 30, 1),
        (signal.SIGSTOP, "import time; time.sleep(99)", 1, 4),
    ],
    ids=["asleep", "busy", "parent stopped"],
)
def test_programs_end_without_their_parent(
    end: signal.Signals, code: str, seconds: int, within: float
) -> None:
    script = HOLD.format(code=code, seconds=seconds)
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=Path(wall.__file__).parents[2]) as parent:
        while len(found := descendants(parent.pid)) < 2:
            assert parent.poll() is None
            time.sleep(0.01)
        time.sleep(0.2)
        assert all(map(alive, found))
        parent.send_signal(end)
        deadline = time.monotonic() + within
        while any(map(alive, found)) and time.monotonic() < deadline:
            time.sleep(0.01)
        left = [process for process in found if alive(process)]
        parent.kill()
    assert left == []


def test_the_filter_knows_both_machines() -> None:
    for machine, (column, audit) in wall.MACHINES.items():
        filters = b"".join(wall._instructions(column, audit, 7))
        assert len(filters) % 8 == 0, machine
        assert len(filters) // 8 < 4096
    assert ctypes.sizeof(ctypes.c_void_p) == 8
