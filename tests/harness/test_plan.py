"""Which trials run, in what order and why; and what an identity does and does not depend on."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import executors, plan, registry
from harness.data import Sources
from harness.errors import UsageError
from harness.identity import digest
from harness.plan import Filters, pairs, reachable, trials
from harness.settings import Settings
from harness.store import Store
from harness.suite import Artifact, Dataset, Method, Paper, Scale, Task

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ids.json").read_text())
NEVER = (
    "an identity changed: every record ever written names the old one. Raise SPEC_VERSION "
    "and add a new golden table, or undo the change"
)
SUMS = Dataset(
    name="sums", files={"sums.csv": "1" * 64}, licence="", source="", sizes="", splits=""
)
WORDS = Dataset(name="words", files={"words.txt": None}, licence="", source="", sizes="", splits="")
ANT = Method(name="ant", run="toy:run", params={"width": 4, "rate": 0.5}, needs=("gold", "clay"))
BEE = Method(name="bee", run="toy:run")
ADD = Task(name="add", params={"digits": 2}, metrics=("accuracy", "loss"), datasets=("sums",))
SORT = Task(name="sort", metrics=("loss", "accuracy"))
GOLD = Artifact(name="gold", make="toy:gold", params={"carat": 18}, needs=("ore",), over=("seed",))
ORE = Artifact(name="ore", make="toy:ore", datasets=("words",))
CLAY = Artifact(name="clay", make="toy:clay", over=("seed", "task"))
TOY = registry.Origin("toy", "toy", "suite")


class Sizes(Settings):
    """Of the scale."""

    steps: int = 10
    """Steps."""


LAPTOP = Scale(name="laptop", seeds=(0, 1), settings=Sizes(), expected_seconds=1)


@pytest.fixture(scope="session")
def make_suite(toy_suite):
    """`make_suite(ant=..., gold=..., ...)`: methods ant, bee; tasks add, sort; three artifacts."""

    def build(
        ant=ANT, bee=BEE, add=ADD, sort=SORT, gold=GOLD, ore=ORE, clay=CLAY, sums=SUMS,
        words=WORDS, laptop=LAPTOP, **changes,
    ):  # fmt: skip
        fields = {
            "methods": (ant, bee), "tasks": (add, sort), "artifacts": (gold, ore, clay),
            "datasets": (sums, words), "scales": (laptop,),
        }  # fmt: skip
        return toy_suite(**(fields | changes))

    return build


def changed(thing, **update):
    return thing.model_copy(update=update)


def the_trial(suite, device="cpu", method="ant", task="add", seed=1):
    found, _ = trials(suite, suite.scale("laptop"), device, Filters((method,), (task,), (seed,)))
    (trial,) = found
    return trial


def titles(found):
    return [trial.title for trial in found]


def make(suite, scale, records, *there, **options):
    return plan.make(suite, scale, [record.heading for record in records], *there, **options)


# -- which, and in what order ----------------------------------------------------------------------


def test_seed_0_of_every_method_comes_before_seed_1_of_any(make_suite):
    suite = make_suite()
    found, _ = trials(suite, suite.scale("laptop"))
    assert titles(found) == [
        f"{method} on {task}, seed {seed}"
        for seed in (0, 1)
        for task in ("add", "sort")
        for method in ("ant", "bee")
    ]
    assert len({trial.id for trial in found}) == 8
    assert all(digest(trial.spec) == trial.id for trial in found)


def test_a_scale_leaves_out_pairs_methods_and_tasks(make_suite):
    scale = changed(LAPTOP, exclude=("ant/s*",))
    assert [(m.name, t.name) for m, t in pairs(make_suite(), scale)] == [
        ("ant", "add"), ("bee", "add"), ("bee", "sort"),
    ]  # fmt: skip
    scale = changed(LAPTOP, methods=("b*",), tasks=("sort", "add"))
    assert [(m.name, t.name) for m, t in pairs(make_suite(), scale)] == [
        ("bee", "add"), ("bee", "sort"),
    ]  # fmt: skip
    assert pairs(make_suite(), changed(LAPTOP, exclude=("*/*",))) == ()


def test_filters_narrow_a_plan(make_suite):
    suite = make_suite()
    scale = suite.scale("laptop")
    found, nodes = trials(suite, scale, filters=Filters(("b*",), ("sort", "a?d"), (1,)))
    assert titles(found) == ["bee on add, seed 1", "bee on sort, seed 1"]
    assert nodes == {}
    assert titles(trials(suite, scale, filters=Filters(seeds=(1, 0)))[0])[0].endswith("seed 1")


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (
            Filters(methods=("ant", "fly")),
            "unknown method 'fly': there are ant, bee; see `harness show toy`",
        ),
        (
            Filters(methods=("beee",)),
            "unknown method 'beee': did you mean 'bee'? there are ant, bee; see `harness show toy`",
        ),
        (
            Filters(tasks=("s*t", "z*")),
            "unknown task 'z*': there are add, sort; see `harness show toy`",
        ),
    ],
)
def test_a_filter_that_matches_nothing_is_one_line(make_suite, filters, message):
    suite = make_suite()
    with pytest.raises(UsageError) as error:
        trials(suite, suite.scale("laptop"), filters=filters)
    assert str(error.value) == message


def test_a_method_that_the_scale_leaves_out_is_said_to_be(make_suite):
    suite = make_suite(laptop=changed(LAPTOP, methods=("bee",)))
    with pytest.raises(UsageError, match="scale laptop of suite toy does not run method 'ant'"):
        pairs(suite, suite.scale("laptop"), Filters(methods=("ant",)))


def test_seeds_that_a_scale_lacks_are_planned_like_its_own(make_suite):
    suite = make_suite()
    scale = suite.scale("laptop")
    found, nodes = trials(suite, scale, filters=Filters(("ant",), ("add",), (9, 1)))
    assert titles(found) == ["ant on add, seed 9", "ant on add, seed 1"]
    own = the_trial(suite)
    assert (found[1].id, found[1].spec) == (own.id, own.spec)
    wider = make_suite(laptop=changed(LAPTOP, seeds=tuple(range(10))))
    every, all_nodes = trials(wider, wider.scale("laptop"))
    assert found[0].id in {trial.id for trial in every}
    assert set(nodes) <= set(all_nodes)


def test_a_seed_beyond_the_first_of_what_no_seed_touches_is_one_line(make_suite):
    suite = make_suite(bee=changed(BEE, seeds="none"), laptop=changed(LAPTOP, seeds=(3, 4)))
    scale = suite.scale("laptop")
    wanted = "no seed touches bee: each runs once, with seed 3; name that one, or leave out --seeds"
    with pytest.raises(UsageError) as error:
        trials(suite, scale, filters=Filters(("bee",), seeds=(7,)))
    assert str(error.value) == wanted
    assert titles(trials(suite, scale, filters=Filters(("bee",), ("add",), (3, 7)))[0]) == [
        "bee on add, seed 3"
    ]
    both = trials(suite, scale, filters=Filters(tasks=("add",), seeds=(7,)))[0]
    assert titles(both) == ["ant on add, seed 7"]


# -- artifacts -------------------------------------------------------------------------------------


def test_artifacts_are_made_once_for_each_seed_and_task_that_they_are_over(make_suite):
    suite = make_suite()
    found, nodes = trials(suite, suite.scale("laptop"))
    made = [(n.artifact.name, n.seed, n.task.name if n.task else None) for n in nodes.values()]
    assert sorted(made, key=str) == sorted(
        [
            ("ore", None, None),
            ("gold", 0, None),
            ("gold", 1, None),
            *(("clay", seed, task) for seed in (0, 1) for task in ("add", "sort")),
        ],
        key=str,
    )
    assert all(digest(node.spec) == node.id == key for key, node in nodes.items())
    ant, bee = found[0], found[1]
    assert [nodes[ant.needs[name]].artifact.name for name in ("gold", "clay")] == ["gold", "clay"]
    assert nodes[ant.needs["gold"]].seed == 0
    assert nodes[ant.needs["clay"]].task == ADD
    assert bee.needs == {}


def test_each_artifact_comes_after_what_it_needs(make_suite):
    suite = make_suite()
    _, nodes = trials(suite, suite.scale("laptop"))
    place = {key: index for index, key in enumerate(nodes)}
    for key, node in nodes.items():
        assert all(place[need] < place[key] for need in node.needs.values())
    gold = [node for node in nodes.values() if node.artifact.name == "gold"]
    (ore,) = [node for node in nodes.values() if node.artifact.name == "ore"]
    assert [node.needs for node in gold] == [{"ore": ore.id}] * 2


def test_needs_of_needs_are_reached(make_suite):
    suite = make_suite()
    found, nodes = trials(suite, suite.scale("laptop"))
    assert {nodes[key].artifact.name for key in reachable([found[0].needs], nodes)} == {
        "gold", "ore", "clay",
    }  # fmt: skip
    assert reachable([found[1].needs], nodes) == set()
    assert reachable([], nodes) == set()


def chain(length, **first):
    """Artifacts that each need the one before."""
    return tuple(
        Artifact(name=f"a{n}", make="toy:make", needs=(f"a{n - 1}",))
        if n
        else Artifact(name="a0", make="toy:make", **first)
        for n in range(length)
    )


def diamonds(depth):
    """Pairs of artifacts, each of which needs both of the pair before: 2**depth ways down."""
    return tuple(
        Artifact(
            name=f"{side}{n}",
            make="toy:make",
            needs=(f"l{n - 1}", f"r{n - 1}") if n else (),
            over=("seed",) if (side, n) == ("l", 0) else (),
        )
        for n in range(depth)
        for side in "lr"
    )


@pytest.mark.parametrize(("artifacts", "number"), [(diamonds(40), 157), (chain(5000), 5000)])
def test_plans_are_linear_in_artifacts(make_suite, there, artifacts, number):
    store, sources = there
    start = time.process_time()
    method = changed(ANT, needs=(artifacts[-1].name,))
    suite = make_suite(ant=method, artifacts=artifacts)
    made = make(suite, suite.scale("laptop"), [], store, sources)
    assert len(made.nodes) == len(plan.unmade(made, store)) == number
    order = list(made.nodes)
    place = {identity: index for index, identity in enumerate(order)}
    for node in made.nodes.values():
        assert all(place[need] < place[node.id] for need in node.needs.values())
    assert reachable([made.todo[0].needs], made.nodes) <= set(order)
    assert time.process_time() - start < 2


def test_what_artifacts_are_over_reaches_all_that_need_them(make_suite):
    artifacts = (
        Artifact(name="end", make="toy:m", needs=("mid", "flat")),
        Artifact(name="mid", make="toy:m", needs=("set",), over=("seed",)),
        Artifact(name="set", make="toy:m", datasets=("sums", "words"), over=("data",)),
        Artifact(name="flat", make="toy:m"),
    )
    suite = make_suite(ant=changed(ANT, needs=("end",)), artifacts=artifacts)
    found, nodes = trials(suite, suite.scale("laptop"))
    made = [(n.artifact.name, n.seed, tuple(n.spec["data"])) for n in nodes.values()]
    assert sorted(made, key=str) == [
        *[("end", None, ())] * 4,
        ("flat", None, ()),
        ("mid", 0, ()), ("mid", 0, ()), ("mid", 1, ()), ("mid", 1, ()),
        ("set", None, ("sums",)), ("set", None, ()),
    ]  # fmt: skip
    ends = {trial.id: trial.needs["end"] for trial in found if trial.needs}
    assert len(set(ends.values())) == len(ends) == 4


def test_the_first_trial_that_needs_an_artifact_makes_it(make_suite):
    suite = make_suite(bee=changed(BEE, needs=("ore",)))
    found, nodes = trials(suite, suite.scale("laptop"))
    first = plan.users(found, nodes)
    assert set(first) == set(nodes)
    for identity, trial in first.items():
        assert trial == next(t for t in found if identity in reachable([t.needs], nodes))
    assert plan.users([], nodes) == {}


def test_work_of_many_trials_over_shared_artifacts_is_linear(make_suite, there, monkeypatch):
    monkeypatch.setattr(registry, "trees", lambda suite, plugins: ())  # it has no source
    store, sources = there
    artifacts = chain(1000)
    suite = make_suite(
        ant=changed(ANT, needs=("a999",)),
        artifacts=artifacts,
        laptop=changed(LAPTOP, seeds=tuple(range(1000))),
    )
    made = make(suite, suite.scale("laptop"), [], store, sources)
    start = time.process_time()
    jobs = executors.work(made, store, sources)
    assert time.process_time() - start < 1
    assert len(jobs) == 1000 + 4000
    assert {item.job.seed for item in jobs[:1000]} == {0}


def test_what_needs_something_made_over_tasks_differs_by_task_itself(make_suite):
    suite = make_suite(ore=changed(ORE, over=("task",)), gold=changed(GOLD, over=()))
    _, nodes = trials(suite, suite.scale("laptop"))
    gold = [node for node in nodes.values() if node.artifact.name == "gold"]
    assert len(gold) == 2
    assert all(node.task is None and node.seed is None for node in gold)


def test_an_artifact_over_tasks_knows_the_tasks_data(make_suite):
    suite = make_suite()
    _, nodes = trials(suite, suite.scale("laptop"))
    data = {
        node.task.name: node.spec["data"]
        for node in nodes.values()
        if node.artifact.name == "clay" and node.seed == 0
    }
    assert data == {"add": {"sums": {"sums.csv": "1" * 64}}, "sort": {}}


def test_an_artifact_over_data_is_made_of_what_the_task_reads(make_suite):
    suite = make_suite(ore=changed(ORE, datasets=("words", "sums"), over=("data",)))
    found, nodes = trials(suite, suite.scale("laptop"))
    ores = {n.id: n.spec["data"] for n in nodes.values() if n.artifact.name == "ore"}
    assert sorted(ores.values(), key=len) == [{}, {"sums": {"sums.csv": "1" * 64}}]

    def ore_of(trial):
        return next(iter(set(reachable([trial.needs], nodes)) & set(ores)))

    for trial in found:
        if trial.method.name == "ant":
            assert set(ores[ore_of(trial)]) == set(trial.task.datasets)


def test_data_that_no_task_reads_do_not_hold_an_artifact_up(make_suite, tmp_path):
    suite = make_suite(ore=changed(ORE, over=("data",)), sort=changed(SORT, datasets=()))
    store = Store(tmp_path / "results", tmp_path / "cache")
    made = make(suite, suite.scale("laptop"), [], store, Sources(None, tmp_path))
    states = {step.trial.task.name: step.state for step in made.steps}
    assert states == {"add": "no data", "sort": "missing"}


# -- identities ------------------------------------------------------------------------------------

DECIDES = {
    "method params": {"ant": changed(ANT, params={"width": 5, "rate": 0.5})},
    "method params more": {"ant": changed(ANT, params={**ANT.params, "extra": None})},
    "method version": {"ant": changed(ANT, version=2)},
    "method needs": {"ant": changed(ANT, needs=("gold",))},
    "task params": {"add": changed(ADD, params={"digits": 3})},
    "task version": {"add": changed(ADD, version=2)},
    "task protocol": {"add": changed(ADD, protocol="paper-code")},
    "task metrics": {"add": changed(ADD, metrics=("accuracy",))},
    "task optional": {"add": changed(ADD, metrics=("accuracy",), optional=("loss",))},
    "task datasets": {"add": changed(ADD, datasets=("sums", "words"))},
    "data digest": {"sums": changed(SUMS, files={"sums.csv": "2" * 64})},
    "data files": {"sums": changed(SUMS, files={"other.csv": "1" * 64})},
    "data of an artifact": {"words": changed(WORDS, files={"words.txt": "1" * 64})},
    "artifact params": {"gold": changed(GOLD, params={"carat": 24})},
    "artifact version": {"gold": changed(GOLD, version=2)},
    "artifact over": {"clay": changed(CLAY, over=("seed",))},
    "need of a need": {"ore": changed(ORE, version=2)},
    "scale settings": {"laptop": changed(LAPTOP, settings=Sizes(steps=11))},
    "scale name": {},
    "dtype": {"dtype": "float64"},
    "suite": {"name": "other"},
    "device": {},
    "spec version": {},
    "seed": {},
}
INDIFFERENT = {
    "method words": {
        "ant": changed(ANT, label="Ant", note="n", deviations=("d",), kind="proposed")
    },
    "run path": {"ant": changed(ANT, run="elsewhere:train")},
    "make path": {"gold": changed(GOLD, make="elsewhere:make")},
    "task words": {"add": changed(ADD, label="Add", note="n", fallback=True)},
    "data words": {
        "sums": changed(SUMS, licence="CC0", source="s", sizes="2", splits="2", note="n",
                        fetch="a:b")
    },
    "scale threads": {"laptop": changed(LAPTOP, threads=4)},
    "scale seconds": {"laptop": changed(LAPTOP, expected_seconds=99, trial_seconds=9)},
    "scale deviations": {"laptop": changed(LAPTOP, deviations=("small",))},
    "more seeds": {"laptop": changed(LAPTOP, seeds=(5, 1, 9))},
    "fewer trials": {"laptop": changed(LAPTOP, methods=("ant",), tasks=("a*",))},
    "excluded trials": {"laptop": changed(LAPTOP, exclude=("bee/*",))},
    "another method": {"methods": (ANT, BEE, Method(name="cat", run="toy:run"))},
    "another method changed": {"bee": changed(BEE, version=9)},
    "another task changed": {"sort": changed(SORT, version=9)},
    "an artifact that nobody needs": {
        "artifacts": (GOLD, ORE, CLAY, Artifact(name="lead", make="toy:lead"))
    },
    "order of methods": {"methods": (BEE, ANT)},
    "order of tasks": {"tasks": (SORT, ADD)},
    "order of artifacts": {"artifacts": (CLAY, ORE, GOLD)},
    "order of datasets": {"datasets": (WORDS, SUMS)},
    "order of needs": {"ant": changed(ANT, needs=("clay", "gold"))},
    "order of params": {"ant": changed(ANT, params={"rate": 0.5, "width": 4})},
    "integral float": {"ant": changed(ANT, params={"width": 4.0, "rate": 0.5})},
    "order of metrics": {"add": changed(ADD, metrics=("loss", "accuracy"))},
    "claims and words": {"claims": (), "summary": "Other.", "deviations": ("d",), "headline": ""},
    "paper": {"paper": Paper(title="X", authors="Y", arxiv="1", venue="Z", year=1999)},
    "card number": {},
}  # fmt: skip


@pytest.mark.parametrize("name", DECIDES)
def test_what_decides_the_numbers_changes_the_identity(make_suite, monkeypatch, name):
    before = the_trial(make_suite())
    if name == "seed":
        after = the_trial(make_suite(), seed=0)
    elif name == "device":
        after = the_trial(make_suite(), device="cuda")
    elif name == "spec version":
        monkeypatch.setattr("harness.identity.SPEC_VERSION", 2)
        after = the_trial(make_suite())
    elif name == "scale name":
        suite = make_suite(laptop=changed(LAPTOP, name="gpu"))
        after = trials(suite, suite.scale("gpu"), filters=Filters(("ant",), ("add",), (1,)))[0][0]
    else:
        after = the_trial(make_suite(**DECIDES[name]))
    assert after.id != before.id


@pytest.mark.parametrize("name", INDIFFERENT)
def test_what_does_not_decide_them_leaves_it_alone(make_suite, name):
    if name == "card number":
        before, after = (the_trial(make_suite(), device=f"cuda:{n}") for n in (0, 1))
        assert before.id == the_trial(make_suite(), device="cuda").id
    else:
        before, after = the_trial(make_suite()), the_trial(make_suite(**INDIFFERENT[name]))
    assert after.id == before.id
    assert after.needs == before.needs


def test_a_trial_without_artifacts_does_not_depend_on_their_recipes(make_suite):
    before = the_trial(make_suite(), method="bee", task="sort")
    after = make_suite(gold=changed(GOLD, version=2), sums=changed(SUMS, files={"x": "3" * 64}))
    assert the_trial(after, method="bee", task="sort").id == before.id


def test_an_identity_is_readable_in_full(make_suite):
    trial = the_trial(make_suite())
    assert trial.spec == {
        "spec_version": 1,
        "suite": "toy",
        "seed": 1,
        "scale": {"name": "laptop", "params": {"steps": 10}},
        "dtype": "float32",
        "device": "cpu",
        "data": {"sums": {"sums.csv": "1" * 64}},
        "artifacts": trial.needs,
        "method": {"name": "ant", "version": 1, "params": {"width": 4, "rate": 0.5}},
        "task": {
            "name": "add", "version": 1, "params": {"digits": 2}, "protocol": "standard",
            "metrics": ["accuracy", "loss"], "optional": [],
        },
    }  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(
    methods=st.sets(st.sampled_from(["ant", "bee"])),
    tasks=st.sets(st.sampled_from(["add", "sort"])),
    seeds=st.sets(st.sampled_from([0, 1])),
)
def test_an_identity_does_not_depend_on_what_else_is_planned(make_suite, methods, tasks, seeds):
    suite = make_suite()
    whole = {trial.title: trial.id for trial in trials(suite, suite.scale("laptop"))[0]}
    filters = Filters(tuple(methods), tuple(tasks), tuple(seeds))
    for trial in trials(suite, suite.scale("laptop"), filters=filters)[0]:
        assert whole[trial.title] == trial.id


def test_golden_identities_of_toy_trials_and_artifacts_never_change(make_suite):
    suite = make_suite()
    found, nodes = trials(suite, suite.scale("laptop"))
    ids = {trial.title: trial.id for trial in found}
    for node in nodes.values():
        task = node.task.name if node.task else "-"
        ids[f"artifact {node.artifact.name}, task {task}, seed {node.seed}"] = node.id
    assert ids == GOLDEN["toy"], NEVER


@pytest.mark.parametrize("row", GOLDEN["trials"], ids=lambda row: f"{row['suite']}-{row['method']}")
def test_golden_identities_of_real_trials_never_change(row):
    suite = registry.load(row["suite"])
    filters = Filters((row["method"],), (row["task"],), (row["seed"],))
    (trial,), _ = trials(suite, suite.scale(row["scale"]), "cpu", filters)
    assert trial.id == row["id"], NEVER


# -- states ----------------------------------------------------------------------------------------


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A store and all data; source digests as in the records that `make_record` makes."""
    monkeypatch.setattr(registry, "source_digest", lambda _: "0" * 64)
    for name in ("sums.csv", "words.txt"):
        (tmp_path / "local").mkdir(exist_ok=True)
        (tmp_path / "local" / name).write_text("x")
    store = Store(tmp_path / "results", tmp_path / "cache")
    return store, Sources(tmp_path / "local", tmp_path / "cache" / "data")


