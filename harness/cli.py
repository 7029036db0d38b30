"""The verbs. Everything that they do lies in other modules; nothing imports this one.

Exit codes: 0 done; 1 trials failed; 2 wrong usage or a suite that does not hold together;
3 a claim is contradicted (`claims --strict`); 4 damaged files; 130 interrupted.
"""

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

from harness import console, inventory, options, plan, registry
from harness.data import Sources
from harness.errors import ClaimError, DataError, HarnessError, StoreError, UsageError
from harness.record import Record
from harness.store import Damaged, Store
from harness.suite import Scale, Suite

app = typer.Typer(
    help="Reproduces the experiments of papers on attention parameters, "
    "with a verdict on every claim.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_WIDTH = None if sys.stdout.isatty() else 140
out = Console(highlight=False, soft_wrap=True, width=_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)

_Misuse: Any = typer.BadParameter.__mro__[1]
"""Typer's error for an unknown option or verb, wherever it keeps the class."""
_STALE_SECONDS = 60.0
"""A temporary file that has lain so long has lost its writer."""

DataNames = Annotated[
    list[str] | None, typer.Argument(help="Datasets or suites; all of them when left out.")
]
Names = Annotated[list[str] | None, typer.Argument(help="Suites; all of them when left out.")]
ScaleName = Annotated[str, typer.Option("--scale", help="smoke, laptop, gpu or paper.")]
Pick = Annotated[str, typer.Option(help="Names or globs, separated by commas.")]
Seeds = Annotated[str, typer.Option(help="Seeds, e.g. 0,1,5-9.")]
Results = Annotated[Path, typer.Option(help="Folder of the records.")]
Data = Annotated[
    Path | None, typer.Option(help="Folder with outside data; else HARNESS_DATA, else none.")
]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, or auto: a card for the scales gpu and paper.")
]
Rerun = Annotated[
    Literal["none", "failed", "stale", "all"],
    typer.Option(help="Which recorded trials to run again."),
]


@app.command("list")
def list_suites() -> None:
    """Suites, papers, scales, number of trials, estimated cost."""
    rows = []
    for name in registry.origins():
        suite = registry.load(name)
        for scale in suite.scales:
            trials = len(plan.pairs(suite, scale)) * len(scale.seeds)
            hours = scale.expected_seconds * trials
            rows.append(
                (
                    name,
                    f"{suite.paper.title} ({suite.paper.arxiv})",
                    scale.name,
                    trials,
                    len(suite.artifacts),
                    f"{console.duration(hours)} of one core",
                )
            )
    console.table(("suite", "paper", "scale", "trials", "artifacts", "estimate"), rows, out)


@app.command()
def show(name: Annotated[str, typer.Argument(help="A suite.")]) -> None:
    """Methods, tasks, claims, printed numbers, and what differs from the paper."""
    suite = registry.load(name)
    paper = suite.paper
    out.print(
        f"{paper.title}. {paper.authors}. {paper.venue} {paper.year}. arXiv {paper.arxiv}\n"
        f"{suite.summary}\n",
        markup=False,
    )
    rows: list[tuple[object, ...]] = [
        (m.name, m.kind, m.label, " ".join((*m.deviations, m.note))) for m in suite.methods
    ]
    console.table(("method", "kind", "label", "differs from the paper"), rows, out)
    out.print()
    rows = [
        (t.name, t.protocol, ", ".join(t.metrics), ", ".join(t.datasets) or "generated", t.note)
        for t in suite.tasks
    ]
    console.table(("task", "protocol", "metrics", "data", "note"), rows, out)
    out.print()
    rows = [(c.name, c.kind, c.source, c.text) for c in suite.claims]
    console.table(("claim", "kind", "source", "what it says"), rows, out)
    out.print()
    rows = [
        (s.name, len(plan.pairs(suite, s)) * len(s.seeds), len(s.seeds), " ".join(s.deviations))
        for s in suite.scales
    ]
    console.table(("scale", "trials", "seeds", "differs from the paper"), rows, out)
    for title, lines in (("Differs everywhere", suite.deviations), ("Defects", suite.defects)):
        for line in lines:
            out.print(f"{title}: {line}", markup=False)
    printed = registry.references(suite)
    if printed:
        out.print(f"\n{len(printed)} printed numbers in {suite.references}:")
        rows = [
            (r.table, r.task, r.method, r.metric, console.spread(r.value, r.spread), r.source)
            for r in printed
        ]
        console.table(("table", "task", "method", "metric", "value", "source"), rows, out)


