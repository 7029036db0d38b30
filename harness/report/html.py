"""HTML: the front page, a page per suite and scale, pages of records, and how we decide.

Pages stand alone: style and script are inside, and the content security policy of each page names
their digests and allows nothing else. What the script adds (sorting, filtering) nobody needs.
"""

import base64
import functools
import hashlib
import re
from importlib import resources
from typing import TYPE_CHECKING

from harness import number
from harness.digits import plain
from harness.report.along import Sheet as AxisSheet
from harness.report.along import places
from harness.report.along import titles as axis_titles
from harness.report.overview import Overview
from harness.report.page import Page
from harness.report.sheet import Sheet, titles
from harness.suite import SEPARATOR
from harness.wording import LEGEND, RULES, anchor, forms, slug

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

MARKS = {
    "reproduced": "✓", "not-reproduced": "✗", "holds": "✓", "opposite": "✗", "equivalent": "=",
    "inconclusive": "?", "not-testable-here": "∅", "not-run": "–", "not-judged": "–",
    "additional": "+", "equal": "=", "not-equal": "≠",
}  # fmt: skip
"""What stands for a verdict where there is no room for its word, by its anchor."""

_FRONT = (
    ("holds", "holds"), ("opposite", "opposite"), ("equivalent", "equivalent"),
    ("inconclusive", "inconclusive"), ("not testable here", "not testable"),
    ("not judged", "not judged"),
)  # fmt: skip
"""The legend of the front page: words and their tones."""


def report(page: Page) -> str:
    """The page of one suite at one scale."""
    return _render(
        "report.html",
        page=page,
        places=places(page.suite, page.scale, page.selection, page.stretches),
        sheets=titles(page.suite, page.selection),
        along=[(s, axis_titles(page.suite, s), t) for s, t in page.along],
        script=_script(),
    )


def records(page: Page, sheet: Sheet) -> str:
    """One page of records, for `records/` beside the page of its suite and scale."""
    stale = any(seed.stale for entry in sheet.entries for seed in entry.seeds)
    return _render("records.html", page=page, sheet=sheet, stale=stale)


def along(page: Page, sheet: AxisSheet) -> str:
    """One page of records along an axis, for the same folder."""
    stale = any(s.stale for part in sheet.parts for entry in part.entries for s in entry.seeds)
    return _render("along.html", page=page, sheet=sheet, stale=stale)


def _varied(scale: str) -> str:
    """What a variant replaces, behind a comma."""
    return f", {scale.partition(SEPARATOR)[2]}" if SEPARATOR in scale else ""


def index(overview: Overview) -> str:
    """The front page."""
    return _render("index.html", overview=overview, legend=_FRONT)


def deciding() -> str:
    """How we decide: the rules of every verdict, their limits, and how authors reply."""
    rules = [(word, [slug(name) for name in forms(word)], meaning) for word, meaning in LEGEND]
    return _render("how-we-decide.html", rules=rules, version=RULES)


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values).strip() + "\n"


def _digest(text: str) -> str:
    """The source expression of an inline style or script in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _read(name: str) -> str:
    return resources.files("harness.report").joinpath("templates", name).read_text("utf-8")


def _script() -> "Markup":
    from markupsafe import Markup

    return Markup(_read("table.js").strip())  # noqa: S704


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = re.sub(r"\s+", " ", _read("style.css")).strip()
    marks = {slug(name): MARKS[slug(name)] for word, _ in LEGEND for name in forms(word)}
    environment.globals.update(style=Markup(style), marks=marks)  # noqa: S704
    environment.filters.update(
        count=number.count,
        plural=number.plural,
        anchor=anchor,
        digest=_digest,
        plain=plain,
        varied=_varied,
    )
    return environment