@pytest.fixture
def recorded(make_record):
    """`recorded(trial, status="ok", source="0" * 64)`: a record of a trial."""

    def build(trial, status="ok", source="0" * 64):
        made = make_record(
            trial.suite, trial.method.name, trial.task.name, trial.seed, {"loss": 1}, status
        )
        provenance = changed(made.provenance, source_digest=source)
        update = {"id": trial.id, "spec": trial.spec, "provenance": provenance}
        return changed(made, **update).sealed()

    return build


def test_without_records_all_run_and_all_artifacts_are_made(make_suite, there):
    suite = make_suite()
    made = make(suite, suite.scale("laptop"), [], *there)
    assert {(s.state, s.action, s.reason) for s in made.steps} == {
        ("missing", "run", "no record yet")
    }
    assert titles(made.todo) == titles(trials(suite, suite.scale("laptop"))[0])
    assert made.nodes == trials(suite, suite.scale("laptop"))[1]
    assert list(made.nodes) == list(trials(suite, suite.scale("laptop"))[1])
    assert (made.suite, made.scale, made.device) == (suite, suite.scale("laptop"), "cpu")


@pytest.fixture
def mixed(make_suite, recorded, there):
    """A suite whose ant is done, failed and stale, and whose bee was interrupted once."""
    suite = make_suite()
    found = {trial.title: trial for trial in trials(suite, suite.scale("laptop"))[0]}
    records = [
        recorded(found["ant on add, seed 0"]),
        recorded(found["ant on sort, seed 0"], status="diverged"),
        recorded(found["ant on add, seed 1"], source="9" * 64),
        recorded(found["ant on sort, seed 1"], status="oom", source="9" * 64),
    ]
    there[0].save_checkpoint(found["bee on add, seed 0"].id, 5, b"", {})
    return suite, records


