"""The verbs, as a user meets them: in a process of their own, over the toy suites."""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from harness import cli, contents, number, registry
from harness.data import Sources
from harness.executors.local import Local
from harness.looks import taken
from harness.store import parse_record

VERBS = {
    "migrate": {"--dry-run", "--results"},
    "list": {"--plugin", "--json"},
    "new": {"--suite"},
    "show": {"--scale", "--set", "--plugin"},
    "plan": {
        "--scale", "--methods", "--tasks", "--seeds", "--device", "--data", "--results", "--rerun",
        "--all", "-v", "--set", "--claims", "--shard", "--plugin", "--json",
    },
    "run": {
        "--scale", "--methods", "--tasks", "--seeds", "--jobs", "--device", "--data", "--results",
        "--time", "--rerun", "--set", "--until", "--most", "--claims", "--shard", "--executor",
        "--address", "--slurm", "--per-gpu", "--plugin", "--quiet", "-q", "--verbose", "-v",
        "--track",
    },
    "status": {"--results", "--data", "--plugin", "--json"},
    "report": {
        "--results", "--reports", "--check", "--interval", "--plugin", "--quiet", "-q",
        "--verbose", "-v", "--json",
    },
    "claims": {
        "--scale", "--results", "--strict", "--set", "--role", "--text", "-v", "--plugin", "--json",
    },
    "compare": {
        "--scale", "--methods", "--tasks", "--metric", "--at", "--results", "--fail-on", "--json",
        "--set", "--plugin",
    },
    "publish": {"--to", "--results", "--reports", "--card", "--scale", "--plugin"},
    "export": {"--to", "--format", "--scale", "--results", "--plugin"},
    "data list": {"--data", "--plugin"},
    "data check": {"--data", "--plugin"},
    "data prepare": {"--data", "--scale", "--rebuilt", "--plugin"},
    "cancel": set(),
    "doctor": {"--results", "--repair", "--shared", "--quiet", "-q", "--json"},
    "gc": {"--results", "--dry-run", "--quiet", "-q"},
}  # fmt: skip
"""The whole command line. It stays small: what is to be varied lives in a suite."""
DEAD, LIVING = (f".tmp-{digit * 32}-x.json" for digit in "0f")
"""What writers that were killed, and that still write, leave beside records."""


