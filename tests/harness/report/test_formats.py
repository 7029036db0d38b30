"""Markdown, LaTeX and CSV of the same tables."""

import io
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.record import Record
from harness.report import delimited, latex, markdown
from harness.report.page import Page, build
from harness.report.table import Field, Listing, Row
from harness.report.verdict import brief
from harness.suite import Method, Suite, Table, Task

Lab = Callable[..., Suite]


@pytest.fixture
def page(lab: Lab, records: list[Record], printed: dict[str, Any]) -> Page:
    return build(lab(), "laptop", records, printed["lab"], stale={records[0].id}, figures=False)


def latex_problem(text: str) -> str:
    """What pdflatex would stumble over; empty where it would not."""
    text = re.sub(r"(?m)^% .*$", "", text)
    bare = re.sub(r"\\[%&#$_{}\\]|\\[`'^~=.\"](?=\{)", "", text)
    depth = 0
    for char in bare:
        depth += {"{": 1, "}": -1}.get(char, 0)
        if depth < 0:
            return "a brace closes too early"
    if depth:
        return "a brace stays open"
    if re.search(r"(?<!\{)%(?!\n)", bare):
        return "a bare per cent sign"
    outside = "".join(bare.split("$")[::2])
    if bare.count("$") % 2 or re.search(r"[_^#~]", outside):
        return "a bare special character"
    begun, ended = re.findall(r"\\begin\{(\w+)", text), re.findall(r"\\end\{(\w+)", text)
    if sorted(begun) != sorted(ended):
        return "an environment stays open"
    for body in re.findall(r"\\begin\{tabular\}.*?\n(.*?)\\end\{tabular\}", text, re.S):
        widths = {line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")}
        if len(widths) != 1:
            return f"rows of different width: {body}"
    return "" if text.isascii() else "a letter that pdflatex may lack"


def everything(page: Page) -> dict[str, str]:
    listings = [page.claims, page.costs, *page.listings, *([page.budget] if page.budget else [])]
    return {
        **{t.name: latex.comparison(t) for t in page.tables},
        **{t.name: latex.listing(t) for t in listings},
    }


def test_latex_holds_together(page: Page) -> None:
    for name, text in everything(page).items():
        assert not latex_problem(text), name
        assert r"\toprule" in text


def test_latex_has_mean_and_spread_n_in_the_caption_and_ids_at_the_end(
    page: Page, records: list[Record]
) -> None:
    text = latex.comparison(page.tables[0], "lab")
    cell = page.tables[0].cells[0]
    assert rf"\textbf{{79.2 $\pm$ {cell.half:.1f}}}$^{{*}}$" in text
    assert r"$^{\dagger}$" in text
    assert r"{\scriptsize (n=4, 4/6 ok)}" in text
    assert "half the 95 \\% interval, n = 6 where a cell says no other." in text
    assert r"\quad published & 81.25" in text
    assert r"\label{tab:lab-accuracy}" in text
    assert "resizebox" not in text
    assert text.startswith("% in the preamble: \\usepackage{array,booktabs}\n")
    ids = " ".join(r.short for r in records[:6])
    assert f"% records of Gate, shallow (standard): {ids}" in text.partition(r"\end{table")[2]


def test_latex_offers_deviation_and_standard_error(page: Page, records: list[Record]) -> None:
    values = np.array([r.metrics["acc"] for r in records[:6]])
    sd = float(values.std(ddof=1))
    for kind, want, word in (
        ("sd", sd, "standard deviation"), ("se", sd / 6**0.5, "standard error"),
    ):  # fmt: skip
        text = latex.comparison(page.tables[0], "lab", kind)
        assert rf"\textbf{{79.2 $\pm$ {want:.1f}}}" in text
        assert word in text


@given(st.text(max_size=40))
def test_latex_escapes_any_text(text: str) -> None:
    assert not latex_problem(latex.escape(text))


def test_latex_escapes_each_special() -> None:
    assert latex.escape(r"_%&#${}") == r"\_\%\&\#\$\{\}"
    assert latex.escape("~^\\") == r"\textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert latex.escape("é ş ï α ↑ ⊕") == r"\'{e} \c{s} \"{\i} $\alpha$ $\uparrow$ U+2295"
    assert latex.escape("a--b-c") == "a-{}-b-c"
    assert latex.escape("-1.5 to 2-3") == "$-$1.5 to 2-3"
    assert latex.escape("a\n\tb\x00") == "a b"


def test_latex_guards_what_follows_a_line_end() -> None:
    row = Row((Field("[x]"), Field("1")))
    text = latex.listing(Listing("l", "L", ("A", "B"), (row,)))
    assert "{}[x] & 1" in text
    assert r"\begin{tabular}{@{}ll@{}}" in text


@pytest.fixture
def awkward(lab: Lab, record: Any) -> Page:
    """Many methods with long labels, on many tasks: too wide for a line, too long for a page."""
    base = lab()
    methods = tuple(
        Method(name=f"m{k}", run="x:run", label=f"averaged attention and MLPs, {k} repeats")
        for k in range(9)
    )
    tasks = tuple(Task(name=f"t{k}", metrics=("acc",), label=f"self-{k}") for k in range(45))
    suite = lab(
        methods=methods, tasks=tasks, claims=(), figures=(), datasets=(), headline="wide",
        tables=(
            Table(name="wide", title="Wide & long", metric="acc", rows="tasks"),
            Table(name="turned", title="The other way round", metric="acc"),
        ),
        scales=(base.scale("laptop").model_copy(update={"seeds": (0, 1)}),),
    )  # fmt: skip
    records = [
        record(suite, m.name, t.name, s, metrics={"acc": 1234.5 + s})
        for m in methods
        for t in tasks
        for s in range(2)
    ]
    return build(suite, "laptop", records, figures=False)


def test_latex_sets_the_unit_of_a_long_estimate_below_it() -> None:
    def made(effect: str) -> str:
        row = Row((Field("A claim of many words. " * 9), Field("holds"), Field(effect)))
        heads = ("Claim", "Verdict", "Effect, 95 % CI")
        return latex.listing(Listing("l", "L", heads, (row,), numeric=(False, False, True)))

    long = made("-0.0743 [-0.2160, 0.0673] nats per halving")
    stack = (
        r"\begin{tabular}[t]{@{}r@{}}$-$0.0743 [$-$0.2160, 0.0673] \\ nats per halving\end{tabular}"
    )
    assert stack in long
    short = made("-7.4 [-21.6, 6.7] %")
    assert "$-$7.4 [$-$21.6, 6.7] \\%" in short
    assert "[t]" not in short
    assert not latex_problem(long)


@pytest.mark.parametrize(
    ("text", "ems"),
    [("(accuracy)", 4.586), ("QUOKKA", 4.612), ("major", 2.531), ("RTGL", 2.868), ("raja", 1.698)],
)
def test_latex_takes_no_text_for_narrower_than_it_is(text: str, ems: float) -> None:
    """Widths of cmr10; `\\small` at 10 pt is 9 pt, whose letters are 2.8 % wider for their size."""
    assert latex._width(text) >= 9 * 1.028 * ems


def test_latex_cuts_what_no_page_holds(awkward: Page) -> None:
    for table in awkward.tables:
        text = latex.comparison(table, "lab")
        assert not latex_problem(text)
        labels = re.findall(r"\\label\{(.*?)\}", text)
        assert len(labels) == len(set(labels)) > 1
        assert text.count(r"1235.0 $\pm$") == len(table.cells)
        assert rf"(1 of {len(labels)})" in text


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")
@pytest.mark.parametrize("columns", ["", ",twocolumn"])
def test_latex_compiles_within_the_page(
    page: Page, awkward: Page, tmp_path: Path, columns: str
) -> None:
    texts = {**everything(page), **{f"awkward-{k}": v for k, v in everything(awkward).items()}}
    texts["brief"] = latex.listing(brief(page.claims))
    for name, text in texts.items():
        (tmp_path / f"{name}.tex").write_text(text)
    lines = [
        rf"\documentclass[10pt{columns}]{{article}}", r"\usepackage{array,booktabs}",
        r"\begin{document}", *(rf"\input{{{name}}}\clearpage" for name in texts),
        r"\end{document}",
    ]  # fmt: skip
    (tmp_path / "all.tex").write_text("\n".join(lines))
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "all.log").read_text(errors="replace")
    assert not re.findall(r"Overfull .*|Float too large.*", log)