STATES = {
    "ant on add, seed 0": ("done", "recorded"),
    "ant on sort, seed 0": ("failed", "diverged: it broke"),
    "ant on add, seed 1": ("stale", "recorded, but the code has changed since"),
    "ant on sort, seed 1": ("failed", "oom: it broke"),
    "bee on add, seed 0": ("interrupted", "interrupted; resumes from its checkpoint"),
    "bee on sort, seed 0": ("missing", "no record yet"),
    "bee on add, seed 1": ("missing", "no record yet"),
    "bee on sort, seed 1": ("missing", "no record yet"),
}


@pytest.mark.parametrize(
    ("rerun", "again"),
    [
        ("none", set()),
        ("failed", {"ant on sort, seed 0", "ant on sort, seed 1"}),
        ("stale", {"ant on add, seed 1"}),
        ("all", {title for title in STATES if title.startswith("ant")}),
    ],
)
def test_every_state_has_its_reason_and_reruns_are_chosen_by_it(mixed, there, rerun, again):
    suite, records = mixed
    made = make(suite, suite.scale("laptop"), records, *there, rerun=rerun)
    for step in made.steps:
        state, reason = STATES[step.trial.title]
        chosen = step.trial.title in again
        assert step.state == state
        assert step.reason == (f"{reason}; --rerun {rerun}" if chosen else reason)
        unrecorded = step.trial.title.startswith("bee")
        assert step.action == ("run" if chosen or unrecorded else "skip")
    needed = {node.artifact.name for node in made.nodes.values()}
    assert needed == ({"gold", "ore", "clay"} if again else set())


