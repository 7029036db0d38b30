"""Methods that fail in every way, data that are missing, disks that are full: one line each."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

LINES = {
    "raises": ("failed", "ValueError: the walk fell [over]"),
    "raises-binary": ("failed", r"RuntimeError: bytes \udcff and \x1b[31m colours \x00"),
    "nan": ("diverged", "metric height is nan"),
    "log-nan": ("diverged", "loss is inf at step 7"),
    "wrong-keys": (
        "failed",
        "method wrong-keys returned metrics ['depth'], task short wants ['height'] and allows "
        "['noise']",
    ),
    "extra-keys": (
        "failed",
        "method extra-keys returned metrics ['height', 'width'], task short wants ['height'] and "
        "allows ['noise']",
    ),
    "no-metrics": ("failed", "method no-metrics returned NoneType, not metrics by name"),
    "not-a-number": ("failed", "metric height is of type str, not a number"),
    "exits": ("failed", "the process ended with code 0 and left no record"),
    "exits-politely": ("failed", "SystemExit: 0"),
    "sigkill": ("failed", "killed by signal 9 (by the system or another process)"),
    "sigsegv": ("failed", "the process died of SIGSEGV"),
}
"""Status and line of the record that each of these methods leaves."""
PLACED = {"raises", "raises-binary", "log-nan", "exits-politely", "memory"}
"""Those of which a line of their own code raised."""
UNRECORDED = {
    "disk-full": "File too large; free space or make the folder writable",
    "disk-full-checkpoint": "File too large; free space or make the folder writable",
    "unknown-param": "unknown-param: Flying.altitude: Field required; its method, task and scale",
}
"""What is the environment's or the suite's fault leaves no record: the trial stays to be run."""
HEALTHY = {"walk", "prints", "global-random"}
TRACES = ("Traceback", 'File "', "\x1b[", "\x00")


@pytest.fixture(scope="module")
def faults(make_project: Any) -> Any:
    """A project in which every fault has happened once, and what the command said."""
    project = make_project()
    return project, project.run("run", "toy-faults")


def test_every_fault_is_one_line_with_its_place_and_log(faults: Any) -> None:
    project, done = faults
    assert done.code == 1
    lines = [line for line in done.out.splitlines() if line.startswith("failed ")]
    seen = dict(line.removeprefix("failed ").split(" on short, seed 0: ") for line in lines)
    for method, text in UNRECORDED.items():
        assert text in seen.pop(method)
    told = {}
    for name, line in seen.items():
        text, _, log = line.rpartition("; log: ")
        assert (project.root / log).is_file()
        told[name], place = re.fullmatch(r"(.*?)( \(\S*methods\.py:\d+\))?", text).groups()
        assert bool(place) == (name in PLACED)
    assert told.pop("memory").startswith("oom: MemoryError: Unable to allocate 32.0 MiB")
    assert told == {name: f"{status}: {line}" for name, (status, line) in LINES.items()}
    assert done.err == "16 failed; fix the cause, then rerun them with --rerun failed\n"
    assert len(lines) == len(seen) + len(UNRECORDED) == 16


def test_no_traceback_and_no_bytes_of_a_method_reach_the_user(faults: Any) -> None:
    _, done = faults
    assert not [trace for trace in TRACES if trace in done.text]


def test_records_say_how_each_failed_and_the_others_are_well(faults: Any) -> None:
    project, _ = faults
    records = {r.method: r for r in project.records()}
    assert set(records) == HEALTHY | {"memory"} | set(LINES)
    for method, (status, line) in LINES.items():
        assert (records[method].status, records[method].error) == (status, line)
        assert records[method].metrics == {}
    assert records["memory"].status == "oom"
    assert {m for m, r in records.items() if r.status == "ok"} == HEALTHY
    assert records["walk"].metrics["height"] == records["prints"].metrics["height"]


def test_nothing_half_written_stays(faults: Any) -> None:
    project, _ = faults
    assert not [item for item in project.leftovers() if not item.startswith("trial ")]
    assert not list(project.results.glob("**/disk-full*"))


def test_traceback_and_output_are_kept_in_the_cache(faults: Any) -> None:
    project, _ = faults
    records = {r.method: r for r in project.records()}
    folder = project.store.trial_folder(records["raises"].id)
    text = (folder / "error.txt").read_text()
    assert "Traceback" in text
    assert "in raises\n" in text
    assert "and a second line" in text
    kept = (project.store.trial_folder(records["raises-binary"].id) / "error.txt").read_text()
    assert r"bytes \udcff and" in kept
    assert not project.store.trial_folder(records["prints"].id).exists()


def test_a_method_that_stirs_the_global_generators_repeats(faults: Any, project: Any) -> None:
    before, _ = faults
    assert project.run("run", "toy-faults", "--methods", "global-random,walk").code == 0
    again = project.outcomes()
    assert again == {k: v for k, v in before.outcomes().items() if k in again}
    assert len(again) == 2


def test_failed_trials_are_run_again_when_asked_and_only_they(faults: Any) -> None:
    project, _ = faults
    before = {r.method: r for r in project.records()}
    pick = ("run", "toy-faults", "--methods", "raises,walk,nan")
    done = project.run(*pick)
    assert done.code == 0
    assert "1 done, 2 failed; nothing to do" in done.out
    done = project.run(*pick, "--rerun", "failed", env={"TOY_HEALED": "1"})
    assert done.code == 1
    assert [line.partition("; log: ")[0] for line in done.failures] == [
        "failed nan on short, seed 0: diverged: metric height is nan"
    ]
    after = {r.method: r for r in project.records()}
    assert after["raises"].status == "ok"
    assert after["walk"] == before["walk"]
    assert not project.store.trial_folder(after["raises"].id).exists()


def test_hanging_trials_time_out(project: Any) -> None:
    done = project.run(
        "run", "toy-faults", "--scale", "laptop", env={"HARNESS_GRACE_SECONDS": "3"}
    )  # fmt: skip
    assert done.code == 1
    records = {r.method: r for r in project.records()}
    assert {r.status for r in records.values()} == {"timeout"}
    assert records["hangs"].error == "no step within its limit of 0 s; killed"
    assert re.fullmatch(
        r"stopped after 0 s at step \d+ of 1000000000", records["hangs-ticking"].error
    )
    assert records["hangs-ticking"].cost.wall_seconds >= 0.5
    assert "Traceback" not in done.text


def test_a_failing_artifact_takes_its_dependents_along_and_nothing_else(project: Any) -> None:
    pick = ("run", "toy-chain", "--methods", "read-b*,walk")
    done = project.run(*pick)
    assert done.code == 1
    lines = done.failures
    assert lines[0].startswith("failed artifact broken: OSError: the kiln is cold (")
    path = project.root / lines[0].rpartition(" ")[2]
    assert "and wet" in path.read_text()
    reason = lines[0].removeprefix("failed artifact broken: ")
    rest = [line.partition(": ") for line in lines[1:]]
    assert {what for _, _, what in rest} == {
        f"not run: an artifact that it needs failed ({reason})"
    }
    assert {who for who, _, _ in rest} == {"failed artifact after-broken"} | {
        f"failed read-broken on {task}, seed {seed}"
        for task in ("short", "long")
        for seed in (0, 1)
    }
    methods = [r.method for r in project.records()]
    assert sorted(set(methods)) == ["read-both", "walk"]
    assert len(methods) == 8
    assert {r.status for r in project.records()} == {"ok"}
    assert not list(project.cache.glob("artifacts/toy-chain/*broken*"))
    made = [line.split()[0] for line in project.logged("make")]
    assert [made.count(name) for name in ("by-seed", "by-task", "combined", "broken")] == [
        2,
        2,
        4,
        1,
    ]
    assert len(made) == 9

    done = project.run(*pick, env={"TOY_HEALED": "1"})
    assert done.code == 0
    assert {r.metrics["height"] for r in project.records() if r.method == "read-broken"} == {17.0}
    folder = next(project.cache.glob("artifacts/toy-chain/broken-*"))
    assert sorted(p.name for p in folder.iterdir()) == ["artifact.json", "half.txt", "value.txt"]
    assert project.leftovers() == []


def test_an_artifact_starts_from_an_empty_folder(project: Any) -> None:
    pick = ("run", "toy-chain", "--methods", "read-task", "--tasks", "short", "--seeds", "0")
    assert project.run(*pick).code == 0
    folder = next(project.cache.glob("artifacts/toy-chain/by-task-*"))
    identity = json.loads((folder / "artifact.json").read_text())["id"]
    work = project.store.trial_folder(identity) / "out"
    work.parent.mkdir()
    folder.rename(work)  # as if it had been killed just before it was finished
    (work / "artifact.json").unlink()
    (work / "rubbish.txt").write_text("half")
    next(project.results.glob("toy-chain/smoke/*.json")).unlink()
    assert project.run(*pick).code == 0
    assert sorted(p.name for p in folder.iterdir()) == ["artifact.json", "deep", "value.txt"]


def test_a_corrupt_artifact_is_one_line_and_doctor_removes_it(project: Any) -> None:
    pick = ("run", "toy-chain", "--methods", "read-seed", "--tasks", "short", "--seeds", "0")
    assert project.run(*pick).code == 0
    path = next(project.cache.glob("artifacts/toy-chain/by-seed-*/value.txt"))
    path.write_text(path.read_text() + "0")
    done = project.run(*pick, "--rerun", "all")
    assert done.code == 4
    assert done.err == (
        f"harness: {path}: corrupt or missing; `harness doctor --repair` removes it, "
        "`harness run` rebuilds it\n"
    )
    assert project.run("doctor").code == 4
    assert project.run("doctor", "--repair").code == 0
    assert not path.exists()
    before = project.outcomes()
    assert project.run(*pick, "--rerun", "all").code == 0
    assert project.outcomes() == before


# -- external datasets -----------------------------------------------------------------------------


def test_missing_data_are_one_line_each_and_leave_no_record(project: Any) -> None:
    done = project.run("run", "toy-data", "--methods", "count-words")
    assert done.code == 1
    assert done.out.splitlines()[1:4] == [
        "toy-data at smoke scale on cpu: 2 no data; nothing to do",
        "  1 trials skipped: dataset online: online/words.txt not found; point --data or "
        "HARNESS_DATA at a folder that has it, or `harness data prepare online` online",
        "  1 trials skipped: dataset offline: offline/words.txt not found; point --data or "
        "HARNESS_DATA at a folder that has it",
    ]
    assert done.err == "2 trials skipped: dataset not found; the lines above say which\n"
    assert project.records() == []


def test_corrupt_data_are_one_line_and_leave_no_record(project: Any) -> None:
    folder = project.root / "data"
    for name in ("online", "offline"):
        (folder / name).mkdir(parents=True)
        (folder / name / "words.txt").write_bytes(b"one two three\n")
    (folder / "online" / "words.txt").write_bytes(b"one two thrEe\n")
    pick = ("run", "toy-data", "--methods", "count-words", "--data", str(folder))
    done = project.run(*pick)
    assert done.code == 1
    assert re.fullmatch(
        r"failed count-words on words-online, seed 0: dataset online: \S+words\.txt is corrupt "
        r"\(sha256 [0-9a-f]{12}\.\.\., expected [0-9a-f]{12}\.\.\.\); replace it by the original",
        done.failures[0],
    )
    (record,) = project.records()
    assert (record.task, record.data) == ("words-offline", {"offline": "local"})
    assert record.metrics == {"height": 3.0}
    (folder / "online" / "words.txt").write_bytes(b"one two three\n")
    assert project.run(*pick).code == 0
    assert len(project.records()) == 2


def test_reading_data_that_the_task_does_not_name_is_a_failure(project: Any) -> None:
    done = project.run("run", "toy-data", "--methods", "read-undeclared")
    assert done.code == 1
    assert (
        "failed: read-undeclared reads dataset 'online', which is not among its datasets: none"
        in done.out
    )


# -- folders that cannot be written ---------------------------------------------------------------


def assert_refused(project: Any, done: Any, path: Path) -> None:
    """One line that names the path, exit code 4, and nothing was trained."""
    assert done.code == 4
    assert done.err.startswith(f"harness: cannot write {path}")
    assert done.err.count("\n") == 1
    assert project.logged("start") == []


def test_results_below_a_file(project: Any) -> None:
    (project.root / "file").write_text("")
    done = project.run("run", "toy", "--results", "file/results")
    assert_refused(project, done, Path("file/results/toy/smoke/.probe"))


def test_results_where_nothing_can_be_made(project: Any) -> None:
    done = project.run("run", "toy", "--results", "/proc/results")
    assert_refused(project, done, Path("/proc/results/toy/smoke/.probe"))


def test_cache_below_a_file(project: Any) -> None:
    (project.root / "file").write_text("")
    done = project.run("run", "toy", env={"HARNESS_CACHE": "file/cache"})
    assert_refused(project, done, Path("file/cache/.probe"))


NO_PRIVILEGES = """
import ctypes
ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)())
"""  # without them root is held by the permissions of folders like everybody else


def test_read_only_results(project: Any) -> None:
    project.results.mkdir()
    project.results.chmod(0o555)
    done = project.run("run", "toy", "--results", "results", prelude=NO_PRIVILEGES)
    assert_refused(project, done, Path("results/toy/smoke/.probe"))


def test_full_disk_is_found_before_any_training(project: Any) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, -1))"
    done = project.run("run", "toy", prelude=full)
    assert_refused(project, done, Path("results/toy/smoke/.probe"))
    assert "File too large; free space" in done.err
    assert project.leftovers() == []


def test_a_record_that_cannot_be_replaced_stays(project: Any) -> None:
    pick = ("run", "toy", "--methods", "walk", "--tasks", "short", "--seeds", "0")
    assert project.run(*pick).code == 0
    before = project.records()
    done = project.run(*pick, "--rerun", "all", env={"TOY_DISK_FULL": "1"})
    assert done.code == 1
    assert "failed walk on short, seed 0: cannot write" in done.out
    assert project.logged("end") == ["walk short 0"] * 2
    assert project.records() == before
    assert not list(project.root.glob("**/.tmp-*"))


@pytest.mark.parametrize("preload", ["nowhere:nothing", "written_package:broken"])
def test_one_broken_preload_costs_nothing(project: Any, write_suite: Any, preload: str) -> None:
    env = write_suite(
        f"""
        def broken():
            raise ValueError("not today")
        def suite():
            return _walk_suite(preload=({preload!r},))
        """
    )
    done = project.run("run", "written", env=env)
    assert (done.code, done.err) == (0, "")
    assert len(project.records()) == 1


SLOW = """
import os, time
from toy_suite_package import methods
with open(os.environ["TOY_LOG"] + ".imports", "a") as file:
    file.write(f"{os.getppid()}\\n")