@app.command("plan")
def show_plan(
    names: Names = None,
    scale: ScaleName = "smoke",
    methods: Pick = "",
    tasks: Pick = "",
    seeds: Seeds = "",
    device: Device = "auto",
    data: Data = None,
    results: Results = Path("results"),
    rerun: Rerun = "none",
    every: Annotated[bool, typer.Option("--all", help="A line for every trial.")] = False,
) -> None:
    """What would run, and why each trial will or will not; what each claim could show."""
    store = _store(results)
    for suite in _suites(names, scale):
        records = _records(store, suite, strict=False)
        made = _plan(suite, scale, records, store, methods, tasks, seeds, device, data, rerun)
        first = _summarise(made, records, store)
        grouped = Counter((s.action, s.state, s.reason) for s in made.steps)
        if every:
            rows: list[tuple[object, ...]] = [
                (s.trial.title, s.action, s.reason) for s in made.steps
            ]
            console.table(("trial", "", "why"), rows, out)
        else:
            for (action, state, reason), number in sorted(grouped.items()):
                out.print(f"  {action:4} {number:5}  {state}: {reason}", markup=False)
        for node in made.nodes.values():
            there = "to be made" if node in first else "made"
            out.print(f"  artifact {node.artifact.name}: {there}")
        _power(suite, made.scale, records)


@app.command()
def run(
    names: Names = None,
    scale: ScaleName = "smoke",
    methods: Pick = "",
    tasks: Pick = "",
    seeds: Seeds = "",
    jobs: Annotated[
        int, typer.Option(min=0, help="Trials at a time; 0: as many as there are cores.")
    ] = 0,
    device: Device = "auto",
    data: Data = None,
    results: Results = Path("results"),
    limit: Annotated[
        str, typer.Option("--time", help="Stop after this long, e.g. 90m or 2h; resumable.")
    ] = "",
    rerun: Rerun = "none",
) -> None:
    """Runs what has no record yet; interrupted trials go on where they were."""
    from harness import executors
    from harness.executors.local import Local

    store = _store(results)
    store.sweep(_STALE_SECONDS)
    deadline = time.monotonic() + options.seconds(limit) if limit else None
    damaged = 0
    plans, work, known = [], [], []
    for suite in _suites(names, scale):
        loaded = store.load(suite.name)
        for item in loaded.damaged:
            aside = store.quarantine(item.path)
            err.print(
                f"damaged record: {item.path}: {item.reason}; moved to {aside.name}, "
                "its trial counts as missing",
                markup=False,
            )
        damaged += len(loaded.damaged)
        records = loaded.records
        made = _plan(suite, scale, records, store, methods, tasks, seeds, device, data, rerun)
        _summarise(made, records, store)
        plans.append(made)
        known += records
        work += executors.work(made, store, _data(data), rerun)
        if made.todo:
            store.probe(suite.name, made.scale.name)
    if work:
        workers = jobs or min(options.workers(made) for made in plans)
        with console.Watch(out, console.Estimate(known, plans, store), work, workers) as watch:
            finished = Local(workers, deadline).run(work, watch)
        if watch.busy:
            out.print(f"{len(watch.busy)} trials are being run by another process")
        if not finished:
            command = " ".join(["harness", *sys.argv[1:]])
            err.print(f"stopped; everything is saved, go on with: {command}", markup=False)
            raise typer.Exit(130)
        failed = len(watch.failures)
    else:
        failed = 0
    absent = sum(step.state == "no data" for made in plans for step in made.steps)
    if failed:
        err.print(f"{failed} failed; run them again with --rerun failed, once mended")
    if absent:
        err.print(f"{absent} trials left out for want of data; the lines above say which")
    if damaged:
        raise typer.Exit(StoreError.exit_code)
    if failed or absent:
        raise typer.Exit(1)