def commands(group: Any = None, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every command below a group, by its words."""
    found: dict[str, Any] = {}
    for name, command in (group or typer.main.get_command(cli.app)).commands.items():
        deeper = hasattr(command, "commands")
        found |= commands(command, (*path, name)) if deeper else {" ".join((*path, name)): command}
    return found


def options(command: Any) -> set[str]:
    """The option names of a command."""
    return {o for p in command.params if p.param_type_name == "option" for o in p.opts} - {
        "--help", "-h",
    }  # fmt: skip


def assert_clean(done: Any) -> None:
    """No traceback, no colours, no control characters."""
    assert "Traceback" not in done.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", done.text)


@pytest.fixture
def call(
    toys: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """`call(project, *words, env=None)`: as `project.run`, but in this process, which is faster.

    For verbs that start no trials. `test_both_ways_agree` holds the two ways together.
    """

    def run(project: Any, *words: str, env: dict[str, str] | None = None) -> Any:
        monkeypatch.chdir(project.root)
        monkeypatch.delenv("HARNESS_DATA", raising=False)
        monkeypatch.setenv("HARNESS_CACHE", str(project.cache))
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["harness", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return project.done(end.value.code, *capsys.readouterr())

    return run


# -- the shape of the command line ----------------------------------------------------------------


def test_verbs_and_options_are_frozen() -> None:
    assert {name: options(command) for name, command in commands().items()} == VERBS
    assert len({name for own in VERBS.values() for name in own if name[:2] == "--"}) <= 42


def test_every_verb_and_option_says_what_it_does() -> None:
    for command in commands().values():
        assert len(command.help) > 20
        assert command.help.split("\n")[0].endswith((".", ","))
        for parameter in command.params:
            assert parameter.help or parameter.name == "help"


@pytest.mark.parametrize("words", [(), ("data",)])
def test_without_a_verb_the_help_is_shown(project: Any, words: tuple[str, ...]) -> None:
    done = project.run(*words)
    assert done.code == 2
    assert_clean(done)
    wanted = {name.split()[-1] for name in VERBS if words or " " not in name}
    if words:
        wanted = {"list", "check", "prepare"}
    assert wanted <= set(re.findall(r"^  (\w+)  ", done.text, re.MULTILINE))


@pytest.mark.parametrize("words", ["rnu", "show", "run tyo", "claims toy --scale lap", "status"])
def test_both_ways_agree(project: Any, call: Any, words: str) -> None:
    assert call(project, *words.split()) == project.run(*words.split())


@pytest.mark.parametrize("verb", [(), ("run",), ("data", "check")])
def test_help(project: Any, verb: tuple[str, ...]) -> None:
    done = project.run(*verb, "--help")
    assert (done.code, done.err) == (0, "")
    assert_clean(done)
    assert done.out.startswith(f"Usage: {' '.join(('harness', *verb))} [OPTIONS]")
    for option in options(commands()[" ".join(verb)]) if verb else ():
        assert option in done.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("rnu", r"No such command 'rnu'\. Did you mean 'run'\? \(see `harness --help`\)"),
        (
            "run toy --scal smoke",
            r"No such option: --scal .*--scale.* \(see `harness run --help`\)",
        ),
        ("run toy --rerun faild", r"Invalid value for '--rerun': .*'failed', 'stale', 'all'.*"),
        ("run toy --jobs many", r"Invalid value for '--jobs': .*"),
        ("run toy --jobs -1", r"Invalid value for '--jobs': .*"),
        ("show", r"Missing argument 'name'\. .*"),
        ("show toy more", r".*unexpected extra argument.*more.*"),
        (
            "data lst",
            r"No such command 'lst'\. Did you mean 'list'\? \(see `harness data --help`\)",
        ),
        ("run tyo", r"unknown suite 'tyo': did you mean 'toy'\? there are .*; see `harness list`"),
        (
            "run toy --scale smok",
            r"unknown scale 'smok': did you mean 'smoke'\? there are laptop, smoke; "
            r"see `harness show toy`",
        ),
        (
            "run toy --methods walk,drfit",
            r"unknown method 'drfit': did you mean 'drift'\? there are drift, walk; .*",
        ),
        ("run toy --tasks sh*t,q*", r"unknown task 'q\*': there are long, short; .*"),
        ("run toy --until then", r"Invalid value for '--until': .*'decided'.*"),
        ("run toy --until decided --most 4", r"Invalid value for '--most': .*"),
        ("run toy-false --until decided", r"--until decided: smoke scale measures nothing; .*"),
        ("run toy --scale laptop --until decided", r"--until decided: suite toy has no primary .*"),
        (
            "run toy-false --scale laptop --until decided --seeds 0-4",
            r"--until decided chooses methods, tasks and seeds itself; leave out --methods, .*",
        ),
        ("run toy --seeds one", r"seeds 'one': 'one' is not a number or a range like 0-4"),
        ("run toy --device gpu", r"unknown device 'gpu': allowed are cpu, cuda, auto; .*"),
        ("run toy --time soon", r"time 'soon': give minutes, or a number with s, m or h, .*"),
        ("run toy --time -5m", r"time '-5m': give minutes, .*"),
        ("compare walk toy/drift", r"name the suite too: 'walk' should read suite/method, .*"),
        ("compare toy/walk gate/gat", r"'gate/gat': both methods must be of suite toy"),
        ("compare toy/wakl toy/drift", r"unknown method 'wakl': did you mean 'walk'\? .*"),
        ("compare toy/walk toy/drift", r"no task at laptop scale has records of both .*"),
        ("compare toy/walk toy/drift --scale gpu", r"unknown scale 'gpu': .*"),
        ("claims toy --scale lap", r"unknown scale 'lap': did you mean 'laptop'\? .*"),
        ("data check onlin", r"unknown dataset 'onlin': did you mean 'online'\? .*"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    project: Any, words: str, line: str, call: Any
) -> None:
    project.results.mkdir()
    done = call(project, *words.split())
    assert done.code == 2
    assert re.fullmatch(f"harness: {line}\n", done.err)
    assert done.out == ""


@pytest.mark.parametrize("variable", [False, True])
def test_a_data_folder_that_is_not_there(project: Any, call: Any, variable: bool) -> None:
    words = () if variable else ("--data", "nowhere")
    done = call(project, "run", "toy", *words, env={"HARNESS_DATA": "nowhere"} if variable else {})
    assert done.code == 1
    assert done.err == (
        "harness: data folder nowhere does not exist; set --data or HARNESS_DATA, or leave both "
        "out\n"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("run toy --scale", r"Option '--scale' requires an argument\. \(see `harness --help`\)"),
        ("run toy --seeds=", r"--seeds is empty: .*"),
        ("run toy --methods=,", r"--methods is empty: .*"),
        ("run toy --methods=w* --methods=q", r"unknown method 'q': there are drift, walk; .*"),
        ("run toy --tasks=[", r"unknown task '\[': there are long, short; .*"),
        ("run toy --time=", r"time '': give minutes, .*"),
        ("run toy --jobs=10001", r"Invalid value for '--jobs': .*"),
        ("gc --results=", r"--results is empty: .*"),
        ("report --reports=", r"--reports is empty: .*"),
        ("data list --data=", r"--data is empty: .*"),
        ("run toy " + "x" * 5000, r"unknown suite 'x{50}\.\.\.x{20}': there are .*"),
    ],
)
def test_values_that_say_nothing_are_refused(
    project: Any, words: str, line: str, call: Any
) -> None:
    done = call(project, *words.split())
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(f"harness: {line}\n", done.err)


def test_filters_given_several_times_add_up(project: Any, call: Any) -> None:
    pick = (
        "--methods",
        "w*",
        "--methods",
        "drift",
        "--seeds",
        "1",
        "--seeds",
        "0",
        "--tasks",
        "l*",
    )
    done = call(project, "plan", "toy", "toy", *pick, "--all")
    assert (done.code, done.err) == (0, "")
    assert re.findall(r"^(\w+) on long, seed (\d)", done.out, re.M) == [
        ("walk", "1"), ("drift", "1"), ("walk", "0"), ("drift", "0"),
    ]  # fmt: skip


# -- broken suites --------------------------------------------------------------------------------

EVERY = (
    "list", "plan", "run --seeds 0", "status", "claims", "report", "doctor",
    "data list", "data check", "data prepare",
)  # fmt: skip


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import sys; sys.exit(3)", " cannot be loaded: SystemExit: 3"),
        ("def suite():\n    raise OSError('two\\nlines')", " cannot be loaded: OSError: two"),
        ("def suite():\n    return 3", ": suite() must return Suite(name='written')"),
    ],
)
def test_a_broken_suite_is_one_line_and_the_others_work(
    project: Any, write_suite: Any, call: Any, monkeypatch: Any, source: str, reason: str
) -> None:
    names = ("toy", "toy-chain", "toy-data", "toy-false")
    found = {name: registry.origins()[name] for name in names}
    monkeypatch.syspath_prepend(write_suite(source)["PYTHONPATH"].partition(os.pathsep)[0])
    monkeypatch.delitem(sys.modules, "written_package", raising=False)
    found["written"] = registry.Origin("written", "written_package", "suite")
    monkeypatch.setattr(registry, "origins", functools.cache(lambda: found))
    monkeypatch.setattr(Local, "run", lambda *_: True)
    monkeypatch.setattr(Sources, "fetch", lambda *_: None)
    line = f"suite written (written_package){reason}"
    for words in EVERY:
        done = call(project, *words.split())
        # `run` lacks data, `report` has no records to report.
        assert done.code == {"run --seeds 0": 1, "report": 4}.get(words, 0), words
        assert done.err.splitlines()[0] == f"warning: {line} (left out)"
        assert done.err.count("written") == line.count("written")
    project.store.artifact_folder("written", "gold", "0" * 64).mkdir(parents=True)
    done = call(project, "gc")
    assert (done.code, done.err) == (0, "")
    kept = "kept what is of suite written, and unfinished trials that may be: "
    assert done.out.splitlines() == [f"{kept}{line}", "0 folders, 0 temporary files"]
    for words in ("show written", "plan written", "run toy written", "status written"):
        done = call(project, *words.split())
        assert (done.code, done.err) == (2, f"harness: {line}\n")


# -- before anything has run ----------------------------------------------------------------------


def test_list(project: Any) -> None:
    done = project.run("list")
    assert (done.code, done.err) == (0, "")
    assert_clean(done)
    assert re.search(r"^toy +Walks \(0000\.00000\) +laptop +24 +24 +0 +[\d.]+ s of", done.out, re.M)
    lines = done.out.splitlines()
    assert (
        "toy-data at smoke scale: `harness data prepare toy-data --scale smoke` gets the data of "
        "1 more trial"
    ) in lines
    assert re.search(r"^toy-chain +Walks \(0000\.00000\) +smoke +24 +24 +5 ", done.out, re.M)


def test_show(project: Any, call: Any) -> None:
    done = call(project, "show", "toy")
    assert (done.code, done.err) == (0, "")
    assert_clean(done)
    assert "Walks. A. Toy. Nowhere 2024. arXiv 0000.00000\n" in done.out
    assert "Does a walk that is lifted [more] end higher?" in done.out
    assert re.search(r"^walk +proposed +Walk", done.out, re.M)
    assert re.search(
        r"^higher +secondary +beats +table 1 +The walk ends higher than the drift\.", done.out, re.M
    )
    assert "2 published numbers in reference.csv:" in done.out
    assert re.search(r"^1 +short +walk +height +0\.9 ± 0\.1 +paper", done.out, re.M)


def test_plan_gives_reasons_and_power(project: Any, call: Any) -> None:
    done = call(project, "plan", "toy", "--scale", "laptop")
    assert (done.code, done.err) == (0, "")
    assert_clean(done)
    lines = done.out.splitlines()
    seconds = number.seconds(24 * 0.2 / (os.cpu_count() or 1))  # what the scale guesses
    assert lines[0] == f"toy at laptop scale on cpu: 24 missing; 24 to run, about {seconds}"
    assert lines[1] == "  run     24  missing: no record yet"
    assert lines[2] == "minimum detectable effect (MDE) of each claim at 80 % power:"
    heads = ["claim", "seeds", "MDE (SD)", "MDE", "margin", "seeds needed at the margin"]
    assert re.split(r"  +", lines[3].strip()) == heads
    assert lines[4].split()[:2] == ["higher", "6"]
    assert not project.results.exists()


def test_plan_with_a_line_for_every_trial(project: Any, call: Any) -> None:
    done = call(project, "plan", "toy", "--all", "--methods", "w*", "--seeds", "1")
    rows = [line.split("  ") for line in done.out.splitlines()[2:4]]
    assert [row[0] for row in rows] == ["walk on short, seed 1", "walk on long, seed 1"]
    assert "no record yet" in done.out


def test_plan_shows_artifacts_and_missing_data(project: Any, call: Any) -> None:
    done = call(project, "plan", "toy-chain", "--methods", "read-both", "--tasks", "short")
    assert re.search(r"; \d+ to run after 5 artifacts, about ", done.out)
    assert done.out.count("artifact by-seed: to be built") == 2
    assert done.out.count("artifact by-task: to be built") == 1
    assert done.out.count("artifact combined: to be built") == 2
    done = call(project, "plan", "toy-data")
    assert "cpu: 2 no data, 1 missing; 1 to run, " in done.out
    assert re.search(r"skip +1 +no data: dataset offline: offline/words\.txt not found;", done.out)


# -- running --------------------------------------------------------------------------------------


def test_run_takes_names_and_globs_and_twice_is_nothing_to_do(project: Any) -> None:
    pick = ("run", "toy", "toy-false", "--methods", "w*", "--tasks", "sh?rt", "--seeds", "0-1",
            "--jobs", "1", "--device", "cpu", "--time", "10m")  # fmt: skip
    done = project.run(*pick)
    assert (done.code, done.err) == (0, "")
    assert_clean(done)
    assert re.findall(r"^(\S+) at smoke scale on cpu", done.out, re.M) == ["toy", "toy-false"]
    assert [(r.suite, r.method, r.task, r.seed) for r in project.records()] == [
        (suite, "walk", "short", seed) for suite in ("toy", "toy-false") for seed in (0, 1)
    ]
    (first, *_) = project.records()
    assert first.provenance.command == ("harness", *pick)
    assert first.provenance.threads == 1
    (project.results / DEAD).write_text("")
    os.utime(project.results / DEAD, (0, 0))
    done = project.run(*pick)
    assert done.out.splitlines()[:3] == [
        "reading the records of toy, toy-false",
        "toy at smoke scale on cpu: 2 done; nothing to do",
        "toy-false at smoke scale on cpu: 2 done; nothing to do",
    ]
    assert project.records()[0] == first
    done = project.run(*pick[:2], *pick[3:], "--rerun", "all")
    assert done.code == 0
    assert project.records()[0].outcome() == first.outcome()
    assert project.leftovers() == []


def test_stale_trials_are_told_and_run_again_when_asked(project: Any, write_suite: Any) -> None:
    env = write_suite(SUITE_WITH_METHOD.format(1))
    assert project.run("run", "written", env=env).code == 0
    write_suite(SUITE_WITH_METHOD.format("1 * 1"))
    done = project.run("run", "written", env=env)
    assert "written at smoke scale on cpu: 1 stale; nothing to do\n1 there from" in done.out
    plan = project.run("plan", "written", env=env)
    assert "skip     1  stale: recorded, but the code has changed since" in plan.out
    assert project.run("run", "written", "--rerun", "stale", env=env).code == 0
    assert "1 done" in project.run("status", "written", env=env).out


SUITE_WITH_METHOD = """
    def method(ctx):
        return {{"height": {}}}
    def suite():
        return _walk_suite(methods=(Method(name="walk", run="written_package:method"),))
    """


def test_the_script_that_started_a_run_is_not_run_by_every_trial(project: Any) -> None:
    script = project.root / "script.py"
    script.write_text(
        "open('ran', 'a').write('x')\n"
        "from harness.cli import main\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), "run", "toy", "--tasks", "short"],
        cwd=project.root, env=project.env, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    assert (project.root / "ran").read_text() == "x"
    assert len(project.records()) == 4


def test_a_closed_pipe_is_no_traceback(project: Any) -> None:
    process = project.start("list")
    process.stdout.close()
    process.stdout = None
    done = project.finish(process)
    assert "Traceback" not in done.err


# -- reading the records --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(make_project: Any) -> Any:
    """A project with the records of two suites at laptop scale. Tests leave it as it is."""
    project = make_project()
    assert project.run("run", "toy", "toy-false", "--scale", "laptop").code == 0
    return project


def test_status(finished: Any, call: Any) -> None:
    done = call(finished, "status")
    assert (done.code, done.err) == (0, "")
    assert_clean(done)
    rows = [re.split(r" {2,}", line.strip()) for line in done.out.splitlines()]
    assert rows[0] == ["suite", "scale", "trials", "spent"]
    assert [row[:3] for row in rows[1:]] == [
        ["toy", "laptop", "24 done"],
        ["toy-false", "laptop", "24 done"],
    ]
    assert len(call(finished, "status", "toy").out.splitlines()) == 2


def test_claims(finished: Any, call: Any) -> None:
    done = call(finished, "claims", "toy", "--strict")
    assert (done.code, done.err) == (0, "")
    assert_clean(done)
    assert done.out.startswith("toy at laptop scale\n Secondary claims\n")
    assert re.search(r"^  higher +holds +\+0\.9 m  n=6$", done.out, re.M)
    assert max(map(len, done.out.splitlines())) <= 100
    told = call(finished, "claims", "toy", "--text", "--role", "secondary").out
    assert "all 6 effects are equal" in told
    assert "inconclusive: none of these" in told
    assert call(finished, "claims", "toy", "--role", "primary").out.count("higher") == 0
    wrong = call(finished, "claims", "toy", "--role", "primry")
    assert (wrong.code, "did you mean 'primary'" in wrong.err) == (2, True)


def test_the_opposite_of_a_claim_is_exit_code_3_when_strict(finished: Any, call: Any) -> None:
    done = call(finished, "claims", "toy-false")
    assert done.code == 0
    assert re.search(r"^  higher +opposite +-0\.9", done.out, re.M)
    told = call(finished, "claims", "toy-false", "--text").out
    assert "opposite at laptop scale. " in told
    assert "caveat: the walks are too short" in told
    done = call(finished, "claims", "--strict")
    assert done.code == 3
    assert done.err == "harness: the records say the opposite of 1 claim\n"


# -- one JSON document ----------------------------------------------------------------------------

JSON = {
    "list": "list", "plan": "plan toy toy-chain --scale smoke", "status": "status",
    "claims": "claims", "doctor": "doctor", "report": "report",
    "compare": "compare toy/drift toy/walk",
}  # fmt: skip


def documented() -> dict[str, set[str]]:
    """Fields of each command's document, as docs/json.md has them."""
    found: dict[str, set[str]] = {}
    page = Path(cli.__file__).parent.parent / "docs" / "json.md"
    command = ""
    for head, fields in re.findall(r"^\| (.*?) ?\| (`.*?) \|", page.read_text(), re.M):
        command = head.strip("`") or command
        found.setdefault(command, set()).update(re.findall(r"`([\w.\[\]]+)`", fields))
    return found


def fields(content: Any, known: set[str], path: str = "") -> set[str]:
    """Paths of the fields of a document, down to those that are known."""
    if path in known or not isinstance(content, dict | list):
        return {path}
    inner = content.items() if isinstance(content, dict) else ((None, x) for x in content)
    return {
        field
        for key, value in inner
        for field in fields(
            value, known, f"{path}[]" if key is None else f"{path}.{key}".lstrip(".")
        )
    }


@pytest.mark.parametrize("name", JSON)
def test_json_is_one_document_with_the_fields_that_the_page_names(
    finished: Any, call: Any, name: str
) -> None:
    known = documented()[name]
    done = call(finished, *JSON[name].split(), "--json")
    assert (done.code, done.err) == (0, "")
    content = json.loads(done.out, parse_constant=pytest.fail)
    empty = {
        "plugins[]", "files[].line", "files[].repaired", "inputs[].line", "queued[].cluster",
        "queued[].state", "queued[].jobs", "trials.different[]", "differs[].what", "differs[].a",
        "differs[].b", "differs[].trials", *(f for f in known if f.startswith("plans[].looks.")),
    }  # fmt: skip
    if name == "report":
        assert {file["what"] for file in content["files"]} <= {"missing", "differs"}
        again = json.loads(call(finished, "report", "--json").out)
        assert (again["files"], again["pages"]) == ([], content["pages"])
        empty = {"files[].path", "files[].what"}
    found = fields(content, known)
    bare = {"plugins", "files", "inputs", "queued", "trials.different", "differs"}
    assert found - bare <= known
    assert known - found <= empty


def test_json_says_what_the_tables_say(finished: Any, call: Any) -> None:
    verdicts = json.loads(call(finished, "claims", "toy", "--json", "--role", "secondary").out)
    (one,) = verdicts["verdicts"]
    assert (one["suite"], one["claim"], one["outcome"]) == ("toy", "higher", "holds")
    assert one["estimate"] == pytest.approx(0.9)
    (plan,) = json.loads(call(finished, "plan", "toy", "--scale", "laptop", "--json").out)["plans"]
    assert {(t["state"], t["action"]) for t in plan["trials"]} == {("done", "skip")}
    assert {t["id"] for t in plan["trials"]} == {r.id for r in finished.records("toy")}
    status = json.loads(call(finished, "status", "toy", "--json").out)
    assert [s["trials"] for s in status["scales"]] == [{"done": 24}]


def test_json_of_a_plan_has_the_looks_of_primary_claims(project: Any) -> None:
    """Those to come as the table has them, and those that were taken."""
    words = ("toy-false", "--scale", "laptop")
    table = project.run("plan", *words)
    assert "with --until decided" in table.out
    (made,) = json.loads(project.run("plan", *words, "--json").out)["plans"]
    looks = made["looks"]
    assert (looks["claims"], looks["schedule"], looks["taken"]) == (["higher"], [5, 10, 20, 40], [])
    for chance in looks["chances"]:
        shares = " +".join(f"{100 * p:.0f} %" for p in chance["by_look"])
        assert re.search(rf"{chance['effect_sd']:g} sd +{shares} +", table.out)
        assert chance["seconds"] > 0
        assert 5 <= chance["seeds_expected"] <= 40
    assert project.run("run", *words, "--until", "decided").code == 0
    (made,) = json.loads(project.run("plan", *words, "--json").out)["plans"]
    kept = taken(project.results, "toy-false", "laptop")
    assert [look["n"] for look in made["looks"]["taken"]] == [look.n for look in kept]
    known = {f.rpartition(".")[2] for f in documented()["plan"] if "looks.taken[]" in f}
    assert set(made["looks"]["taken"][0]) == known
    listed = {f.removeprefix("plans[].looks.") for f in documented()["plan"] if ".looks." in f}
    assert fields({"chances": looks["chances"]}, set()) <= listed | {"chances[].by_look[]"}
    (smoke,) = json.loads(project.run("plan", "toy", "--json").out)["plans"]
    assert smoke["looks"] is None


def test_json_of_a_comparison_names_every_field(project: Any) -> None:
    """Also those of trials that differ, which two equal folders do not have."""
    words = ("toy", "--scale", "smoke", "--tasks", "short")
    assert project.run("run", *words).code == 0
    assert project.run("run", *words, "--results", "other", "--seeds", "0").code == 0
    path = next((project.root / "other").glob("toy/smoke/walk--*.json"))
    changed = parse_record(path.read_bytes())
    metrics = dict(changed.metrics) | {"height": 7.0}
    own = changed.provenance.model_copy(update={"python": "3.99"})
    changed = changed.model_copy(update={"metrics": metrics, "provenance": own, "checksum": ""})
    path.write_text(changed.sealed().model_dump_json())
    done = project.run("compare", "results", "other", "--json")
    assert done.code == 0, done.text
    content = json.loads(done.out, parse_constant=pytest.fail)
    known = documented()["compare"]
    found = fields(content, known)
    assert found <= known | {"trials.different[]"}
    assert known <= found
    assert content["trials"]["different"][0][:5] == ["toy", "smoke", "walk", "short", 0]


def test_json_leaves_messages_and_exit_codes_as_they_are(
    finished: Any, project: Any, call: Any
) -> None:
    done = call(finished, "claims", "--strict", "--json")
    assert (done.code, done.err) == (3, "harness: the records say the opposite of 1 claim\n")
    assert len(json.loads(done.out)["verdicts"]) == 2
    project.results.mkdir()
    done = call(project, "status", "--json")
    assert (done.code, json.loads(done.out)) == (0, {"scales": [], "corrupt": 0, "queued": []})
    assert done.err.startswith("no current records of any suite in results")
    done = call(project, "plan", "toy", "--methods", "q", "--json")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("harness: unknown method 'q': ")


def test_json_names_what_is_corrupt(project: Any, call: Any) -> None:
    folder = project.results / "toy" / "smoke"
    folder.mkdir(parents=True)
    (folder / "a.json").write_text("{")
    done = call(project, "doctor", "--json")
    (file,) = json.loads(done.out)["files"]
    assert (done.code, file["repaired"]) == (4, False)
    assert file["line"] in done.err
    assert json.loads(call(project, "status", "--json").out)["corrupt"] == 1


# -- what is said ---------------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["run toy --scale laptop", "report", "doctor", "gc"])
def test_quiet_commands_say_nothing_where_all_is_well(finished: Any, call: Any, words: str) -> None:
    assert call(finished, *words.split(), "-q") == (0, "", "")
    assert call(finished, *words.split()).out


def test_quiet_runs_tell_of_failures_alone(project: Any) -> None:
    done = project.run("run", "toy-faults", "--methods", "raises,walk", "-q")
    assert done.code == 1
    assert all(line.startswith("failed raises on ") for line in done.out.splitlines())
    assert re.fullmatch(r"\d+ failed; fix the cause, .*\n", done.err)


def test_verbose_commands_say_more(finished: Any, call: Any) -> None:
    assert (
        call(finished, "claims", "toy", "-v").out == call(finished, "claims", "toy", "--text").out
    )
    assert "walk on long, seed 1" in call(finished, "plan", "toy", "-v").out
    call(finished, "report")
    page = finished.root / "reports" / "toy" / "laptop" / "report.md"
    page.write_text("")
    assert call(finished, "report", "-v").err == "toy/laptop/report.md: differs\n"


def test_the_version(project: Any, call: Any) -> None:
    done = call(project, "--version")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"attention-harness \d+\.\d+\.\d+\n", done.out)


