"""Records are carried over where the former form of today's trial is theirs, and nowhere else."""

import pytest

from harness.errors import SpecError
from harness.identity import digest
from harness.migrate import migrate
from harness.plan import trials
from harness.record import Cost, Origin, Record
from harness.suite import Artifact, Method, Metric, Paper, Scale, Suite, Task


def make_suite(**names: str) -> Suite:
    """Two methods, one of them with a chain of artifacts; `names` rename settings."""
    width = names.get("width", "width")
    fixed = {"decay": 0.1} if names.get("decay") else {}
    return Suite(
        name="toy",
        paper=Paper(title="T", authors="A", arxiv="0000.00000", venue="-", year=2024),
        summary="",
        methods=(
            Method(name="plain", run="toy:run", params={width: 3} | fixed),
            Method(name="needy", run="toy:run", needs=("top",)),
        ),
        tasks=(Task(name="t", metrics=("m",)),),
        metrics=(
            Metric(name="m", label="m", unit="", better="higher", split="test", select="last"),
        ),
        artifacts=(
            Artifact(name="base", make="toy:make", params={width: 5}, over=("seed",)),
            Artifact(name="top", make="toy:make", needs=("base",)),
        ),
        scales=(Scale(name="laptop", seeds=(0, 1), expected_seconds=1),),
    )


def former(spec):
    """Settings `wide` were called `width`, and decay stood in the code."""
    spec = dict(spec)
    for kind in ("method", "artifact"):
        if kind in spec:
            params = {("width" if k == "wide" else k): v for k, v in spec[kind]["params"].items()}
            params.pop("decay", None)
            spec[kind] = {**spec[kind], "params": params}
    return spec


@pytest.fixture
def old(provenance):
    """The records of the suite as it was."""
    return [
        Record(
            id=trial.id, suite="toy", method=trial.method.name, task="t", seed=trial.seed,
            scale="laptop", protocol="standard", spec=trial.spec, status="ok",
            metrics={"m": float(trial.seed)}, schema_version=1,
            cost=Cost(wall_seconds=1, cpu_seconds=1, peak_memory_bytes=1), provenance=provenance,
        ).sealed()
        for trial in trials(make_suite(), make_suite().scale("laptop"))[0]
    ]  # fmt: skip


def test_renamed_and_added_settings_carry_every_record_over(old):
    today = make_suite(width="wide", decay="written down")
    found = migrate(today, old, former)
    assert found.left == []
    assert {move.new.id for move in found.moves} == {
        trial.id for trial in trials(today, today.scale("laptop"))[0]
    }
    for move in found.moves:
        assert move.new.outcome()["metrics"] == move.old.outcome()["metrics"]
        assert move.new.origin == Origin(id=move.old.id, checksum=move.old.checksum)
        assert move.new.intact()
        assert digest(move.new.spec) == move.new.id
        assert move.new.provenance == move.old.provenance


def test_a_changed_value_is_not_carried_over_and_is_named(old):
    today = make_suite(width="wide")
    changed = today.model_copy(
        update={"methods": (today.methods[0].model_copy(update={"params": {"wide": 4}}),
                            today.methods[1])}
    )  # fmt: skip
    found = migrate(changed, old, former)
    assert {move.new.method for move in found.moves} == {"needy"}
    assert {(r.method, why) for r, why in found.left} == {
        ("plain", "its specification is not that of today's trial in its former form")
    }


def test_a_method_that_is_gone_is_named(old):
    today = make_suite(width="wide")
    fewer = today.model_copy(update={"methods": today.methods[1:]})
    assert {why for _, why in migrate(fewer, old, former).left} == {"the suite has no method plain"}


def test_migrating_again_changes_nothing_and_keeps_the_first_origin(old):
    today = make_suite(width="wide")
    new = [move.new for move in migrate(today, old, former).moves]
    again = migrate(today, new, former)
    assert (again.moves, again.left) == ([], [])
    twice = migrate(make_suite(), new, lambda spec: {**spec, **_renamed(spec)})
    assert {move.new.origin.id for move in twice.moves} == {record.id for record in old}


def _renamed(spec):
    return {
        kind: {**spec[kind], "params": {("wide" if k == "width" else k): v
               for k, v in spec[kind]["params"].items()}}
        for kind in ("method", "artifact") if kind in spec
    }  # fmt: skip


def test_a_record_that_exists_today_is_not_replaced(old):
    today = make_suite(width="wide")
    new = [move.new for move in migrate(today, old, former).moves]
    found = migrate(today, [*old, *new], former)
    assert found.moves == []
    assert {record.id for record, _ in found.left} == {record.id for record in old}


def test_a_former_function_that_fails_is_one_line(old):
    with pytest.raises(SpecError, match="artifact base cannot be had: KeyError: 'odd'"):
        migrate(make_suite(), old, lambda spec: spec["odd"])
