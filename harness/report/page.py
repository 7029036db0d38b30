"""The report of one suite at one scale, before any format: everything that its page shows."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from harness import number
from harness.analysis import Cells, cells, frame
from harness.claims import Verdict, judge
from harness.errors import SpecError
from harness.looks import Look
from harness.record import Provenance, Record
from harness.report import along, cost
from harness.report.along import Sheet as AxisSheet
from harness.report.along import Stretch
from harness.report.answer import Reply, reply
from harness.report.curve import draw_curve, draw_levels
from harness.report.figure import Kept, Picture, draw
from harness.report.selection import Selection, Trial, as_trial, sort_out
from harness.report.sheet import Sheet, sheets
from harness.report.table import FAILURES, Comparison, Field, Listing, Row, compare, label, planned
from harness.report.verdict import Group, Line, checks, claims, curves, exact, groups, lines
from harness.suite import Reference, Scale, Suite
from harness.tiers import distance

RESERVED = ("claims", "exact", "checks", "curves", "cost", "budget")
"""Names of tables that every report has."""


class Bullets(NamedTuple):
    """A titled list of sentences."""

    title: str
    sentences: tuple[str, ...]


class Page(NamedTuple):
    """One suite at one scale."""

    suite: Suite
    scale: str
    reply: Reply
    """The plain answer."""
    far: tuple[str, ...]
    """How far the scale is from the paper's."""
    facts: tuple[str, ...]
    """Trial counts and warnings, one sentence each."""
    ok: int
    failed: int
    planned: int
    verdicts: tuple[Verdict, ...]
    lines: tuple[Line, ...]
    """The verdicts as sentences."""
    claims: Listing
    exact: Listing
    """Quantities that must match to the last digit."""
    checks: Listing
    """The checks of all claims."""
    curves: Listing
    """Effects along axes."""
    tables: tuple[Comparison, ...]
    pictures: tuple[Picture, ...]
    costs: Listing
    budget: Listing | None
    texts: tuple[Bullets, ...]
    """Deviations, defects, protocols, notes."""
    listings: tuple[Listing, ...]
    """Data, provenance, failures, records that no table uses."""
    selection: Selection
    cells: Cells
    """The numbers behind tables and pages of records."""
    along: tuple[tuple[Stretch, tuple[Comparison, ...]], ...] = ()
    """The axes that have records at other values, with their tables."""

    @property
    def stretches(self) -> tuple[Stretch, ...]:
        """The same without their tables."""
        return tuple(stretch for stretch, _ in self.along)

    @property
    def axis_sheets(self) -> Iterator[AxisSheet]:
        """The pages of records along axes."""
        return along.sheets(self.suite, self.scale, self.stretches)

    @property
    def sheets(self) -> Iterator[Sheet]:
        """The pages of records."""
        return sheets(self.suite, self.scale, self.selection, self.cells)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The verdicts by role."""
        return groups(self.lines)

    @property
    def headline(self) -> Comparison | None:
        """The table that the index shows."""
        return _headline(self.suite, self.tables)


def build(
    suite: Suite,
    scale_name: str,
    records: Iterable[Record],
    references: Sequence[Reference] = (),
    current: Collection[str] | None = None,
    stale: Collection[str] = (),
    figures: bool = True,
    responses: Mapping[str, str] | None = None,
    beyond: Sequence[Record] = (),
    looked: Sequence[Look] = (),
    kept: Kept | None = None,
) -> Page:
    """Makes the page of a suite at a scale from the records of that suite and scale.

    Raises:
        SpecError: a table of the suite bears a name that every report uses.
    """
    for table in suite.tables:
        if table.name in RESERVED or table.name.startswith(along.PREFIX):
            raise SpecError(
                f"suite {suite.name}: table {table.name!r} has a name that reports keep for "
                f"themselves ({', '.join(RESERVED)}, {along.PREFIX}*); give it another name"
            )
    selection = sort_out(suite, records, current, stale)
    runs = frame(selection.used, suite)
    grouped = cells(runs)
    scale = next((s for s in suite.scales if s.name == scale_name), None)
    printed: dict[tuple[str, str, str], list[Reference]] = {}
    for r in references:
        printed.setdefault((r.task, r.method, r.metric), []).append(r)
    tables: list[Comparison] = []
    verdicts: tuple[Verdict, ...] = ()
    pictures: list[Picture] = []
    found: tuple[Stretch, ...] = ()
    if scale is not None:
        made = (compare(t, suite, scale, selection, grouped, printed) for t in suite.tables)
        tables = [table for table in made if table is not None]
        seen = frame([*selection.used, *beyond], suite) if beyond else runs
        verdicts = tuple(judge(suite, scale_name, seen, selection.used, references, looked))
        pictures = [
            draw(f, suite, selection.used, kept) if figures else Picture(f.name, f.title, f.caption)
            for f in suite.figures
        ]
        found = along.stretches(suite, scale, selection, grouped, beyond, current, stale)
        spots = along.places(suite, scale_name, selection, found)
        if figures:
            pictures += [draw_curve(suite, v.curve, spots, kept) for v in verdicts if v.curve]
            pictures += [draw_levels(suite, s, m, kept) for s in found for m in s.metrics]
    trials = selection.trials | {r.short: as_trial(r, r.id in stale) for r in beyond}
    own = suite.trial_count(scale) if scale else 0
    want = max(own, len(selection.used))  # seeds were added until claims were decided
    ok = sum(r.status == "ok" for r in selection.used)
    return Page(
        suite=suite,
        scale=scale_name,
        reply=reply(suite, scale_name, verdicts),
        far=distance(suite, scale) if scale else (),
        facts=tuple(_facts(selection, ok, want, scale_name)),
        ok=ok,
        failed=len(selection.used) - ok,
        planned=want,
        verdicts=verdicts,
        lines=lines(suite, verdicts, trials, responses),
        claims=claims(suite, verdicts, trials),
        exact=exact(suite, verdicts, trials),
        checks=checks(suite, verdicts),
        curves=curves(suite, verdicts),
        tables=tuple(tables),
        pictures=tuple(pictures),
        costs=cost.costs(suite, selection),
        budget=cost.budget(suite, _headline(suite, tables), selection),
        texts=tuple(_texts(suite, scale, references)),
        listings=(
            _data(suite, selection),
            _failures(selection),
            _provenance(selection),
            _unused("superseded", "Superseded records", selection.superseded),
            _retired(selection),
        ),
        selection=selection,
        cells=grouped,
        along=tuple((stretch, tuple(along.tables(suite, stretch))) for stretch in found),
    )


def _headline(suite: Suite, tables: Sequence[Comparison]) -> Comparison | None:
    return next((t for t in tables if t.name == suite.headline), tables[0] if tables else None)


def _facts(selection: Selection, ok: int, want: int, scale: str) -> list[str]:
    used = selection.used
    if not used:
        return [f"No current records at {scale} scale."]
    failed = Counter[str](r.status for r in used if r.status != "ok")
    ways = ", ".join(f"{failed[s]} {s}" for s in FAILURES if failed[s])
    facts = [
        f"{number.plural(len(used), 'trial')} of {number.count(want)} planned: "
        f"{number.count(ok)} ok" + (f", {ways}." if ways else ".")
    ]
    if selection.stale:
        facts.append(
            f"Marked *: {number.plural(selection.stale, 'record')} of code that has changed since."
        )
    if unused := len(selection.superseded) + len(selection.retired):
        facts.append(f"{number.plural(unused, 'record')} not used; listed at the end.")
    return facts


def _texts(suite: Suite, scale: Scale | None, references: Sequence[Reference]) -> list[Bullets]:
    pairs = planned(suite, scale) if scale else set()
    methods = [m for m in suite.methods if any(m.name == name for name, _ in pairs)]
    tasks = [t for t in suite.tasks if any(t.name == name for _, name in pairs)]
    protocols: dict[str, list[str]] = {}
    for task in tasks:
        protocols.setdefault(task.protocol, []).append(label(task))
    places = {(t.name, metric) for t in suite.tasks for metric in t.reports}
    notes = [(label(m), m.note) for m in methods] + [(label(t), t.note) for t in tasks]
    lost = [
        f"{r.method} on {r.task}, {r.metric}: {number.reference(r, 0)} ({r.source}, {r.table})"
        for r in references
        if (r.task, r.metric) not in places
    ]
    texts = [
        Bullets("Deviations from the paper", suite.deviations),
        Bullets("Deviations of this scale", scale.deviations if scale else ()),
        Bullets(
            "Deviations of methods",
            tuple(f"{label(m)}: {text}" for m in methods for text in m.deviations),
        ),
        Bullets("Where the released code and the paper disagree", suite.defects),
        Bullets(
            "Protocols", tuple(f"{name}: {number.listed(on)}." for name, on in protocols.items())
        ),
        Bullets("Notes", tuple(f"{name}: {note}" for name, note in notes if note)),
        Bullets("Published numbers without a place in any table", tuple(lost)),
        Bullets("From plugins", tuple(_added(suite))),
    ]
    return [text for text in texts if text.sentences]


def _added(suite: Suite) -> Iterator[str]:
    """What each plugin added, and the letter that marks it."""
    for added in suite.plugins:
        parts = [f"{kind} {number.listed(names)}" for kind, names in (
            ("methods", added.methods), ("tasks", added.tasks), ("artifacts", added.artifacts)
        ) if names]  # fmt: skip
        yield f"{added.told.removesuffix('.')}: {'; '.join(parts) or 'data, tables or claims'}."


def _data(suite: Suite, selection: Selection) -> Listing:
    known = {d.name: d for d in suite.datasets}
    came: dict[str, Counter[str]] = {}
    for record in selection.used:
        for name, where in record.data.items():
            came.setdefault(name, Counter())[where] += 1
    rows = []
    for name in sorted(came):
        entry = known.get(name)
        about = (
            (entry.licence, entry.source, entry.sizes, entry.splits, entry.note)
            if entry
            else (number.MISSING,) * 5
        )
        origin = ", ".join(f"{where} {number.count(n)}" for where, n in sorted(came[name].items()))
        rows.append(Row((Field(name), Field(origin), *(Field(text) for text in about))))
    heads = ("Dataset", "Came from, trials", "Licence", "Published", "Sizes", "Splits", "Note")
    return Listing("data", "Data", heads, tuple(rows))


def _failures(selection: Selection) -> Listing:
    groups: dict[tuple[str, str, str, str], list[Trial]] = {}
    for r in selection.used:
        if r.status != "ok":
            key = (r.status, r.method, r.task, " ".join((r.error or "").split()))
            groups.setdefault(key, []).append(selection.trials[r.short])
    rows = [
        Row(
            (
                Field(status),
                Field(method),
                Field(task),
                Field(", ".join(str(t.seed) for t in trials)),
                Field(error or number.MISSING),
            ),
            tuple(trials),
        )
        for (status, method, task, error), trials in sorted(
            groups.items(), key=lambda item: (FAILURES.index(item[0][0]), -len(item[1]), item[0])
        )
    ]
    heads = ("Status", "Method", "Task", "Seeds", "Error")
    return Listing("failures", "Failed trials", heads, tuple(rows))


def _provenance(selection: Selection) -> Listing:
    seen: dict[str, Counter[str]] = {}
    alike: dict[str, list[Provenance]] = {}
    for record in selection.used:
        own = record.provenance
        known = own.__dict__.items()
        key = repr([value for name, value in known if name not in ("started", "finished")])
        alike.setdefault(key, []).append(own)
    for p, *others in alike.values():

        def note(what: str, value: object, times: int = 1 + len(others)) -> None:
            text = number.MISSING if value is None else str(value)
            seen.setdefault(what, Counter())[text] += times

        dirty = {True: " (changed files)", False: "", None: ""}[p.dirty]
        note("Commit", f"{p.commit[:12]}{dirty}" if p.commit else "outside a repository")
        note("Source digest", p.source_digest[:12])
        note("Platform", p.platform)
        note("Processor", f"{p.processor}, {p.cores} cores, {number.memory(p.memory_bytes)}")
        note("Accelerator", p.accelerator or "none")
        note("Threads", p.threads)
        note("Python", p.python)
        for package, version in p.packages.items():
            note(f"Package {package}", version)
        for flag, value in p.flags.items():
            note(f"Flag {flag}", value)
    groups = ("Package ", "Flag ")

    def place(what: str) -> tuple[int, str]:
        group = next((i for i, g in enumerate(groups, 1) if what.startswith(g)), 0)
        return (group, what if group else "")

    rows = [
        Row((Field(what), Field(value), Field(number.count(n), n)))
        for what in sorted(seen, key=place)
        for value, n in sorted(seen[what].items(), key=lambda item: (-item[1], item[0]))
    ]
    heads = ("What", "Value", "Trials")
    return Listing("provenance", "Provenance", heads, tuple(rows), (), (False, False, True))


def _unused(name: str, title: str, trials: Sequence[Trial], reasons: Sequence[str] = ()) -> Listing:
    """Records that no table shows, several seeds of one kind in one line."""
    groups: dict[tuple[str, str, str], list[Trial]] = {}
    for i, trial in enumerate(trials):
        key = (trial.method, trial.task, reasons[i] if reasons else "")
        groups.setdefault(key, []).append(trial)
    rows = [
        Row(
            (
                Field(method),
                Field(task),
                Field(", ".join(str(t.seed) for t in sorted(group, key=lambda t: t.seed))),
                *([Field(reason)] if reasons else []),
            ),
            tuple(group),
        )
        for (method, task, reason), group in sorted(groups.items())
    ]
    heads = ("Method", "Task", "Seeds", *(["Reason"] if reasons else []))
    return Listing(name, title, heads, tuple(rows))


def _retired(selection: Selection) -> Listing:
    gone = selection.retired
    trials, reasons = [r.trial for r in gone], [r.reason for r in gone]
    return _unused("retired", "Retired records", trials, reasons)


def by_scale(suite: Suite, records: Iterable[Record]) -> Mapping[str, tuple[Record, ...]]:
    """The records of a suite by scale: the suite's scales in their order, then those it lost."""
    groups: dict[str, list[Record]] = {str(s.name): [] for s in suite.scales}
    for record in records:
        if record.suite == suite.name:
            groups.setdefault(record.scale, []).append(record)
    kept = list(groups)[: len(suite.scales)]
    order = [*kept, *sorted(groups.keys() - set(kept))]
    return {name: tuple(groups[name]) for name in order if groups[name]}