@pytest.mark.parametrize("words", [("-h",), ("run", "-h"), ("data", "check", "-h")])
def test_the_short_word_for_help(project: Any, call: Any, words: tuple[str, ...]) -> None:
    done = call(project, *words)
    assert done == call(project, *words[:-1], "--help")
    assert (done.code, done.out[:7]) == (0, "Usage: ")


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("harness ru", ["run"]),
        ("harness run toy-f", ["toy-false", "toy-faults"]),
        ("harness plan toy --scale l", ["laptop"]),
        ("harness run --qu", ["--quiet"]),
    ],
)
def test_shells_complete_commands_suites_scales_and_options(
    project: Any, line: str, wanted: list[str]
) -> None:
    env = {"_HARNESS_COMPLETE": "complete_bash", "COMP_WORDS": line}
    done = project.run(env=env | {"COMP_CWORD": str(len(line.split()) - 1)})
    assert (done.code, done.err) == (0, "")
    assert sorted(done.out.split()) == sorted(wanted)


def test_the_script_for_completion_is_shown(project: Any) -> None:
    script = project.root / "show.sh"  # the shell that it is for is the one that asks
    script.write_text(f"{Path(sys.executable).with_name('harness')} --show-completion; exit $?")
    done = subprocess.run(
        ["bash", str(script)], cwd=project.root, env=project.env, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert "_HARNESS_COMPLETE=complete_bash" in done.stdout


def test_report_and_its_check(finished: Any, call: Any) -> None:
    done = call(finished, "report")
    assert (done.code, done.err) == (0, "")
    assert_clean(done)
    reports = finished.root / "reports"
    page = (reports / "toy" / "laptop" / "report.html").read_text()
    assert "The walk ends higher than the drift." in page
    before = {p: p.read_bytes() for p in reports.rglob("*") if p.is_file()}
    done = call(finished, "report", "--check")
    assert (done.code, done.err) == (0, "")
    assert "up to date" in done.out
    path = reports / "toy" / "laptop" / "report.html"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = call(finished, "report", "--check")
    assert done.code == 4
    assert done.err == (
        "toy/laptop/report.html: differs\n"
        "harness: 1 files in reports are not what results generates; run `harness report`\n"
    )
    assert path.read_bytes() == data
    assert call(finished, "report").code == 0
    assert {p: p.read_bytes() for p in reports.rglob("*") if p.is_file()} == before


def test_the_reports_of_named_suites(finished: Any, call: Any) -> None:
    done = call(finished, "report", "toy")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1:] == ["  reports/toy/laptop/report.html"]
    assert call(finished, "report", "toy", "--check").code == 0
    (finished.root / "reports/toy/laptop/report.md").write_text("")
    done = call(finished, "report", "toy", "--check")
    assert done.code == 4
    assert done.err.endswith("run `harness report toy`\n")
    done = call(finished, "report", "toy-axis")
    assert done.code == 4
    assert done.err == (
        "harness: no records of toy-axis in results: nothing to report; reports stays as it is\n"
    )
    assert call(finished, "report", "to").code == 2


