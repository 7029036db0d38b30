"""What a run says at its end: counts, headline table, verdicts, the page to open, what is next."""

import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NamedTuple

from harness import console, number, plan, registry
from harness.claim import Exact
from harness.errors import one_line
from harness.looks import taken
from harness.record import Record
from harness.store import Store
from harness.suite import SEPARATOR, Scale, Suite, Table, select
from harness.terminal import out

if TYPE_CHECKING:
    from harness.analysis import Cells
    from harness.claims import Verdict

WIDTH = 100
"""Columns of a verdict's line."""
ROWS = 15
"""Of all tables together."""
_BESIDE = 6
"""Methods beside one another; of more those alone that were recorded."""
REPORTS = "reports"
_ADDED = ("ran", "failed")

Stopped = Literal["", "time", "signal"]


class Round(NamedTuple):
    """What a round of trials, or several of them, came to."""

    code: int
    """Exit code of the command."""
    counts: Mapping[str, int]
    """Trials by what became of them, in words."""
    places: frozenset[tuple[str, str]] = frozenset()
    """Suites and scales that have records."""
    fresh: Mapping[str, Record] = MappingProxyType({})
    """What this round has recorded, by identity."""
    stopped: Stopped = ""
    """What ended it before its end."""

    def then(self, later: "Round") -> "Round":
        """Both as one."""
        counts = {
            word: self.counts.get(word, 0) * (word in _ADDED) + later.counts.get(word, 0)
            for word in (*later.counts, *_ADDED)
        }
        return Round(
            max(self.code, later.code),
            counts,
            self.places | later.places,
            {**self.fresh, **later.fresh},
            later.stopped,
        )


def command(*words: str) -> str:
    """A command line that can be pasted into a shell; without words this one."""
    return one_line(shlex.join(["harness", *(words or sys.argv[1:])]))


def tell(
    ended: Round,
    sizes: Sequence[tuple[Suite, Scale]],
    store: Store,
    seconds: float,
    limit: float | None = None,
    plugins: Sequence[str] = (),
    beside: Sequence[str] = (),
) -> None:
    """Prints the summary of a run: at most about 25 lines; tables and verdicts of what has run.

    Args:
        ended: what has run.
        sizes: suites and scales that were asked for; points of axes are passed over.
        store: with the records.
        seconds: that the run took.
        limit: of `--time`, in seconds.
        plugins: as the command line names them.
        beside: names or globs of methods whose older records are shown beside the new ones.
    """
    left = "; " + number.seconds(seconds)
    if ended.stopped == "time":
        left = f"; stopped as asked after {number.seconds(limit or seconds)}, resumes where it was"
    out.print(f"{console.counted(ended.counts)}{left}", markup=False)
    if ended.stopped == "signal":
        return
    named = [(suite, scale) for suite, scale in sizes if _stands_alone(scale, sizes)]
    changed = {record.scale for record in ended.fresh.values()}
    rows = ROWS // max(sum(scale.name in changed for _, scale in named), 1)
    for suite, scale in named:
        _tell_suite(suite, scale, ended, store, rows, beside)
    for line in _next(ended, named, store.results, plugins):
        out.print(line, markup=False)


def verdict_lines(suite: Suite, verdicts: "Sequence[Verdict]") -> Iterator[str]:
    """A line for each verdict: claim, word, estimate, interval and n."""
    by_name = {claim.name: claim for claim in suite.claims}
    width = max((len(v.claim) for v in verdicts), default=0)
    for v in verdicts:
        shown = (
            f"{v.estimate:.15g}"
            if isinstance(by_name[v.claim], Exact) and v.estimate is not None
            else number.estimate(v.estimate, v.low, v.high, v.unit)
        )
        n = "" if v.n is None else f"  n={v.n}"
        line = f"  {v.claim:<{width}}  {v.word:<15}  {shown}{n}"
        yield line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _stands_alone(scale: Scale, sizes: Sequence[tuple[Suite, Scale]]) -> bool:
    """Whether a scale was asked for itself, and not as a point of another's axis."""
    base = scale.name.partition(SEPARATOR)[0]
    return scale.name == base or base not in {other.name for _, other in sizes}


def _tell_suite(
    suite: Suite, scale: Scale, ended: Round, store: Store, rows: int, beside: Sequence[str]
) -> None:
    here = [r for r in ended.fresh.values() if (r.suite, r.scale) == (suite.name, scale.name)]
    pairs = {(r.method, r.task) for r in here if r.status == "ok"}
    if not pairs:
        return
    from harness.analysis import cells, frame
    from harness.claims import judge

    known = store.load(suite.name).records
    current = plan.standing([suite], known)[0][suite.name]
    own = [r for r in known if r.scale == scale.name and r.id in current]
    along = [r for r in known if r.scale.startswith(scale.name + SEPARATOR) and r.id in current]
    if spec := _table(suite, pairs):
        shown = _beside(suite, own, pairs, beside)
        _tell_table(suite, scale, spec, shown, cells(frame(own, suite)), rows)
    if scale.size == "smoke":
        return
    looked = taken(store.results, suite.name, scale.name)
    runs = frame([*own, *along], suite)
    verdicts = judge(suite, scale.name, runs, own, registry.references(suite), looked)
    primary = [v for v in verdicts if v.role == "primary"]
    if primary:
        out.print(f"{suite.name}, primary claims at {scale.name} scale:")
        for line in verdict_lines(suite, primary):
            out.print(line, markup=False)


