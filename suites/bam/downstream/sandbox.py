"""Runs code that a model wrote behind a wall, and says whether it passes its tests.

Each run starts one child process, which forks in two (`judge.py`): one process runs the program,
the other the tests, and a program passes if the values that its functions return are the right
ones. That is all that counts: leaving early, by any way and with any exit code, fails; the program
cannot see the tests, the expected values or the interpreter that compares them, and the judge
proves that it came to the end of the tests by a secret of this run, which it is given only once
the program is defined and which the program's process never holds.

Where this differs from running everything in one interpreter: arguments and results are passed by
value; an object that is no data is equal only to itself, whatever its class says of `==`; names of
the tests that the program should not define (built-ins, modules, helpers of the prompt) keep their
meaning. The reference solutions of HumanEval and MBPP pass either way.

What holds, by `wall.py`, for both processes (`guarantees` says what this machine lacks):

- No other process is reached, but that the judge may end the program's: no signal, trace,
  priority, memory or handle of one; no new process or thread; no socket, key, namespace, mount,
  io_uring, BPF, perf event or shared memory.
- Nothing outside is changed: no file is written, created, truncated, renamed or removed, and no
  flag, owner or lock of an open file is set.
- Nothing outlives its limits or its parent: processor time, memory, and a SIGKILL at the limit of
  wall-clock time belong to the process itself; it dies with this process, however that dies.
- Nothing is inherited: no environment, no open file but /dev/null, no capability of root.
- Where the kernel has Landlock, nothing can be read but the Python installation, the system's
  libraries and the program itself. Whether a path exists, its size and owner, and where a link
  points can still be asked. Without Landlock the program can read what this user can read, the
  benchmark's answers among it, but has nowhere to send it.
"""

import ast
import contextlib
import hmac
import json
import logging
import os
import platform
import secrets
import select
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from harness.errors import DataError, MethodError
from suites.bam.downstream import judge, wall

_FOLDER = Path(__file__).resolve().parent
_START = """
import sys
for name in "suites", "suites.bam", "suites.bam.downstream":
    sys.modules[name] = type(sys)(name)
    sys.modules[name].__path__ = [sys.argv[1]]
from suites.bam.downstream.judge import main
main(sys.argv[2], *map(int, sys.argv[3:]))
"""
"""The child: the two modules that it needs, without what their packages load."""


class Program(NamedTuple):
    """What a model wrote, and how it is tested."""

    code: str
    """Python source that is not trusted."""
    tests: str
    """Python source that runs to its end if the code is right."""
    prelude: str = ""
    """Python source that runs before the tests: their imports and helpers."""
    names: tuple[str, ...] = ()
    """Names in the tests that the code defines."""
    imports: tuple[str, ...] = ()
    """Names that the prelude imports, and the tests have only if the code has them too."""


class Guarantee(NamedTuple):
    """One promise of the wall."""

    name: str
    active: bool
    """On this machine."""
    promise: str


def humaneval(document: Mapping[str, Any], completion: str) -> Program:
    """A completion of a HumanEval prompt."""
    name = str(document["entry_point"])
    return Program(
        code=f"{document['prompt']}{completion}\n",
        tests=f"{document['test']}\ncheck({name})\n",
        prelude=str(document["prompt"]),
        names=(name,),
    )


def mbpp(document: Mapping[str, Any], completion: str) -> Program:
    """An answer to an MBPP task: of what the tests name, it defines what the solution defines.

    Raises:
        DataError: the task's own solution or tests are not Python.
    """
    tests = "\n".join([str(document["test_setup_code"]), *document["test_list"]])
    walked = (node for part in _parsed(document, tests) for node in ast.walk(part))
    used = {node.id for node in walked if isinstance(node, ast.Name)}
    prelude: list[str] = []
    names: list[str] = []
    imports: list[str] = []
    for node in _parsed(document, str(document["code"])):
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound = {(alias.asname or alias.name).partition(".")[0] for alias in node.names} & used
            imports += bound
            prelude += [ast.unparse(node)] if bound else []
        else:
            names += _defined(node) & used
    return Program(f"{completion}\n", tests, "\n".join(prelude), tuple(names), tuple(imports))


def _parsed(document: Mapping[str, Any], text: str) -> list[ast.stmt]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes like \w, which some solutions have
            return ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise DataError(
            f"the solution or the tests of MBPP task {document.get('task_id')} are not Python "
            f"({error}); replace the file by the original"
        ) from None