# -- data -----------------------------------------------------------------------------------------


def test_data_list_check_and_prepare(project: Any, call: Any) -> None:
    rows = call(project, "data", "list", env={"COLUMNS": "400"}).out
    assert re.search(r"^toy-data +online +3 words +CC0 +nowhere +online/words\.txt not", rows, re.M)
    done = call(project, "data", "check", "online")
    assert done.code == 1
    assert done.err.splitlines() == [
        "dataset online: online/words.txt not found; point --data or HARNESS_DATA at a folder that "
        "has it, or `harness data prepare online` online",
        "harness: 1 datasets are missing or corrupt; the lines above say which",
    ]
    done = call(project, "data", "prepare", "online")
    said = "online: fetching 3 words (1 of 1)\nonline: fetched\n"
    assert (done.code, done.out, done.err) == (0, said, "")
    assert call(project, "data", "prepare", "online").out == "online: here\n"
    done = call(project, "data", "check", "online")
    assert (done.code, done.out) == (0, "online: hub, 1 of 1 digests match\n")
    assert re.search(r"^toy-data +online .* hub *$", call(project, "data", "list").out, re.M)
    done = project.run("run", "toy-data", "--tasks", "words-online")
    assert (done.code, done.err) == (0, "")
    assert project.records()[0].data == {"online": "hub"}
    path = project.cache / "data" / "online" / "words.txt"
    path.write_bytes(b"one two thr")
    done = call(project, "data", "check")
    assert done.code == 1
    assert f"dataset online: {path} is corrupt" in done.err