@app.command()
def status(names: Names = None, results: Results = Path("results"), data: Data = None) -> None:
    """How far each suite is, at every scale that has records."""
    store = _store(results)
    sources = _data(data)
    rows = []
    damaged = 0
    for suite in _suites(names, None):
        loaded = store.load(suite.name)
        damaged += len(loaded.damaged)
        _tell_damaged(loaded.damaged)
        for scale in suite.scales:
            if not any(r.scale == scale.name for r in loaded.records):
                continue
            kind = next(r.spec["device"] for r in loaded.records if r.scale == scale.name)
            made = plan.make(suite, scale, loaded.records, store, sources, device=str(kind))
            states = Counter(step.state for step in made.steps)
            hours = sum(r.cost.wall_seconds for r in loaded.records if r.scale == scale.name)
            rows.append((suite.name, scale.name, console.counted(states), console.duration(hours)))
    console.table(("suite", "scale", "trials", "spent"), rows, out)
    if damaged:
        raise typer.Exit(StoreError.exit_code)


@app.command()
def report(
    results: Results = Path("results"),
    reports: Annotated[Path, typer.Option(help="Folder of the reports.")] = Path("reports"),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where the reports are out of date.")
    ] = False,
) -> None:
    """Writes tables, figures and pages from the records alone."""
    from harness.report import site

    store = _store(results)
    suites = _suites(None, None)
    records = [r for suite in suites for r in _records(store, suite)]
    current, stale = plan.standing(suites, records)
    printed = {suite.name: registry.references(suite) for suite in suites}
    different = site.generate(
        suites, records, reports, references=printed, current=current, stale=stale, check=check
    )
    if check and different:
        for item in different[:20]:
            err.print(f"{item.path}: {item.what}", markup=False)
        raise StoreError(
            f"{len(different)} files in {reports} are not what {results} generates; "
            "run `harness report`"
        )
    pages = sorted({f"{r.suite}/{r.scale}" for r in records})
    out.print(f"{reports}: {'up to date' if check else 'written'}, open {reports / 'index.html'}")
    for page in pages:
        out.print(f"  {reports / page / 'report.html'}", markup=False)


@app.command()
def claims(
    names: Names = None,
    scale: Annotated[str, typer.Option(help="One scale; all with records when left out.")] = "",
    results: Results = Path("results"),
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 3 where a claim is contradicted.")
    ] = False,
) -> None:
    """The verdict on every claim."""
    from harness.claims import judge
    from harness.runs import frame

    store = _store(results)
    against = 0
    for suite in _suites(names, scale or None):
        records = _records(store, suite)
        current, _ = plan.standing([suite], records)
        for size in suite.scales:
            here = [r for r in records if r.scale == size.name and r.id in current[suite.name]]
            if (scale and size.name != scale) or not here:
                continue
            verdicts = judge(suite, size.name, frame(here, suite))
            rows = [
                (
                    v.claim,
                    v.label,
                    console.estimate(v.estimate, v.low, v.high, v.unit),
                    v.n,
                    v.reason,
                )
                for v in verdicts
            ]
            out.print(f"{suite.name} at {size.name} scale")
            console.table(("claim", "verdict", "difference [95 %]", "n", "remark"), rows, out)
            out.print()
            against += sum(v.outcome == "contradicted" for v in verdicts)
    if strict and against:
        raise ClaimError(f"{against} claims are contradicted by the records")


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A method, as suite/method.")],
    b: Annotated[str, typer.Argument(help="Another method of the same suite.")],
    scale: ScaleName = "laptop",
    tasks: Pick = "*",
    results: Results = Path("results"),
) -> None:
    """Two methods side by side: paired differences on every task that both have run."""
    from harness.runs import compare as paired
    from harness.runs import frame

    suite_name, _, first = a.rpartition("/")
    second = b.rpartition("/")[2]
    if not suite_name:
        raise UsageError(f"name the suite too: {a!r} should read suite/method, e.g. gate/gat")
    suite = registry.load(suite_name)
    _scale(suite, scale)
    for name in (first, second):
        if name not in {m.name for m in suite.methods}:
            there = [m.name for m in suite.methods]
            raise UsageError(registry.unknown("method", name, there, f"harness show {suite.name}"))
    store = _store(results)
    records = _records(store, suite)
    current, _ = plan.standing([suite], records)
    here = [r for r in records if r.scale == scale and r.id in current[suite.name]]
    found = paired(suite, frame(here, suite), first, second, tasks=options.words(tasks))
    rows = [
        (
            c.task,
            c.metric,
            console.estimate(c.difference.mean, c.difference.low, c.difference.high, c.unit),
            c.difference.n,
            console.rounded(c.p_holm),
        )
        for c in found
    ]
    if not rows:
        raise UsageError(f"no task at {scale} scale has records of both {first} and {second}")
    console.table(("task", "metric", f"{first} - {second} [95 %]", "n", "p (Holm)"), rows, out)


