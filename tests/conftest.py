"""A project folder in which tests run the real command line over the toy suites."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness import registry
from harness.identity import canonical
from harness.plan import Trial
from harness.record import Cost, Provenance, Record
from harness.store import Store

TOY = Path(__file__).parent / "toy"
HARNESS = Path(sys.executable).with_name("harness")


@pytest.fixture(scope="session")
def record_of() -> Callable[..., Record]:
    """`record_of(trial, metrics=..., **fields)`: the sealed record of a trial that never ran."""
    provenance = Provenance(
        started="2025-01-01T00:00:00+00:00", finished="2025-01-01T00:00:01+00:00", commit=None,
        dirty=None, source_digest="0" * 64, python="3.11", packages={}, platform="Linux",
        processor="toy", cores=1, memory_bytes=1, accelerator=None, threads=1, flags={},
        command=("harness", "run"),
    )  # fmt: skip

    def make(trial: Trial, **fields: Any) -> Record:
        usual = {
            "id": trial.id, "suite": trial.suite.name, "method": trial.method.name,
            "task": trial.task.name, "seed": trial.seed, "scale": trial.scale.name,
            "protocol": trial.task.protocol, "spec": trial.spec, "status": "ok",
            "cost": Cost(wall_seconds=1, cpu_seconds=1, peak_memory_bytes=1),
            "provenance": provenance,
        }  # fmt: skip
        return Record(**(usual | fields)).sealed()

    return make


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often the series of `chaos/` are tried; see its conftest."""
    group = parser.getgroup("chaos", "long series of kills, flipped bits and fuzzed commands")
    group.addoption("--chaos-kills", type=int, default=15, help="processes that are killed")
    group.addoption("--chaos-flips", type=int, default=200, help="bits that are flipped")
    group.addoption("--chaos-commands", type=int, default=500, help="fuzzed command lines")
    group.addoption("--chaos-graphs", type=int, default=500, help="corrupt files per graph reader")
    group.addoption("--chaos-files", type=int, default=1000, help="corrupt text files")
    group.addoption("--chaos-summary", metavar="FILE", help="page that gets the table of counts")


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Both streams."""
        return self.out + self.err

    @property
    def failures(self) -> list[str]:
        """The lines of trials and artifacts that failed."""
        return [line for line in self.out.splitlines() if line.startswith("failed ")]


def _heeding_signals() -> None:
    """Tests that were started in the background, or under nohup, ignore some; commands must not."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Project:
    """A results folder, a cache folder, and the commands that work on them."""

    def __init__(self, root: Path, temporary: Path) -> None:
        self.root = root
        self.results = root / "results"
        self.cache = root / "cache"
        self.log = root / "log.txt"
        self.done = Done
        self.store = Store(self.results, self.cache)
        self.env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(TOY), os.environ.get("PYTHONPATH")])),
            "HARNESS_CACHE": str(self.cache),
            "TOY_LOG": str(self.log),
            "TMPDIR": str(temporary),  # short: sockets have short names, and kills leave some
            "OMP_NUM_THREADS": "1",
        }
        self.env.pop("HARNESS_DATA", None)
        self._started: list[subprocess.Popen[str]] = []

    def start(
        self, *words: str, prelude: str = "", env: dict[str, str] | None = None, **popen: Any
    ) -> "subprocess.Popen[str]":
        """Starts `harness <words>` in a process group of its own; `prelude` is Python run first."""
        command: list[str] = [str(HARNESS)]
        if prelude:
            command = [sys.executable, "-c", f"{prelude}\nfrom harness.cli import main; main()"]
        popen = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | popen
        process = subprocess.Popen(
            [*command, *words],
            cwd=self.root,
            env=self.env | (env or {}),
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_heeding_signals,  # noqa: PLW1509 - it only sets signals
            **popen,
        )
        self._started.append(process)
        return process

    def end(self) -> None:
        """Ends what a failing test has left running, so that the tests after it do not fail too."""
        for process in self._started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def run(
        self,
        *words: str,
        prelude: str = "",
        env: dict[str, str] | None = None,
        seconds: float = 240,
    ) -> Done:
        """Runs `harness <words>` to its end."""
        return self.finish(self.start(*words, prelude=prelude, env=env), seconds)

    @staticmethod
    def finish(process: "subprocess.Popen[str]", seconds: float = 240) -> Done:
        """Waits for a started command."""
        try:
            out, err = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            pytest.fail(f"no end after {seconds} s:\n{out}\n{err}")
        return Done(process.returncode, out, err)

    def records(self, suite: str = "*", scale: str = "*") -> list[Record]:
        """All records; none may be damaged."""
        loaded = self.store.load(suite, scale)
        assert not loaded.damaged
        return loaded.records

    def outcomes(self, suite: str = "*", scale: str = "*") -> dict[str, str]:
        """The canonical JSON of every record's outcome, by its title."""
        return {
            f"{r.suite} {r.scale} {r.method} {r.task} {r.seed}": canonical(
                json.loads(json.dumps(r.outcome()))
            )
            for r in self.records(suite, scale)
        }

    def logged(self, what: str) -> list[str]:
        """Lines of the toy methods' log that begin with a word, without it and the process id."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [
            line.rpartition(" ")[0].partition(" ")[2] for line in lines if line.startswith(what)
        ]

    def pids(self, what: str = "start") -> list[int]:
        """Process ids in the toy methods' log."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [int(line.split()[-1]) for line in lines if line.startswith(what)]

    def alive(self, mark: str = "") -> list[int]:
        """Processes of this project that run; with `mark`, those of commands that got it.

        A mark is a setting `NAME=value` of the environment that a command was started with.
        """
        found = []
        wanted = {f"TOY_LOG={self.log}".encode(), *([mark.encode()] if mark else [])}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes()
                zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue
            if wanted <= set(environment.split(b"\0")) and not zombie:
                found.append(int(folder.name))
        return found

    def leftovers(self) -> list[str]:
        """Temporary files, unfinished trials and held locks: nothing of it outlives a good run."""
        found = [
            str(path.relative_to(self.root))
            for root in (self.results, self.cache)
            for path in (*root.glob("**/.tmp-*"), *root.glob("**/.probe"))
        ]
        found += [f"trial {path.name}" for path in self.cache.glob("trials/*")]
        found += [
            f"lock {path.name}"
            for path in self.cache.glob("locks/*")
            if self.store.locked(path.name)
        ]
        return found