def test_a_checkpoint_that_was_moved_aside_is_no_interruption(make_suite, there):
    store, sources = there
    suite = make_suite()
    trial = the_trial(suite)
    store.save_checkpoint(trial.id, 5, b"", {})
    for path in store.trial_folder(trial.id).iterdir():
        store.quarantine(path)
    made = make(suite, suite.scale("laptop"), [], store, sources)
    assert {step.state for step in made.steps} == {"missing"}


def test_records_of_another_identity_do_not_count(make_suite, recorded, there):
    suite = make_suite()
    record = recorded(the_trial(make_suite(ant=changed(ANT, version=2))))
    made = make(suite, suite.scale("laptop"), [record], *there)
    assert {step.state for step in made.steps} == {"missing"}


def test_without_its_data_a_trial_does_not_run_and_says_why(make_suite, there):
    store, sources = there
    (sources.local / "sums.csv").unlink()
    suite = make_suite()
    made = make(suite, suite.scale("laptop"), [], store, sources)
    states = {step.trial.title: (step.state, step.action) for step in made.steps}
    assert {title for title, state in states.items() if state == ("no data", "skip")} == {
        f"{method} on add, seed {seed}" for method in ("ant", "bee") for seed in (0, 1)
    }
    assert made.steps[0].reason == (
        "dataset sums: sums.csv not found; point --data or HARNESS_DATA at a folder that has it"
    )
    assert titles(made.todo) == [
        f"{method} on sort, seed {seed}" for seed in (0, 1) for method in ("ant", "bee")
    ]
    assert {node.task.name for node in made.nodes.values() if node.task} == {"sort"}


