"""Everything else on a page: verdicts, costs, data, provenance, failures, what is not used."""

from collections.abc import Callable
from typing import Any

import pytest

from harness.check import Floor
from harness.errors import SpecError
from harness.record import Cost, Record
from harness.report import html, markdown
from harness.report.page import Page, build, by_scale
from harness.report.table import Listing
from harness.report.verdict import counted
from harness.suite import Suite, Table

Lab = Callable[..., Suite]
Make = Callable[..., Record]


def texts(listing: Listing) -> list[tuple[str, ...]]:
    return [tuple(f.text for f in row.fields) for row in listing.rows]


def listing(page: Page, name: str) -> Listing:
    return next(x for x in page.listings if x.name == name)


def test_facts_and_counts(lab: Lab, records: list[Record]) -> None:
    page = build(lab(), "laptop", records, stale={records[0].id}, figures=False)
    assert (page.ok, page.failed, page.planned) == (64, 2, 72)
    assert page.facts == (
        "66 trials of 72 planned: 64 ok, 1 diverged, 1 oom.",
        "Marked *: 1 record of code that has changed since.",
    )


def test_verdicts_keep_the_order_of_the_claims(lab: Lab, record: Make) -> None:
    suite = lab()
    records = [
        record(suite, m, t, s)
        for m in ("gate", "plain", "odd")
        for t in ("shallow", "deep")
        for s in range(6)
    ]
    page = build(suite, "laptop", records, figures=False)
    assert [line.name for line in page.lines] == [c.name for c in suite.claims]
    first = page.lines[0]
    assert first.outcome == "holds"
    assert first.label.startswith("holds at laptop scale")
    assert "n=6, margin 0.5" in first.measured
    assert " %" in first.measured
    assert len(first.trials) == 24
    assert page.lines[-1].measured == "counted 100, expected 100: equal"
    (exact,) = texts(page.exact)
    assert exact[1:4] == ("100", "100", "equal")
    assert "n" not in page.exact.columns
    assert page.lines[-1].text not in [row[0] for row in texts(page.claims)]
    assert [group.title for group in page.groups] == ["Secondary claims"]
    assert "equal" not in counted(page.lines).replace("equivalent", "")
    row = dict(zip(page.claims.columns, texts(page.claims)[0], strict=True))
    assert row["p"] == "< 0.001"
    assert row["Margin"] == "0.5"
    assert "shallow: " in row["By task"]
    assert row["Source"] == "Table 2"


def test_a_caveat_stands_beside_its_verdict_everywhere(lab: Lab, record: Make) -> None:
    plain = lab()
    caveat = "the recipe is broken; to be tested again"
    claims = (plain.claims[0].model_copy(update={"caveat": caveat}), *plain.claims[1:])
    suite = lab(claims=claims)
    records = [
        record(suite, m, t, s)
        for m in ("gate", "plain", "odd")
        for t in ("shallow", "deep")
        for s in range(6)
    ]
    page = build(suite, "laptop", records, figures=False)
    before = build(plain, "laptop", records, figures=False)
    assert page.verdicts == before.verdicts  # nothing but words is added
    assert page.lines[0].reason.endswith(f"caveat: {caveat}")
    assert [line.reason for line in page.lines[1:]] == [line.reason for line in before.lines[1:]]
    texts = (markdown.report(page), html.report(page), markdown.listing(page.claims))
    assert [text.count(f"caveat: {caveat}") for text in texts] == [2, 1, 1]


def test_a_claim_that_nobody_ran_has_no_numbers(lab: Lab, record: Make) -> None:
    suite = lab()
    page = build(suite, "laptop", [record(suite, "gate", "made", 0)], figures=False)
    assert {line.outcome for line in page.lines} == {"not run"}
    assert {line.measured for line in page.lines} == {""}
    row = dict(zip(page.claims.columns, texts(page.claims)[0], strict=True))
    assert (row["Estimate"], row["95 % low"], row["p"]) == ("—", "—", "—")


def test_smoke_judges_nothing(lab: Lab, record: Make) -> None:
    suite = lab()
    page = build(suite, "smoke", [record(suite, "gate", "deep", 0, scale="smoke")], figures=False)
    assert {line.label for line in page.lines} == {"not judged"}


