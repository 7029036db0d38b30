"""`harness compare`: two methods, folders, commits and machines."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from harness import cli, plan, registry, stats
from harness.comparison import adjusted, differences, matched, newest, rows
from harness.record import Series
from harness.store import Store

METRICS = ("accuracy", "loss")


@pytest.fixture
def suite(toy_suite):
    return toy_suite()


@pytest.fixture
def records(suite, make_record):
    """ant on seeds 0-3 (seed 2 diverged), bee on seeds 1-4, both on shallow-x and deep-x."""
    out = []
    for task, lift in (("shallow-x", 0.0), ("deep-x", 10.0)):
        for seed in range(4):
            numbers = {"accuracy": 80 + lift + seed, "loss": 0.5 - 0.01 * seed}
            status = "diverged" if seed == 2 else "ok"
            out.append(make_record(suite, "ant", task, seed, numbers, status))
        for seed in range(1, 5):
            numbers = {"accuracy": 79 + lift + seed**2, "loss": 0.5}
            out.append(make_record(suite, "bee", task, seed, numbers))
    return out


def test_shared_seeds_are_paired(suite, records):
    found = rows(suite, records, records, [("ant", "bee")], METRICS)
    assert [(r.task, r.metric) for r in found] == [
        ("shallow-x", "accuracy"), ("shallow-x", "loss"),
        ("deep-x", "accuracy"), ("deep-x", "loss"),
    ]  # fmt: skip
    first = found[0]
    assert (first.mean_a, first.mean_b, first.unit, first.failures) == (82, 84, "%", 1)
    assert (first.scale, first.better, first.a, first.b) == ("laptop", "higher", "ant", "bee")
    assert first.change == stats.paired_interval([80, 88], [81, 83])
    assert first.p == stats.paired_p([80, 88], [81, 83])
    held = adjusted(found)
    assert [r.p_holm for r in held] == list(stats.holm([r.p for r in found]))
    assert [r.metric for r in rows(suite, records, records, [("ant", "bee")], {"loss"})] == [
        "loss", "loss",
    ]  # fmt: skip


def test_without_shared_seeds_it_is_welchs(suite, make_record):
    x, y = [3, 4, 6], [1, 1, 2]
    records = [make_record(suite, "ant", "deep-x", s, {"accuracy": v}) for s, v in enumerate(x)]
    records += [
        make_record(suite, "bee", "deep-x", 10 + s, {"accuracy": v, "loss": s})
        for s, v in enumerate(y)
    ]
    records.append(make_record(suite, "ant", "deep-y", 0, {"accuracy": 5}))
    found = adjusted(rows(suite, records, records, [("ant", "bee")], METRICS))
    accuracy = {r.task: r for r in found if r.metric == "accuracy"}
    assert accuracy["deep-x"].change == stats.welch_interval(y, x)
    assert accuracy["deep-x"].p == stats.welch_p(y, x)
    lonely = accuracy["deep-y"]
    assert (lonely.mean_a, lonely.mean_b, lonely.p, lonely.p_holm) == (5, None, None, None)
    assert lonely.change.low is None
    assert lonely.outcome == "untested"


def of_both(make_record: Any, suite: Any, lifts: list[float], n: int = 6) -> list[Any]:
    """Rows of ant then and now: `lifts` is added to accuracy, loss and a metric of no direction."""

    names = [m.name for m in suite.metrics]

    def side(lifts: list[float], noise: float) -> list[Any]:
        numbers = [
            {name: 5 + lift + noise * s**2 for name, lift in zip(names, lifts, strict=True)}
            for s in range(n)
        ]
        return [make_record(suite, "ant", "deep-x", s, m) for s, m in enumerate(numbers)]

    before, after = side([0] * len(names), 0.01), side(lifts, 0.0101)
    return adjusted(rows(suite, before, after, [("ant", "ant")], names))


@pytest.mark.parametrize(
    ("lifts", "outcomes"),
    [
        ([1, 1, 1], ["win", "loss", "changed"]),
        ([-1, -1, 0.0], ["loss", "win", "tie"]),
        ([1e-5, -1e-5, 0], ["tie", "tie", "tie"]),
    ],
)
def test_direction_decides_who_wins(toy_suite, make_record, lifts, outcomes):
    plain = toy_suite()
    size = plain.metrics[0].model_copy(update={"name": "size", "better": "neither"})
    tasks = [t.model_copy(update={"metrics": (*t.metrics, "size")}) for t in plain.tasks]
    suite = toy_suite(metrics=(*plain.metrics, size), tasks=tuple(tasks))
    assert [r.outcome for r in of_both(make_record, suite, lifts)] == outcomes


def test_too_few_trainings_are_untested_unless_equal(suite, make_record):
    assert [r.outcome for r in of_both(make_record, suite, [1, 1], n=1)] == ["untested"] * 2
    equal = [make_record(suite, "ant", "deep-x", 0, {"accuracy": 1, "loss": 2})]
    same = adjusted(rows(suite, equal, equal, [("ant", "ant")], METRICS))
    assert [(r.outcome, r.same) for r in same] == [("tie", True)] * 2


def test_equal_changes_have_no_interval_of_no_width(suite, make_record):
    records = [
        make_record(suite, method, "deep-x", seed, {"accuracy": value, "loss": seed})
        for method, value in (("ant", 90.0), ("bee", 100.0))
        for seed in range(5)
    ]
    found = rows(suite, records, records, [("ant", "bee")], METRICS)
    assert (found[0].change[:4], found[0].p) == ((None, 10.0, None, 5), 2 / 32)
    assert (found[1].change[:4], found[1].same) == ((None, 0.0, None, 5), True)


def test_of_two_records_of_a_trial_the_last_counts(suite, make_record, provenance):
    first = make_record(suite, "ant", "deep-x", 0, {"accuracy": 1}, note="old")
    later = provenance.model_copy(update={"finished": "2026-01-01T00:00:00+00:00"})
    last = make_record(suite, "ant", "deep-x", 0, {"accuracy": 2}, note="new")
    last = last.model_copy(update={"provenance": later}).sealed()
    assert newest([last, first]) == newest([first, last]) == [last]


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({}, None),
        ({"metrics": {"accuracy": 1.0, "speed": 3.0}}, None),
        ({"metrics": {"accuracy": 1.1, "speed": 2.0}}, ("accuracy",)),
        ({"metrics": {"accuracy": 1.0}}, None),
        ({"metrics": {"speed": 2.0}}, ("accuracy",)),
        ({"status": "failed"}, ("status",)),
        ({"counts": {"updates": 2}}, ("counts",)),
        ({"series": {"loss": Series(x=(0,), y=(1,))}}, ("series",)),
    ],
)
def test_what_differs_is_named_and_time_counted_apart(suite, make_record, change, names):
    one = make_record(suite, "ant", "deep-x", 0, {"accuracy": 1.0, "speed": 2.0})
    other = one.model_copy(update=change)
    alone = make_record(suite, "bee", "deep-x", 0, {})
    found = matched([one, alone], [other], {"speed": "1/s", "accuracy": "%"})
    key = ("toy", "laptop", "ant", "deep-x", 0)
    assert found.different == ({key: names} if names else {})
    timed = "speed" not in change.get("metrics", {}) or change["metrics"]["speed"] != 2.0
    assert found.clock == (bool(change.get("metrics")) and not names and timed)
    assert found.equal + found.clock + len(found.different) == len(found.pairs) == 1
    assert (found.only_a, found.only_b) == (1, 0)


def test_metrics_that_are_asked_for_are_compared_alone(suite, make_record):
    one = make_record(suite, "ant", "deep-x", 0, {"accuracy": 1.0, "loss": 2.0})
    other = one.model_copy(update={"metrics": {"accuracy": 1.0, "loss": 3.0}, "status": "failed"})
    assert not matched([one], [other], {}, {"accuracy"}).different
    assert matched([one], [other], {}, {"loss"}).different


def test_specification_packages_and_hardware_that_differ_are_listed(suite, make_record, provenance):
    def made(seed: int, lr: float, **changed: Any) -> Any:
        record = make_record(suite, "ant", "deep-x", seed, {"accuracy": 1}, lr=lr)
        return record.model_copy(update={"provenance": provenance.model_copy(update=changed)})

    pairs = [
        (
            made(seed, 0.1, packages={"torch": "1"}),
            made(seed, 0.2 + seed, packages={"torch": "2"}, cores=8, processor="new"),
        )
        for seed in range(2)
    ]
    assert [tuple(d) for d in differences(pairs)] == [
        ("hardware cores", "1", "8", 2),
        ("hardware processor", "toy", "new", 2),
        ("package torch", "1", "2", 2),
        ("spec lr", "0.1", "2 values", 2),
    ]
    assert differences([(pairs[0][0], pairs[0][0])]) == []


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def folders(project: Any, toys: None, record_of: Any) -> Any:
    """`folders(name, lift, **provenance)`: a results folder of toy at laptop scale.

    Heights of walk rise by `lift` and scatter; those of drift are the same everywhere.
    """

    def make(name: str, lift: float, **changed: Any) -> None:
        suite = registry.load("toy")
        store = Store(project.root / name, project.cache)
        for trial in plan.trials(suite, suite.scale("laptop"))[0]:
            up = (1 + lift) * (trial.method.name == "walk")
            height = up + 0.01 * trial.seed**2 + 0.001 * (trial.seed % 2) * up
            record = record_of(trial, metrics={"height": height})
            where = record.provenance.model_copy(update=changed)
            store.commit(record.model_copy(update={"provenance": where}).sealed())

    return make


@pytest.fixture
def call(
    project: Any, toys: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Any]:
    """`call(*words)`: `harness compare` in this process."""

    def run(*words: str) -> Any:
        monkeypatch.chdir(project.root)
        monkeypatch.setenv("HARNESS_CACHE", str(project.cache))
        monkeypatch.setattr(sys, "argv", ["harness", "compare", *words])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return project.done(end.value.code, *capsys.readouterr())

    return run


def test_two_methods(folders, call):
    folders("results", 0)
    done = call("toy/drift", "toy/walk")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "2 wins, 0 ties, 0 losses: toy/walk against toy/drift"
    assert lines[1] == "12 trials in both, 0 in toy/drift alone, 0 in toy/walk alone"
    assert lines[2] == "A: toy/drift, B: toy/walk"
    assert lines[3].split()[:4] == ["task", "metric", "A", "B"]
    assert [row.split()[:4] for row in lines[4:6]] == [
        ["short", "height", "0.0917", "1.09"], ["long", "height", "0.0917", "1.09"],
    ]  # fmt: skip
    assert lines[4].split()[-1] == "win"
    assert "spec method.params.lift  0.1    1" in done.out
    assert call("toy/walk", "drift", "--tasks", "lo*").out.startswith("0 wins, 0 ties, 1 loss: ")
    assert call("toy/walk", "toy/drift", "--fail-on", "regression").code == 5
    assert call("toy/drift", "toy/walk", "--fail-on", "regression").code == 0


def test_two_folders_and_two_machines(folders, call):
    folders("before", 0)
    folders("after", 0.5, processor="other", packages={"torch": "9"})
    done = call("before", "after")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "2 wins, 2 ties, 0 losses: after against before"
    assert lines[2].startswith("  toy/laptop/walk/long/0: height")
    assert (
        "24 trials in both, 0 in before alone, 0 in after alone; of those in both 12 equal, "
        in (done.out)
    )
    assert "2 rows without any change" in lines
    assert re_rows(lines) == [["walk", "short"], ["walk", "long"]]
    assert "hardware processor  toy  other  24" in done.out
    assert "The hardware differs: times do not compare" in done.out
    worse = call("after", "before", "--fail-on", "regression")
    assert (worse.code, worse.err) == (5, "harness: before loses 2 comparisons\n")
    assert call("after", "before", "--fail-on", "regression", "--methods", "drift").code == 0
    differ = call("before", "after", "--fail-on", "difference")
    assert (differ.code, differ.err) == (5, "harness: 12 trials differ\n")
    assert call("before", "before", "--fail-on", "difference").code == 0


def re_rows(lines: list[str]) -> list[list[str]]:
    """Method and task of the table's rows."""
    return [
        row.split()[:2] for row in lines if row.split()[2:3] == ["height"] and len(row.split()) > 4
    ]