def test_data_are_checked_by_suite_too_and_so_is_what_a_suite_ships(
    project: Any, call: Any, write_suite: Any
) -> None:
    done = call(project, "data", "check", "toy-data")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[1] for line in done.out.splitlines()] == [
        "online:",
        "offline:",
        "garbled:",
    ]
    assert call(project, "data", "prepare", "online").code == 0
    assert call(project, "data", "check", "toy-data").out.startswith("online: hub, 1 of 1 digests")
    project.results.mkdir()
    env = write_suite("def suite():\n    return _walk_suite()\n")
    shipped = project.root / "packages" / "policies"
    shipped.mkdir()
    (shipped / "net.bin").write_bytes(b"weights")
    contents.seal(shipped, [shipped / "net.bin"])
    assert project.run("data", "check", "written", env=env).code == 0
    assert project.run("doctor", env=env).code == 0
    (shipped / "net.bin").write_bytes(b"weightz")
    line = f"{shipped / 'net.bin'}: corrupt (sha256 "
    for words in (("data", "check", "written"), ("data", "check"), ("doctor",)):
        done = project.run(*words, env=env)
        assert done.code == 1
        assert done.err.startswith(line)
    assert project.run("data", "check", "toy-data", env=env).code == 0
    assert project.run("doctor", "--repair", env=env).code == 1, "nothing can restore it"


