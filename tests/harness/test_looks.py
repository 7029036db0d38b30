"""The record of looks: nothing is forgotten, nothing changes, corrupt files are one line."""

import json

import pytest

from harness.errors import StoreError, Unreadable
from harness.looks import Look, keep, of_claim, of_records, taken


def look(**changes):
    fields = {
        "suite": "lab",
        "scale": "laptop",
        "claim": "a-beats-b",
        "version": 1,
        "schedule": (5, 10),
        "n": 5,
        "seeds": (0, 1, 2, 3, 4),
        "records": of_records(["b" * 64, "a" * 64]),
        "p": 0.03125,
        "spent": 0.025,
        "outcome": "inconclusive",
        "date": "2026-01-02T03:04:05+00:00",
    }
    return Look.model_validate(fields | changes)


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.json")}


def test_what_is_kept_reads_back_in_order(tmp_path):
    assert taken(tmp_path, "lab", "laptop") == []
    second, other = look(n=10, seeds=tuple(range(10)), p=0.01, outcome="holds"), look(claim="a")
    for one in (second, look(), other):
        path = keep(tmp_path, one)
        assert path.parent == tmp_path / "lab/laptop/looks"
    assert taken(tmp_path, "lab", "laptop") == [x.sealed() for x in (other, look(), second)]
    assert taken(tmp_path, "lab", "gpu") == []
    own = of_claim(taken(tmp_path, "lab", "laptop"), "a-beats-b", 1)
    assert [x.n for x in own] == [5, 10]
    assert of_claim(taken(tmp_path, "lab", "laptop"), "a-beats-b", 2) == []


def test_the_same_look_again_changes_nothing(tmp_path):
    keep(tmp_path, look())
    before = files(tmp_path)
    keep(tmp_path, look(date="2027-01-01T00:00:00+00:00"))
    keep(tmp_path, look(outcome="another word for it"))
    assert files(tmp_path) == before


def test_a_look_at_other_records_stands_beside_the_first(tmp_path):
    keep(tmp_path, look())
    before = files(tmp_path)
    keep(tmp_path, look(records=of_records(["c" * 64]), p=0.001))
    assert before.items() < files(tmp_path).items()
    assert [x.spent for x in taken(tmp_path, "lab", "laptop")] == [0.025, 0.025]


def test_order_of_records_does_not_matter():
    assert of_records(["a", "b"]) == of_records(("b", "a")) != of_records(["a"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text[:-30], "not JSON"),
        (lambda text: "[]\n", "field"),
        (lambda text: text.replace("inconclusive", "holds"), "checksum"),
        (lambda text: text.replace("0.03125", "0.04"), "checksum"),
        (lambda text: text.replace('"n": 5', '"n": -5'), "field n"),
        (lambda text: text.replace('"p": 0.03125', '"p": NaN'), "field p"),
        (lambda text: "[" * 100_000, "not JSON"),
        (lambda text: "\udcff", "not JSON"),
    ],
)
def test_a_corrupt_look_is_one_line_and_is_never_passed_over(tmp_path, change, reason):
    path = keep(tmp_path, look())
    keep(tmp_path, look(n=10))
    path.write_bytes(change(path.read_text()).encode(errors="surrogateescape"))
    for attempt in (lambda: taken(tmp_path, "lab", "laptop"), lambda: keep(tmp_path, look())):
        with pytest.raises(StoreError) as error:
            attempt()
        assert str(error.value).startswith(f"corrupt look: {path}: {reason}")
        assert "restore it from git" in str(error.value)
        assert len(str(error.value).splitlines()) == 1


def test_a_look_under_another_name_is_refused(tmp_path):
    path = keep(tmp_path, look())
    path.rename(path.with_name(look(n=10).file_name))
    with pytest.raises(StoreError, match="under another name"):
        taken(tmp_path, "lab", "laptop")


def test_a_newer_layout_is_left_alone(tmp_path):
    path = keep(tmp_path, look())
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 2}))
    with pytest.raises(Unreadable, match="schema version 2"):
        taken(tmp_path, "lab", "laptop")


def test_every_field_has_its_range():
    for change in ({"version": 0}, {"n": 0}, {"p": 2}, {"spent": -1}, {"claim": "A/B"}, {"x": 1}):
        with pytest.raises(ValueError, match="validation error"):
            look(**change)
