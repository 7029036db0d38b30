"""Verdicts that do not stand as they are say so, with the reason and what will be tested again."""

import fnmatch

import pytest

from harness import registry
from harness.suite import Exact, select

CLAIMS = [
    ("gate", "heterophilic", "beyond the paper"),
    ("gate", "heterophilic-shared", "beyond the paper"),
    ("gate", "control-*-heterophilic", "beyond the paper"),
]

TABLES = [
    ("gate", "heterophilic", "beyond the paper"),
]


@pytest.mark.parametrize(("suite", "names", "words"), CLAIMS)
def test_claims_that_do_not_stand_say_why(suite: str, names: str, words: str) -> None:
    claims = [c for c in registry.load(suite).claims if fnmatch.fnmatchcase(c.name, names)]
    assert claims
    assert [c.name for c in claims if words not in c.caveat] == []


@pytest.mark.parametrize(("suite", "name", "words"), TABLES)
def test_tables_that_do_not_stand_say_why(suite: str, name: str, words: str) -> None:
    (table,) = (t for t in registry.load(suite).tables if t.name == name)
    assert words in table.note


@pytest.mark.parametrize("suite", ["bam", "gate", "merging", "mixup"])
def test_caveats_are_one_line_and_name_the_next_test(suite: str) -> None:
    claims = registry.load(suite).claims
    caveats = {c.caveat for c in claims if c.caveat}
    scope = "beyond the paper"  # a limit of what is said, which no further test lifts
    assert [c for c in caveats if "to be tested again" not in c and scope not in c] == []
    assert [c for c in caveats if "\n" in c or len(c) > 500 or c.endswith(".")] == []
    assert [c.name for c in claims if isinstance(c, Exact) and c.caveat] == []


def test_sts_b_shares_no_claim_with_accuracies() -> None:
    mixup = registry.load("mixup")
    for claim in mixup.claims:
        measured = {t.measures["score"] for t in select(mixup.tasks, claim.tasks)}
        assert len(measured) == 1, claim.name


def test_sts_b_shares_no_table_with_accuracies() -> None:
    mixup = registry.load("mixup")
    low = [t for t in mixup.tables if "sts-b-n300" in t.tasks]
    assert "regression" in [t.name for t in low]
    assert "low-resource" not in [t.name for t in low]
