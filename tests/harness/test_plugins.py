"""Plugins: what they add, what they must not touch, and what becomes of their records."""

import json
import sys
import textwrap
from pathlib import Path

import pytest

from harness import plan, plugins, registry
from harness.analysis import frame
from harness.check import Floor
from harness.claims import judge
from harness.errors import HarnessError, SpecError, UsageError
from harness.store import Store

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ids.json").read_text())

ADDS = """
from harness.plugins import Plugin
from harness.suite import Artifact, Beats, Method, Metric, Table, Task

__version__ = "1.2"

def plugin():
    base = {suite}
    return Plugin(
        suite=base,
        methods=(Method(name="zz-mine", label="Mine", run=__name__ + ":run",
                        params={{"lift": 3.0}}, needs=("zz-stone",)),),
        artifacts=(Artifact(name="zz-stone", make=__name__ + ":make", over=("seed",)),),
        metrics=(Metric(name="zz-weight", label="weight", unit="kg", better="higher", split="-",
                        select="-"),),
        tasks=(Task(name="zz-own", params={{"steps": 20}}, metrics=("{metric}",),
                    optional=("zz-weight", *{optional})),),
        tables=(Table(name="zz", title="All of it", metric="{metric}"),),
        claims=(Beats(name="zz-higher", text="Mine is higher.", source="-", metric="{metric}",
                      tasks=("zz-own",), a="zz-mine", b="{method}", margin=0.1),),
        {more}
    )

def make(ctx):
    (ctx.out / "stone.txt").write_text("stone")
    return {{}}

def run(ctx):
    from toy_suite_package import methods
    ctx.artifact("zz-stone")
    return methods.walk(ctx)
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """`write(source, name)`: a plugin file; all is forgotten afterwards."""
    before, path = set(sys.modules), list(sys.path)

    def write_(source, name="mine.py"):
        file = tmp_path / name
        file.write_text(textwrap.dedent(source))
        return str(file)

    yield write_
    registry.use(())
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def adds(suite, more=""):
    base = registry.load(suite)
    return ADDS.format(
        suite=repr(suite),
        metric=base.tasks[0].metrics[0],
        method=base.methods[0].name,
        optional=base.tasks[0].optional,
        more=more,
    )


def identities(suite):
    return {
        (scale.name, t.method.name, t.task.name, t.seed): t.id
        for scale in suite.scales
        for t in plan.trials(suite, scale, "cpu")[0]
    }


@pytest.mark.parametrize("name", ["bam", "gate", "merging", "mixup", "toy"])
def test_all_that_was_there_stays_bit_for_bit(name, write, toys):
    before = registry.load(name)
    old = identities(before)
    registry.use([write(adds(name))])
    after = registry.load(name)
    new = identities(after)
    assert {key: new[key] for key in old} == old
    added = set(new) - set(old)
    assert added
    assert all(method == "zz-mine" or task == "zz-own" for _, method, task, _ in added)
    for claim, same in zip(before.claims, after.claims, strict=False):
        assert [t.name for t in plan.select(after.tasks, same.tasks)] == [
            t.name for t in plan.select(before.tasks, claim.tasks)
        ]


@pytest.mark.parametrize("row", GOLDEN["trials"], ids=lambda row: f"{row['suite']}-{row['method']}")
def test_golden_identities_stand_beside_a_plugin(row, write, toys):
    registry.use([write(adds(row["suite"]))])
    suite = registry.load(row["suite"])
    filters = plan.Filters((row["method"],), (row["task"],), (row["seed"],))
    found, _ = plan.trials(suite, suite.scale(row["scale"]), row.get("device", "cpu"), filters)
    assert found[0].id == row["id"]


def test_two_plugins_with_one_method_have_two_identities(write, toys):
    found = []
    for name in ("mine.py", "yours.py"):
        registry.use([write(adds("toy"), name)])
        found.append(identities(registry.load("toy"))["smoke", "zz-mine", "short", 0])
    assert found[0] != found[1]


def test_what_a_plugin_adds_says_so(write, toys):
    registry.use([write(adds("toy"))])
    suite = registry.load("toy")
    mark = "from plugin mine 1.2"
    assert suite.method("zz-mine").label == "Mineᵃ"
    assert suite.task("zz-own").label == "zz-ownᵃ"
    assert suite.marks_of(suite.method("zz-mine"), suite.task("zz-own")) == (
        "ᵃ From plugin mine 1.2.",
    )
    assert suite.marks_of(suite.method("walk")) == ()
    assert suite.tables[-1].title == f"All of it ({mark})"
    assert suite.claims[-1].text == f"Mine is higher. ({mark})"
    spec = plan.trials(suite, suite.scale("smoke"))[0][-1].spec
    assert spec["plugins"] == ["mine"]
    assert "from plugin" not in json.dumps(spec)


def test_scales_and_pairs_are_as_the_plugin_says(write, toys):
    more = 'scales=("smoke",), pairs=("zz-mine/*", "walk/zz-own"),'
    registry.use([write(adds("toy", more))])
    suite = registry.load("toy")
    new = [(m.name, t.name) for m, t in suite.pairs(suite.scale("smoke"))]
    assert ("zz-mine", "short") in new
    assert ("walk", "zz-own") in new
    assert ("drift", "zz-own") not in new
    assert not any("zz" in m.name + t.name for m, t in suite.pairs(suite.scale("laptop")))


def test_verdicts_of_the_suites_own_claims_stay(write, toys, record_of):
    def verdicts(suite):
        records = [
            record_of(t, metrics={"height": len(t.method.name) + t.seed % 3 / 9 + n / 1e3})
            for n, t in enumerate(plan.trials(suite, suite.scale("laptop"))[0])
            if "zz" not in t.method.name + t.task.name
        ]
        return {v.claim: v for v in judge(suite, "laptop", frame(records, suite), records)}

    before = verdicts(registry.load("toy"))
    registry.use([write(adds("toy"))])
    suite = registry.load("toy")
    after = verdicts(suite)
    assert after.pop("zz-higher").role == suite.claims[-1].role == "additional"
    assert after == before


def test_checks_of_the_suites_own_claims_speak_of_its_own_tasks(toys):
    suite = registry.load("toy")
    task = suite.tasks[0].model_copy(update={"name": "zz-own"})
    checks = tuple(Floor(method="drift", bound=0, tasks=names) for names in (("*",), ("long",), ()))
    claim = suite.claims[0].model_copy(update={"checks": checks})
    pinned = plugins._pinned(claim, suite, plugins.Plugin(suite="toy", tasks=(task,)))
    assert [check.tasks for check in pinned.checks] == [("short", "long"), ("long",), ()]
    assert pinned.tasks == ("short", "long")


FAULTS = {
    "import error": ("import nowhere_at_all", "ModuleNotFoundError: No module named"),
    "syntax": ("def plugin(:", "SyntaxError"),
    "exit": ("import sys; sys.exit('bye')", "SystemExit: bye"),
    "exit inside": ("def plugin(): raise SystemExit(3)", "SystemExit: 3"),
    "raises two lines": ("def plugin(): raise ValueError('a\\nb')", "ValueError: a"),
    "no function": ("x = 1", "no function plugin()"),
    "no plugin": ("def plugin(): return {'suite': 'toy'}", "it returned dict"),
    "nothing": ("def plugin(): return ()", "it returned nothing"),
    "unknown suite": (
        "from harness.plugins import Plugin\ndef plugin(): return Plugin(suite='tay')",
        "unknown suite 'tay': did you mean 'toy'?",
    ),
    "unknown field": (
        "from harness.plugins import Plugin\ndef plugin(): return Plugin(suite='toy', x=1)",
        "Plugin.x: Extra inputs are not permitted",
    ),
    "version": (
        "from harness.plugins import Plugin\n__version__='a b'\n"
        "def plugin(): return Plugin(suite='toy')",
        "__version__ 'a b'",
    ),
    "surrogate": (
        "from harness.plugins import Plugin\nfrom harness.suite import Method\n"
        "def plugin(): return Plugin(suite='toy', methods=(Method(name='m', run='a:b', "
        "note='\\ud800'),))",
        "UnicodeEncodeError",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_plugin_that_cannot_be_loaded_is_one_line(fault, write, toys):
    source, message = FAULTS[fault]
    with pytest.raises(SpecError) as caught:
        registry.use([write(source)])
    line = str(caught.value)
    assert line.startswith("plugin mine (mine.py)")
    assert message in line
    assert "\n" not in line
    assert registry.used() == ()


COLLISIONS = {
    "method": ("methods=(Method(name='walk', run='a:b'),)", "method 'walk' is there already"),
    "table": (
        "tables=(Table(name='heights', title='', metric='height'),)",
        "table 'heights' is there already",
    ),
    "twice": (
        "methods=(Method(name='m', run='a:b'), Method(name='m', run='a:b'))",
        "method 'm' is there already",
    ),
    "scale": ("scales=('huge',)", "unknown scale 'huge'"),
    "artifact": (
        "methods=(Method(name='m', run='a:b', needs=('gold',)),)",
        "method m: unknown artifact 'gold'",
    ),
    "metric": ("tasks=(Task(name='t', metrics=('width',)),)", "task t: unknown metric 'width'"),
}


@pytest.mark.parametrize("collision", COLLISIONS)
def test_a_plugin_that_does_not_fit_spoils_its_suite_alone(collision, write, toys):
    fields, message = COLLISIONS[collision]
    registry.use(
        [
            write(
                "from harness.plugins import Plugin\n"
                "from harness.suite import Method, Table, Task\n"
                f"def plugin(): return Plugin(suite='toy', {fields})"
            )
        ]
    )
    with pytest.raises(SpecError, match=r"^plugin mine \(mine.py\), suite toy: ") as caught:
        registry.load("toy")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert registry.load("toy-false").name == "toy-false"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my-own.py", "cannot be imported; rename the file, e.g. my_own.py"),
        ("json.py", "a module named 'json' is there already"),
        ("mine.txt", "unknown plugin|not a Python file"),
    ],
)
def test_a_file_that_has_no_name_of_its_own_is_refused(name, message, write):
    with pytest.raises(HarnessError, match=message):
        registry.use([write("x = 1", name)])


def test_a_file_that_is_not_found_from_elsewhere_says_where_paths_begin(
    write, toys, tmp_path, monkeypatch
):
    source = """
    from harness.errors import DataError
    def plugin():
        raise DataError("mine.tsv not found")
    """
    file = write(source)
    wanted = "Relative paths of a plugin begin in the current folder: run the command where the "
    with pytest.raises(SpecError, match=f"mine.tsv not found. {wanted}"):
        registry.use([file])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as error:
        registry.use([file])
    assert str(error.value).endswith("mine.tsv not found")


@pytest.mark.parametrize("word", ["absent.py", "./absent.py", "no_such_module", "", "a b", "."])
def test_what_is_no_plugin_is_one_line(word):
    with pytest.raises(UsageError) as caught:
        registry.use([word])
    assert "\n" not in str(caught.value)
    assert registry.used() == ()


def test_an_installed_plugin_is_known_by_its_entry_point_and_loaded_when_named(
    write, toys, tmp_path, monkeypatch
):
    info = tmp_path / "offering-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: offering\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text("[harness.plugins]\nshiny = offering_module:extra\n")
    source = adds("toy").replace("def plugin", "def extra").replace('__version__ = "1.2"', "")
    write(source, "offering_module.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert "zz-mine" not in {m.name for m in registry.load("toy").methods}
    assert plugins.offered()["shiny"].version == "2.5"
    registry.use(["shiny"])
    assert registry.load("toy").plugins[0].version == "2.5"
    assert registry.load("toy").plugins[0].name == "shiny"


def test_a_plugin_runs_beside_recorded_baselines_and_leaves_without_a_trace(project):
    file = project.root / "mine.py"
    file.write_text(
        ADDS.format(
            suite="'toy'",
            metric="height",
            method="walk",
            optional=("noise",),
            more="scales=('smoke',),",
        )
    )
    assert project.run("run", "toy", "--scale", "smoke").code == 0
    baselines = {r.id: r for r in project.records()}
    done = project.run("run", "toy", "--scale", "smoke", "--plugin", "mine.py")
    assert done.code == 0, done.text
    new = [r for r in project.records() if r.id not in baselines]
    assert {r.id: r for r in project.records() if r.id in baselines} == baselines
    assert len(new) == 2 * (2 + 3)  # mine on three tasks, two others on its own
    for record in new:
        assert record.spec["plugins"] == ["mine"]
        version, _, digest = record.provenance.packages["plugin mine"].partition(" sha256:")
        assert (version, len(digest)) == ("1.2", 64)
    assert all("plugin" not in json.dumps(r.model_dump()) for r in baselines.values())

    with_it = project.run("report", "--plugin", "mine.py", "--reports", "with")
    assert with_it.code == 0, with_it.text
    page = (project.root / "with/toy/smoke/report.md").read_text()
    assert "Mineᵃ" in page
    assert "ᵃ From plugin mine 1.2." in page
    assert "All of it (from plugin mine 1.2)" in page
    sheet = (project.root / "with/toy/smoke/records/short.html").read_text()
    assert "--results again --plugin mine.py</pre>" in sheet  # the file, not the plugin's name
    compared = project.run(
        "compare", "toy/zz-mine", "toy/walk", "--scale", "smoke", "--plugin", "mine.py"
    )
    assert "zz-own" in compared.out, compared.text

    artifacts = sorted(project.cache.glob("artifacts/toy/*"))
    assert artifacts
    for words in (["report"], ["report", "--check"], ["claims"], ["doctor"], ["gc"], ["status"]):
        done = project.run(*words)
        assert done.code == 0, done.text
    assert "10 records are of plugin mine, which is not loaded" in done.err
    assert "plugin" not in (project.root / "reports/toy/smoke/report.md").read_text()
    assert sorted(project.cache.glob("artifacts/toy/*")) == artifacts
    assert len(project.records()) == len(baselines) + len(new)


def test_an_unfinished_trial_of_a_plugin_that_is_not_loaded_stays(project, write, toys):
    store = Store(project.results, project.cache)
    registry.use([write(adds("toy"))])
    suite = registry.load("toy")
    found, nodes = plan.trials(suite, suite.scale("smoke"))
    mine = next(t for t in found if t.method.name == "zz-mine")
    meta = {"spec": {k: mine.spec[k] for k in ("suite", "scale", "plugins")}, "source_digest": ""}
    store.probe("toy", "smoke")
    store.save_checkpoint(mine.id, 3, b"", meta)
    node = next(iter(nodes.values()))
    work = project.cache / "trials" / node.id[:32] / "out"
    work.mkdir(parents=True)
    folder = store.artifact_folder("toy", node.artifact.name, node.id)
    store.commit_artifact(folder, work, node.spec, {"source_digest": ""})
    store.clear_trial(node.id)
    registry.use(())
    assert plan.leftovers(store) == []


TOGETHER = """
from harness.plugins import Plugin
from harness.suite import Method