def _beside(
    suite: Suite, own: Sequence[Record], pairs: set[tuple[str, str]], beside: Sequence[str]
) -> set[tuple[str, str]]:
    """What was recorded, with the other methods that were asked for on the same tasks."""
    asked = {method.name for method in select(suite.methods, beside)} if beside else set()
    tasks = {task for _, task in pairs}
    both = pairs | {(r.method, r.task) for r in own if r.method in asked and r.task in tasks}
    return both if len({method for method, _ in both}) <= _BESIDE else pairs


def _table(suite: Suite, pairs: Collection[tuple[str, str]]) -> Table | None:
    """The headline table where it changed, else the first that did."""
    ordered = sorted(suite.tables, key=lambda table: table.name != suite.headline)
    for table in ordered:
        methods = {m.name for m in select(suite.methods, table.methods)}
        reports = {t.name for t in select(suite.tasks, table.tasks) if table.metric in t.reports}
        if any(method in methods and task in reports for method, task in pairs):
            return table
    return None


def _tell_table(
    suite: Suite,
    scale: Scale,
    spec: Table,
    pairs: Collection[tuple[str, str]],
    found: "Cells",
    most: int,
) -> None:
    """Prints the rows and columns of a table that some methods on some tasks are in."""
    from harness.report.table import label

    metric = suite.metric(spec.metric)
    reports = [t for t in select(suite.tasks, spec.tasks) if metric.name in t.reports]
    rows = select(suite.methods, spec.methods)
    inside = {(m.name, t.name) for m in rows for t in reports} & set(pairs)
    methods = [m for m in rows if any(m.name == name for name, _ in inside)]
    tasks = [t for t in reports if any(t.name == name for _, name in inside)]
    flat = spec.rows == "methods"
    down, across = (methods, tasks) if flat else (tasks, methods)
    counts = {found[m.name, t.name, metric.name].n for m in methods for t in tasks} - {0}

    def cell(row: str, column: str, half: bool) -> str:
        key = (row, column) if flat else (column, row)
        edge = found[(*key, metric.name)].interval()
        if edge.mean is None:
            return number.MISSING
        text = number.fixed(edge.mean, metric.digits)
        if half and edge.low is not None and edge.high is not None:
            text += f" ±{number.fixed((edge.high - edge.low) / 2, metric.digits)}"
        return text

    def lines(half: bool) -> list[tuple[str, ...]]:
        return [
            (label(row), *(cell(row.name, column.name, half) for column in across))
            for row in down[:most]
        ]

    heads = ("", *(label(column) for column in across))
    half = _width([heads, *lines(half=True)]) <= out.width
    unit = f", {metric.unit}" if metric.unit else ""
    spread = ", mean ± half of its 95 % interval" if half and max(counts, default=0) > 1 else ""
    n = f"n={min(counts)}" + (f" to {max(counts)}" if len(counts) > 1 else "") if counts else "n=0"
    out.print(
        f"{suite.name} at {scale.name} scale, {metric.label}{unit}{spread}, {n}:", markup=False
    )
    console.table(heads, lines(half), out)
    for line in suite.marks_of(*methods, *tasks):
        out.print(line, markup=False)
    if len(down) > most:
        out.print(f"  and {number.plural(len(down) - most, 'row')} more in the report")


def _width(rows: Sequence[Sequence[str]]) -> int:
    return sum(max(len(text) for text in column) + 1 for column in zip(*rows, strict=True))


def _next(
    ended: Round, sizes: Sequence[tuple[Suite, Scale]], results: Path, plugins: Sequence[str]
) -> Iterator[str]:
    """The pages to open and the next command."""
    elsewhere = results != Path("results")
    reports = results.parent / REPORTS if elsewhere else Path(REPORTS)
    places = ["--results", str(results)] if elsewhere else []
    places += [word for plugin in plugins for word in ("--plugin", plugin)]
    where = ["--reports", str(reports)] if elsewhere else []
    pages = [
        reports / suite.name / scale.name / "report.html"
        for suite, scale in sizes
        if (suite.name, scale.name) in ended.places and SEPARATOR not in scale.name
    ]
    behind = [page for page in pages if ended.fresh or not page.is_file()]
    if pages:
        later = ", once `harness report` has written it" if behind else ""
        names = pages if len(pages) == 1 else [reports / "index.html"]
        yield f"page: {names[0]}{later}"
    if ended.stopped:
        yield f"next: {command()}"
    elif ended.counts.get("failed") and "--until" not in sys.argv:
        yield f"next: {command(*sys.argv[1:], '--rerun', 'failed')}  # with the cause fixed"
    elif behind:
        yield f"next: {command('report', *places, *where)}"
    elif absent := [suite.name for suite, _ in sizes if ended.counts.get("without data")]:
        yield f"next: {command('data', 'prepare', *absent)}"
    elif pages:
        verb = ("claims", "--scale", sizes[0][1].name)
        if sizes[0][1].size == "smoke":
            verb = ("plan", "--scale", "laptop")
        yield f"next: {command(verb[0], *sorted({s.name for s, _ in sizes}), *verb[1:], *places)}"