def _defined(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    stored = (n for n in ast.walk(node) if isinstance(getattr(n, "ctx", None), ast.Store))
    return {n.id for n in stored if isinstance(n, ast.Name)}


def passes(program: Program, *, seconds: int = 10, memory: int = 1 << 30) -> bool:
    """Whether the code of a program passes all its tests.

    Args:
        program: code, and tests that are trusted.
        seconds: limit of processor time, and half the limit of wall-clock time.
        memory: limit of address space in bytes.

    Raises:
        MethodError: this machine cannot wall it off, and nothing was run; or the tests pass
            something to the code that cannot be copied.
    """
    return _run(program, seconds, memory)[0]


@cache
def guarantees() -> tuple[Guarantee, ...]:
    """What the wall promises and whether this machine keeps it; runs one empty program.

    Raises:
        MethodError: as `passes` does.
    """
    landlock = _run(Program("", ""), 10, 1 << 30)[1]["landlock"]
    return (
        Guarantee("seccomp", True, "all system calls are refused but those of a calculation"),
        Guarantee("limits", True, "processor time, memory and files are limited"),
        Guarantee("timer", True, "a process ends itself at the limit of wall-clock time"),
        Guarantee("parent", True, "no process outlives the trial that started it"),
        Guarantee("capabilities", True, "root is an ordinary user"),
        Guarantee("judge", True, "the verdict is found where the program's code never runs"),
        Guarantee("landlock", landlock >= 1, "only Python's own files and the program are read"),
    )


@cache
def notice() -> None:
    """Says in one line of the log, once, what this machine does not guarantee."""
    if lacking := [g for g in guarantees() if not g.active]:
        names = ", ".join(f"{g.name} ({g.promise})" for g in lacking)
        logging.getLogger(__name__).warning("code of models runs here without %s", names)


def _run(program: Program, seconds: int, memory: int) -> tuple[bool, dict[str, Any]]:
    """The verdict, and what the child said of its walls."""
    if sys.platform != "linux" or platform.machine() not in wall.MACHINES:
        raise MethodError(
            f"code of models is only run on Linux on {' or '.join(wall.MACHINES)}, and this is "
            f"{platform.system()} on {platform.machine()}; leave the code benchmarks out"
        )
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        source = Path(folder) / "program.py"
        source.write_text(program.code, encoding="utf-8", errors="surrogatepass")
        orders, tell = _pipe(stack)
        hear, report = _pipe(stack)
        numbers = (seconds, memory, os.getpid(), orders.fileno(), report.fileno())
        child = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", "-B", "-c", _START, _FOLDER, source),
                *map(str, numbers),
            ],
            cwd=folder,
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=numbers[-2:],
            start_new_session=True,
        )
        stack.callback(child.wait)
        stack.callback(child.kill)  # first
        orders.close()
        report.close()
        return _verdict(program, tell, _Lines(hear, time.monotonic() + 2 * seconds + 5))


def _pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    """Both ends of a pipe: to read, to write."""
    reading, writing = os.pipe()
    return stack.enter_context(FileIO(reading)), stack.enter_context(FileIO(writing, "w"))


class _Lines:
    """Lines that a pipe brings until a deadline."""

    def __init__(self, pipe: FileIO, deadline: float) -> None:
        self._pipe = pipe
        self._deadline = deadline
        self._poll = select.poll()
        self._poll.register(pipe, select.POLLIN)
        self._rest = b""

    def next(self) -> str:
        """The next line without its end; empty if none came in time."""
        while b"\n" not in self._rest:
            left = self._deadline - time.monotonic()
            part = self._pipe.read(1 << 16) if self._poll.poll(max(0, 1000 * left)) else b""
            if not part:
                return ""
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()


def _verdict(program: Program, tell: FileIO, lines: _Lines) -> tuple[bool, dict[str, Any]]:
    walls: dict[str, Any] = json.loads(lines.next() or '{"missing": "no answer"}')
    if "missing" in walls:
        raise MethodError(
            f"this kernel does not wall off code of models ({walls['missing']}), so that it is not "
            "run; leave the code benchmarks out"
        )
    if lines.next() != "defined":
        return False, walls
    secret = secrets.token_hex(32)
    with contextlib.suppress(BrokenPipeError):
        judge.send(tell.fileno(), {**program._asdict(), "code": "", "secret": secret})
    proof = lines.next()
    if proof.startswith("unsendable: "):
        raise MethodError(
            f"tests of a program pass an object of class {proof.split()[1]} to its code; only "
            "data can be passed: change the tests"
        )
    return hmac.compare_digest(proof.encode(), secret.encode()), walls
