"""`harness compare`: two methods, results folders, commits or machines side by side."""

from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_args

import typer

from harness import console, git, number, options, plan, registry
from harness.arguments import (
    Assignments,
    Pick,
    Plugins,
    Results,
    open_store,
    records_of,
    tell_damaged,
    varied,
)
from harness.errors import ChangeError, StoreError, Unreadable, UsageError, quoted, unknown
from harness.record import Record
from harness.store import Corrupt, parse_record
from harness.suite import Method, Metric, Suite, Task
from harness.terminal import err, out

if TYPE_CHECKING:
    from harness.comparison import Difference, Matched, Row

Named = Method | Task | Metric
FEW = 10
"""Lines that name single trials."""
MOST = 30
"""Lines of what differs beside the numbers."""


class Side(NamedTuple):
    """One side of a comparison."""

    title: str
    records: list[Record]
    """Each trial once."""
    method: str = ""
    """The one that is compared; empty: all, each with itself."""


def compare(
    a: Annotated[str, typer.Argument(help="What stands: suite/method, or a results folder.")],
    b: Annotated[
        str | None, typer.Argument(help="What is new, of the same kind; with --at, by default A.")
    ] = None,
    scale: Annotated[
        str, typer.Option(help="One scale; by default laptop for methods, all for folders.")
    ] = "",
    methods: Pick = None,
    tasks: Pick = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="Metrics: names or globs, separated by commas.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(help="Read A as of this commit, tag or branch; given twice, B of the second."),
    ] = None,
    results: Results = Path("results"),
    fail_on: Annotated[
        Literal["regression", "difference"] | None,
        typer.Option(help="Exit code 5 where B loses anywhere, or where a trial of both differs."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
    *,
    assignments: Assignments = None,
    plugin: Plugins = None,
) -> None:
    """B against A: wins, ties and losses, paired changes, and what else differs."""
    registry.use(plugin)
    from harness import comparison

    if b is None and not at:
        raise UsageError("compare takes two methods, or two results folders; or one, and --at")
    revisions = [*(at or ()), None, None]
    if len(revisions) > 4:
        raise UsageError("--at: at most two commits, one for A and one for B")
    words = list(zip((a, a if b is None else b), revisions, strict=False))
    if _is_method(a, there=not at):
        if methods:
            raise UsageError("--methods is for results folders: A and B name the methods")
        suite, size = varied(registry.load(a.partition("/")[0]), scale or "laptop", assignments)
        sides = [_method(suite, size.name, word, at, results) for word, at in words]
        suites = [suite]
    else:
        if assignments:
            raise UsageError("--set is for methods: name the variant with --scale")
        sides = [_folder(word, at, scale) for word, at in words]
        suites = _suites(sides)
    records = [r for side in sides for r in side.records]
    kept = _picked(
        "method", methods, [m for s in suites for m in s.methods], {r.method for r in records}
    )
    on = _picked("task", tasks, [t for s in suites for t in s.tasks], {r.task for r in records})
    measured = [m for s in suites for m in s.metrics]
    metrics = _picked("metric", metric, measured, {name for r in records for name in r.metrics})
    first, second = (
        side._replace(records=[r for r in side.records if r.method in kept and r.task in on])
        for side in sides
    )
    scales = dict.fromkeys((r.suite, r.scale) for r in records)
    rows = comparison.adjusted(
        [
            row
            for one in suites
            for name, size in scales
            if name == one.name
            for row in _rows(one, size, first, second, metrics)
        ]
    )
    same = [r.model_copy(update={"method": first.method or r.method}) for r in second.records]
    units = {m.name: m.unit for m in measured}
    trials = comparison.matched(first.records, same, units, metrics if metric else None)
    if first.method and not rows:
        raise UsageError(
            f"no task at {scale or 'laptop'} scale has records of both {first.method} and "
            f"{second.method}"
        )
    if not first.method and not trials.pairs:
        where = f" at {scale} scale" if scale else ""
        raise UsageError(f"{first.title} and {second.title} have no trial{where} in common")
    outcomes = Counter(row.outcome for row in rows)
    differs = comparison.differences(trials.pairs)
    if json:
        out.print(_json(first, second, rows, trials, differs), markup=False)
    else:
        _tell(first, second, rows, trials, differs)
    if fail_on == "regression" and outcomes["loss"]:
        raise ChangeError(f"{second.title} loses {number.plural(outcomes['loss'], 'comparison')}")
    if fail_on == "difference" and trials.different:
        raise ChangeError(f"{number.plural(len(trials.different), 'trial')} differ")


def _is_method(word: str, there: bool) -> bool:
    """Whether the word is that of a method; else of a folder, `there` if it must be."""
    suite, slash, name = word.partition("/")
    if slash and suite in registry.origins() and "/" not in name:
        return True
    if there and not slash and not options.folder(word, "A").is_dir():
        raise UsageError(
            f"name the suite too: {quoted(word)} should read suite/method, e.g. gate/gat; or name "
            "a results folder that is there"
        )
    return False


def _method(suite: Suite, scale: str, word: str, revision: str | None, results: Path) -> Side:
    """A method's records at a scale, the current ones or those of a commit."""
    other, _, name = word.rpartition("/")
    if other not in ("", suite.name):
        raise UsageError(f"{quoted(word)}: both methods must be of suite {suite.name}")
    if name not in {m.name for m in suite.methods}:
        there = [m.name for m in suite.methods]
        raise UsageError(unknown("method", name, there, f"harness show {suite.name}"))
    title = f"{suite.name}/{name}"
    if revision is not None:
        records = _recorded(results, revision)
        title = f"{title} at {revision}"
    else:
        records = records_of(open_store(results, read=True), suite)
        current, _ = plan.standing([suite], records)
        records = [r for r in records if r.id in current[suite.name]]
    own = [r for r in records if (r.suite, r.scale, r.method) == (suite.name, scale, name)]
    return Side(title, own, name)


def _folder(word: str, revision: str | None, scale: str) -> Side:
    """A results folder, as it is or as a commit has it; of several records of a trial the last."""
    from harness import comparison

    folder = options.folder(word, "a results folder")
    if revision is not None:
        title, records = f"{word} at {revision}", _recorded(folder, revision)
    else:
        title, loaded = word, open_store(folder, read=True).load(scale=scale or "*")
        _whole(loaded.damaged)
        records = loaded.records
    return Side(title, comparison.newest(r for r in records if scale in ("", r.scale)))


def _recorded(folder: Path, revision: str) -> list[Record]:
    """The records that a results folder had at a commit."""
    records, corrupt = [], []
    for path, data in git.files_at(folder, revision).items():
        if len(path.parts) == 3 and path.suffix == ".json" and path.name[0] != ".":
            try:
                records.append(parse_record(data))
            except Unreadable as error:
                raise Unreadable(f"{path} at {revision}: {error}") from None
            except StoreError as error:
                corrupt.append(Corrupt(folder / path, f"{error} (at {revision})"))
    _whole(corrupt)
    return records


def _whole(corrupt: Sequence[Corrupt]) -> None:
    tell_damaged(corrupt[:FEW])
    if corrupt:
        raise StoreError(f"{number.plural(len(corrupt), 'corrupt record')}: nothing is compared")


def _suites(sides: Sequence[Side]) -> list[Suite]:
    """The suites that have records, as far as they are installed."""
    names = sorted({r.suite for side in sides for r in side.records})
    for name in names:
        if name not in registry.origins():
            err.print(f"suite {name} is not installed: its trials are only matched", markup=False)
    return [registry.load(name) for name in names if name in registry.origins()]


def _picked(
    what: str, words: list[str] | None, things: Sequence[Named], recorded: set[str]
) -> set[str]:
    """The names that names and globs choose among those of suites and of records.

    Raises:
        UsageError: one of the words chooses nothing.
    """
    names = recorded | {thing.name for thing in things}
    chosen: set[str] = set()
    for word in options.words(words, f"--{what}") or ("*",):
        own = {name for name in names if fnmatchcase(name, word)}
        if not own and word != "*":
            raise UsageError(unknown(what, word, names))
        chosen |= own
    return chosen


def _rows(suite: Suite, scale: str, a: Side, b: Side, metrics: set[str]) -> "list[Row]":
    from harness import comparison

    own_a, own_b = (
        [r for r in side.records if (r.suite, r.scale) == (suite.name, scale)] for side in (a, b)
    )
    both = {r.method for r in own_a} & {r.method for r in own_b}
    pairs = [(m.name, m.name) for m in suite.methods if m.name in both]
    if a.method:
        pairs = [(a.method, b.method)]
    return comparison.rows(suite, own_a, own_b, pairs, metrics)


def _tell(
    a: Side, b: Side, rows: "Sequence[Row]", trials: "Matched", differs: "Sequence[Difference]"
) -> None:
    counts = Counter(row.outcome for row in rows)
    words = [number.plural(counts["win"], "win"), number.plural(counts["tie"], "tie")]
    words.append("1 loss" if counts["loss"] == 1 else f"{counts['loss']} losses")
    if counts["changed"]:
        words.append(f"{counts['changed']} changed (no direction)")
    if counts["untested"]:
        words.append(f"{counts['untested']} untested (fewer than two trainings)")
    out.print(f"{', '.join(words)}: {b.title} against {a.title}", markup=False)
    alone = f"{trials.only_a} in {a.title} alone, {trials.only_b} in {b.title} alone"
    line = f"{number.plural(len(trials.pairs), 'trial')} in both, {alone}"
    if a.method == b.method:
        line += (
            f"; of those in both {trials.equal} equal, {trials.clock} equal but for the clock, "
            f"{len(trials.different)} different"
        )
    out.print(line, markup=False)
    for key, names in [*trials.different.items()][:FEW] if a.method == b.method else ():
        out.print(f"  {'/'.join(map(str, key))}: {', '.join(names)}", markup=False)
    out.print(f"A: {a.title}, B: {b.title}", markup=False)
    if shown := [row for row in rows if not row.same]:
        _table(shown, a, b)
    if hidden := len(rows) - len(shown):
        out.print(f"{number.plural(hidden, 'row')} without any change", markup=False)
    if differs:
        out.print()
        console.table(("differs in", "A", "B", "trials"), differs[:MOST], out)
        if len(differs) > MOST:
            out.print(f"and in {len(differs) - MOST} things more; --json lists all")
    if any(d.what.startswith("hardware") for d in differs):
        out.print("The hardware differs: times do not compare, last digits may differ.")


def _table(rows: "Sequence[Row]", a: Side, b: Side) -> None:
    several = {
        "suite": len({row.suite for row in rows}) > 1,
        "scale": len({row.scale for row in rows}) > 1,
        "method": not a.method,
    }
    heads = [name for name, shown in several.items() if shown]
    columns = ("task", "metric", "A", "B", "B - A [95 %]", "n", "p (Holm)", "outcome")
    made = [
        (
            *(getattr(row, "a" if name == "method" else name) for name in heads),
            *(row.task, row.metric),
            *("-" if v is None else number.significant(v) for v in (row.mean_a, row.mean_b)),
            number.estimate(row.change.mean, row.change.low, row.change.high, row.unit),
            row.change.n,
            number.rounded(row.p_holm),
            row.outcome,
        )
        for row in rows
    ]
    console.table((*heads, *columns), made, out)


def _json(
    a: Side, b: Side, rows: "Sequence[Row]", trials: "Matched", differs: "Sequence[Difference]"
) -> str:
    from harness.comparison import Outcome

    def of_row(row: "Row") -> dict[str, Any]:
        change = {k: getattr(row.change, k) for k in ("mean", "low", "high", "n", "method")}
        return row._asdict() | {"change": change, "outcome": row.outcome}

    counts = Counter(row.outcome for row in rows)
    return dumps(
        {
            "a": a.title,
            "b": b.title,
            "outcomes": {kind: counts[kind] for kind in get_args(Outcome)},
            "trials": {
                "both": len(trials.pairs),
                "equal": trials.equal,
                "clock": trials.clock,
                "only_a": trials.only_a,
                "only_b": trials.only_b,
                "different": [[*key, list(names)] for key, names in trials.different.items()],
            },
            "rows": [of_row(row) for row in rows],
            "differs": [d._asdict() for d in differs],
        },
        allow_nan=False,
    )
