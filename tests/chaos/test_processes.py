"""What a trial starts ends with it, whoever is killed; what a method does to its process is lost.

Each method writes the ids of the processes that it starts to `started`, one a line.
"""

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.executors import family

METHODS = '''
import os, signal, subprocess, sys, threading, time
from pathlib import Path
import numpy as np
from harness.settings import Settings

class Given(Settings):
    """Parameters of the method."""
    layers: list[int]
    """Widths."""

def suite(names=NAMES):
    seeds = int(os.environ.get("SEEDS", "1"))
    return _walk_suite(
        methods=tuple(Method(name=n, run="written_package:" + n.replace("-", "_"),
                             params={"layers": [1, 2], "lift": 1.0}) for n in names),
        scales=(Scale(name="smoke", seeds=tuple(range(seeds)), expected_seconds=1,
                      trial_seconds=float(os.environ.get("LIMIT", "300"))),),
        preload=("toy_suite_package.methods:warm_up",),
    )

def started(process):
    with open(os.environ["STARTED"], "a") as file:
        file.write(f"{process}\\n")

def offspring():
    """A child, a grandchild whose parent is gone, one in a session of its own, one forked."""
    sleep = "import time; time.sleep(600)"
    started(subprocess.Popen([sys.executable, "-c", sleep]).pid)
    started(subprocess.Popen([sys.executable, "-c", sleep], start_new_session=True).pid)
    orphan = "import subprocess as s, sys; " \
        f"p = s.Popen([sys.executable, '-c', {sleep!r}], stdout=s.DEVNULL, " \
        "start_new_session=True); print(p.pid)"
    started(subprocess.check_output([sys.executable, "-c", orphan], text=True).strip())
    if (child := os.fork()) == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(600)
    started(child)

def ok(ctx):
    offspring()
    return {"height": 1.0}

def raising(ctx):
    offspring()
    raise RuntimeError("mine")

def leaving(ctx):
    offspring()
    os._exit(0)

def dying(ctx):
    offspring()
    os.kill(os.getpid(), signal.SIGKILL)

def stuck(ctx):
    offspring()
    Path(os.environ["STARTED"] + ".all").write_text(str(os.getpid()))
    while True:
        time.sleep(600)

def ticking(ctx):
    from toy_suite_package.methods import Path2D
    state = Path2D(ctx.numpy_generator("data"))
    offspring()
    Path(os.environ["STARTED"] + ".all").write_text(str(os.getpid()))
    step = ctx.restore(state)
    while step < int(os.environ.get("STEPS", "100000")):
        step += 1
        time.sleep(0.01)
        ctx.tick(step, 100000, state)
    return {"height": float(step)}

def killing_its_parent(ctx):
    offspring()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)

def killing_its_parents_group(ctx):
    os.killpg(os.getpgid(os.getppid()), signal.SIGKILL)
    time.sleep(600)

def forking(ctx):
    from toy_suite_package.methods import Path2D
    child = os.fork()
    if child == 0:
        ctx._last_save = -1e9
        ctx.tick(1, 2, Path2D(ctx.numpy_generator("data")))
        return {"height": 2.0}
    _, status = os.waitpid(child, 0)
    left = [*Path("results").glob("*/*/forking--*"), *ctx.out.parent.glob("checkpoint*")]
    return {"height": 1.0 + len(left), "noise": float(status)}

def forking_and_raising(ctx):
    if os.fork() == 0:
        raise ValueError("the child's")
    time.sleep(0.3)
    return {"height": 1.0}

def closing_everything(ctx):
    os.closerange(0, 4096)
    return {"height": 1.0}

def closing_and_raising(ctx):
    os.closerange(0, 4096)
    raise ValueError("closed")

def moving(ctx):
    os.chdir("/")
    os.umask(0o777)
    os.environ.clear()
    os.environ.update(HARNESS_CACHE="/nowhere", HOME="/nowhere")
    os.close(1)
    os.close(2)
    return {"height": 1.0}

def deaf(ctx):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    return ticking(ctx)

def threading_on(ctx):
    threading.Thread(target=time.sleep, args=(600,)).start()
    return {"height": 1.0}

def clearing_away(ctx):
    import shutil
    shutil.rmtree(ctx.out.parent, ignore_errors=True)
    return {"height": 1.0}

def changing_parameters(ctx):
    for layers in (ctx.settings(Given).layers, ctx.subject.params["layers"],
                   ctx.suite.methods[0].params["layers"]):
        layers.append("mine")
    ctx.task.params["steps"] = "mine"
    ctx.scale.settings.plain()["more"] = "mine"
    return {"height": float(len(ctx.settings(Given).layers) + len(ctx.subject.params["layers"])),
            "noise": float(ctx.task.params["steps"])}

def words_of_allocation(ctx):
    raise ValueError("the learning-rate allocation is negative: out of memory")

def no_bool(ctx):
    return {"height": True}

def no_complex(ctx):
    return {"height": 1j}

def no_none(ctx):
    return {"height": None}

def no_huge(ctx):
    return {"height": 10 ** 400}

def no_key(ctx):
    return {"height": 1.0, 3: 1.0}

def scalars(ctx):
    return {"height": np.float32(0.5), "noise": np.int64(3)}

def exiting(ctx):
    sys.exit(0)

def interrupting(ctx):
    raise KeyboardInterrupt

def flooding(ctx):
    for _ in range(90):
        os.write(1, b"x" * 2**20)
        time.sleep(0.01)
    raise ValueError("after the flood")

def strange_counts(ctx):
    ctx.counts["a"] = "many"
    return {"height": 1.0}

def strange_names(ctx):
    ctx.log(1, **{"\\udcff": 1.0})
    return {"height": 1.0}
'''


