"""Canonical JSON, identities that must never change, and records."""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.record import (
    READABLE,
    SCHEMA_VERSION,
    Cost,
    Provenance,
    Record,
    Series,
    canonical,
    digest,
)
from harness.suite import SPEC_VERSION

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ids.json").read_text())
NEVER = (
    "an identity changed: every record ever written names the old one. Raise SPEC_VERSION "
    "and add a new golden table, or undo the change"
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
floats = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda x: abs(x) < 2**53 or not x.is_integer()
)
scalars = st.none() | st.booleans() | st.integers() | floats | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts, inner, max_size=3)
    ),
    max_leaves=8,
)
# Few and confusable, so that equal and nearly equal pairs do come up.
alike = st.recursive(
    st.sampled_from([None, False, True, 0, 1, 0.0, 1.0, -0.0, 0.5, "", "0", "1", "null", "a,b"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.lists(inner, max_size=2).map(tuple)
        | st.dictionaries(st.sampled_from(["a", "b", ""]), inner, max_size=2)
    ),
    max_leaves=3,
)


def same(a, b):
    """Equality as identities mean it: numbers by value, truth values apart, lists as tuples."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    numbers = isinstance(a, int | float) and isinstance(b, int | float)
    return a == b and (numbers or type(a) is type(b))


def shuffled(value, random):
    """The same value with other key orders, lists for tuples, floats for small integers."""
    if isinstance(value, Mapping):
        items = [(k, shuffled(v, random)) for k, v in value.items()]
        random.shuffle(items)
        return dict(items)
    if isinstance(value, list | tuple):
        return random.choice([list, tuple])(shuffled(v, random) for v in value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        return random.choice([int, float])(value)
    return value


@given(values, st.randoms(use_true_random=False))
def test_equal_values_have_one_text(value, random):
    assert canonical(shuffled(value, random)) == canonical(value)


@given(values)
def test_the_text_is_json_of_the_same_value_and_its_own_canonical_form(value):
    text = canonical(value)
    assert same(json.loads(text), value)
    assert canonical(json.loads(text)) == text


@given(alike, alike)
def test_different_values_have_different_texts(a, b):
    assert (canonical(a) == canonical(b)) == same(a, b)


def test_the_text_is_sorted_compact_and_plain():
    assert canonical({"b": [1.0, -0.0, 0.5], "a": {"é": None, "": True}}) == (
        '{"a":{"":true,"é":null},"b":[1,0,0.5]}'
    )
    assert canonical(2**70) == str(2**70)
    assert canonical(1e300) == "1e+300"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_not_a_number_is_refused(number):
    for value in (number, [number], {"a": {"b": number}}):
        with pytest.raises(ValueError, match=rf"{number} has no place"):
            canonical(value)


@pytest.mark.parametrize(
    "value", [{1, 2}, b"a", 1j, Decimal(1), object(), Path("a"), range(2), {1: "a"}, {None: 1}]
)
def test_what_json_cannot_hold_is_refused(value):
    for nested in (value, [value]):
        with pytest.raises(ValueError, match="is not JSON"):
            digest(nested)


def test_keys_that_json_would_merge_are_refused():
    with pytest.raises(ValueError, match="key 1 of type int"):
        canonical({"1": "a", 1: "b"})


# -- golden --------------------------------------------------------------------------------------


def test_the_golden_table_is_of_this_spec_version():
    assert GOLDEN["spec_version"] == SPEC_VERSION, "add a golden table for the new SPEC_VERSION"


@pytest.mark.parametrize("row", GOLDEN["specs"], ids=lambda row: row["id"][:12])
def test_golden_identities_never_change(row):
    assert digest(row["spec"]) == row["id"], NEVER


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
