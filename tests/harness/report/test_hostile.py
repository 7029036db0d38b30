"""Strings and numbers that somebody chose to break a report with."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import number
from harness.record import Record
from harness.report import delimited, html, latex, markdown
from harness.report.overview import Overview, chapter
from harness.report.page import Page, build
from harness.report.site import generate
from harness.report.table import Field, Listing, Row
from harness.suite import Paper, Suite

Lab = Callable[..., Suite]
Make = Callable[..., Record]
FORMULAS = [
    "=HYPERLINK(\"http://x\")", "+1+1", "-2+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\r=1", "\n=1",
    "＝1", "-", "=1,2",
]  # fmt: skip


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_is_a_formula(lab: Lab, record: Make, formula: str) -> None:
    row = Row((Field(formula), Field("1", -1.5), Field("-0.5")))
    (head, line) = cells(delimited.listing(Listing("l", "L", (formula, "B", "C"), (row,))))
    quoted = "'" + formula.replace("\r", "\n")
    assert head[0] == line[0] == quoted
    assert line[1:3] == ["-1.5", "-0.5"]  # numbers stay numbers

    suite = lab()
    methods = tuple(m.model_copy(update={"label": formula}) for m in suite.methods)
    metrics = tuple(m.model_copy(update={"unit": formula}) for m in suite.metrics)
    suite = suite.model_copy(update={"methods": methods, "metrics": metrics})
    page = build(suite, "laptop", [record(suite, "gate", "deep", 0)], figures=False)
    texts = [delimited.comparison(t) for t in page.tables]
    texts += [delimited.listing(t) for t in (page.claims, page.costs, *page.listings)]
    for cell in (cell for text in texts for line in cells(text) for cell in line):
        assert not re.match(r"[=+@\t\r\n＝]", cell)
        assert not cell.startswith("-") or re.fullmatch(r"-[\d.e+-]+", cell)
    assert any(quoted in line for text in texts for line in cells(text))


NASTY = '](javascript:x) <img src=x onerror=y> "onclick="z |`_*'


def test_the_paper_is_escaped_everywhere(lab: Lab, records: list[Record]) -> None:
    paper = Paper(title=NASTY, authors=f"# {NASTY}", arxiv=NASTY, venue=NASTY, year=2024)
    suite = lab(paper=paper, summary=f"- {NASTY}")
    page = build(suite, "laptop", records, figures=False)
    overview = Overview((chapter(suite, [page]),), ())
    for text in (markdown.report(page), markdown.index(overview)):
        line = next(s for s in text.splitlines() if "arxiv.org" in s)
        assert line.startswith("\\#")
        assert len(re.findall(r"(?<!\\)\]\(", text.replace("](figures/", "").replace(
            "](lab/", ""))) == 1  # fmt: skip
        assert "](https://arxiv.org/abs/%5D%28javascript" in line
        assert "<img" not in text
        assert f"\n\\- {markdown.escape(NASTY)}\n" in text
    for text in (html.report(page), html.index(overview)):
        assert "<img src=x" not in text
        assert re.search(r'href="https://arxiv.org/abs/%5D[^" <>]*"', text)


@pytest.mark.parametrize(
    "text", ["# head", "- item", "+ item", "=====", "--- ", "12. list", "3) list", "> quote"]
)
def test_a_paragraph_opens_no_block(text: str) -> None:
    shown = markdown.paragraph(text)
    assert not re.match(r"([#+=>-]|\d+[.)])", shown)
    plain = shown.replace("&gt;", ">").replace("\\", "")
    assert plain == text.strip()
    assert markdown.paragraph("-0.5 and 1.5") == "\\-0.5 and 1.5"
    assert markdown.paragraph("2024 was") == "2024 was"


@pytest.mark.parametrize("huge", [10**400, 10**400 + 1, 10**4000, -(10**400), 2**63])
def test_counts_that_no_float_holds_leave_a_report(
    lab: Lab, record: Make, tmp_path: Path, huge: int
) -> None:
    suite = lab()
    records = [
        record(suite, method, "deep", seed, counts={"flops": huge + seed, "parameters": count})
        for method, count in (("gate", huge), ("plain", 3))
        for seed in range(2)
    ]
    generate([suite], records, tmp_path, figures=False)
    text = (tmp_path / "lab/laptop/tables/budget.csv").read_text()
    assert str(huge) in text
    shown = (tmp_path / "lab/laptop/tables/budget.md").read_text()
    assert "e+400" in shown or abs(huge) != 10**400
    assert (tmp_path / "lab/laptop/report.html").exists()


def test_metrics_and_costs_at_the_edge_of_floats_leave_a_report(
    lab: Lab, record: Make, tmp_path: Path
) -> None:
    suite = lab()
    edge = [1.7e308, -1.7e308, 1e-320, 0.0, -1e308, 1.7e308]
    cost = record(suite, "gate", "deep", 0).cost.model_copy(update={"wall_seconds": 1.7e308})
    records = [
        record(suite, m, t, s, metrics={"acc": sign * v, "steps": v}, cost=cost)
        for m, sign in (("gate", 1), ("plain", -1), ("odd", 1))
        for t in ("shallow", "deep")
        for s, v in enumerate(edge)
    ]
    generate([suite], records, tmp_path)
    assert (tmp_path / "lab/laptop/tables/claims.csv").exists()


def test_huge_numbers_are_short_in_text() -> None:
    assert number.count(10**400) == "1.00e+400"
    assert number.power(10**400) == "1.00e+400"
    assert number.memory(10**400) == "1.00e+400 B"
    assert number.count(2**63) == "9,223,372,036,854,775,808"


def test_latex_of_nasty_text_holds_together(page_of: Callable[[str], Page]) -> None:
    page = page_of("\\end{table} $x$ %\n& # _ ^ { } ~")
    for made in (*(latex.comparison(t) for t in page.tables), latex.listing(page.claims)):
        text = re.sub(r"(?m)^% .*$", "", made)  # ids stand in comments
        begun, ended = (re.findall(rf"\\{word}{{(table.?)}}", text) for word in ("begin", "end"))
        assert begun == ended != []
        whole = text.replace(r"\\{}", " ")  # heads are broken between words
        assert r"\textbackslash{}end\{table\} \$x\$ \% \& \# \_" in whole


@pytest.fixture
def page_of(lab: Lab, record: Make) -> Callable[[str], Page]:
    def make(text: str) -> Page:
        suite: Any = lab()
        suite = suite.model_copy(
            update={
                "methods": tuple(
                    m.model_copy(update={"label": f"{m.name} {text}"}) for m in suite.methods
                ),
                "claims": tuple(c.model_copy(update={"text": text}) for c in suite.claims),
            }
        )
        return build(suite, "laptop", [record(suite, "gate", "deep", 0)], figures=False)

    return make
