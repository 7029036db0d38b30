"""How often the series of this folder are tried, and the table of what came out.

`--chaos-kills`, `--chaos-flips`, `--chaos-commands`, `--chaos-graphs`, `--chaos-files` are small;
`make chaos` runs the long series. `--chaos-summary FILE` writes the table between the two `chaos`
marks of a page.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

KEY = "chaos"
BLOCK = re.compile(r"(<!-- chaos:.*?-->\n).*?(<!-- /chaos -->)", re.DOTALL)
HEADER = ("series", "of what", "cases", "promise held")

Tally = Callable[..., AbstractContextManager["Row"]]


class Row:
    """Cases that were tried, and those in which the promise held."""

    def __init__(self, series: str, what: str) -> None:
        self.series = series
        self.what = what
        self.cases = 0
        self.held = 0

    def add(self, held: bool = True, cases: int = 1) -> None:
        """Counts cases with one result."""
        self.cases += cases
        self.held += cases * held


class Line(NamedTuple):
    """A row of the table."""

    series: str
    what: str
    cases: int
    held: int


@pytest.fixture
def tally(record_property: Callable[[str, object], None]) -> Tally:
    """`with tally(series, what) as row`: counts cases; one case, which holds unless it raises,
    where the block counts none itself.
    """

    @contextmanager
    def count(series: str, what: str) -> Iterator[Row]:
        row = Row(series, what)
        held = False
        try:
            yield row
            held = True
        finally:
            if not row.cases:
                row.add(held)
            record_property(KEY, [row.series, row.what, row.cases, row.held])

    return count


def summed(properties: list[list[Any]]) -> list[Line]:
    """One line for each series and object, in the order in which they are named."""
    found: dict[tuple[str, str], Line] = {}
    for series, what, cases, held in sorted(properties, key=lambda p: (p[0], p[1])):
        line = found.get((series, what), Line(series, what, 0, 0))
        found[series, what] = line._replace(cases=line.cases + cases, held=line.held + held)
    return list(found.values())


def table(lines: list[Line]) -> str:
    """The table as Markdown, with one sum for each series."""
    rows = [HEADER, ("---", "---", "---:", "---:")]
    for series in dict.fromkeys(line.series for line in lines):
        own = [line for line in lines if line.series == series]
        rows += [(series, line.what, f"{line.cases:,}", f"{line.held:,}") for line in own]
        cases, held = sum(line.cases for line in own), sum(line.held for line in own)
        if len(own) > 1:
            rows.append((f"**{series}**", "**all**", f"**{cases:,}**", f"**{held:,}**"))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def filled(page: str, text: str) -> str:
    """The page with the text between its two marks.

    Raises:
        pytest.UsageError: the page has no such marks.
    """
    if BLOCK.search(page) is None:
        raise pytest.UsageError("no line <!-- chaos: ... --> with a line <!-- /chaos --> after it")
    return BLOCK.sub(lambda found: f"{found[1]}{text}{found[2]}", page)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for `kills`, `flips`, ... gets parts of them: (first, number)."""
    parts_of = {"kills": 40, "flips": 1000, "commands": 1000, "graphs": 5000, "files": 10_000}
    for name, part in parts_of.items():
        if name in metafunc.fixturenames:
            count = metafunc.config.getoption(f"--chaos-{name}")
            parts = [(n, min(part, count - n)) for n in range(0, count, part)]
            metafunc.parametrize(name, parts, ids=[f"{name}{n}" for n, _ in parts])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints the table, and writes it where `--chaos-summary` says."""
    reports = [r for rs in terminalreporter.stats.values() for r in rs if hasattr(r, "when")]
    lines = summed(
        [
            value
            for r in reports
            if r.when == "call"
            for key, value in r.user_properties
            if key == KEY
        ]
    )
    if lines:
        terminalreporter.section("chaos")
        terminalreporter.write(table(lines))
        if path := config.getoption("--chaos-summary"):
            Path(path).write_text(filled(Path(path).read_text(), table(lines)))