def test_doctor_looks_at_the_data_that_are_here(project: Any, call: Any) -> None:
    assert call(project, "data", "prepare", "online").code == 0
    project.results.mkdir()
    done = call(project, "doctor")
    assert (done.code, done.out, done.err) == (0, "0 records intact, 0 problems\n", "")
    path = project.cache / "data" / "online" / "words.txt"
    path.write_bytes(b"one two thref\n")
    done = call(project, "doctor")
    assert (done.code, done.out) == (1, "0 records intact, 1 problems\n")
    first, last = done.err.splitlines()
    assert first.startswith(f"dataset online: {path} is corrupt")
    assert last == "harness: 1 corrupt inputs; the lines above say what to do about each"


REBUILT = """
    from harness.suite import Dataset
    import hashlib

    def suite():
        laptop = Scale(name="laptop", seeds=(0, 1), expected_seconds=0.2, trial_seconds=300)
        return _walk_suite(
            methods=(Method(name="count", run="toy_suite_package.methods:count_words"),),
            tasks=(Task(name="words", metrics=("height",), datasets=("words",)),),
            datasets=(
                Dataset(
                    name="words", files={"words/words.txt": DIGEST}, licence="CC0", source="lost",
                    sizes="3 words", splits="none", rebuild="toy_suite_package.methods:fetch",
                ),
            ),
            scales=(laptop, laptop.on_rebuilt()),
        )
"""
"""A suite whose words are to be had as an equivalent alone; `DIGEST` is that of the lost file."""


def test_trials_run_on_rebuilt_data_where_the_files_are_lost(
    project: Any, call: Any, write_suite: Any
) -> None:
    env = write_suite(REBUILT.replace("DIGEST", repr("0" * 64)))
    lines = project.run("list", env=env).out.splitlines()
    prepare = "`harness data prepare written --scale laptop-rebuilt`"
    assert [line for line in lines if line.startswith("written at ")] == [
        f"written at laptop scale: nothing fetches the very files of 2 trials; {prepare} builds "
        "equivalents, on which `harness run written --scale laptop-rebuilt` runs all",
        f"written at laptop-rebuilt scale: {prepare} gets the data of 2 more trials",
    ]
    done = project.run("run", "written", "--scale", "laptop-rebuilt", env=env)
    assert "`harness data prepare words --rebuilt` online" in done.out + done.err
    done = project.run("data", "prepare", "written", "--scale", "laptop-rebuilt", env=env)
    said = "words, rebuilt: fetching 3 words (1 of 1)\nwords, rebuilt: fetched\n"
    assert (done.code, done.out, done.err) == (0, said, "")
    done = project.run("data", "prepare", "words", "--rebuilt", env=env)
    assert done.out == "words, rebuilt: here\n"
    listed = project.run("data", "list", env=env | {"COLUMNS": "400"}).out
    assert re.search(r"^written +words .* hub, rebuilt *$", listed, re.M)
    done = project.run("data", "check", "written", env=env)
    assert "words, rebuilt: hub, 0 of 1 digests match, 1 as when first seen\n" in done.out
    done = project.run("run", "written", "--scale", "laptop-rebuilt", env=env)
    assert (done.code, done.err) == (0, "")
    records = project.records()
    assert {(r.scale, r.data["words"]) for r in records} == {("laptop-rebuilt", "hub")}
    assert all(r.spec["data"] == {"words": {"words/words.txt": None}} for r in records)
    assert all("dataset words" in r.provenance.packages for r in records)
    plan = project.run("plan", "written", "--scale", "laptop", env=env).out
    assert "2 no data" in plan.splitlines()[0]
    assert project.run("report", env=env).code == 0
    index = (project.root / "reports" / "index.html").read_text()
    assert "laptop-rebuilt" in index


def test_a_rebuilt_set_that_is_the_lost_one_counts_as_it(project: Any, write_suite: Any) -> None:
    digest = hashlib.sha256(b"one two three\n").hexdigest()
    env = write_suite(REBUILT.replace("DIGEST", repr(digest)))
    done = project.run("data", "prepare", "words", "--rebuilt", env=env)
    assert done.out.endswith(
        "fetched, byte for byte what the other scales read; taken for those too\n"
    )
    assert "words: hub, 1 of 1 digests match\n" in project.run("data", "check", env=env).out
    plan = project.run("plan", "written", "--scale", "laptop", env=env).out
    assert "2 to run" in plan.splitlines()[0]