ProjectFactory = Callable[[], Project]


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A folder for sockets, whose path must be short."""
    folder = Path(tempfile.mkdtemp(prefix="h"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def project(tmp_path: Path, short_folder: Path) -> Iterator[Project]:
    """An empty project."""
    made = Project(tmp_path, short_folder)
    yield made
    made.end()


@pytest.fixture(scope="session")
def make_project(tmp_path_factory: pytest.TempPathFactory, short_folder: Path) -> ProjectFactory:
    """`make_project()`: as many empty projects as one likes."""
    return lambda: Project(tmp_path_factory.mktemp("project"), short_folder)


WRITTEN = """
from harness.suite import Method, Metric, Paper, Scale, Suite, Task

def _walk_suite(**changes):
    fields = {
        "name": "written",
        "paper": Paper(title="T", authors="A", arxiv="0000.00000", venue="V", year=2024),
        "summary": "",
        "methods": (
            Method(name="walk", run="toy_suite_package.methods:walk", params={"lift": 1.0}),
        ),
        "tasks": (
            Task(name="short", params={"steps": 3}, metrics=("height",), optional=("noise",)),
        ),
        "metrics": tuple(
            Metric(name=n, label=n, unit="", better="higher", split="test", select="last")
            for n in ("height", "noise")
        ),
        "scales": (Scale(name="smoke", seeds=(0,), expected_seconds=1),),
    }
    return Suite(**(fields | changes))

"""


@pytest.fixture
def write_suite(project: Project) -> Callable[[str], dict[str, str]]:
    """`write_suite(source)` offers a suite `written`, made by `suite()` in that source.

    Returns the environment in which a command finds it.
    """

    def write(source: str) -> dict[str, str]:
        folder = project.root / "packages"
        info = folder / "written_package-1.0.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        (info / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: written-package\nVersion: 1.0\n"
        )
        (info / "entry_points.txt").write_text(
            "[harness.suites]\nwritten = written_package:suite\n"
        )
        (folder / "written_package.py").write_text(WRITTEN + textwrap.dedent(source))
        return {"PYTHONPATH": f"{folder}{os.pathsep}{project.env['PYTHONPATH']}"}

    return write


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the toy suites known in this process, and forgets them afterwards."""
    monkeypatch.syspath_prepend(TOY)
    _forget()
    yield
    _forget()


def _forget() -> None:
    registry.origins.cache_clear()
    registry.load.cache_clear()
    registry.source_digest.cache_clear()


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Waits until something is so.

    Raises:
        AssertionError: it never was.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


@pytest.fixture(scope="session", name="wait_for")
def _wait_for() -> Callable[..., None]:
    return wait_for


@pytest.fixture(scope="session")
def graph_files() -> Any:
    """The module `suites/gate/graph_files.py` of the tests: graphs as files, whole and broken."""
    path = Path(__file__).parent / "suites" / "gate" / "graph_files.py"
    spec = importlib.util.spec_from_file_location("graph_files", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