def test_json_has_all_of_it(folders, call):
    folders("before", 0)
    folders("after", 0.5)
    found = json.loads(call("before", "after", "--json").out)
    assert found["outcomes"] == {"win": 2, "tie": 2, "loss": 0, "changed": 0, "untested": 0}
    assert {k: v for k, v in found["trials"].items() if k != "different"} == {
        "both": 24, "equal": 12, "clock": 0, "only_a": 0, "only_b": 0,
    }  # fmt: skip
    assert found["trials"]["different"][0] == ["toy", "laptop", "walk", "long", 0, ["height"]]
    first = next(r for r in found["rows"] if r["a"] == "walk")
    assert (first["outcome"], first["better"], first["unit"]) == ("win", "higher", "m")
    assert first["change"]["mean"] == pytest.approx(first["mean_b"] - first["mean_a"])
    assert found["differs"] == []


@pytest.fixture
def repository(folders, project):
    """Two commits: tag `v1` has one set of results, the next another; the tree a third."""

    def git(*words: str) -> None:
        name = ["-c", "user.name=t", "-c", "user.email=t@t.t"]
        subprocess.run(["git", *name, *words], cwd=project.root, check=True, capture_output=True)

    git("init", "-q")
    for lift, tag in ((0.0, "v1"), (0.5, "v2")):
        shutil.rmtree(project.results, ignore_errors=True)
        folders("results", lift)
        git("add", "results")
        git("commit", "-qm", tag)
        git("tag", tag)
    folders("results", 1.0)
    (project.results / "toy/laptop/notes.json").write_text("no record\n")
    (project.results / "toy/laptop/notes.json").unlink()
    return git


