"""Canonical JSON, and identities that must never change."""

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.identity import canonical, digest
from harness.plan import trials
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


@pytest.mark.parametrize("name", ["bam", "gate", "merging", "mixup"])
def test_the_digests_of_a_plan_are_those_of_its_specifications(name):
    """They are put together from texts of parts; `digest` writes each one by itself."""
    suite = registry.load(name)
    for scale in suite.scales:
        found, nodes = trials(suite, scale, "cuda:1")
        for one in (*found[::17], *nodes.values()):
            assert one.id == digest(one.spec)
            assert one.spec["device"] == "cuda"