def method(name):
    return (Method(name=name, run="x:y"),)

def plugin():
    return [Plugin(suite="toy", methods=method(n), together=__name__ + ":both") for n in "ab"]

def both(parts):
    return Plugin(suite="toy", methods=method("-".join(p.methods[0].name for p in parts)))
"""


def test_parts_of_one_plugin_add_something_together(write, toys):
    registry.use([write(TOGETHER)])
    new = [m.name for m in registry.load("toy").methods][-3:]
    assert new == ["a", "b", "a-b"]
    with pytest.raises(SpecError, match=r"plugin other .* has no attribute 'gone'"):
        registry.use([write(TOGETHER.replace(":both", ":gone"), "other.py")])


def test_the_digest_of_a_large_file_is_remembered_until_it_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(plugins, "_LARGE", 4)
    asked = []

    def digest(path):
        asked.append(path)
        return f"{len(asked):064d}"

    monkeypatch.setattr(plugins, "file_digest", digest)
    path = tmp_path / "weights"
    path.write_text("abc")
    assert plugins.digest_of(path) != plugins.digest_of(path)  # a small one is read each time
    path.write_text("abcd")
    first = plugins.digest_of(path)
    assert plugins.digest_of(path) == first
    path.write_text("abcdef")
    assert plugins.digest_of(path) != first
    (memo,) = (m for m in (tmp_path / "cache" / "digests").iterdir() if first in m.read_text())
    memo.write_text("torn")
    path.write_text("abcd")
    assert plugins.digest_of(path) not in ("torn", "")