def test_data_of_the_needs_of_its_needs_count_too(make_suite, there):
    store, sources = there
    (sources.local / "words.txt").unlink()
    suite = make_suite()
    made = make(suite, suite.scale("laptop"), [], store, sources)
    assert {(step.trial.method.name, step.state) for step in made.steps} == {
        ("ant", "no data"), ("bee", "missing"),
    }  # fmt: skip
    assert made.steps[0].reason.startswith("dataset words: words.txt not found")
    assert made.nodes == {}


def test_what_is_recorded_stays_recorded_without_its_data(mixed, there):
    suite, records = mixed
    store, sources = there
    (sources.local / "sums.csv").unlink()
    (sources.local / "words.txt").unlink()
    steps = {s.trial.title: s for s in make(suite, suite.scale("laptop"), records, *there).steps}
    assert steps["ant on add, seed 0"][1:] == ("done", "skip", "recorded")
    assert steps["bee on add, seed 0"].state == "no data"
    again = make(suite, suite.scale("laptop"), records, store, sources, rerun="all")
    steps = {step.trial.title: step for step in again.steps}
    assert steps["ant on add, seed 0"][1:] == (
        "done", "skip",
        "recorded; cannot run again: dataset sums: sums.csv not found; "
        "point --data or HARNESS_DATA at a folder that has it",
    )  # fmt: skip
    assert titles(again.todo) == ["bee on sort, seed 0", "bee on sort, seed 1"]