@pytest.fixture
def command(project: Any, write_suite: Any) -> Callable[..., tuple[str, dict[str, str]]]:
    """`command(*methods)`: the environment in which `run written` runs these methods."""

    def make(*names: str, **more: str) -> dict[str, str]:
        env: dict[str, str] = write_suite(METHODS.replace("NAMES", repr(names)))
        return env | {
            "STARTED": str(project.root / "started"), "HARNESS_EXIT_SECONDS": "1",
            "HARNESS_GRACE_SECONDS": "1",
        } | more  # fmt: skip

    return make


def alive(project: Any) -> list[int]:
    """Processes that methods have started and that still run."""
    lines = (project.root / "started").read_text().split()
    found = [(int(line), family.kin(int(line))) for line in lines]
    return [process for process, kin in found if kin is not None and kin.state != "Z"]


def trial(project: Any) -> Callable[[], bool]:
    """Whether a method has started all that it starts."""
    path = project.root / "started.all"
    return lambda: path.exists() and path.read_text() != ""


@pytest.mark.parametrize("method", ["ok", "raising", "leaving", "dying", "killing-its-parent"])
def test_all_that_a_trial_started_ends_with_it(project: Any, command: Any, method: str) -> None:
    began = time.monotonic()
    done = project.run("run", "written", env=command(method))
    assert time.monotonic() - began < 30
    assert len((project.root / "started").read_text().split()) == 4
    assert alive(project) == []
    assert project.alive() == []
    assert "Traceback" not in done.text
    (record,) = project.records()
    expected = {
        "ok": None,
        "raising": "RuntimeError: mine",
        "leaving": "the process ended with code 0 and left no record",
        "dying": "killed by signal 9 (by the system or another process)",
        "killing-its-parent": "the process that supervises it was killed",
    }
    assert record.error == expected[method]
    assert done.code == (0 if method == "ok" else 1)


def test_a_failure_names_the_line_of_the_method_and_its_log(project: Any, command: Any) -> None:
    done = project.run("run", "written", env=command("raising"))
    line = done.failures[0]
    assert re.fullmatch(
        r"failed raising on short, seed 0: failed: RuntimeError: mine "
        r"\(packages/written_package\.py:\d+\); log: cache/trials/\w{32}/error\.txt",
        line,
    )
    assert "mine" in (project.root / line.rpartition(" ")[2]).read_text()