def test_a_commit_against_the_tree_and_two_commits(repository, call, project):

    def tree() -> dict[Any, int]:
        files = (p for p in project.root.rglob("*") if p.is_file())
        return {p: p.stat().st_mtime_ns for p in files if project.cache not in p.parents}

    before = tree()
    done = call("results", "--at", "v1", "--metric", "height")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("2 wins, 2 ties, 0 losses: results against results at v1\n")
    done = call("toy/walk", "--at", "v1", "--tasks", "short")
    assert done.out.startswith("1 win, 0 ties, 0 losses: toy/walk against toy/walk at v1\n")
    done = call("results", "results", "--at", "v2", "--at", "v1", "--fail-on", "regression")
    assert done.code == 5
    assert done.out.startswith("0 wins, 2 ties, 2 losses: results at v1 against results at v2\n")
    found = json.loads(call("results", "--at", "v1", "--at", "HEAD", "--json").out)
    (walk,) = [r for r in found["rows"] if (r["a"], r["task"]) == ("walk", "short")]
    assert walk["change"]["mean"] == pytest.approx(0.5, abs=1e-3)
    assert tree() == before
    shutil.rmtree(project.results)  # gone from the tree: git still has it
    assert call("results", "--at", "v1", "--at", "v2").code == 0


def test_corrupt_records_of_a_commit_are_named(repository, call, project):
    path = next(project.results.glob("toy/laptop/walk*.json"))
    path.write_text("{}")
    repository("commit", "-qam", "v3")
    done = call("results", "--at", "HEAD", "--at", "v1")
    assert done.code == 4
    assert f"corrupt record: {path.relative_to(project.root)}: schema version None" in done.err