def test_a_record_is_stale_when_the_source_digest_differs(make_suite, recorded, there):
    trial = the_trial(make_suite())
    same, other = recorded(trial), recorded(trial, source="9" * 64)
    assert not plan.is_stale(same.provenance.source_digest, trial.method)
    assert plan.is_stale(other.provenance.source_digest, trial.method)


def test_only_what_a_suite_still_wants_stays_in_the_cache(make_suite, recorded, there, monkeypatch):
    store, _ = there
    suite = make_suite()
    monkeypatch.setattr(registry, "origins", lambda: {"toy": TOY})
    monkeypatch.setattr(registry, "load", lambda _: suite)
    assert plan.leftovers(store) == []
    found, nodes = trials(suite, suite.scale("laptop"), "cuda")
    done, open_, *_ = found
    store.commit(recorded(done))
    for identity in (done.id, open_.id, "0" * 64, "1" * 64):
        store.trial_folder(identity).mkdir(parents=True)
    kept = next(iter(nodes.values()))
    for name, identity in ((kept.artifact.name, kept.id), ("gold", "0" * 64)):
        store.artifact_folder("toy", name, identity).mkdir(parents=True)
    with store.lock("1" * 64):
        assert plan.leftovers(store) == [
            store.artifact_folder("toy", "gold", "0" * 64),
            *sorted([store.trial_folder(done.id), store.trial_folder("0" * 64)]),
        ]