@pytest.mark.parametrize("end", ["limit", "interrupt", "twice", "owner", "server", "supervisor"])
def test_all_ends_when_the_run_is_stopped_or_killed(
    project: Any, command: Any, wait_for: Any, end: str
) -> None:
    limit = {"LIMIT": "0.5"} if end == "limit" else {}
    process = project.start("run", "written", env=command("stuck", **limit))
    wait_for(trial(project))
    stuck = int((project.root / "started.all").read_text())
    supervisor = family.kin(stuck).parent  # type: ignore[union-attr]
    server = family.kin(supervisor).parent  # type: ignore[union-attr]
    if end == "owner":
        process.kill()
    elif end == "server":
        os.kill(server, signal.SIGKILL)
        time.sleep(0.3)
        assert len(alive(project)) == 4  # the trial lives on
        process.terminate()
    elif end == "supervisor":
        os.kill(supervisor, signal.SIGKILL)
    elif end != "limit":
        process.send_signal(signal.SIGINT)
        if end == "twice":
            time.sleep(0.6)
            process.send_signal(signal.SIGINT)
    done = project.finish(process, 30)
    wait_for(lambda: alive(project) == [] and project.alive() == [], 10)
    assert getattr(family.kin(stuck), "state", "Z") == "Z"
    code = {"limit": 1, "owner": -signal.SIGKILL, "supervisor": 1}.get(end, 130)
    assert done.code == code
    statuses = {"limit": ["timeout"], "supervisor": ["failed"]}.get(end, [])
    assert [r.status for r in project.records()] == statuses


@pytest.mark.parametrize(
    ("method", "number"),
    [
        *(("ticking", n) for n in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGINT)),
        ("deaf", signal.SIGTERM),
    ],
)
def test_each_stopping_signal_saves(
    project: Any, command: Any, wait_for: Any, method: str, number: int
) -> None:
    process = project.start("run", "written", env=command(method, HARNESS_GRACE_SECONDS="30"))
    wait_for(trial(project))
    time.sleep(0.2)
    process.send_signal(number)
    done = project.finish(process, 30)
    assert done.code == 130
    assert done.err == "stopped; everything is saved, resume with: harness run written\n"
    assert len(list(project.cache.glob("trials/*/checkpoint-*.json"))) == 1
    assert alive(project) == []
    assert project.records() == []


def test_what_was_not_saved_is_named(project: Any, command: Any, wait_for: Any) -> None:
    process = project.start("run", "written", env=command("stuck"))
    wait_for(trial(project))
    process.terminate()
    done = project.finish(process, 30)
    assert (done.code, done.err) == (
        130,
        "stopped; everything is saved but stuck on short, seed 0, resume with: "
        "harness run written\n",
    )


@pytest.mark.parametrize("who", ["trial", "all", "terminal"])
def test_a_stopped_process_does_not_use_up_its_limit(
    project: Any, command: Any, wait_for: Any, who: str
) -> None:
    env = command("ticking", STEPS="150", LIMIT="4")
    process = project.start("run", "written", env=env)
    wait_for(trial(project))
    main = int((project.root / "started.all").read_text())
    processes = [main] if who == "trial" else project.alive()
    if who == "terminal":
        process.send_signal(signal.SIGTSTP)
        wait_for(lambda: family.kin(main).state == "T" == family.kin(process.pid).state)
        processes = [process.pid]
    else:
        family.tell(processes, signal.SIGSTOP)
    time.sleep(5.5)  # beyond the limit and the grace
    family.tell(processes, signal.SIGCONT)
    done = project.finish(process, 60)
    assert (done.code, done.err) == (0, "")
    (record,) = project.records()
    assert record.status == "ok"
    assert 1 < record.cost.wall_seconds < 4


GOOD = {
    "forking": {"height": 1.0, "noise": 0.0}, "forking-and-raising": {"height": 1.0},
    "closing-everything": {"height": 1.0}, "moving": {"height": 1.0},
    "threading-on": {"height": 1.0}, "clearing-away": {"height": 1.0},
    "changing-parameters": {"height": 4.0, "noise": 3.0}, "scalars": {"height": 0.5, "noise": 3.0},
    "strange-names": {"height": 1.0},
}  # fmt: skip
BAD = {
    "closing-and-raising": "ValueError: closed",
    "killing-its-parents-group": "the process that supervises it was killed",
    "words-of-allocation": "ValueError: the learning-rate allocation is negative: out of memory",
    "no-bool": "metric height is of type bool, not a number",
    "no-complex": "metric height is of type complex, not a number",
    "no-none": "metric height is of type NoneType, not a number",
    "no-huge": "metric height is beyond what a float holds",
    "no-key": "method no-key returned a metric named by int, not by text",
    "exiting": "SystemExit: 0",
    "interrupting": "KeyboardInterrupt: ",
    "flooding": "ValueError: after the flood",
    "strange-counts": "ValidationError: counts.a: Input should be a valid integer, unable to parse "
    "string as an integer, found 'many'",
}