def test_costs_are_medians_of_what_ended_well(lab: Lab, record: Make) -> None:
    suite = lab()
    cost = Cost(wall_seconds=1, cpu_seconds=2, peak_memory_bytes=2**20, peak_vram_bytes=2**30)
    slower = cost.model_copy(update={"wall_seconds": 3})
    slowest = cost.model_copy(update={"wall_seconds": 3596})
    records = [
        record(suite, "gate", "deep", 0, cost=cost, counts={}),
        record(suite, "gate", "deep", 1, cost=slower, counts={}),
        record(suite, "gate", "deep", 2, "timeout", cost=slowest, counts={}),
        record(suite, "plain", "deep", 0, "oom", cost=cost, counts={}),
    ]  # fmt: skip
    page = build(suite, "laptop", records, figures=False)
    assert page.costs.columns == (
        "Method", "Trials", "Wall, median", "CPU, median", "Peak memory, median",
        "Peak VRAM, median", "Wall, total",
    )  # fmt: skip
    assert texts(page.costs) == [
        ("Gate", "2/3 ok", "2 s", "2 s", "1 MiB", "1 GiB", "1 h"),
        ("<script>alert(1)</script>", "0/1 ok", "—", "—", "—", "—", "1 s"),
    ]
    assert page.budget is None


def test_budget_says_what_is_matched(lab: Lab, record: Make) -> None:
    suite = lab()

    def made(**counts: list[int]) -> Page:
        records = [
            record(suite, m, "deep", 0, counts={k: v[i] for k, v in counts.items()})
            for i, m in enumerate(("gate", "plain"))
        ]
        return build(suite, "laptop", records, figures=False)

    page = made(updates=[100, 100], flops=[3 * 10**9, 10**9], tokens=[0, 5], none=[0, 0])
    assert page.budget is not None
    assert page.budget.columns[2:-1] == ("flops", "none", "tokens", "updates")
    assert page.budget.notes[0] == (
        "Matched between methods: updates. "
        "Not matched: flops (up to 3× apart, on a_b%&#) and tokens (zero for some)."
    )
    assert texts(page.budget)[0][:4] == ("a_b%&#", "Gate", "3 G", "0")
    assert texts(page.budget)[0][-1].endswith("n=1")
    alone = build(suite, "laptop", [record(suite, "gate", "deep", 0)], figures=False)
    assert alone.budget is not None
    assert alone.budget.notes[0] == "One method per task: nothing to match."


def test_a_suite_without_tables_has_no_budget(lab: Lab, records: list[Record]) -> None:
    page = build(lab(tables=(), headline=""), "laptop", records, figures=False)
    assert page.budget is page.headline is None
    assert "## Tables" not in markdown.report(page)


def test_data_provenance_and_failures(lab: Lab, records: list[Record], record: Make) -> None:
    suite = lab()
    odd = record(suite, "gate", "made", 7, data={"unlisted": "generated"})
    bare = record(suite, "gate", "made", 8)
    away = bare.model_copy(
        update={"provenance": bare.provenance.model_copy(update={"commit": None, "dirty": None})}
    )
    page = build(suite, "laptop", [*records, odd, away], figures=False)
    assert texts(listing(page, "data")) == [
        ("cora", "local 18", "CC0", "Planetoid", "2,708 nodes", "140/500/1000", ""),
        ("unlisted", "generated 1", "—", "—", "—", "—", "—"),
    ]
    rows = texts(listing(page, "provenance"))
    assert ("Commit", "c0ffeec0ffee", "56") in rows
    assert ("Commit", "c0ffeec0ffee (changed files)", "11") in rows
    assert ("Commit", "outside a repository", "1") in rows
    assert ("Package torch", "2.6.0", "68") in rows
    assert rows[-1][0] == "Flag deterministic"
    error = "loss became inf at step 7 <oops>"
    assert texts(listing(page, "failures")) == [
        ("diverged", "plain", "deep", "1", error),
        ("oom", "plain", "deep", "2", error),
    ]