def test_nothing_of_a_broken_suite_is_a_leftover(make_suite, there, monkeypatch):
    store, _ = there
    suite = make_suite()
    lost = registry.Origin("lost", "lost", "suite", fault="suite 'lost' is offered twice")
    monkeypatch.setattr(registry, "origins", lambda: {"toy": TOY, "lost": lost})
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda name: suite if name == "toy" else load(name))
    for name in ("toy", "lost"):
        store.artifact_folder(name, "gold", "0" * 64).mkdir(parents=True)
    store.trial_folder("2" * 64).mkdir(parents=True)
    assert plan.leftovers(store) == [store.artifact_folder("toy", "gold", "0" * 64)]


def test_a_trial_that_finishes_meanwhile_is_no_leftover(make_suite, recorded, there, monkeypatch):
    store, _ = there
    suite = make_suite()
    monkeypatch.setattr(registry, "origins", lambda: {"toy": TOY})
    monkeypatch.setattr(registry, "load", lambda _: suite)
    trial, read = the_trial(suite), store.load
    store.trial_folder(trial.id).mkdir(parents=True)

    def load():
        store.commit(recorded(trial))
        store.clear_trial(trial.id)
        return read()

    monkeypatch.setattr(store, "load", load)
    assert plan.leftovers(store) == []