def test_whatever_a_method_does_it_leaves_one_record_and_the_others_alone(
    project: Any, command: Any
) -> None:
    names = (*GOOD, *BAD)
    began = time.monotonic()
    done = project.run("run", "written", "--jobs", "2", "--results", "results", env=command(*names))
    assert time.monotonic() - began < 60
    assert done.code == 1
    assert "Traceback" not in done.text
    records = {r.method: r for r in project.records()}
    assert set(records) == set(names)
    assert {name: records[name].metrics for name in GOOD} == GOOD
    assert {name: records[name].error for name in BAD} == BAD
    assert {records[name].status for name in BAD} == {"failed"}
    assert len(done.failures) == len(BAD)
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in project.results.glob("*/*/*"))
    assert project.alive() == []
    assert sorted(project.leftovers()) == [
        f"trial {name[:32]}" for name in sorted(r.id for r in records.values() if r.error)
    ]
    flood = project.store.trial_folder(records["flooding"].id) / "log.txt"
    assert flood.stat().st_size < 2**26
    assert project.run("doctor").code == 0


def test_a_leftover_thread_frees_its_slot(project: Any, command: Any) -> None:
    began = time.monotonic()
    assert project.run("run", "written", env=command("threading-on", SEEDS="2")).code == 0
    assert time.monotonic() - began < 30
    assert len(project.records()) == 2


# -- full disks -----------------------------------------------------------------------------------

FULL = """
import errno, os, harness.store
written = harness.store.write_verified
def write_verified(path, data):
    if os.path.exists("full"):
        problem = OSError(errno.{}, os.strerror(errno.{}))
        raise harness.store.cannot_write(path, problem) from problem
    written(path, data)
harness.store.write_verified = write_verified
"""


@pytest.mark.parametrize("name", ["ENOSPC", "EDQUOT", "EROFS", "EIO"])
def test_the_first_full_disk_stops_the_run(project: Any, write_suite: Any, name: str) -> None:
    source = METHODS.replace("NAMES", "('filling',)") + FULL.format(name, name)
    source += """
def filling(ctx):
    import time
    with open("log.txt", "a") as file:
        file.write("start\\\\n")
    if ctx.seed == 0:
        while len(open("log.txt").readlines()) < 2:
            time.sleep(0.01)
        open("full", "w").close()
        return {"height": 1.0}
    for step in range(10**6):
        time.sleep(0.01)
        ctx.tick(step, 10**6)
""".replace("\\\\n", "\\n")
    env = write_suite(source) | {"SEEDS": "9"}
    done = project.run("run", "written", "--jobs", "2", env=env)
    assert done.code == 4
    assert done.err.count("\n") == 1
    assert done.err.startswith("harness: cannot write ")
    assert "--rerun" not in done.text
    assert done.err.endswith(
        "stopped, everything is saved but filling on short, seed 0; filling on short, seed 1\n"
    )
    assert len(project.log.read_text().splitlines()) == 2
    (project.root / "full").unlink()
    assert project.records() == []
    assert project.alive() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of half a mebibyte."""
    import subprocess

    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode:
        pytest.skip("only root can make a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_stops_the_run_at_its_first_failure(
    project: Any, write_suite: Any, small_disk: Path
) -> None:
    source = METHODS.replace("NAMES", "('filling',)")
    source += f"""
def filling(ctx):
    with open("log.txt", "a") as file:
        file.write("start\\\\n")
    if ctx.seed == 2:
        with open({str(small_disk / "rubbish")!r}, "wb") as file:
            file.write(bytes(2**20))
    return {{"height": 1.0}}
""".replace("\\\\n", "\\n")
    env = write_suite(source) | {"SEEDS": "9"}
    done = project.run(
        "run", "written", "--jobs", "1", "--results", str(small_disk / "results"), env=env
    )
    assert done.code == 4
    assert done.err.count("\n") == 1
    assert done.err.startswith(f"harness: cannot write {small_disk}/results/written/smoke/.probe")
    assert "No space left on device" in done.err
    assert "--rerun" not in done.text
    assert len(project.log.read_text().splitlines()) == 3
    (small_disk / "rubbish").unlink()
    again = project.run(
        "run", "written", "--results", str(small_disk / "results"), "--seeds", "3-8", env=env
    )
    assert again.code == 0
    assert len(list((small_disk / "results").glob("*/*/*.json"))) == 8
