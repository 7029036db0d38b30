"""Records and what is computed from them as DataFrames: what `import harness` offers.

`results`, `along`, `claims`, `table`, `figure` and `record` read the same folder as the command
line and raise its errors (`harness.errors.HarnessError`, one line each). Only current records
count: those whose identity today's suite would give a trial.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from harness import margins, plan, registry, variants
from harness.analysis import cells, frame
from harness.cache import location
from harness.claims import judge
from harness.errors import StoreError, UsageError, quoted, unknown
from harness.looks import taken
from harness.record import Record
from harness.report.selection import Selection, sort_out
from harness.report.table import compare
from harness.store import Store
from harness.suite import SEPARATOR, Figure, Suite, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

Folder = str | Path
Plugins = str | Sequence[str] | None
"""What `--plugin` names: files or installed plugins."""

RESULTS = (
    "suite", "scale", "method", "task", "seed", "metric", "value", "unit", "better", "status",
    "protocol", "training", "stale", "seconds", "finished", "id", "axis", "axis_value",
)  # fmt: skip
"""Columns of `results` and `along`."""
CLAIMS = (
    "suite", "scale", "claim", "role", "verdict", "outcome", "estimate", "low", "high", "unit",
    "margin", "n", "failures", "p", "p_holm", "mde", "n_needed", "tier", "source", "text", "reason",
)  # fmt: skip
"""Columns of `claims`."""
QUANTITIES = ("mean", "half_width", "n", "paper")
"""Of `table`: the upper level of its columns."""


class Known(NamedTuple):
    """A suite and its current records."""

    suite: Suite
    records: list[Record]
    """Of the scale that was asked for, or all."""
    every: list[Record]
    """Of all scales."""
    stale: set[str]
    """Full ids of those whose code has changed since."""
    store: Store


def results(
    suite: str, scale: str | None = None, *, results: Folder = "results", plugin: Plugins = None
) -> pd.DataFrame:
    """The numbers of a suite: one row for each current record and metric of its task.

    `value` is NaN where the trial failed or the metric is absent. `training` tells which records
    measure one training again; count these, not rows. `stale`: the code has changed since. `axis`
    and `axis_value` are those of a variant that is a point of an axis, else empty; see `along`.

    Args:
        suite: its name.
        scale: one scale or variant; None: all that have records.
        results: folder of the records.
        plugin: what adds to the suite.

    Returns:
        A table with the columns `RESULTS`, sorted by scale, method, task, seed and metric.

    Raises:
        HarnessError: as the command line, an unknown name or a corrupt record for instance.
    """
    return _tidy(known_of(suite, scale, results, plugin))


def along(
    suite: str,
    axis: str,
    scale: str = "laptop",
    *,
    results: Folder = "results",
    plugin: Plugins = None,
) -> pd.DataFrame:
    """The numbers along one axis of a scale, those of the scale's own value among them.

    Args:
        suite: its name.
        axis: name of the axis.
        scale: whose axis.
        results: folder of the records.
        plugin: what adds to the suite.

    Returns:
        The rows of `results` for the methods and tasks of the axis; `axis_value` is in all of them,
        and the rows of one value stand together, rising.
    """
    known = known_of(suite, None, results, plugin)
    size = known.suite.known_scale(scale)
    spec = _named(f"axis at {scale} scale", axis, size.axes, suite)
    stops = {
        (point.name, method.name, task.name): value
        for value, point in variants.points(known.suite, size, spec)
        for method, task in known.suite.pairs(point)
    }
    own = [r for r in known.records if (r.scale, r.method, r.task) in stops]
    if not own:
        raise UsageError(f"no current records of {suite} along {axis} at {scale} scale")
    made = _tidy(known._replace(records=own))
    keys = zip(made["scale"], made["method"], made["task"], strict=True)
    made = made.assign(axis=axis, axis_value=[float(stops[key]) for key in keys])
    return made.sort_values("axis_value", kind="stable", ignore_index=True)


def _tidy(known: Known) -> pd.DataFrame:
    """The columns `RESULTS` of some records."""
    own = {r.short: r for r in known.records}
    made = frame(known.records, known.suite)
    metrics = {m.name: m for m in known.suite.metrics}
    there = variants.located(known.suite)

    def of_metric(field: str) -> "pd.Series[Any]":
        return made["metric"].map({n: getattr(m, field) for n, m in metrics.items()})

    return made.assign(
        unit=of_metric("unit"),
        better=of_metric("better"),
        training=made["training"].str[:12],
        stale=made["id"].map({short: r.id in known.stale for short, r in own.items()}),
        seconds=made["id"].map({short: r.cost.wall_seconds for short, r in own.items()}),
        finished=pd.to_datetime(
            made["id"].map({short: r.provenance.finished for short, r in own.items()}), utc=True
        ),
        axis=[there[name][0].name if name in there else "" for name in made["scale"]],
        axis_value=[there[name][1] if name in there else math.nan for name in made["scale"]],
    )[list(RESULTS)]


def claims(
    suite: str, scale: str | None = None, *, results: Folder = "results", plugin: Plugins = None
) -> pd.DataFrame:
    """The verdict on every claim of a suite, in the suite's order; arguments as of `results`.

    Returns:
        A table with the columns `CLAIMS`: one row for each scale and claim.
    """
    known = known_of(suite, scale, results, plugin)
    rows = []
    by_name = {claim.name: claim for claim in known.suite.claims}
    for size in known.suite.scales:
        here = [r for r in known.records if r.scale == size.name]
        if not here:
            continue
        along = [r for r in known.every if r.scale.startswith(size.name + SEPARATOR)]  # its axes
        runs, printed = frame([*here, *along], known.suite), registry.references(known.suite)
        looked = taken(known.store.results, suite, size.name)
        for v in judge(known.suite, size.name, runs, here, printed, looked):
            claim = by_name[v.claim]
            rows.append(
                v.model_dump(include=set(CLAIMS))
                | {"suite": suite, "verdict": v.label, "source": claim.source, "text": claim.text}
                | {"margin": getattr(claim, "margin", None)}
            )
    made = pd.DataFrame(rows, columns=list(CLAIMS))
    whole = dict.fromkeys(("n", "n_needed", "failures"), "Int64")
    parts = ("estimate", "low", "high", "margin", "p", "p_holm", "mde")
    return made.astype(whole | dict.fromkeys(parts, "float64"))


def table(
    suite: str,
    name: str,
    scale: str = "laptop",
    *,
    results: Folder = "results",
    plugin: Plugins = None,
) -> pd.DataFrame:
    """A table of the report; `table(...)["mean"]` is the grid as it is printed.

    Args:
        suite: its name.
        name: of the table.
        scale: one scale.
        results: folder of the records.
        plugin: what adds to the suite.

    Returns:
        Rows and columns as printed, by name; the upper level of the columns is one of
        `QUANTITIES`: the mean over trainings, half the width of its 95 % interval (NaN of one
        training, and where all agree), how many trainings, and the paper's own number.
    """
    known = known_of(suite, scale, results, plugin)
    spec: Table = _named("table", name, known.suite.tables, suite)
    size = variants.added(known.suite, [r.spec for r in known.records]).scale(scale)
    chosen = _selection(known)
    grouped = cells(frame(chosen.used, known.suite))
    printed: dict[tuple[str, str, str], list[Any]] = {}
    for r in registry.references(known.suite):
        printed.setdefault((r.task, r.method, r.metric), []).append(r)
    made = compare(spec, known.suite, size, chosen, grouped, printed)
    if made is None:
        raise UsageError(f"suite {suite}: {scale} scale has nothing of table {name}")
    down, across = ("method", "task") if spec.rows == "methods" else ("task", "method")
    rows = []
    for cell in made.cells:
        edge = grouped[cell.method, cell.task, spec.metric].interval().steady()
        half = None if edge.low is None or edge.high is None else (edge.high - edge.low) / 2
        paper = cell.references[0].value if cell.references else None
        rows.append((getattr(cell, down), getattr(cell, across), edge.mean, half, edge.n, paper))
    floats = {quantity: "float64" for quantity in QUANTITIES if quantity != "n"}
    long = pd.DataFrame(rows, columns=[down, across, *QUANTITIES]).astype(floats)
    wide: Any = long.set_index([down, across]).unstack(across)
    order = [long[name].drop_duplicates() for name in (down, across)]
    columns = pd.MultiIndex.from_product([QUANTITIES, order[1]], names=["quantity", across])
    return wide.reindex(index=pd.Index(order[0], name=down), columns=columns)  # type: ignore[no-any-return]


def figure(
    suite: str,
    name: str,
    scale: str = "laptop",
    *,
    results: Folder = "results",
    plugin: Plugins = None,
) -> "Drawing":
    """A figure of the report, to be shown, changed or saved; arguments as of `table`."""
    import matplotlib as mpl

    from harness.report.figure import STYLE

    known = known_of(suite, scale, results, plugin)
    spec: Figure = _named("figure", name, known.suite.figures, suite)
    settings: Any = STYLE
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        drawing = registry.call(spec.draw)(_selection(known).used, known.suite, spec)
    if drawing is None:
        raise UsageError(f"suite {suite}: figure {name} has nothing to draw at {scale} scale")
    return drawing  # type: ignore[no-any-return]


def record(id: str, *, results: Folder = "results") -> Record:
    """One record, current or not, with its curves as DataFrames (`record(...).curves`).

    Args:
        id: the first digits of its id, as many as tell it from all others.
        results: folder of the records.

    Raises:
        HarnessError: no record, or several, begin with these digits.
    """
    if not re.fullmatch(r"[0-9a-f]{1,64}", id):
        raise UsageError(f"record {quoted(id)}: an id is of the digits 0-9 and a-f")
    found = Store(Path(results), location()).existing().starting(id)
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(f"no record in {results} has an id that begins with {id}")
    there = ", ".join(r.short for r in found[:5]) + (", ..." if len(found) > 5 else "")
    raise UsageError(f"{len(found)} records begin with {id} ({there}): give more digits")


def known_of(suite: str, scale: str | None, results: Folder, plugin: Plugins) -> Known:
    """The current records of a suite, of one scale or all.

    Raises:
        HarnessError: see `results`.
    """
    registry.use([plugin] if isinstance(plugin, str) else plugin)
    loaded = registry.load(suite)
    store = Store(Path(results), location()).existing()
    every, corrupt = store.load(suite)
    if corrupt:
        raise StoreError(
            f"{corrupt[0].path}: {corrupt[0].reason}; {len(corrupt)} corrupt records, "
            "`harness doctor --repair` moves them aside"
        )
    there = {*(s.name for s in loaded.scales), *(r.scale for r in every)}
    if scale is not None and scale not in there:
        raise UsageError(unknown("scale", scale, there, f"harness show {suite}"))
    margins.check(loaded, margins.read(store.results, suite), every)
    current, stale = plan.standing([loaded], every)
    every = [r for r in every if r.id in current[suite]]
    records = [r for r in every if scale in (None, r.scale)]
    if not records:
        where = f" at {scale} scale" if scale else ""
        raise UsageError(
            f"no current records of {suite}{where} in {results}; `harness run` makes them"
        )
    return Known(loaded, records, every, stale[suite], store)


def _selection(known: Known) -> Selection:
    return sort_out(known.suite, known.records, {r.id for r in known.records}, known.stale)


def _named(what: str, name: str, things: Iterable[Any], suite: str) -> Any:
    found = {thing.name: thing for thing in things}
    if name not in found:
        raise UsageError(unknown(f"{what} of suite {suite}", name, found))
    return found[name]
