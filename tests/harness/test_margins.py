"""A margin that was pinned with records is not changed without saying so."""

import json

import pytest

from harness import margins
from harness.errors import SpecError, StoreError
from harness.suite import Beats, Level


def claims(**changes):
    fields = {
        "name": "c", "text": "It is so.", "source": "T", "metric": "accuracy",
        "tasks": ("deep-x",), "a": "ant", "b": "bee", "margin": 1.0,
    }  # fmt: skip
    level = Level(name="l", text="L.", source="T", metric="accuracy", tasks=("deep-y",), a="ant",
                  bound=changes.pop("bound", 5.0), direction="above", margin=1.0)  # fmt: skip
    return [Beats(**(fields | changes)), level]


def test_a_changed_margin_is_refused_once_there_are_records(toy_suite, make_record, tmp_path):
    suite = toy_suite(claims())
    margins.pin(tmp_path, suite)
    path = tmp_path / "toy" / margins.FILE
    before = path.read_bytes()
    margins.pin(tmp_path, suite)
    assert path.read_bytes() == before
    pinned = margins.read(tmp_path, "toy")
    record = make_record(suite, "bee", "deep-x", 0, {"accuracy": 1})
    margins.check(suite, pinned, [record])
    other = toy_suite(claims(margin=2.0))
    words = r"claim c: margin 2, but margin 1 was fixed for version 1 .* raise the claim's version"
    with pytest.raises(SpecError, match=words):
        margins.check(other, pinned, [record])
    smoke = make_record(suite, "bee", "deep-x", 0, {"accuracy": 1}, "ok", "smoke")
    elsewhere = make_record(suite, "cat", "deep-x", 0, {"accuracy": 1})
    margins.check(other, pinned, [smoke, elsewhere])  # nobody has seen anything of it
    second = toy_suite(claims(margin=2.0, version=2))
    margins.check(second, pinned, [record])
    margins.pin(tmp_path, second)
    words = r"claim c: margin 1 for version 1, but margin 2 was fixed for version 2"
    with pytest.raises(SpecError, match=words):  # the first version is not forgotten
        margins.check(suite, margins.read(tmp_path, "toy"), [record])
    moved = toy_suite(claims(bound=6.0))
    judged = make_record(suite, "ant", "deep-y", 0, {"accuracy": 1})
    with pytest.raises(SpecError, match="claim l: margin 1 at a bound of 6, but margin 1 at a bou"):
        margins.check(moved, pinned, [judged])


def test_what_is_pinned_of_claims_that_are_gone_stays(toy_suite, tmp_path):
    margins.pin(tmp_path, toy_suite(claims()))
    margins.pin(tmp_path, toy_suite(claims(name="d")))
    assert set(margins.read(tmp_path, "toy")) == {"c", "d", "l"}


def test_a_corrupt_file_is_one_line(tmp_path):
    (tmp_path / "toy").mkdir()
    path = tmp_path / "toy" / margins.FILE
    for text in ("{", "[" * 200_000, json.dumps([1]), json.dumps({"c": {"margin": "x"}})):
        path.write_text(text)
        with pytest.raises(StoreError, match=r"corrupt margins: .*restore it from git"):
            margins.read(tmp_path, "toy")