time.sleep(0.2)
walk = methods.walk
"""


@pytest.mark.parametrize("last_line", ["", "os._exit(3)", "raise SystemExit(3)"])
def test_the_modules_that_trials_run_are_imported_once(
    project: Any, write_suite: Any, last_line: str
) -> None:
    # Once to see whether it does harm, once to keep; and by each trial where it ends its process.
    env = write_suite(
        """
        def suite():
            method = Method(name="walk", run="slow_trials:walk", params={"lift": 1.0})
            scale = Scale(name="smoke", seeds=(0, 1, 2, 3), expected_seconds=1)
            return _walk_suite(methods=(method,), scales=(scale,))
        """
    )
    (project.root / "packages" / "slow_trials.py").write_text(f"{SLOW}\n{last_line}\n")
    done = project.run("run", "written", "--jobs", "1", env=env)
    times = len(Path(f"{project.log}.imports").read_text().split())
    if last_line:
        assert done.code == 1
        assert times >= 5
    else:
        assert (done.code, done.err) == (0, "")
        assert times == 2
        assert len(project.records()) == 4
    assert project.alive() == []


def test_a_crash_while_warming_up_is_one_line(project: Any, write_suite: Any) -> None:
    env = write_suite(
        """
        import os
        def suite():
            return _walk_suite(preload=("written_package:crash",))
        def crash():
            os.abort()
        """
    )
    done = project.run("run", "written", env=env)
    assert done.code == 1
    assert re.fullmatch(
        r"harness: the process that trials fork from died as it loaded written \(\w+\); "
        r"what it said is above\n",
        done.err,
    )
    assert project.records() == []
    assert project.alive() == []


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def suite(:", "cannot be loaded: SyntaxError: "),
        ("def suite():\n    return Siute()", "cannot be loaded: NameError: name 'Siute'"),
        ("import nowhere_at_all", "cannot be loaded: ModuleNotFoundError: No module named 'now"),
        ("def suite():\n    return {}['a']", "cannot be loaded: KeyError: 'a'"),
        ("def suite():\n    raise ValueError('two\\nlines')", "cannot be loaded: ValueError: two"),
        ("def suite():\n    return 1", "suite() must return Suite(name='written')"),
        ("def siute():\n    return 1", "has no attribute 'suite'"),
        ("def suite():\n    return _walk_suite(metrics=())", "unknown metric 'height'"),
        ("def suite():\n    return _walk_suite(claim=1)", "claim: Extra inputs are not permitted"),
    ],
)
def test_a_suite_with_a_mistake_is_one_line_and_exit_code_2(
    project: Any, write_suite: Any, source: str, line: str
) -> None:
    done = project.run("show", "written", env=write_suite(source))
    assert done.code == 2
    assert done.err.startswith("harness: suite written (written_package)")
    assert line in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""


def test_no_process_outlives_the_command(faults: Any) -> None:
    project, _ = faults
    assert project.alive() == []