def test_failures_are_grouped_and_the_most_frequent_come_first(lab: Lab, record: Make) -> None:
    suite = lab()
    records = [record(suite, "gate", "deep", 0, "oom")]
    records += [record(suite, "plain", "deep", s, "oom") for s in range(3)]
    records += [record(suite, "odd", "deep", 0, "diverged", error=None)]
    page = build(suite, "laptop", records, figures=False)
    assert [row[:4] for row in texts(listing(page, "failures"))] == [
        ("diverged", "odd", "deep", "0"),
        ("oom", "plain", "deep", "0, 1, 2"),
        ("oom", "gate", "deep", "0"),
    ]
    assert texts(listing(page, "failures"))[0][4] == "—"


def test_deviations_defects_protocols_and_lost_numbers(
    lab: Lab, records: list[Record], printed: dict[str, Any]
) -> None:
    page = build(lab(), "laptop", records, printed["lab"], figures=False)
    found = {t.title: t.sentences for t in page.texts}
    assert found["Deviations from the paper"] == ("Generated data <b>only</b>.",)
    assert found["Deviations of this scale"] == ("Smaller.",)
    assert found["Deviations of methods"] == ("Gate: No warm-up.",)
    assert found["Where the released code and the paper disagree"] == ("The code selects on test.",)
    assert found["Protocols"] == ("standard: shallow, a_b%&# and Made.", "code: deep-code.")
    assert found["Published numbers without a place in any table"] == (
        "gate on gone, acc: 1 (paper, Table 2)",
    )


def test_unused_records_are_listed_and_nowhere_else(
    lab: Lab, records: list[Record], record: Make
) -> None:
    suite = lab()
    old = record(suite, "gate", "deep", 0, version=2)
    dead = [record(suite, "dead", "deep", s) for s in (1, 0)]
    page = build(
        suite, "laptop", [*records, old, *dead], current={r.id for r in records}, figures=False
    )
    assert texts(listing(page, "superseded")) == [("gate", "deep", "0")]
    assert texts(listing(page, "retired")) == [
        ("dead", "deep", "0, 1", "method dead is no longer in the suite")
    ]
    assert page.facts[-1] == "3 records not used; listed at the end."
    whole = build(suite, "laptop", records, figures=False)
    assert page.tables == whole.tables
    assert page.verdicts == whole.verdicts


def test_a_scale_that_is_gone_still_has_a_page(lab: Lab, record: Make) -> None:
    suite = lab()
    page = build(suite, "gpu", [record(suite, "gate", "deep", 0, scale="gpu")])
    assert page.facts == ("No current records at gpu scale.",)
    assert page.tables == page.verdicts == page.pictures == ()
    assert "scale gpu is no longer in the suite" in markdown.report(page)


def test_names_that_reports_keep_are_refused(lab: Lab) -> None:
    suite = lab(tables=(Table(name="cost", title="T", metric="acc"),), headline="cost")
    with pytest.raises(SpecError, match="table 'cost' has a name"):
        build(suite, "laptop", [])


def test_scales_keep_the_order_of_the_suite(lab: Lab, record: Make) -> None:
    suite = lab()
    records = [record(suite, "gate", "deep", 0, scale=s) for s in ("gpu", "laptop", "smoke")]
    assert list(by_scale(suite, records)) == ["smoke", "laptop", "gpu"]
    assert by_scale(lab(name="other"), records) == {}


def test_checks_and_what_the_authors_say_stand_on_the_page(lab: Lab, record: Make) -> None:
    plain = lab()
    first = plain.claims[0]
    guarded = first.model_copy(
        update={"checks": (Floor(method="gate", bound=0.0), Floor(method="gate", bound=1000.0))}
    )
    suite = lab(claims=(guarded, *plain.claims[1:]))
    records = [
        record(suite, m, t, s)
        for m in ("gate", "plain", "odd")
        for t in ("shallow", "deep")
        for s in range(6)
    ]
    said = {first.name: "We disagree, for a reason."}
    page = build(suite, "laptop", records, figures=False, responses=said)
    assert page.lines[0].label.startswith("not testable here: ")
    assert [row[4] for row in texts(page.checks)] == ["passes", "fails"]
    alone = [r for r in records if r.method == first.a]  # its other side has not run
    assert texts(build(suite, "laptop", alone, figures=False).checks) == []
    for text in (markdown.report(page), html.report(page)):
        assert "the authors: We disagree, for a reason." in text
        assert "fails" in text