def test_data_that_cannot_be_had(project: Any, call: Any) -> None:
    done = call(project, "data", "prepare", "offline", "garbled")
    assert done.code == 1
    assert_clean(done)
    assert done.out.startswith("offline: cannot be fetched; offline/words.txt not found; point")
    assert "dataset garbled: " in done.err
    assert "is corrupt" in done.err
    assert done.out.endswith("0 fetched, 0 were here, 2 not to be had\n")
    assert done.err.endswith("harness: 2 datasets could not be prepared; the lines above say why\n")
    assert not (project.cache / "data" / "garbled" / "words.txt").exists()


# -- damage ---------------------------------------------------------------------------------------


@pytest.fixture
def damaged(project: Any) -> Any:
    """A project with four records, one of them damaged by a flipped bit."""
    assert project.run("run", "toy", "--methods", "walk").code == 0
    path = sorted(project.results.glob("toy/smoke/*"))[2]
    data = path.read_bytes()
    path.write_bytes(
        data.replace(b'"height": 1', b'"height": 0', 1).replace(b'"height": 0.', b'"height": 3.', 1)
    )
    assert path.read_bytes() != data
    return project, path


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_reading_verbs_tell_of_damage_and_touch_nothing(damaged: Any, call: Any) -> None:
    project, path = damaged
    before = tree(project.results)
    name = path.relative_to(project.root)
    line = f"{name}: checksum does not match the content"
    for words in ("report", "claims", "status", "compare toy/walk toy/drift", "doctor"):
        done = call(project, *words.split())
        assert done.code == 4, words
        assert_clean(done)
        assert done.err.splitlines()[0].removeprefix("corrupt record: ") == line
        assert len(done.err.splitlines()) <= 2
        assert tree(project.results) == before
    assert not (project.root / "reports").exists()
    assert call(project, "plan", "toy").code == 0


def test_run_moves_damage_aside_and_makes_the_record_anew(damaged: Any) -> None:
    project, path = damaged
    content = path.read_bytes()
    others = {name: data for name, data in tree(project.results).items() if path.name not in name}
    done = project.run("run", "toy", "--methods", "walk")
    assert done.code == 4
    assert done.err == (
        f"corrupt record: {path.relative_to(project.root)}: checksum does not match the content; "
        f"moved to {path.name}.corrupt-1, its trial counts as missing\n"
    )
    assert "\ntoy at smoke scale on cpu: 1 missing, 3 done; 1 to run, about " in done.out
    assert "3 done" in done.out
    assert "1 missing" in done.out
    assert path.with_name(f"{path.name}.corrupt-1").read_bytes() == content
    now = tree(project.results)
    assert {name: now[name] for name in others} == others
    assert len(project.records()) == 4
    assert project.run("run", "toy", "--methods", "walk").code == 0
    assert project.run("doctor").code == 0


def test_doctor_repairs(damaged: Any, call: Any) -> None:
    project, path = damaged
    done = call(project, "doctor")
    assert done.out == "3 records intact, 1 problems\n"
    assert done.err.splitlines()[1] == (
        "harness: 1 corrupt files; `harness doctor --repair` moves them aside"
    )
    done = call(project, "doctor", "--repair")
    assert done.code == 0
    assert done.err.endswith(
        f"checksum does not match the content; moved to {path.name}.corrupt-1\n"
    )
    assert not path.exists()
    done = call(project, "doctor")
    assert (done.code, done.out, done.err) == (0, "3 records intact, 0 problems\n", "")


def test_doctor_tries_a_shared_folder(project: Any, call: Any, monkeypatch: Any) -> None:
    from harness import shared

    done = call(project, "doctor", "--shared", str(project.root / "common"))
    assert (done.code, done.err) == (0, "")
    assert len(done.out.splitlines()) == 7
    assert "none; run the same command there too" in done.out
    faults = [shared.Finding("a", "two had it"), shared.Finding("b", "there is none", False)]
    monkeypatch.setattr(shared, "probe", lambda _: iter(faults[1:]))
    assert call(project, "doctor", "--shared", str(project.root)).code == 0
    monkeypatch.setattr(shared, "probe", lambda _: iter(faults))
    done = call(project, "doctor", "--shared", str(project.root))
    assert done.code == 4
    assert done.out.startswith("NO  a: two had it\nno  b: there is none\n")
    assert "machines cannot share it safely" in done.err


def test_a_plan_of_a_share_has_its_trials_alone(project: Any, call: Any) -> None:
    done = call(project, "plan", "toy", "--shard", "1/3")
    assert "3 missing; 3 to run" in done.out
    done = call(project, "run", "toy", "--until", "decided", "--shard", "1/3")
    assert "--shard" in done.err


def test_doctor_names_records_of_no_suite(project: Any, write_suite: Any) -> None:
    env = write_suite("def suite():\n    return _walk_suite()\n")
    assert project.run("run", "written", env=env).code == 0
    done = project.run("doctor")
    assert done.code == 0
    assert re.fullmatch(r"written/walk--short--s0--\w+\.json: no suite of that name\n", done.err)


# -- tidying up -----------------------------------------------------------------------------------

OLD, HELD = "0123456789abcdef" * 2, "fedcba9876543210" * 2
"""Identities that no suite refers to."""


def test_gc_removes_what_nobody_refers_to_and_no_record(project: Any, call: Any) -> None:
    pick = ("run", "toy-chain", "--methods", "read-seed,read-broken", "--tasks", "short")
    assert project.run(*pick).code == 1
    wanted = {p.name for p in project.cache.glob("artifacts/*/*")}
    for folder in ("artifacts/toy-chain/by-seed-0123456789ab", f"trials/{OLD}"):
        (project.cache / folder).mkdir(parents=True)
        (project.cache / folder / "file").write_text("")
    trial = project.records()[0].id[:32]
    for folder in (f"trials/{trial}", f"trials/{HELD}"):
        (project.cache / folder).mkdir()
    for name, seconds in ((DEAD, 0), (LIVING, 4e9)):
        (project.results / "toy-chain" / name).write_text("")
        os.utime(project.results / "toy-chain" / name, (seconds, seconds))
    before = tree(project.root)
    with project.store.lock(HELD):
        done = call(project, "gc", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"would remove {project.cache}/artifacts/toy-chain/by-seed-0123456789ab",
        *sorted(f"would remove {project.cache}/trials/{name}" for name in (trial, OLD)),
        "3 folders, 0 temporary files",
    ]
    assert set(tree(project.root)) - set(before) <= {
        str(p.relative_to(project.root)) for p in project.cache.glob("locks/*")
    }
    done = call(project, "gc")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "4 folders, 1 temporary files"
    assert {p.name for p in project.cache.glob("artifacts/*/*")} == wanted
    gone = {name for name in before if name not in tree(project.root)}
    assert {Path(name).name for name in gone} == {"file", DEAD}
    assert call(project, "gc").out == "0 folders, 0 temporary files\n"


