"""HTML that needs no script: a page per suite and scale, and the index."""

import functools
from typing import TYPE_CHECKING

from harness import number
from harness.report.overview import Overview
from harness.report.page import Page
from harness.report.selection import Trial
from harness.wording import LEGEND

if TYPE_CHECKING:
    from jinja2 import Environment


def report(page: Page) -> str:
    """The page of one suite at one scale."""
    return _render("report.html", page=page, pairs=_pairs(page), results="../../../results/")


def index(overview: Overview) -> str:
    """The page that lists every suite."""
    return _render("index.html", overview=overview, pairs=_headline_pairs, results="../results/")


def _pairs(page: Page) -> list[tuple[str, tuple[Trial, ...]]]:
    """The lists of records that cells open, one for each method and task."""
    trials = page.selection.trials
    return [
        (f"{method}/{task}", tuple(trials[r.short] for r in group))
        for (method, task), group in page.selection.pairs.items()
    ]


def _headline_pairs(page: Page) -> list[tuple[str, tuple[Trial, ...]]]:
    cells = page.headline.cells if page.headline else ()
    return [(f"{c.method}/{c.task}", c.trials) for c in cells if c.trials]


def _render(template: str, **values: object) -> str:
    return _environment().get_template(template).render(**values).rstrip() + "\n"


@functools.cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(missing=number.MISSING, legend=LEGEND)
    environment.filters.update(count=number.count, plural=number.plural)
    return environment