def test_markdown_cells(page: Page) -> None:
    text = markdown.comparison(page.tables[0])
    assert r"| **79.2**\* [78.2, 80.3] n=6<br>paper 81.25 ± 1.1 (n=10) |" in text
    assert "71.1 [70.7, 71.5] n=4, 4/6 ok" in text
    assert "| — |" in text
    assert "↑ higher is better · split: test · selection: best-val" in text
    widths = {len(re.findall(r"(?<!\\)\|", s)) for s in text.splitlines() if s.startswith("|")}
    assert widths == {6}


def test_markdown_lists_the_ids_of_each_cell(page: Page) -> None:
    text = markdown.comparison(page.tables[0])
    for cell in page.tables[0].cells:
        if cell.trials:
            ids = " ".join(f"`{t.id}`" for t in cell.trials)
            name = markdown.escape(f"{cell.row} / {cell.column}")
            assert f"- {name}: {ids}\n" in text


def test_markdown_escapes() -> None:
    assert markdown.escape("<script>") == "&lt;script&gt;"
    assert markdown.escape("a_b%&#|*`~[$\\") == r"a\_b%&amp;#\|\*\`\~\[\$\\"
    assert markdown.escape("two\nlines") == "two lines"


def test_markdown_listing_without_rows() -> None:
    text = markdown.listing(Listing("l", "L", ("A",), (), ("A note.",)))
    assert text.splitlines() == ["### L", "", "None.", "", "A note."]
    assert "None." in markdown.bullets("B", [])


