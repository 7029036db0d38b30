"""The printed numbers: they load, fit together, and name what the suite has."""

from math import log
from statistics import fmean

import pytest

from harness import registry
from harness.claim import sides_of
from harness.suite import Reference, Suite
from suites.bam.counts import COUNTS

DOMAINS = ("general", "code", "law", "math")
COLUMNS = ("math", "code", "law", "knowledge", "reasoning", "mmlu")


@pytest.fixture(scope="module")
def bam() -> Suite:
    return registry.load("bam")


@pytest.fixture(scope="module")
def printed(bam: Suite) -> tuple[Reference, ...]:
    return registry.references(bam)


def table(printed: tuple[Reference, ...], number: str) -> dict[tuple[str, str], float]:
    """Values of one of the paper's tables by method and task."""
    words = {number, f"{number},"}
    return {
        (r.method, r.task): r.value
        for r in printed
        if r.table.startswith("Table") and words & set(r.table.split())
    }


def test_the_paper_s_numbers_name_what_the_suite_has(
    bam: Suite, printed: tuple[Reference, ...]
) -> None:
    methods = {m.name for m in bam.methods}
    reports = {(t.name, metric) for t in bam.tasks for metric in t.reports}
    for r in printed:
        if r.source == "paper" and r.table != "latency":
            assert r.method in methods, r
            assert (r.task, r.metric) in reports, r


@pytest.mark.parametrize(("number", "domains"), [("1", DOMAINS), ("2", DOMAINS[1:])])
def test_means_of_perplexity_are_means(
    printed: tuple[Reference, ...], number: str, domains: tuple[str, ...]
) -> None:
    values = table(printed, number)
    methods = {method for method, _ in values}
    assert len(methods) == 9
    for method in methods:
        mean = fmean(values[method, domain] for domain in domains)
        assert values[method, "mean"] == pytest.approx(mean, abs=0.011), method


def test_means_of_the_downstream_table_are_means(printed: tuple[Reference, ...]) -> None:
    values = table(printed, "3")
    methods = {method for method, _ in values}
    assert len(methods) == 9
    assert len(values) == 9 * 7
    for method in methods:
        mean = fmean(values[method, f"downstream-{column}"] for column in COLUMNS)
        assert values[method, "downstream-average"] == pytest.approx(mean, abs=0.025), method


def test_printed_counts_are_ours_but_for_the_slips(printed: tuple[Reference, ...]) -> None:
    seen = 0
    for r in printed:
        if r.method != "counts" or "slip" in r.note:
            continue
        ours = COUNTS[r.task.removeprefix("count-")].get(r.metric)
        if ours is None:
            continue
        rounding = {"": 0.0, "printed as 590M": 3e6, "printed as 2B": 1e8}.get(r.note, 1e6)
        assert abs(r.value - ours) <= rounding, r
        seen += 1
    assert seen > 20


def test_slips_are_really_wrong(printed: tuple[Reference, ...]) -> None:
    slips = [r for r in printed if "slip" in r.note]
    assert len(slips) == 10
    for r in slips:
        assert r.value != COUNTS[r.task.removeprefix("count-")][r.metric]


def test_routing_ablation_is_there_whole(printed: tuple[Reference, ...]) -> None:
    values = table(printed, "6")
    assert {method for method, _ in values} == {"btx", "bam-shared-kv-cm", "top2-cm", "top1-cm"}
    assert len(values) == 20
    assert values["top1-cm", "general"] == 26.89


def test_the_papers_effects_follow_from_its_perplexities(
    bam: Suite, printed: tuple[Reference, ...]
) -> None:
    first = table(printed, "1")
    found = 0
    for claim in bam.claims:
        if claim.citation and claim.citation.effect is not None:
            a, b = sides_of(claim)
            ratios = [log(first[b, domain] / first[a, domain]) for domain in DOMAINS]
            assert claim.citation.effect == pytest.approx(fmean(ratios), abs=5e-5), claim.name
            found += 1
    assert found == 4
