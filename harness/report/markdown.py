"""Markdown, as git hosts render it."""

import re
from collections.abc import Iterable
from urllib.parse import quote

from harness import number
from harness.report.overview import Overview
from harness.report.page import Page
from harness.report.selection import Trial
from harness.report.table import Comparison, Listing
from harness.report.verdict import Group
from harness.suite import Suite
from harness.wording import LEGEND

_SPECIAL = re.compile(r"([\\`*_|~$\[\]])")
_OPENING = re.compile(r"^(?:([#+=-])|(\d{1,9})([.)]))")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def escape(text: str) -> str:
    """Text that means itself, also inside a table."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split())).translate(_ENTITIES)


def paragraph(text: str) -> str:
    """Text that means itself at the start of a line too, where it is no heading, list or rule."""
    return _OPENING.sub(lambda m: f"{m[2] or ''}\\{m[1] or m[3]}", escape(text))


def comparison(table: Comparison) -> str:
    """Heading, what the number is, the table, its notes, and the records cell by cell."""
    digits = table.metric.digits
    lines = [f"### {escape(table.title)}", "", paragraph(" · ".join(table.head)), ""]
    lines += _head([table.corner, *table.columns], [False] + [True] * len(table.columns))
    for name, cells in table.rows:
        texts = []
        for cell in cells:
            p = cell.parts(digits)
            mean = f"**{p.mean}**" if cell.best else p.mean
            text = f"{mean}{escape(p.marks)} {p.interval} {p.n}"
            texts.append(" ".join(text.split()) + (f"<br>paper {escape(p.paper)}" * bool(p.paper)))
        lines.append(f"| {escape(name)} | {' | '.join(texts)} |")
    lines += ["", *_notes((*table.sources, *table.notes))]
    if table.anchors:
        lines += ["Published elsewhere, or without a cell here:", ""]
        lines += [f"- {paragraph(line)}" for line in table.anchors] + [""]
    lines += _records((f"{c.row} / {c.column}", c.trials) for c in table.cells)
    return "\n".join(lines)


def listing(table: Listing) -> str:
    """Heading, the table, its notes, and the records row by row."""
    lines = [f"### {escape(table.title)}", ""]
    if table.rows:
        lines += _head(list(table.columns), list(table.numeric))
        lines += [f"| {' | '.join(escape(f.text) for f in row.fields)} |" for row in table.rows]
    else:
        lines.append("None.")
    lines += ["", *_notes(table.notes)]
    width = 2 if len({row.fields[0].text for row in table.rows}) < len(table.rows) else 1
    lines += _records((" / ".join(f.text for f in r.fields[:width]), r.trials) for r in table.rows)
    return "\n".join(lines)


def bullets(title: str, items: Iterable[str], empty: str = "None.") -> str:
    """A heading and a list."""
    lines = [f"- {paragraph(item)}" for item in items]
    return "\n".join([f"### {escape(title)}", "", *(lines or [empty]), ""])


def report(page: Page) -> str:
    """The page of one suite at one scale."""
    suite = page.suite
    parts = [
        f"# {escape(suite.name)}, {escape(page.scale)} scale",
        paragraph(suite.summary),
        f"**{escape(page.reply.text)}**",
        paragraph(page.reply.remark),
        _paper(suite),
        *(paragraph(fact) for fact in page.facts),
        f"Records are in `results/{suite.name}/{page.scale}/`; a file name ends in the id that "
        "the lists below give.",
        "## Verdicts",
        paragraph(suite.paper.numbers),
        *_verdicts(page.groups, "###"),
        _legend(),
    ]
    parts += [listing(table) for table in (page.exact, page.checks, page.curves) if table.rows]
    if page.tables:
        parts += ["## Tables", *(comparison(table) for table in page.tables)]
    for stretch, tables in page.along:
        parts += [f"## Along {escape(stretch.title)}", *(comparison(table) for table in tables)]
    if page.pictures:
        parts.append("## Figures")
        for picture in page.pictures:
            title = escape(picture.title)
            seen = (
                f"Not drawn: {escape(picture.problem)}"
                if picture.problem
                else f"![{title}](figures/{picture.name}.svg)"
            )
            parts += [f"### {title}", seen, paragraph(picture.caption)]
    if page.claims.rows:
        parts += ["## Numbers behind the verdicts", listing(page.claims)]
    parts += ["## Costs", listing(page.costs)]
    if page.budget:
        parts.append(listing(page.budget))
    if page.texts:
        parts += [
            "## Protocols and differences",
            *(bullets(t.title, t.sentences) for t in page.texts),
        ]
    parts += ["## Data, provenance and records", *(listing(table) for table in page.listings)]
    return _joined(parts)


def index(overview: Overview) -> str:
    """The page that lists every suite."""
    parts = [
        "# Reports",
        "Generated from `results/`; `harness report --check` tells whether it is.",
    ]
    for chapter in overview.chapters:
        suite = chapter.suite
        parts += [f"## {escape(suite.name)}", paragraph(suite.summary), _paper(suite)]
        lines = _head(["Scale", "Ok", "Failed", "Planned", "Verdicts"], [False, *[True] * 3, False])
        for status in chapter.statuses:
            name = escape(status.scale)
            linked = f"[{name}]({suite.name}/{status.scale}/report.md)" if status.page else name
            numbers = (number.count(n) for n in (status.ok, status.failed, status.planned))
            verdicts = escape(status.outcomes) or number.MISSING
            lines.append(f"| {linked} | {' | '.join(numbers)} | {verdicts} |")
        parts.append("\n".join(lines))
        if chapter.shown is None:
            parts.append(f"No current records yet: `harness run {suite.name} --scale laptop`.")
            continue
        parts.append(f"At {chapter.shown.scale} scale: **{escape(chapter.shown.reply.text)}**")
        parts += _verdicts(chapter.shown.groups[:1], "###")
        if chapter.shown.headline:
            parts.append(comparison(chapter.shown.headline))
    if overview.chapters:
        parts += ["## What verdicts mean", _legend()]
    else:
        parts.append("There are no suites.")
    if overview.strangers:
        names = ", ".join(f"`{escape(name)}`" for name in overview.strangers)
        parts.append(f"Records of suites that are not installed: {names}.")
    return _joined(parts)


def _paper(suite: Suite) -> str:
    p = suite.paper
    link = f"[arXiv:{escape(p.arxiv)}](https://arxiv.org/abs/{quote(p.arxiv)})"
    return f"{paragraph(p.authors)}: *{escape(p.title)}*, {escape(p.venue)} {p.year}, {link}."


def _verdicts(groups: Iterable[Group], mark: str) -> list[str]:
    out = []
    for group in groups:
        lines = []
        for line in group.lines:
            said = f"the authors: {line.response}" if line.response else ""
            tail = " — ".join(escape(p) for p in (line.measured, line.reason, said) if p)
            text = f"- **{escape(line.label)}**: {escape(line.text)} ({escape(line.source)})"
            lines.append(text + (f" — {tail}" if tail else ""))
        out += [f"{mark} {escape(group.title)}", "\n".join(lines)]
    return out or ["No claims to judge."]


def _legend() -> str:
    lines = [f"- **{escape(word)}**: {escape(meaning)}." for word, meaning in LEGEND]
    head = "<details><summary>What the words mean</summary>"
    return "\n".join([head, "", *lines, "", "</details>"])


def _joined(parts: Iterable[str]) -> str:
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _head(columns: list[str], right: list[bool]) -> list[str]:
    right = right or [False] * len(columns)
    return [
        f"| {' | '.join(escape(c) for c in columns)} |",
        f"|{'|'.join(' ---: ' if r else ' --- ' for r in right)}|",
    ]


def _notes(notes: Iterable[str]) -> list[str]:
    return [line for note in notes if note for line in (paragraph(note), "")]


def _records(groups: Iterable[tuple[str, tuple[Trial, ...]]]) -> list[str]:
    lines = [
        f"- {paragraph(name)}: {' '.join(f'`{t.id}`' for t in trials)}"
        for name, trials in groups
        if trials
    ]
    if not lines:
        return []
    summary = "<details><summary>Records behind these numbers</summary>"
    return [summary, "", *lines, "", "</details>", ""]