def test_csv_reads_back(page: Page, records: list[Record]) -> None:
    table = page.tables[0]
    got = pd.read_csv(io.StringIO(delimited.comparison(table)), keep_default_na=False)
    assert tuple(got.columns) == delimited.COLUMNS
    assert len(got) == len(table.cells)
    for line, cell in zip(got.itertuples(), table.cells, strict=True):
        assert (line.row, line.column) == (cell.row, cell.column)
        assert line.mean == ("" if cell.mean is None else f"{cell.mean:.10g}")
        assert (line.n, line.trials, line.failures) == (cell.n, len(cell.trials), cell.failures)
        assert line.ids.split() == [t.id for t in cell.trials]
    first = got.iloc[0]
    assert (first.reference, first.reference_spread, first.reference_n) == ("81.25", "1.1", "10")
    assert (first.unit, first.select, first.best, first.stale) == ("%", "best-val", 1, 1)
    ids = " ".join(got["ids"]).split()
    assert sorted(ids) == sorted(r.short for r in records)


def test_csv_joins_several_printed_numbers(lab: Lab, printed: dict[str, Any]) -> None:
    row = printed["lab"][0]
    twice = [row, row.model_copy(update={"value": 80.0, "spread": None, "table": "Table 9"})]
    page = build(lab(), "laptop", [], twice, figures=False)
    got = pd.read_csv(io.StringIO(delimited.comparison(page.tables[0])))
    first = got.iloc[0]
    assert (first.reference, first.reference_spread) == ("81.25;80", "1.1;")
    assert (first.reference_n, first.reference_table) == ("10;10", "Table 2;Table 9")


def test_csv_of_a_listing_has_ten_digits_and_whole_numbers_in_full(page: Page) -> None:
    got = pd.read_csv(io.StringIO(delimited.listing(page.claims)))
    assert got["Claim"].tolist() == ["gate-wins", "gap-grows", "steadier", "same"]
    near = {"rel": 1e-9, "abs": 0}
    judged = [v for v in page.verdicts if v.role != "exact"]
    assert got["Estimate"].tolist() == pytest.approx([v.estimate for v in judged], **near)
    assert got["95 % low"].tolist() == pytest.approx([v.low for v in judged], **near)
    exact = pd.read_csv(io.StringIO(delimited.listing(page.exact)))
    assert (exact["Expected"].tolist(), exact["Counted"].tolist()) == ([100], [100])
    costs = pd.read_csv(io.StringIO(delimited.listing(page.costs)))
    assert costs["Parameters, median"].tolist() == [1234567] * 3
    assert costs["Wall, total"].tolist()[0] == sum(90 + s for s in range(6)) * 4
