"""CSV: a comparison as one line per cell, a listing as it stands.

Numbers have ten significant digits, whole ones all of theirs. Text that a spreadsheet would take
for a formula begins with a quote, which makes it text there.
"""

import csv
import io
import re
from collections.abc import Iterable

from harness.digits import plain
from harness.report.selection import Trial
from harness.report.table import FAILURES, Cell, Comparison, Listing
from harness.suite import Reference

COLUMNS = (
    "row", "column", "method", "task", "protocol", "metric", "unit", "better", "split", "select",
    "mean", "low", "high", "n", "trials", "failures", "ok", *FAILURES, "stale", "best", "close",
    "reference", "reference_spread", "reference_n", "reference_table", "ids",
)  # fmt: skip
"""Several published numbers for one cell are joined with `;`, several ids with a space."""

AXIS = ("scale", "axis", "axis_unit", "axis_value")
"""What a table along an axis has besides."""

_FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""Text that begins with one of these is run by some spreadsheet."""

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def comparison(table: Comparison) -> str:
    """One line per cell, also where nothing was measured."""
    m = table.metric
    about = (m.name, m.unit, m.better, m.split, m.select)
    if table.axis is None:
        return _text(COLUMNS, (_line(cell, about) for cell in table.cells))
    name, unit = table.axis.name, table.axis.unit
    lines = ((*_line(cell, about), cell.scale, name, unit, cell.value) for cell in table.cells)
    return _text((*COLUMNS, *AXIS), lines)


def listing(table: Listing) -> str:
    """The columns of the listing, then the ids."""
    return _text(
        (*table.columns, "ids"),
        (
            (*(f.text if f.value is None else f.value for f in row.fields), _ids(row.trials))
            for row in table.rows
        ),
    )


def lines_of(rows: Iterable[Iterable[object]]) -> str:
    """Rows as they stand, the first of them the heads."""
    head, *rest = rows
    return _text(head, rest)


def _line(cell: Cell, about: tuple[str, ...]) -> tuple[object, ...]:
    printed = cell.references
    return (
        *(cell.row, cell.column, cell.method, cell.task, cell.protocol, *about),
        *(cell.mean, cell.low, cell.high, cell.n, len(cell.trials), cell.failures),
        *(cell.statuses.values()),
        *(cell.stale, int(cell.best), int(cell.close)),
        *(_joined(printed, name) for name in ("value", "spread", "n", "table")),
        _ids(cell.trials),
    )


def _joined(printed: Iterable[Reference], field: str) -> str:
    values = [getattr(r, field) for r in printed]
    if all(v is None for v in values):
        return ""
    return ";".join("" if v is None else entry(v) for v in values)


def _ids(trials: Iterable[Trial]) -> str:
    return " ".join(t.id for t in trials)


def _text(head: Iterable[object], lines: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([entry(value) for value in head])
    writer.writerows([entry(value) for value in line] for line in lines)
    return out.getvalue()


def entry(value: object) -> str:
    """One value as a file has it."""
    if value is None:
        return ""
    if isinstance(value, int | float):
        return plain(value)
    # A carriage return alone would end the line for some readers, and `csv` does not quote it.
    text = str(value).replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