WRONG = [
    (["toy/walk"], "compare takes two methods, or two results folders; or one, and --at"),
    (["walk", "toy/drift"], "name the suite too: 'walk' should read suite/method, e.g. gate/gat.*"),
    (["toy/walk", "gate/gate"], "'gate/gate': both methods must be of suite toy"),
    (["toy/walk", "results"], "unknown method 'results': there are drift, walk.*"),
    (["results", "toy/walk"], "results folder toy/walk does not exist; .*"),
    (["results", "no/such"], "results folder no/such does not exist; .*"),
    (["toy/walk", "toy/drift", "--metric", "heigth"], "unknown metric 'heigth': did you mean .*"),
    (["results", "results", "--tasks", "x"], "unknown task 'x': there are long, short"),
    (["results", "results", "--scale", "gpu"], "results and results have no trial at gpu scale .*"),
    (["toy/walk", "toy/drift", "--methods", "walk"], "--methods is for results folders: .*"),
    (["results", "results", "--set", "a=1"], "--set is for methods: .*"),
    (["results", "--at", "v9"], "--at 'v9': git knows no such commit; name a commit, tag or .*"),
    (["results", "--at", "--all"], "--at '--all': git knows no such commit; .*"),
    (["results", "--at", ""], "--at '': git knows no such commit; .*"),
    (["results", *["--at", "v1"] * 3], "--at: at most two commits, one for A and one for B"),
    (["empty", "--at", "v1"], "--at 'v1': there was nothing in empty"),
    (["a\0b", "results"], ".*there are no zero bytes in a path"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(w)[:40] for w, _ in WRONG])
def test_what_is_wrong_is_one_line(repository, call, project, words, message):
    (project.root / "empty").mkdir()
    done = call(*words)
    assert done.code != 0
    assert done.err.count("\n") == 1
    assert re.fullmatch(f"harness: {message}\n", done.err)


def test_outside_a_repository_there_are_no_commits(folders, call):
    folders("results", 0)
    done = call("results", "--at", "HEAD")
    assert (done.code, done.out) == (2, "")
    assert done.err == "harness: --at 'HEAD': results is in no git repository\n"
