"""The wall around code that models write: what must run, and what the kernel must refuse."""

import gzip
import json
import os
import platform
import socket
import time
from pathlib import Path

import pytest

from harness.errors import MethodError
from suites.bam.downstream import sandbox as execution

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="code is only run on Linux on two kinds of machine",
)

SUMS = "def add(a, b):\n    return a + b\n"


def test_a_program_that_comes_to_its_end_passes() -> None:
    imports = "import math, re, collections, heapq, itertools, typing, functools, datetime\n"
    assert execution.passes(f"{imports}{SUMS}assert add(1, 2) == 3")


@pytest.mark.parametrize(
    "program",
    [
        f"{SUMS}assert add(1, 2) == 4",
        "def add(a, b)\n",
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        f"import os; os._exit({execution.UNGUARDED + 1})",
        "input()",
        "\ud800",
    ],
)
def test_a_program_that_does_not_fails(program: str) -> None:
    assert not execution.passes(program)


REFUSED = """
try:
    {attempt}
except PermissionError:
    pass
else:
    raise SystemExit("it was allowed")
"""


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.socket()",
        "import socket; socket.socketpair()",
        "import os; os.fork()",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.kill(os.getppid(), 0)",
        "open('new.txt', 'w')",
        "open('program.py', 'a')",
        "import os; os.open('program.py', os.O_RDONLY | os.O_TRUNC)",
        "import os; os.unlink('program.py')",
        "import os; os.mkdir('folder')",
        "import os; os.rename('program.py', 'other.py')",
        "import os; os.chmod('program.py', 0)",
        "import os; os.symlink('program.py', 'link')",
    ],
)
def test_the_kernel_refuses(attempt: str) -> None:
    assert execution.passes(REFUSED.format(attempt=attempt))


def test_nothing_reaches_a_listening_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        reach = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
        assert not execution.passes(reach)
        with pytest.raises(TimeoutError):
            server.accept()


def test_time_and_memory_are_limited() -> None:
    started = time.monotonic()
    assert not execution.passes("while True: pass", seconds=1)
    assert not execution.passes("import time; time.sleep(60)", seconds=1)
    assert time.monotonic() - started < 10
    assert execution.passes("x = bytearray(1 << 26)", memory=1 << 29)
    assert not execution.passes("x = bytearray(1 << 29)", memory=1 << 29)


def test_the_environment_is_empty_and_the_folder_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "word")
    check = f"""
import os
assert "SECRET" not in os.environ
assert os.getcwd() != {str(Path.cwd())!r}
assert os.listdir() == ["program.py"]
"""
    assert execution.passes(check)


def test_an_unguarded_machine_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution.platform, "machine", lambda: "toaster")
    with pytest.raises(MethodError, match="this is Linux on toaster"):
        execution.passes("pass")


def test_programs_are_put_together_as_the_benchmarks_say() -> None:
    human = {"prompt": SUMS.splitlines()[0], "entry_point": "add", "test": "def check(f): f(1, 2)"}
    program = execution.humaneval(human, "\n    return a + b")
    assert program == f"{SUMS}def check(f): f(1, 2)\ncheck(add)\n"
    basic = {"test_setup_code": "", "test_list": ["assert add(1, 1) == 2", "assert add(0, 0) == 0"]}
    assert execution.passes(execution.mbpp(basic, SUMS))
    assert not execution.passes(execution.mbpp(basic, SUMS.replace("+", "-")))


@pytest.mark.data
@pytest.mark.skipif("HARNESS_DATA" not in os.environ, reason="needs the data folder")
def test_the_benchmarks_own_solutions_pass() -> None:
    folder = Path(os.environ["HARNESS_DATA"]) / "lm"
    raw = gzip.decompress((folder / "task_humaneval/HumanEval.jsonl.gz").read_bytes())
    rows = [json.loads(line) for line in raw.splitlines()]
    solved = [execution.passes(execution.humaneval(r, r["canonical_solution"])) for r in rows]
    assert sum(solved) == len(rows) == 164
    lines = (folder / "task_mbpp/mbpp.jsonl").read_text().splitlines()[10:60]
    solved = [execution.passes(execution.mbpp(r, r["code"])) for r in map(json.loads, lines)]
    assert sum(solved) == 50