def test_records_stand_as_current_stale_or_neither(make_suite, recorded, there):
    suite = make_suite()
    found = trials(suite, suite.scale("laptop"))[0]
    card = the_trial(suite, device="cuda")
    gone = the_trial(make_suite(ant=changed(ANT, version=2)))
    records = [recorded(found[0]), recorded(found[1], source="9" * 64), recorded(card)]
    current, stale = plan.standing([suite], [*records, recorded(gone)])
    assert current == {"toy": {found[0].id, found[1].id, card.id}}
    assert stale == {"toy": {found[1].id}}
    assert plan.standing([changed(suite, name="other")], records) == ({"other": set()},) * 2


def test_a_thousand_trials_are_planned_in_a_second(toy_suite, recorded, there):
    suite = toy_suite(
        methods=tuple(Method(name=f"m{i}", run="toy:run", needs=("gold",)) for i in range(10)),
        tasks=tuple(Task(name=f"t{i}", metrics=("loss",), datasets=("sums",)) for i in range(10)),
        artifacts=(Artifact(name="gold", make="toy:gold", over=("seed", "task")),),
        datasets=(SUMS,),
        scales=(Scale(name="paper", seeds=tuple(range(10)), expected_seconds=1),),
    )
    records = [recorded(trial) for trial in trials(suite, suite.scale("paper"))[0][::2]]
    start = time.process_time()
    made = make(suite, suite.scale("paper"), records, *there)
    assert time.process_time() - start < 1
    assert len(made.steps) == 1000
    assert len(made.todo) == 500


def test_claims_narrow_a_plan_to_what_they_and_their_checks_need(make_suite):
    from harness.check import Floor
    from harness.plan import needed_by
    from harness.suite import Beats

    suite = make_suite()
    a, b = (m.name for m in suite.methods[:2])
    task, metric = suite.tasks[0].name, suite.tasks[0].metrics[0]
    claim = Beats(
        name="first", text="T.", source="T", metric=metric, tasks=(task,), a=a, b=b, margin=1,
        role="primary", checks=(Floor(method=b, bound=0, tasks=(suite.tasks[1].name,)),),
    )  # fmt: skip
    suite = suite.model_copy(update={"claims": (claim,)})
    for name in ("first", "f*", "primary"):
        assert needed_by(suite, [name]) == {(a, task), (b, task), (b, suite.tasks[1].name)}
    with pytest.raises(UsageError, match="unknown claim 'secnd'"):
        needed_by(suite, ["secnd"])
    scale = suite.scale("laptop")
    found, _ = trials(suite, scale, filters=Filters(claims=("first",)))
    assert {(t.method.name, t.task.name) for t in found} <= needed_by(suite, ["first"])


def test_shards_part_the_trials_evenly_whatever_their_order(toys):
    suite = registry.load("toy")
    scale = suite.scale("laptop")
    every = [trial.id for trial in plan.trials(suite, scale)[0]]
    for count in (1, 2, 5):
        shards = [
            [t.id for t in plan.trials(suite, scale, filters=plan.Filters(shard=(n, count)))[0]]
            for n in range(1, count + 1)
        ]
        assert sorted(key for shard in shards for key in shard) == sorted(every)
        assert max(map(len, shards)) - min(map(len, shards)) <= 1
        assert all(shard == [key for key in every if key in shard] for shard in shards)
    half = plan.trials(suite, scale, filters=plan.Filters(shard=(1, 2)))[0]
    assert len({trial.method.name for trial in half}) == 2, "four pairs and two shards: no pattern"
