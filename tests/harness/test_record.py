"""Records: sealed, named, refused where they do not hold together."""

import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError

from harness.identity import digest
from harness.record import READABLE, SCHEMA_VERSION, Cost, Provenance, Record, Series

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ids.json").read_text())


@pytest.mark.parametrize("version", READABLE)
def test_the_golden_record_keeps_its_checksum(record, version):
    assert READABLE[-1] == SCHEMA_VERSION
    written = record.model_copy(update={"schema_version": version})
    assert written.sealed().checksum == GOLDEN["record_checksums"][str(version)], (
        "the layout of records changed: records in git no longer verify. Raise SCHEMA_VERSION"
    )
    assert written.sealed().intact()


# -- records -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fields():
    spec = {"method": "ant", "seed": 3, "params": {"rate": 0.1, "width": 64}}
    return {
        "id": digest(spec), "suite": "toy", "method": "ant", "task": "deep-x", "seed": 3,
        "scale": "laptop", "protocol": "standard", "spec": spec, "status": "ok",
        "metrics": {"accuracy": 81.5, "loss": 0.25}, "counts": {"updates": 100},
        "series": {"loss": {"x": [1, 2], "y": [0.5, 0.25]}}, "data": {"sums": "generated"},
        "cost": Cost(wall_seconds=1.5, cpu_seconds=1.25, peak_memory_bytes=1000),
        "provenance": Provenance(
            started="2025-01-01T00:00:00+00:00", finished="2025-01-01T00:00:02+00:00",
            commit="0" * 40, dirty=False, source_digest="1" * 64, python="3.11.0",
            packages={"torch": "2.6"}, platform="Linux x86_64", processor="toy", cores=2,
            memory_bytes=1000, accelerator=None, threads=1, flags={}, command=("harness", "run"),
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def record(fields):
    return Record(**fields)


def test_a_sealed_record_is_intact_and_an_unsealed_one_is_not(record):
    assert not record.intact()
    sealed = record.sealed()
    assert sealed.intact()
    assert sealed.sealed() == sealed
    assert sealed.model_copy(update={"checksum": ""}) == record
    assert Record.model_validate_json(sealed.model_dump_json()) == sealed


@pytest.mark.parametrize(
    "change",
    [
        {"metrics": {"accuracy": 81.6, "loss": 0.25}},
        {"seed": 4},
        {"status": "failed"},
        {"series": {}},
        {"data": {}},
        {"counts": {"updates": 101}},
        {"protocol": "paper-code"},
        {"cost": Cost(wall_seconds=1.5, cpu_seconds=1.25, peak_memory_bytes=1001)},
        {"checksum": "0" * 64},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_breaks_the_seal(record, change):
    assert not record.sealed().model_copy(update=change).intact()


def test_an_id_that_is_not_that_of_the_spec_breaks_it_even_when_sealed_again(record):
    assert not record.model_copy(update={"spec": {"method": "bee"}}).sealed().intact()


def test_what_must_repeat_is_all_but_cost_provenance_origin_and_checksum(record):
    left_out = set(Record.model_fields) - set(record.sealed().outcome())
    assert left_out == {"cost", "provenance", "origin", "checksum"}
    other = record.model_copy(
        update={"cost": Cost(wall_seconds=9, cpu_seconds=9, peak_memory_bytes=9, sessions=3)}
    )
    assert other.sealed().outcome() == record.outcome()
    changed = record.model_copy(update={"metrics": {"accuracy": 81.5, "loss": 0.26}})
    assert changed.outcome() != record.outcome()


def test_names_for_files_and_tables(record):
    assert record.short == record.id[:12]
    assert record.file_name == f"ant--deep-x--s3--{record.short}.json"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "abc"}, "should match pattern"),
        ({"id": "A" * 64}, "should match pattern"),
        ({"suite": "../toy"}, "should match pattern"),
        ({"task": "a/b"}, "should match pattern"),
        ({"scale": ""}, "should match pattern"),
        ({"seed": -1}, "greater than or equal to 0"),
        ({"seed": 1.5}, "valid integer"),
        ({"status": "fine"}, "'ok', 'diverged'"),
        ({"metrics": {"accuracy": math.nan}}, "finite number"),
        ({"metrics": {"accuracy": None}}, "valid number"),
        ({"spec": {"rate": math.inf}}, "finite number"),
        ({"spec": {"rate": b"a"}}, "valid JSON"),
        ({"counts": {"updates": 0.5}}, "valid integer"),
        ({"series": {"loss": {"x": [1], "y": [1, 2]}}}, "1 x values against 2 y values"),
        ({"series": {"loss": {"x": [1], "y": [math.nan]}}}, "finite number"),
        ({"surprise": 1}, "Extra inputs"),
        ({"cost": None}, "valid dictionary or instance of Cost"),
    ],
)
def test_records_that_are_refused(fields, change, message):
    with pytest.raises(ValidationError, match=message):
        Record(**(fields | change))


def test_records_do_not_change(record):
    with pytest.raises(ValidationError, match="frozen"):
        record.seed = 4
    with pytest.raises(ValidationError, match="frozen"):
        record.cost.sessions = 2


def test_a_series_may_be_empty_and_says_what_its_x_is():
    assert Series(x=(), y=()).x_label == "step"
    assert Series(x=[1, 2], y=[3, 4]).y == (3.0, 4.0)
