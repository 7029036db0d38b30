"""The commands. What they do lies in other modules; nothing imports this one.

Exit codes: 0 done; 1 trials failed, or an unexpected error; 2 wrong usage or a suite that does
not hold together; 3 a claim is contradicted (`claims --strict`); 4 corrupt or unwritable files, or
a full disk; 130 interrupted.
"""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from harness import (
    console,
    data_commands,
    list_commands,
    new,
    number,
    options,
    plan,
    registry,
    terminal,
    upkeep,
    upkeep_commands,
    variants,
)
from harness.arguments import (
    Assignments,
    Data,
    Device,
    Names,
    Pick,
    Plugins,
    Rerun,
    Results,
    ScaleName,
    Seeds,
    folder_option,
    named_suites,
    open_data,
    open_store,
    records_of,
    tell_damaged,
    tell_unloaded,
    varied,
)
from harness.errors import ClaimError, StoreError, UsageError, quoted, unknown
from harness.identity import Node
from harness.record import Record
from harness.store import Store
from harness.suite import SEPARATOR, Scale, Suite
from harness.terminal import err, out

app = typer.Typer(
    help="Reproduces the experiments of papers on attention parameters, "
    "with a verdict on every claim.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_commands.app, name="data")
app.command("list")(list_commands.list_suites)
app.command("show")(list_commands.show)
app.command("doctor")(upkeep_commands.doctor)
app.command("gc")(upkeep_commands.gc)
app.command("new")(new.new)
app.command("migrate")(upkeep_commands.migrate_records)


@app.command("plan")
def show_plan(
    names: Names = None,
    scale: ScaleName = "smoke",
    methods: Pick = None,
    tasks: Pick = None,
    seeds: Seeds = None,
    device: Device = "auto",
    data: Data = None,
    results: Results = Path("results"),
    rerun: Rerun = "none",
    every: Annotated[bool, typer.Option("--all", help="A line for every trial.")] = False,
    assignments: Assignments = None,
    plugin: Plugins = None,
) -> None:
    """What would run, and why each trial will or will not; the MDE of each claim."""
    registry.use(plugin)
    store = open_store(results)
    for named in named_suites(names, scale):
        suite, size = varied(named, scale, assignments)
        records = records_of(store, suite, strict=False)
        made = _plan(suite, size, records, store, methods, tasks, seeds, device, data, rerun)
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
            there = "to be built" if node in first else "built"
            out.print(f"  artifact {node.artifact.name}: {there}")
        _power(suite, made.scale, records)
    if store.is_new():
        out.print(f"no records yet: {results} does not exist", markup=False)


@app.command()
def run(
    names: Names = None,
    *,
    scale: ScaleName = "smoke",
    methods: Pick = None,
    tasks: Pick = None,
    seeds: Seeds = None,
    jobs: Annotated[
        int,
        typer.Option(min=0, max=10_000, help="Trials at a time; 0: as many as there are cores."),
    ] = 0,
    device: Device = "auto",
    data: Data = None,
    results: Results = Path("results"),
    limit: Annotated[
        str | None, typer.Option("--time", help="Stop after this long, e.g. 90m or 2h; resumable.")
    ] = None,
    rerun: Rerun = "none",
    assignments: Assignments = None,
    plugin: Plugins = None,
) -> None:
    """Runs what has no record yet; interrupted trials resume from their checkpoint."""
    from harness import executors
    from harness.executors.local import Local

    registry.use(plugin)
    store = open_store(results)
    store.sweep(upkeep.STALE_SECONDS)
    deadline = None if limit is None else time.monotonic() + options.seconds(limit)
    damaged = failed = 0
    plans, work, known = [], [], []
    for named in named_suites(names, scale):
        suite, size = varied(named, scale, assignments)
        loaded = store.load(suite.name)
        for item in loaded.damaged:
            aside = store.quarantine(item.path)
            err.print(
                f"corrupt record: {item.path}: {item.reason}; moved to {aside.name}, "
                "its trial counts as missing",
                markup=False,
            )
        damaged += len(loaded.damaged)
        records = loaded.records
        made = _plan(suite, size, records, store, methods, tasks, seeds, device, data, rerun)
        _summarise(made, records, store)
        plans.append(made)
        known += records
        work += executors.work(made, store, open_data(data), rerun)
        if made.todo:
            store.probe(suite.name, made.scale.name)
    if work:
        workers = jobs or min(options.workers(made) for made in plans)
        with console.Watch(out, console.Estimate(known, plans, store), work, workers) as watch:
            finished = Local(workers, deadline).run(work, watch)
        if watch.busy:
            out.print(f"{len(watch.busy)} trials are being run by another process")
        if watch.full:
            raise StoreError(f"{watch.full}; stopped, {watch.kept()}")
        if not finished:
            command = " ".join(["harness", *sys.argv[1:]])
            err.print(f"stopped; {watch.kept()}, resume with: {command}", markup=False)
            raise typer.Exit(130)
        failed = len(watch.failures)
    absent = sum(step.state == "no data" for made in plans for step in made.steps)
    if failed:
        err.print(f"{failed} failed; fix the cause, then rerun them with --rerun failed")
    if absent:
        err.print(f"{absent} trials skipped: dataset not found; the lines above say which")
    if damaged:
        raise typer.Exit(StoreError.exit_code)
    if failed or absent:
        raise typer.Exit(1)


@app.command()
def status(
    names: Names = None,
    results: Results = Path("results"),
    data: Data = None,
    plugin: Plugins = None,
) -> None:
    """Progress of each suite, at every scale that has records."""
    registry.use(plugin)
    suites, store = named_suites(names, None), open_store(results, read=True)
    sources = open_data(data)
    rows = []
    damaged = 0
    for suite in suites:
        loaded = store.load(suite.name)
        damaged += len(loaded.damaged)
        tell_damaged(loaded.damaged)
        tell_unloaded(loaded.records)
        for scale in variants.added(suite, [r.spec for r in loaded.records]).scales:
            if not any(r.scale == scale.name for r in loaded.records):
                continue
            kind = next(r.spec["device"] for r in loaded.records if r.scale == scale.name)
            made = plan.make(suite, scale, loaded.records, store, sources, device=str(kind))
            states = Counter(step.state for step in made.steps)
            hours = sum(r.cost.wall_seconds for r in loaded.records if r.scale == scale.name)
            rows.append((suite.name, scale.name, console.counted(states), number.seconds(hours)))
    console.table(("suite", "scale", "trials", "spent"), rows, out)
    if damaged:
        raise typer.Exit(StoreError.exit_code)
    console.nothing(out, results, suites, {row[0] for row in rows}, names)


@app.command()
def report(
    results: Results = Path("results"),
    reports: Annotated[Path, folder_option("--reports", "Folder of the reports.")] = Path(
        "reports"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where the reports are out of date.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Writes tables, figures and pages from the records alone."""
    registry.use(plugin)
    from harness.report import site

    store = open_store(results, read=True)
    suites = named_suites(None, None)
    own = [r for suite in suites for r in records_of(store, suite)]
    tell_unloaded(own)
    # Those of variants stand alone; those of plugins stand where these are loaded.
    records = [r for r in own if SEPARATOR not in r.scale and not registry.unloaded(r.spec)]
    if not records:
        raise StoreError(f"no records in {results}: nothing to report; {reports} stays as it is")
    keep = site.orphans(suites, results, reports)
    for line in keep.values():
        err.print(line, markup=False)
    current, stale = plan.standing(suites, records)
    printed = {suite.name: registry.references(suite) for suite in suites}
    different = site.generate(
        suites, records, reports, references=printed, current=current, stale=stale, check=check,
        keep=keep,
    )  # fmt: skip
    if check and (different or keep):
        for item in different[:20]:
            err.print(f"{item.path}: {item.what}", markup=False)
        raise StoreError(
            f"{len(different) + len(keep)} files in {reports} are not what {results} generates; "
            "run `harness report`"
        )
    pages = sorted({f"{r.suite}/{r.scale}" for r in records})
    out.print(f"{reports}: {'up to date' if check else 'written'}, open {reports / 'index.html'}")
    for page in pages:
        out.print(f"  {reports / page / 'report.html'}", markup=False)


@app.command()
def claims(
    names: Names = None,
    scale: Annotated[str, typer.Option(help="One scale; all with records by default.")] = "",
    results: Results = Path("results"),
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 3 where a claim is contradicted.")
    ] = False,
    assignments: Assignments = None,
    plugin: Plugins = None,
) -> None:
    """The verdict on every claim."""
    registry.use(plugin)
    from harness.analysis import frame
    from harness.claims import judge
    from harness.report.verdict import remark

    if assignments and not scale:
        raise UsageError("--set varies one scale: name it with --scale")
    suites, store = named_suites(names, scale or None), open_store(results, read=True)
    against, seen = 0, set()
    for named in suites:
        suite, only = varied(named, scale, assignments) if scale else (named, None)
        records = records_of(store, suite)
        current, _ = plan.standing([suite], records)
        for size in (only,) if only else suite.scales:
            here = [r for r in records if r.scale == size.name and r.id in current[suite.name]]
            if not here:
                continue
            verdicts = judge(suite, size.name, frame(here, suite))
            rows = [
                (
                    v.claim,
                    v.label,
                    number.estimate(v.estimate, v.low, v.high, v.unit),
                    "-" if v.n is None else v.n,
                    remark(suite, v),
                )
                for v in verdicts
            ]
            seen.add(suite.name)
            out.print(f"{suite.name} at {size.name} scale")
            console.table(("claim", "verdict", "difference [95 %]", "n", "remark"), rows, out)
            out.print()
            against += sum(v.outcome == "contradicted" for v in verdicts)
    if strict and against:
        raise ClaimError(f"{against} claims are contradicted by the records")
    console.nothing(out, results, suites, seen, names, scale)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A method, as suite/method.")],
    b: Annotated[str, typer.Argument(help="Another method of the same suite.")],
    scale: ScaleName = "laptop",
    tasks: Pick = None,
    results: Results = Path("results"),
    assignments: Assignments = None,
    plugin: Plugins = None,
) -> None:
    """Two methods side by side: paired differences on every task that both have run."""
    registry.use(plugin)
    from harness.analysis import compare as paired
    from harness.analysis import frame

    suite_name, _, first = a.rpartition("/")
    other, _, second = b.rpartition("/")
    if not suite_name:
        raise UsageError(f"name the suite too: {quoted(a)} should read suite/method, e.g. gate/gat")
    if other not in ("", suite_name):
        raise UsageError(f"{quoted(a)} and {quoted(b)}: both methods must be of one suite")
    suite, size = varied(registry.load(suite_name), scale, assignments)
    for name in (first, second):
        if name not in {m.name for m in suite.methods}:
            there = [m.name for m in suite.methods]
            raise UsageError(unknown("method", name, there, f"harness show {suite.name}"))
    store = open_store(results, read=True)
    records = records_of(store, suite)
    current, _ = plan.standing([suite], records)
    here = [r for r in records if r.scale == size.name and r.id in current[suite.name]]
    found = paired(
        suite, frame(here, suite), first, second, tasks=options.words(tasks, "--tasks") or ("*",)
    )
    rows = [
        (
            c.task,
            c.metric,
            number.estimate(c.difference.mean, c.difference.low, c.difference.high, c.unit),
            c.difference.n,
            number.rounded(c.p_holm),
        )
        for c in found
    ]
    if not rows:
        raise UsageError(f"no task at {size.name} scale has records of both {first} and {second}")
    console.table(("task", "metric", f"{first} - {second} [95 %]", "n", "p (Holm)"), rows, out)


def main() -> NoReturn:
    """Entry point."""
    raise SystemExit(terminal.run(app))


def _plan(
    suite: Suite,
    scale: Scale,
    records: list[Record],
    store: Store,
    methods: Sequence[str] | None,
    tasks: Sequence[str] | None,
    seeds: Sequence[str] | None,
    device: str,
    data: Path | None,
    rerun: plan.Rerun,
) -> plan.Plan:
    filters = plan.Filters(
        options.words(methods, "--methods"),
        options.words(tasks, "--tasks"),
        options.numbers(seeds),
    )
    return plan.make(
        suite,
        scale,
        records,
        store,
        open_data(data),
        device=options.device(device, scale),
        filters=filters,
        rerun=rerun,
    )


def _summarise(made: plan.Plan, records: Sequence[Record], store: Store) -> list[Node]:
    """Prints what is to be done; the artifacts that come first."""
    states = Counter(step.state for step in made.steps)
    first, rest = plan.unmade(made, store), "nothing to do"
    if made.todo:
        seconds = console.Estimate(records, [made], store).of_plan(made, first)
        artifacts = f" after {len(first)} artifacts" if first else ""
        took = number.seconds(seconds / options.workers(made))
        rest = f"{len(made.todo)} to run{artifacts}, about {took}"
    title = f"{made.suite.name} at {made.scale.name} scale on {made.device}"
    out.print(f"{title}: {console.counted(states)}; {rest}")
    absent = Counter(s.reason for s in made.steps if s.state == "no data")
    for reason, skipped in absent.items():
        out.print(f"  {skipped} trials skipped: {reason}", markup=False)
    return first


def _power(suite: Suite, scale: Scale, records: Sequence[Record]) -> None:
    from harness.analysis import frame
    from harness.claims import power

    rows = [
        (
            p.claim,
            p.n,
            number.rounded(p.mde_sd, "sd"),
            number.rounded(p.mde, p.unit),
            number.rounded(p.margin, p.unit),
            p.n_for_margin or "-",
        )
        for p in power(suite, scale.name, frame(records, suite) if records else None)
    ]
    headers = ("claim", "seeds", "MDE (SD)", "MDE", "margin", "seeds needed at the margin")
    out.print("minimum detectable effect (MDE) of each claim at 80 % power:")
    console.table(headers, rows, out)
