"""Code that models write: what passes, what fails, and where nothing is run."""

import gzip
import json
import os
import platform
from pathlib import Path

import pytest

from harness.errors import DataError, MethodError
from suites.bam.downstream import sandbox
from suites.bam.downstream.sandbox import Program

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="code is only run on Linux on two kinds of machine",
)

SUMS = "def add(a, b):\n    return a + b\n"


def run(code: str, tests: str = "assert add(1, 2) == 3", **limits: int) -> bool:
    return sandbox.passes(Program(code, tests, names=("add",)), **limits)


def test_a_program_that_comes_to_its_end_passes() -> None:
    imports = "import math, re, collections, heapq, itertools, typing, functools, datetime\n"
    assert run(f"{imports}{SUMS}")
    assert run(f"{SUMS}assert add(1, 2) == 3", "")


@pytest.mark.parametrize(
    "code",
    [
        SUMS.replace("+", "-"),
        "def add(a, b)\n",
        f"{SUMS}assert add(1, 2) == 4",
        f"{SUMS}import sys; sys.exit(0)",
        f"{SUMS}input()",
        f"{SUMS}x = '",
        f"{SUMS}\ud800",
        f"{SUMS}\0",
        f"{SUMS}del add",
        "",
    ],
)
def test_a_program_that_does_not_fails(code: str) -> None:
    assert not run(code)


def test_an_unguarded_machine_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.platform, "machine", lambda: "toaster")
    with pytest.raises(MethodError, match="this is Linux on toaster"):
        run(SUMS)


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (
            'import sys, os; os.write(int(sys.argv[-1]), b\'{"missing": "no seccomp"}\\n\')',
            "no sec",
        ),
        ("import os; os._exit(1)", "no answer"),
        (
            f"from errno import EINVAL\n{sandbox._START}".replace(
                "from suites.bam.downstream.judge",
                "from suites.bam.downstream import wall\n"
                "def refuse(child=None): raise OSError(EINVAL, 'no filter')\n"
                "wall.refuse = refuse\nfrom suites.bam.downstream.judge",
            ),
            "no filter",
        ),
    ],
    ids=["says so", "is silent", "has no filter"],
)
def test_a_kernel_that_does_not_wall_off_runs_nothing(
    start: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "_START", start)
    with pytest.raises(MethodError, match=f"does not wall off code of models .*{reason}"):
        run(SUMS)


def test_the_secret_is_fresh_and_the_answer_must_be_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    send = sandbox.judge.send

    def keep(pipe: int, job: dict[str, str]) -> None:
        seen.append(job["secret"])
        send(pipe, job)

    monkeypatch.setattr(sandbox.judge, "send", keep)
    assert run(SUMS)
    assert run(SUMS)
    assert not run("def add(a, b)\n"), "it was never defined, so that nothing was handed over"
    assert len(set(seen)) == len(seen) == 2
    monkeypatch.setattr(sandbox.judge, "send", lambda pipe, job: send(pipe, {**job, "secret": "x"}))
    assert not run(SUMS)


def test_programs_are_put_together_as_the_benchmarks_say() -> None:
    human = {"prompt": "def add(a, b):", "entry_point": "add", "test": "def check(f): f(1, 2)"}
    program = sandbox.humaneval(human, "\n    return a + b")
    assert program.code == SUMS
    assert program.tests == "def check(f): f(1, 2)\ncheck(add)\n"
    assert (program.prelude, program.names) == ("def add(a, b):", ("add",))
    basic = {
        "code": f"import sys, math\nfrom re import *\nclass A: pass\nB = add = 1\n{SUMS}",
        "test_setup_code": "a = A()",
        "test_list": ["assert add(1, 1) == 2", "assert sys.getsizeof(a)"],
    }
    program = sandbox.mbpp(basic, SUMS)
    assert program.tests == "a = A()\nassert add(1, 1) == 2\nassert sys.getsizeof(a)"
    assert set(program.names) == {"add", "A"}
    assert (program.prelude, program.imports) == ("import sys, math", ("sys",))
    basic = {**basic, "test_setup_code": "", "test_list": ["assert add(1, 1) == 2"]}
    assert sandbox.passes(sandbox.mbpp(basic, SUMS))
    assert not sandbox.passes(sandbox.mbpp(basic, SUMS.replace("+", "-")))


@pytest.mark.parametrize("field", ["code", "test_setup_code"])
def test_a_task_that_is_no_python_is_named(field: str) -> None:
    basic = {"task_id": 17, "code": "x = '\\w'", "test_setup_code": "", "test_list": []}
    assert sandbox.mbpp(basic, "").names == ()
    with pytest.raises(DataError, match="tests of MBPP task 17 are not Python"):
        sandbox.mbpp({**basic, field: "def"}, "")


def test_promises_name_what_this_machine_lacks() -> None:
    promised = sandbox.guarantees()
    assert len({g.name for g in promised}) == len(promised) == 7
    assert all(g.active for g in promised if g.name != "landlock")


@pytest.mark.data
@pytest.mark.skipif("HARNESS_DATA" not in os.environ, reason="needs the data folder")
def test_the_benchmarks_own_solutions_pass() -> None:
    folder = Path(os.environ["HARNESS_DATA"]) / "lm"
    raw = gzip.decompress((folder / "task_humaneval/HumanEval.jsonl.gz").read_bytes())
    rows = [json.loads(line) for line in raw.splitlines()]
    solved = [sandbox.passes(sandbox.humaneval(r, r["canonical_solution"])) for r in rows]
    assert sum(solved) == len(rows) == 164
    lines = (folder / "task_mbpp/mbpp.jsonl").read_text().splitlines()[10:60]
    solved = [sandbox.passes(sandbox.mbpp(r, r["code"])) for r in map(json.loads, lines)]
    assert sum(solved) == 50