data_app = typer.Typer(help="Outside data: list, check, prepare.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@data_app.command("list")
def data_list(data: Data = None) -> None:
    """Every dataset: licence, source, sizes, and whether it is here."""
    sources = _data(data)
    rows = []
    for suite, dataset in registry.datasets(()):
        found = sources.find(dataset)
        where = found.origin if found else sources.missing(dataset)
        rows.append(
            (suite.name, dataset.name, dataset.sizes, dataset.licence, dataset.source, where)
        )
    console.table(("suite", "dataset", "sizes", "licence", "source", "here"), rows, out)


@data_app.command("check")
def data_check(names: DataNames = None, data: Data = None) -> None:
    """Checks every file that is here, and what suites ship, against its digest."""
    bad = _tell(inventory.check(_data(data), names or ()))
    broken = _tell(inventory.shipped(names or ()))
    if bad:
        raise DataError(f"{bad} datasets are missing or damaged; the lines above say which")
    if broken:
        raise DataError(f"{broken} shipped files are corrupt; the lines above say which")


@data_app.command("prepare")
def data_prepare(names: DataNames = None, data: Data = None) -> None:
    """Fetches from the public hubs what is not here; needs the network."""
    if bad := _tell(inventory.prepare(_data(data), names or ())):
        raise DataError(f"{bad} datasets could not be prepared; the lines above say why")


@app.command()
def doctor(
    results: Results = Path("results"),
    repair: Annotated[
        bool, typer.Option("--repair", help="Move damaged files aside, remove broken artifacts.")
    ] = False,
) -> None:
    """Checks every record, artifact, dataset and shipped file; says what is wrong."""
    store = _store(results)
    loaded = store.load()
    problems = 0
    for item in loaded.damaged:
        problems += 1
        done = f"; moved to {store.quarantine(item.path).name}" if repair else ""
        err.print(f"{item.path}: {item.reason}{done}", markup=False)
    for folder in store.artifacts():
        try:
            store.check_artifact(folder)
        except StoreError as error:
            problems += 1
            if repair:
                shutil.rmtree(folder)
            err.print(f"{error}{'; removed' if repair else ''}", markup=False)
    beyond = _tell(inventory.check(_data(None), absent=False), all_of_them=False)
    beyond += _tell(inventory.shipped())
    known = set(registry.origins())
    for record in loaded.records:
        if record.suite not in known:
            err.print(f"{record.suite}/{record.file_name}: no suite of that name", markup=False)
    out.print(f"{len(loaded.records)} records intact, {problems + beyond} problems")
    if problems and not repair:
        raise StoreError(f"{problems} damaged files; `harness doctor --repair` moves them aside")
    if beyond:
        raise DataError(f"{beyond} corrupt inputs; the lines above say what to do about each")


@app.command()
def gc(
    results: Results = Path("results"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Removes what no suite refers to any more: old artifacts, checkpoints, temporary files.

    Records are never removed.
    """
    store = _store(results)
    gone = plan.leftovers(store)
    for folder in gone:
        out.print(f"{'would remove' if dry_run else 'removed'} {folder}", markup=False)
        if not dry_run:
            shutil.rmtree(folder)
    swept = 0 if dry_run else store.sweep(_STALE_SECONDS)
    out.print(f"{len(gone)} folders, {swept} temporary files")


def main() -> NoReturn:
    """Entry point: one line and an exit code for every error that is the user's to mend."""
    try:
        code = app(standalone_mode=False, prog_name="harness")
    except HarnessError as error:
        err.print(f"harness: {error}", markup=False)
        raise SystemExit(error.exit_code) from None
    except _Misuse as error:
        line = error.format_message()
        if "\n" not in line:  # with no verb at all it is the help text
            line = f"harness: {line} (see `{error.ctx.command_path} --help`)"
        err.print(line, markup=False)
        raise SystemExit(UsageError.exit_code) from None
    except OSError as error:
        err.print(f"harness: {error.filename or 'input/output'}: {error.strerror}", markup=False)
        raise SystemExit(StoreError.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    raise SystemExit(code or 0)


def _store(results: Path) -> Store:
    return Store(results, Path(os.environ.get("HARNESS_CACHE", ".harness")))


def _data(local: Path | None) -> Sources:
    return Sources.of(local, Path(os.environ.get("HARNESS_CACHE", ".harness")))


def _tell(findings: Iterable[inventory.Finding], all_of_them: bool = True) -> int:
    """Prints what was found, what is bad to the error stream; how many are bad."""
    bad = 0
    for item in findings:
        bad += item.bad
        if item.bad or all_of_them:
            stream = err if item.bad and not item.expected else out
            stream.print(item.line, markup=False)
    return bad


def _suites(names: Sequence[str] | None, scale: str | None) -> list[Suite]:
    suites = [registry.load(name) for name in names or registry.origins()]
    if scale is not None:
        suites = [s for s in suites if (not names and _lacks(s, scale)) or _scale(s, scale)]
    return suites


def _lacks(suite: Suite, scale: str) -> bool:
    return scale not in {s.name for s in suite.scales}


def _scale(suite: Suite, name: str) -> Scale:
    if _lacks(suite, name):
        there = [s.name for s in suite.scales]
        raise UsageError(registry.unknown("scale", name, there, f"harness show {suite.name}"))
    return suite.scale(name)


def _records(store: Store, suite: Suite, strict: bool = True) -> list[Record]:
    loaded = store.load(suite.name)
    _tell_damaged(loaded.damaged)
    if loaded.damaged and strict:
        raise StoreError(
            f"{len(loaded.damaged)} damaged records; `harness doctor --repair` moves them aside, "
            "`harness run` makes them anew"
        )
    return loaded.records


def _tell_damaged(damaged: Sequence[Damaged]) -> None:
    for item in damaged:
        err.print(f"damaged record: {item.path}: {item.reason}", markup=False)


def _plan(
    suite: Suite,
    scale: str,
    records: list[Record],
    store: Store,
    methods: str,
    tasks: str,
    seeds: str,
    device: str,
    data: Path | None,
    rerun: plan.Rerun,
) -> plan.Plan:
    filters = plan.Filters(options.words(methods), options.words(tasks), options.numbers(seeds))
    chosen = _scale(suite, scale)
    return plan.make(
        suite,
        chosen,
        records,
        store,
        _data(data),
        device=options.device(device, chosen),
        filters=filters,
        rerun=rerun,
    )


def _summarise(made: plan.Plan, records: Sequence[Record], store: Store) -> list[plan.Node]:
    """Prints what is to be done; the artifacts that come first."""
    states = Counter(step.state for step in made.steps)
    first, rest = plan.unmade(made, store), "nothing to do"
    if made.todo:
        seconds = console.Estimate(records, [made], store).of_plan(made, first)
        artifacts = f" after {len(first)} artifacts" if first else ""
        took = console.duration(seconds / options.workers(made))
        rest = f"{len(made.todo)} to run{artifacts}, about {took}"
    title = f"{made.suite.name} at {made.scale.name} scale on {made.device}"
    out.print(f"{title}: {console.counted(states)}; {rest}")
    absent = Counter(s.reason for s in made.steps if s.state == "no data")
    for reason, number in absent.items():
        out.print(f"  {number} trials left out: {reason}", markup=False)
    return first


def _power(suite: Suite, scale: Scale, records: Sequence[Record]) -> None:
    from harness.claims import power
    from harness.runs import frame

    rows = [
        (
            p.claim,
            p.n,
            console.rounded(p.mde_sd, "sd"),
            console.rounded(p.mde, p.unit),
            console.rounded(p.margin, p.unit),
            p.n_for_margin or "-",
        )
        for p in power(suite, scale.name, frame(records, suite) if records else None)
    ]
    headers = ("claim", "seeds", "can show", "in its unit", "margin", "seeds for the margin")
    out.print("smallest effect that each claim can show with 80 % power:")
    console.table(headers, rows, out)
