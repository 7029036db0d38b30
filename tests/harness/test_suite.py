"""Suites that hold together, and every way in which they may not."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from harness.suite import (
    Artifact,
    Beats,
    Claim,
    Competitive,
    Dataset,
    Equivalent,
    Exact,
    Figure,
    Level,
    LowerSpread,
    Method,
    Metric,
    Paper,
    Reference,
    Scale,
    Suite,
    Table,
    Task,
    Trend,
    select,
)

NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,63}")
BAD_NAMES = [
    "", ".", "..", "../x", "a/b", "a\\b", "/a", "-a", "_a", ".a", "A", "a b", "a\n", "\na", "a\0b",
    "ä", "名", "a*", "a" * 65, "x" * 300,
]  # fmt: skip
GOOD_NAMES = ["a", "0", "a.b", "a+b", "a-b_c", "a..", "x" * 64]
BAD_PATHS = [
    "", "a", "a:", ":a", "a:b:c", "a.b", "a/b:c", "../a:b", "a:b.c", "a-b:c", "1a:b", "a:1b",
    "a:b()", "a: b", "a:b\n", ".a:b",
]  # fmt: skip
OUTSIDE = ["", ".", "/", "/a", "..", "../a", "a/../../b", "a/..", "a\n", "a\0b"]
CLAIM = {"name": "c", "text": "t", "source": "s", "metric": "accuracy", "tasks": ("*",)}
TABLE = {"name": "t", "title": "t", "metric": "accuracy"}
SCALE = {"name": "gpu", "seeds": (0,), "expected_seconds": 1}
DATASET = {"files": {}, "licence": "", "source": "", "sizes": "", "splits": ""}


def one_line(error: pytest.ExceptionInfo[ValidationError]) -> str:
    """The reason of the first error, without the prefix that pydantic adds."""
    return error.value.errors()[0]["msg"].removeprefix("Value error, ")


def test_the_toy_suite_holds_together(toy_suite):
    suite = toy_suite()
    assert Suite.model_validate_json(suite.model_dump_json()) == suite
    assert suite.method("bee").name == "bee"
    assert suite.task("deep-y").params == {"depth": 8, "set": "y"}
    assert suite.metric("loss").better == "lower"
    assert suite.scale("paper").seeds == tuple(range(10))
    for find in (suite.method, suite.task, suite.metric, suite.scale):
        with pytest.raises(KeyError, match="nobody"):
            find("nobody")


def test_a_task_reports_what_it_must_and_what_it_may():
    task = Task(name="t", metrics=("accuracy",), optional=("mad", "energy"))
    assert task.reports == ("accuracy", "mad", "energy")


# -- names and import paths ------------------------------------------------------------------------

NAMED: list[Callable[[str], Any]] = [
    lambda n: Metric(name=n, label="", unit="", better="higher", split="", select=""),
    lambda n: Dataset(name=n, **DATASET),
    lambda n: Task(name=n, metrics=()),
    lambda n: Task(name="t", metrics=(n,)),
    lambda n: Task(name="t", metrics=(), optional=(n,)),
    lambda n: Task(name="t", metrics=(), datasets=(n,)),
    lambda n: Artifact(name=n, make="a:b"),
    lambda n: Artifact(name="a", make="a:b", needs=(n,)),
    lambda n: Artifact(name="a", make="a:b", datasets=(n,)),
    lambda n: Method(name=n, run="a:b"),
    lambda n: Method(name="m", run="a:b", needs=(n,)),
    lambda n: Beats(**CLAIM | {"name": n}, a="a", b="b", margin=1),
    lambda n: Beats(**CLAIM | {"metric": n}, a="a", b="b", margin=1),
    lambda n: Beats(**CLAIM, a=n, b="b", margin=1),
    lambda n: Table(**TABLE | {"name": n}),
    lambda n: Table(**TABLE | {"metric": n}),
    lambda n: Figure(name=n, title="", draw="a:b"),
]


@pytest.mark.parametrize("build", NAMED)
def test_names_are_safe_in_file_names(build):
    for name in BAD_NAMES:
        with pytest.raises(ValidationError, match="should match pattern"):
            build(name)
    for name in GOOD_NAMES:
        build(name)


def test_a_suite_has_a_safe_name_too(toy_suite):
    for name in BAD_NAMES:
        with pytest.raises(ValidationError, match="should match pattern"):
            toy_suite(name=name)


@given(st.text(max_size=70))
def test_exactly_the_names_of_the_pattern_are_taken(name):
    try:
        Task(name=name, metrics=())
    except ValidationError:
        assert not NAME.fullmatch(name)
    else:
        assert NAME.fullmatch(name)


@pytest.mark.parametrize("path", BAD_PATHS)
def test_import_paths_name_a_module_and_a_function(path, toy_suite):
    for build in (
        lambda: Method(name="m", run=path),
        lambda: Artifact(name="a", make=path),
        lambda: Figure(name="f", title="", draw=path),
        lambda: Dataset(name="d", **DATASET, fetch=path),
        lambda: toy_suite(preload=(path,)),
    ):
        with pytest.raises(ValidationError, match="should match pattern"):
            build()
    assert Method(name="m", run="a.b_c.d1:_e").run == "a.b_c.d1:_e"


# -- single fields ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "build",
    [
        lambda x: Method(name="m", run="a:b", params={"x": x}),
        lambda x: Task(name="t", metrics=(), params={"x": [{"y": x}]}),
        lambda x: Artifact(name="a", make="a:b", params={"x": [x]}),
        lambda x: Scale(**SCALE, trial_seconds=x),
        lambda x: Scale(**SCALE | {"expected_seconds": x}),
        lambda x: Beats(**CLAIM, a="a", b="b", margin=x),
        lambda x: Level(**CLAIM, a="a", bound=x, direction="above", margin=1),
        lambda x: Exact(**CLAIM, a="a", value=x),
        lambda x: Reference(table="", task="", method="", metric="", value=x),
        lambda x: Figure(name="f", title="", draw="a:b", params={"x": x}),
    ],
)
def test_numbers_are_finite_everywhere(build):
    for number in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValidationError, match=r"finite number|greater than"):
            build(number)
    build(1.5)


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, 1j, object(), {1: "a"}, [object()]])
def test_parameters_are_json(value):
    with pytest.raises(ValidationError):
        Method(name="m", run="a:b", params={"x": value})


@pytest.mark.parametrize(
    "build",
    [
        lambda: Scale(**SCALE | {"name": "huge"}),
        lambda: Scale(**SCALE, trial_seconds=0),
        lambda: Scale(**SCALE | {"expected_seconds": 0}),
        lambda: Scale(**SCALE, threads=0),
        lambda: Metric(name="m", label="", unit="", better="more", split="", select=""),
        lambda: Metric(
            name="m", label="", unit="", better="higher", split="", select="", digits=-1
        ),
        lambda: Method(name="m", run="a:b", kind="best"),
        lambda: Artifact(name="a", make="a:b", over=("method",)),
        lambda: Table(**TABLE, rows="metrics"),
        lambda: Trend(**CLAIM, a="a", over="depth", direction="sideways", margin=1),
        lambda: Level(**CLAIM, a="a", bound=1, direction="up", margin=1),
        lambda: LowerSpread(**CLAIM, a="a", b="b", margin=0),
        lambda: Beats(**CLAIM, a="a", b="b", margin=-1),
        lambda: Competitive(**CLAIM, a="a", b="b", margin=0),
        lambda: Equivalent(**CLAIM, a="a", b="b", margin=0),
    ],
)
def test_values_out_of_range_are_refused(build):
    with pytest.raises(ValidationError):
        build()


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Paper, {"title": "", "authors": "", "arxiv": "", "venue": "", "year": 2024}),
        (Metric, {"name": "m", "label": "", "unit": "", "better": "higher", "split": "",
                  "select": ""}),
        (Dataset, {"name": "d", **DATASET}),
        (Task, {"name": "t", "metrics": ()}),
        (Artifact, {"name": "a", "make": "a:b"}),
        (Method, {"name": "m", "run": "a:b"}),
        (Scale, SCALE),
        (Reference, {"table": "", "task": "", "method": "", "metric": "", "value": 1}),
        (Beats, {**CLAIM, "a": "a", "b": "b", "margin": 1}),
        (Exact, {**CLAIM, "a": "a", "value": 1}),
        (Table, TABLE),
        (Figure, {"name": "f", "title": "", "draw": "a:b"}),
    ],
)  # fmt: skip
def test_no_field_is_taken_that_does_not_exist_and_none_changes(kind, fields):
    made = kind(**fields)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind(**fields, surprise=1)
    for name in kind.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(made, name, getattr(made, name))


def test_a_suite_does_not_change_and_takes_no_unknown_field(toy_suite):
    suite = toy_suite()
    with pytest.raises(ValidationError, match="frozen"):
        suite.name = "other"
    with pytest.raises(ValidationError, match="frozen"):
        suite.methods[0].version = 2
    with pytest.raises(ValidationError, match="Extra inputs"):
        toy_suite(surprise=1)
    with pytest.raises(ValidationError, match="float32"):
        toy_suite(dtype="float16")


def test_claims_are_told_apart_by_their_kind():
    adapter = TypeAdapter(Claim)
    for claim in (
        Beats(**CLAIM, a="a", b="b", margin=1),
        Competitive(**CLAIM, a="a", b="b", margin=1),
        Equivalent(**CLAIM, a="a", b="b", margin=1),
        Trend(**CLAIM, a="a", over="depth", direction="up", margin=1),
        Level(**CLAIM, a="a", bound=1, direction="above", margin=1),
        LowerSpread(**CLAIM, a="a", b="b"),
        Exact(**CLAIM, a="a", value=1),
    ):
        assert adapter.validate_json(claim.model_dump_json()) == claim
    with pytest.raises(ValidationError, match="kind"):
        adapter.validate_python({**CLAIM, "kind": "wins", "a": "a", "b": "b"})


# -- the suite as a whole --------------------------------------------------------------------------


def artifact(name, *needs, **more):
    return Artifact(name=name, make="toy:make", needs=needs, **more)


def method(name="ant", *needs):
    return Method(name=name, run="toy:run", needs=needs)


def claim(kind=Beats, **more):
    return kind(**(CLAIM | {"a": "ant"} | more))


BEATS = {"b": "bee", "margin": 1}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("task metric", {"tasks": (Task(name="t", metrics=("speed",)),)},
     "task t: unknown metric 'speed': there are accuracy, loss"),
    ("task optional", {"tasks": (Task(name="t", metrics=(), optional=("speed",)),)},
     "task t: unknown metric 'speed': there are accuracy, loss"),
    ("task dataset", {"tasks": (Task(name="t", metrics=(), datasets=("sums",)),)},
     "task t: unknown dataset 'sums': there are none"),
    ("method artifact", {"methods": (method("ant", "gold"),)},
     "method ant: unknown artifact 'gold': there are none"),
    ("artifact artifact", {"artifacts": (artifact("ore"), artifact("gold", "mine"))},
     "artifact gold: unknown artifact 'mine': there are gold, ore"),
    ("artifact dataset", {"artifacts": (artifact("ore", datasets=("sums",)),)},
     "artifact ore: unknown dataset 'sums': there are none"),
    ("claim metric", {"claims": (claim(**BEATS, metric="speed"),)},
     "claim c: unknown metric 'speed': there are accuracy, loss"),
    ("claim a", {"claims": (claim(**BEATS, a="fly"),)},
     "claim c: unknown method 'fly': there are ant, bee, cat"),
    ("claim b", {"claims": (claim(b="fly", margin=1),)},
     "claim c: unknown method 'fly': there are ant, bee, cat"),
    ("one-sided claim", {"claims": (claim(Exact, a="fly", value=1),)},
     "claim c: unknown method 'fly': there are ant, bee, cat"),
    ("trend", {"claims": (claim(Trend, b="fly", over="depth", direction="up", margin=1),)},
     "claim c: unknown method 'fly': there are ant, bee, cat"),
    ("claim task", {"claims": (claim(**BEATS, tasks=("deep-*", "wide-*")),)},
     "claim c: no task matches 'wide-*'; there are: shallow-x, deep-x, shallow-y, deep-y"),
    ("table metric", {"tables": (Table(**TABLE | {"metric": "speed"}),)},
     "table t: unknown metric 'speed': there are accuracy, loss"),
    ("table method", {"tables": (Table(**TABLE, methods=("ant", "fl?")),)},
     "table t: no method matches 'fl?'; there are: ant, bee, cat"),
    ("table task", {"tables": (Table(**TABLE, tasks=("wide",)),)},
     "table t: no task matches 'wide'; there are: shallow-x, deep-x, shallow-y, deep-y"),
    ("headline", {"tables": (Table(**TABLE),), "headline": "best"},
     "headline: unknown table 'best': there are t"),
    ("scale method", {"scales": (Scale(**SCALE, methods=("fly",)),)},
     "scale gpu: no method matches 'fly'; there are: ant, bee, cat"),
    ("scale task", {"scales": (Scale(**SCALE, tasks=("*", "[z]*")),)},
     "scale gpu: no task matches '[z]*'; there are: shallow-x, deep-x, shallow-y, deep-y"),
    ("scale exclude", {"scales": (Scale(**SCALE, exclude=("ant/*", "fly/*")),)},
     "scale gpu: no method/task matches 'fly/*' in exclude"),
    ("upper case glob", {"scales": (Scale(**SCALE, methods=("ANT",)),)},
     "scale gpu: no method matches 'ANT'; there are: ant, bee, cat"),
    ("no seeds", {"scales": (Scale(**SCALE | {"seeds": ()}),)},
     "scale gpu: seeds must be distinct, >= 0, at least one"),
    ("negative seed", {"scales": (Scale(**SCALE | {"seeds": (0, -1)}),)},
     "scale gpu: seeds must be distinct, >= 0, at least one"),
    ("seed twice", {"scales": (Scale(**SCALE | {"seeds": (1, 2, 1)}),)},
     "scale gpu: seeds must be distinct, >= 0, at least one"),
    ("needs itself", {"artifacts": (artifact("ore", "ore"),)},
     "artifacts need each other in a circle: ore -> ore"),
    ("circle", {"artifacts": (artifact("a", "b"), artifact("b", "c"), artifact("c", "b"))},
     "artifacts need each other in a circle: a -> b -> c -> b"),
    ("circle further on", {"artifacts": (artifact("a"), artifact("b", "c"), artifact("c", "b"))},
     "artifacts need each other in a circle: b -> c -> b"),
    ("long circle", {"artifacts": tuple(artifact(f"a{n}", f"a{(n + 1) % 5000}")
                                        for n in range(5000))},
     "artifacts need each other in a circle: ... -> a4989 -> a4990 -> a4991 -> a4992 -> a4993 -> "
     "a4994 -> a4995 -> a4996 -> a4997 -> a4998 -> a4999 -> a0"),
    ("no methods", {"methods": ()}, "scale smoke: no method matches '*'; there are: "),
    ("methods", {"methods": (method(), method("bee"), method(), method("bee"))},
     "methods: ant, bee named twice; names must be unique"),
    ("tasks", {"tasks": (Task(name="t", metrics=()),) * 2},
     "tasks: t named twice; names must be unique"),
    ("scales", {"scales": (Scale(**SCALE),) * 2}, "scales: gpu named twice; names must be unique"),
    ("artifacts", {"artifacts": (artifact("ore"),) * 2},
     "artifacts: ore named twice; names must be unique"),
    ("datasets", {"datasets": (Dataset(name="d", **DATASET),) * 2},
     "datasets: d named twice; names must be unique"),
    ("claims", {"claims": (claim(**BEATS), claim(Exact, value=1))},
     "claims: c named twice; names must be unique"),
    ("tables", {"tables": (Table(**TABLE),) * 2}, "tables: t named twice; names must be unique"),
    ("figures", {"figures": (Figure(name="f", title="", draw="a:b"),) * 2},
     "figures: f named twice; names must be unique"),
    ("metrics", {"metrics": (Metric(name="loss", label="", unit="", better="lower", split="",
                                    select=""),) * 2},
     "metrics: loss named twice; names must be unique"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_suites_that_do_not_hold_together(toy_suite, change, message):
    with pytest.raises(ValidationError) as error:
        toy_suite(**change)
    assert one_line(error) == message


def test_what_is_known_is_taken(toy_suite):
    diamond = (
        artifact("top", "left", "right", over=("seed",)),
        artifact("left", "root"),
        artifact("right", "root"),
        artifact("root", datasets=("sums",)),
    )
    suite = toy_suite(
        methods=(method("ant", "top", "root"), method("bee")),
        artifacts=diamond,
        datasets=(Dataset(name="sums", **DATASET),),
        tasks=(Task(name="t", metrics=("loss",), optional=("accuracy",), datasets=("sums",)),),
        claims=(claim(**BEATS), claim(Level, name="d", bound=1, direction="above", margin=1)),
        tables=(Table(**TABLE, methods=("a*", "bee")),),
        headline="t",
        scales=(Scale(**SCALE, methods=("ant", "b?e"), exclude=("ant/t",)),),
    )
    assert [a.name for a in suite.artifacts] == ["top", "left", "right", "root"]


def test_selecting_keeps_the_order_of_things_and_takes_each_once(toy_suite):
    tasks = toy_suite().tasks
    names = [t.name for t in select(tasks, ("deep-y", "*-x", "deep-*"))]
    assert names == ["shallow-x", "deep-x", "deep-y"]
    assert select(tasks, ("DEEP-X",)) == ()
    assert select(tasks, ()) == ()
    assert select(tasks, iter(["*"])) == tasks
    assert [t.name for t in select(tasks, ("[ds]*-y", "deep"))] == ["shallow-y", "deep-y"]


@pytest.mark.parametrize("path", OUTSIDE)
def test_files_of_a_dataset_lie_inside_the_data_folder(path):
    with pytest.raises(ValidationError, match="is not a path inside the data folder"):
        Dataset(**{"name": "d", **DATASET, "files": {path: None}})


@pytest.mark.parametrize("digest", ["", "0", "0" * 63, "G" * 64, "0" * 65])
def test_digests_are_those_of_sha256(digest):
    with pytest.raises(ValidationError, match="String should match pattern"):
        Dataset(**{"name": "d", **DATASET, "files": {"a/b.csv": digest}})


# -- fuzz ------------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c", "ant", "t1", "t2", "m1", "m2"]) | st.sampled_from(
    [*BAD_NAMES, "*", "t*", "?", "[", "[z]", "a/b", "*/*"]
)
known = st.sampled_from(["ant", "bee", "accuracy", "loss", "deep-x", "shallow-y"]) | names
several = st.lists(known, max_size=3)
json_values = st.none() | st.floats() | st.integers() | st.text(max_size=3) | st.lists(st.floats())
params = st.dictionaries(st.text(max_size=3), json_values, max_size=2)
paths = st.just("a:b") | st.sampled_from(BAD_PATHS)
numbers = st.sampled_from([1, 0.5]) | st.floats() | st.integers()


def some(**fields):
    return st.lists(st.fixed_dictionaries(fields), max_size=2)


suites = st.fixed_dictionaries(
    {
        "name": st.just("toy") | names,
        "methods": some(name=known, run=paths, needs=several, params=params),
        "tasks": some(name=known, metrics=several, datasets=several, params=params),
        "metrics": some(
            name=known, label=st.text(max_size=3), unit=st.just("%"), better=st.just("higher"),
            split=st.just(""), select=st.just(""),
        ),
        "scales": some(
            name=st.sampled_from(["smoke", "laptop", "other"]),
            seeds=st.lists(st.integers(-1, 3), max_size=3), methods=several, tasks=several,
            exclude=several, expected_seconds=numbers,
        ),
        "artifacts": some(name=known, make=paths, needs=several, datasets=several),
        "datasets": some(
            name=known, licence=st.just(""), source=st.just(""), sizes=st.just(""),
            splits=st.just(""),
            files=st.dictionaries(
                st.text(max_size=3), st.none() | st.text(max_size=3) | st.just("0" * 64), max_size=1
            ),
        ),
        "claims": some(
            kind=st.sampled_from(["beats", "exact", "trend", "level", "wins"]), name=known,
            text=st.just(""), source=st.just(""), metric=known, tasks=several, a=known, b=known,
            margin=numbers,
        ),
        "tables": some(name=known, title=st.just(""), metric=known, methods=several, tasks=several),
    }
)  # fmt: skip


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(fields=suites, data=st.data())
def test_random_suites_are_whole_or_refused(toy_suite, fields, data):
    replaced = data.draw(st.sets(st.sampled_from(sorted(fields)), max_size=3))
    try:
        suite = toy_suite(**{name: fields[name] for name in replaced})
    except ValidationError:
        return
    for things in (suite.methods, suite.tasks, suite.metrics, suite.artifacts, suite.datasets):
        found = [thing.name for thing in things]
        assert len(set(found)) == len(found)
        assert all(NAME.fullmatch(name) for name in found)
    for path in (path for dataset in suite.datasets for path in dataset.files):
        assert Path("/data", path).resolve() > Path("/data")
    metrics = {m.name for m in suite.metrics}
    assert all(set(t.reports) <= metrics for t in suite.tasks)
    assert all(scale.seeds and min(scale.seeds) >= 0 for scale in suite.scales)
    assert Suite.model_validate_json(suite.model_dump_json()) == suite