def test_records_are_plain_json(project: Any) -> None:
    assert (
        project.run("run", "toy", "--methods", "walk", "--tasks", "short", "--seeds", "0").code == 0
    )
    (path,) = project.results.glob("*/*/*.json")
    content = json.loads(path.read_text())
    assert content["spec"]["method"]["params"] == {"lift": 1}
    assert str(project.root) not in path.read_text()


def test_seeds_beyond_those_of_a_scale(project: Any) -> None:
    """They run, count and stay, and what they leave out is not missing."""
    words = ("toy", "--scale", "laptop", "--seeds", "5,7-8", "--methods", "walk", "--tasks=short")
    assert project.run("run", *words).code == 0
    assert [r.seed for r in project.store.load().records] == [5, 7, 8]
    again = project.run("run", *words)
    assert "3 done; nothing to do" in again.out
    assert "skip     3  done: recorded" in project.run("plan", *words).out
    assert re.search(r"toy +laptop +23 missing, 3 done", project.run("status", "toy").out)
    # Intact for `claims`, too: they are of today's suite.
    assert "not run" in project.run("claims", "toy", "--scale", "laptop").out
    assert project.run("gc").code == 0
    assert "3 records intact, 0 problems" in project.run("doctor").out


def test_seeds_are_added_until_the_primary_claims_are_decided(project: Any) -> None:
    words = ("run", "toy-false", "--scale", "laptop", "--until", "decided")
    done = project.run(*words)
    assert (done.code, done.err) == (0, "")
    assert re.findall(r"towards the look at (\d+) seeds: higher", done.out) == ["5", "10"]
    assert "toy-false: all 1 primary claims are closed" in done.out
    records = project.store.load().records
    assert {r.seed for r in records} == set(range(10)), "laptop itself has six"
    looks = taken(project.results, "toy-false", "laptop")
    assert [(x.claim, x.n, x.seeds) for x in looks] == [
        ("higher", n, tuple(range(n))) for n in (5, 10)
    ]
    assert [x.spent for x in looks] == [0.05 / 4] * 2
    assert looks[0].outcome == "inconclusive" != looks[1].outcome
    assert f"{looks[1].outcome} " in project.run("claims", "toy-false", "--scale", "laptop").out
    assert project.run("report").code == 0
    page = (project.root / "reports/toy-false/laptop/report.md").read_text()
    assert "judged at look 2 of 4" in page
    again = project.run(*words)
    assert "towards" not in again.out
    assert project.store.load().records == records
    assert taken(project.results, "toy-false", "laptop") == looks


def test_a_trend_over_an_axis_is_followed_from_the_run_to_the_report(project: Any) -> None:
    done = project.run("run", "toy-axis", "--scale", "laptop", "--until", "decided")
    assert (done.code, done.err) == (0, "")
    assert "towards the look at 7 seeds: rises" in done.out
    assert "toy-axis: all 1 primary claims are closed" in done.out
    records = project.store.load().records
    trials = {(r.scale, r.method, r.seed) for r in records}
    scales = ("laptop", "laptop+lift-2.0", "laptop+lift-4.0")
    methods = ("walk", "drift")
    assert trials == {(s, m, n) for s in scales for m in methods for n in range(7)}
    claims = project.run("claims", "toy-axis").out
    assert re.search(r"rises +holds +\+1 m per lifting  n=7", claims)
    assert project.run("report").code == 0
    page = (project.root / "reports/toy-axis/laptop/report.md").read_text()
    assert "judged at look 1 of 1" in page
    assert "short at lifting 2: " in page
    html = (project.root / "reports/toy-axis/laptop/report.html").read_text()
    assert "Rests on 42 records" in html


def test_a_margin_that_was_changed_is_refused_by_whatever_judges(project: Any, call: Any) -> None:
    words = ("toy-false", "--scale", "laptop")
    assert project.run("run", *words, "--seeds", "0-5", "--tasks", "short").code == 0
    path = project.results / "toy-false/margins.json"
    path.write_text(path.read_text().replace("0.05", "0.5"))
    for command in (("plan", *words), ("claims", *words), ("report",),
                    ("run", *words, "--until", "decided")):  # fmt: skip
        done = call(project, *command)
        assert done.code == 2, command
        wanted = "claim higher: margin 0.05, but margin 0.5 was fixed for version 1"
        assert re.fullmatch(f"harness: suite toy-false, {wanted} .*\n", done.err)
    assert not (project.results / "toy-false/laptop/looks").exists()


def test_a_time_limit_ends_the_looks_with_0_too(project: Any) -> None:
    words = ("run", "toy-false", "--scale", "laptop", "--until", "decided", "--time", "0.1s")
    done = project.run(*words)
    assert (done.code, done.err) == (0, "")
    assert "left; stopped as asked after 0.1 s, resumes where it was\n" in done.out
    assert done.out.endswith(f"next: harness {' '.join(words)}\n")
    assert "all 1 primary claims" not in done.out


def test_a_look_that_is_corrupt_stops_the_run(project: Any) -> None:
    words = ("run", "toy-false", "--scale", "laptop", "--until", "decided")
    project.run(*words)
    path = min((project.results / "toy-false/laptop/looks").iterdir())
    path.write_bytes(path.read_bytes().replace(b'"n": 10', b'"n": 11'))
    done = project.run(*words)
    assert done.code == 4
    assert re.fullmatch("harness: corrupt look: .*restore it from git.*\n", done.err)
    (project.results / "toy-false/margins.json").write_text("{")
    done = project.run("doctor")
    assert (done.code, "2 problems" in done.out) == (4, True)
    assert "corrupt look: " in done.err
    assert "corrupt margins: " in done.err


def test_the_plan_says_what_looks_can_find_and_what_they_take(project: Any) -> None:
    done = project.run("plan", "toy-false", "--scale", "laptop")
    assert "one of 1 primary claims is decided" in done.out
    assert re.search(r"effect +5 +10 +20 +40 +seeds expected +time", done.out)
    assert re.search(r"2 sd +60 % +100 % +100 % +100 % +7 ", done.out)
    for words in (("toy", "--scale", "laptop"), ("toy-false",)):  # none is primary; smoke
        assert "primary" not in project.run("plan", *words).out
