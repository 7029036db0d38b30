"""The commands. What they do lies in other modules; nothing imports this one.

Exit codes: 0 done, or stopped by `--time`; 1 trials failed, or an unexpected error; 2 wrong usage
or a suite that does not hold together; 3 the opposite of a claim was found (`claims --strict`); 4
corrupt or unwritable files, or a full disk; 5 what `compare --fail-on` names was found; 130
interrupted.
"""

import gc
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, nullcontext
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

from harness import (
    claim_commands,
    compare_commands,
    console,
    data_commands,
    gpu,
    list_commands,
    margins,
    new,
    number,
    options,
    plan,
    queue_commands,
    registry,
    share_commands,
    summary,
    terminal,
    trackers,
    upkeep,
    upkeep_commands,
    variants,
)
from harness.arguments import (
    Address,
    Assignments,
    Claims,
    Data,
    Device,
    Json,
    Names,
    PerGpu,
    Pick,
    Plugins,
    Queued,
    Quiet,
    Rerun,
    Results,
    ScaleName,
    Seeds,
    Shard,
    Where,
    folder_option,
    named_suites,
    open_data,
    open_store,
    records_of,
    sizes,
    tell_damaged,
    tell_unloaded,
    varied,
)
from harness.errors import StoreError, UsageError
from harness.executors.place import Place
from harness.looks import Look, taken
from harness.record import Heading, Record
from harness.rounds import Ahead, Rounds, looks_ahead, summarise, tell_looks
from harness.suite import SEPARATOR, Scale, Suite
from harness.terminal import err, out
from harness.verified import Verified

if TYPE_CHECKING:
    from harness.design import ClaimPower

app = typer.Typer(
    help="Reproduces the experiments of papers on attention parameters, "
    "with a verdict on every claim.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data_commands.app, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"attention-harness {metadata.version('attention-harness')}")
        raise typer.Exit


@app.callback()
def _whole(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="The version, and stop."),
    ] = False,
) -> None:
    pass


app.command("list")(list_commands.list_suites)
app.command("show")(list_commands.show)
app.command("doctor")(upkeep_commands.doctor)
app.command("gc")(upkeep_commands.gc)
app.command("new")(new.new)
app.command("migrate")(upkeep_commands.migrate_records)
app.command("cancel")(queue_commands.cancel)
app.command("claims")(claim_commands.claims)
app.command("compare")(compare_commands.compare)
app.command("publish")(share_commands.publish)
app.command("export")(share_commands.export)


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
    every: Annotated[bool, typer.Option("--all", "-v", help="A line for every trial.")] = False,
    *,
    assignments: Assignments = None,
    claims: Claims = None,
    shard: Shard = None,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """What would run, and why each trial will or will not; the MDE of each claim."""
    registry.use(plugin)
    store, filters = open_store(results), options.filters(methods, tasks, seeds, claims, shard)
    rounds = Rounds(store, open_data(data), device, rerun)
    documents = []
    for suite, size in sizes(named_suites(names, scale), scale, assignments, filters):
        what = f"planning {number.plural(suite.trial_count(size), 'trial')} of {suite.name}"
        with nullcontext() if json else terminal.doing(what, line=False):
            records = records_of(store, suite, strict=False)
            headings = [record.heading for record in records]
            made = rounds.planned(suite, size, headings, filters)
        if json:
            documents.append(_planned(made, records, headings, rounds))
            continue
        first = summarise(made, headings, store)
        if size.machine in ("gpu", "paper") and (asked := gpu.efforts(made, first)):
            out.print(f"  {gpu.line(asked)}", markup=False)
        grouped = Counter((s.action, s.state, s.reason) for s in made.steps)
        if every:
            rows: list[tuple[object, ...]] = [
                (s.trial.title, s.action, s.reason) for s in made.steps
            ]
            console.table(("trial", "", "why"), rows, out)
        else:
            for (action, state, reason), trials in sorted(grouped.items()):
                out.print(f"  {action:4} {trials:5}  {state}: {reason}", markup=False)
        for node in made.nodes.values():
            there = "to be built" if node in first else "built"
            out.print(f"  artifact {node.artifact.name}: {there}")
        _power(suite, made.scale, records)
        tell_looks(rounds, suite, size, headings)
    if json:
        terminal.document({"plans": documents})
    elif store.is_new():
        out.print(f"no records yet: {results} does not exist", markup=False)


@app.command()
def run(
    names: Names = None,
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
    *,
    assignments: Assignments = None,
    until: Annotated[
        Literal["decided"] | None,
        typer.Option(help="decided: add seeds, look by look, until every primary claim is."),
    ] = None,
    most: Annotated[
        int, typer.Option(min=5, max=10_000, help="With --until: seeds at which to stop.")
    ] = 40,
    claims: Claims = None,
    shard: Shard = None,
    executor: Where = "local",
    address: Address = None,
    slurm: Queued = None,
    per_gpu: PerGpu = 1,
    plugin: Plugins = None,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also what is read, and each trial that begins.")
    ] = False,
    track: Annotated[
        trackers.Name | None, typer.Option(help="Log every trial that ends to this tracker too.")
    ] = None,
) -> None:
    """Runs what has no record yet; interrupted trials resume from their checkpoint."""
    registry.use(plugin)
    detail: console.Detail = "quiet" if quiet else "verbose" if verbose else "usual"
    store = open_store(results)
    store.sweep(upkeep.STALE_SECONDS)
    began, most_seconds = time.monotonic(), None if limit is None else options.seconds(limit)
    deadline = None if most_seconds is None else began + most_seconds
    place = Place(executor, jobs, per_gpu, address, tuple(slurm or ()))
    place.check()
    feed = None if track is None else trackers.Feed(track, store.results, store.cache)
    rounds = Rounds(store, open_data(data), device, rerun, place, deadline, detail, feed)
    filters = options.filters(methods, tasks, seeds, claims, shard)
    suites = named_suites(names, scale)
    chosen: Sequence[tuple[Suite, Scale]]
    if until is None:
        chosen = sizes(suites, scale, assignments, filters)
    elif filters != plan.EVERYTHING or rerun != "none":
        raise UsageError(
            f"--until {until} chooses methods, tasks and seeds itself; leave out --methods, "
            "--tasks, --seeds, --claims, --shard and --rerun"
        )
    else:
        chosen = [varied(suite, scale, assignments) for suite in suites]
    with closing(feed) if feed else nullcontext():
        ended = rounds.until_decided(chosen, most) if until else rounds.run(chosen, filters)
    if not quiet:
        took = time.monotonic() - began
        summary.tell(ended, chosen, store, took, most_seconds, plugin or (), filters.methods)
    if ended.code:
        raise typer.Exit(ended.code)


@app.command()
def status(
    names: Names = None,
    results: Results = Path("results"),
    data: Data = None,
    plugin: Plugins = None,
    json: Json = False,
) -> None:
    """Progress of each suite, at every scale that has records."""
    registry.use(plugin)
    suites, store = named_suites(names, None), open_store(results, read=True)
    sources = open_data(data)
    found: list[dict[str, Any]] = []
    damaged = 0
    for suite in suites:
        loaded = store.load(suite.name)
        damaged += len(loaded.damaged)
        tell_damaged(loaded.damaged)
        tell_unloaded(loaded.records)
        headings = [record.heading for record in loaded.records]
        own = {scale.name: scale.seeds for scale in suite.scales}  # others may be incomplete
        for scale in variants.added(suite, [r.spec for r in loaded.records]).scales:
            if not any(r.scale == scale.name for r in loaded.records):
                continue
            kind = next(r.spec["device"] for r in loaded.records if r.scale == scale.name)
            made = plan.make(suite, scale, headings, store, sources, device=str(kind))
            states = Counter(
                step.state
                for step in made.steps
                if step.state != "missing" or step.trial.seed in own.get(scale.name, scale.seeds)
            )
            spent = sum(r.cost.wall_seconds for r in loaded.records if r.scale == scale.name)
            found.append(
                {"suite": suite.name, "scale": scale.name, "trials": states, "seconds": spent}
            )
    queued = queue_commands.queued(store)
    if json:
        terminal.document({"scales": found, "corrupt": damaged, "queued": queued})
    else:
        rows = [
            (
                s["suite"],
                s["scale"],
                console.counted(s["trials"]),
                number.seconds(s["seconds"]),
            )
            for s in found
        ]
        console.table(("suite", "scale", "trials", "spent"), rows, out)
        for one in queued:
            out.print(f"{one['cluster']}: {one['jobs']} {one['state']}")
    if damaged:
        raise typer.Exit(StoreError.exit_code)
    seen = {one["suite"] for one in found}
    console.nothing(err if json else out, results, suites, seen, names)


@app.command()
def report(
    names: Names = None,
    results: Results = Path("results"),
    reports: Annotated[Path, folder_option("--reports", "Folder of the reports.")] = Path(
        "reports"
    ),
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where the reports are out of date.")
    ] = False,
    interval: Annotated[
        Literal["ci", "sd", "se"],
        typer.Option(
            help="Behind the means of LaTeX tables: half the 95 % interval, the standard "
            "deviation or the standard error."
        ),
    ] = "ci",
    plugin: Plugins = None,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="A line for every file that differed.")
    ] = False,
    json: Json = False,
) -> None:
    """Writes tables, figures and pages from the records alone.

    Where suites are named: the pages of these, and the front page.
    """
    registry.use(plugin)
    from harness import looks
    from harness.report import site

    store = open_store(results, read=True)
    suites, named = named_suites(None, None), named_suites(names, None)
    only = {suite.name for suite in named}
    every = [r for suite in suites for r in records_of(store, suite)]
    tell_unloaded(every)
    records = [r for r in every if not registry.unloaded(r.spec)]
    pages = sorted(  # records of variants stand on pages of their scale
        {f"{r.suite}/{r.scale}" for r in records if SEPARATOR not in r.scale and r.suite in only}
    )
    if not pages:
        whose = f" of {', '.join(sorted(only))}" if names else ""
        raise StoreError(
            f"no records{whose} in {results}: nothing to report; {reports} stays as it is"
        )
    keep = site.orphans(named, results, reports)
    for line in keep.values():
        err.print(line, markup=False)
    for suite in suites:
        margins.check(suite, margins.read(results, suite.name), records)
    current, stale = plan.standing(suites, records)
    printed = {suite.name: registry.references(suite) for suite in suites}
    different = site.generate(
        suites, records, reports, references=printed, current=current, stale=stale, check=check,
        keep=keep, responses={suite.name: registry.responses(suite) for suite in suites},
        looked={
            f"{suite.name}/{scale.name}": looks.taken(results, suite.name, scale.name)
            for suite in suites
            for scale in suite.scales
        },
        interval=interval,
        drawn=Verified(store, "pictures"),
        only=only,
    )  # fmt: skip
    paths = [str(reports / page / "report.html") for page in pages]
    if json:
        changed = [item._asdict() for item in different]
        terminal.document({"index": f"{reports / 'index.html'}", "pages": paths, "files": changed})
    for item in different if verbose else different[: 20 * check]:
        err.print(f"{item.path}: {item.what}", markup=False)
    if check and (different or keep):
        raise StoreError(
            f"{len(different) + len(keep)} files in {reports} are not what {results} generates; "
            f"run `{' '.join(['harness report', *sorted(only if names else ())])}`"
        )
    if not (json or quiet):
        done = "up to date" if check else "written"
        out.print(f"{reports}: {done}, open {reports / 'index.html'}", markup=False)
        for path in paths:
            out.print(f"  {path}", markup=False)


def main() -> NoReturn:
    """Entry point."""
    gc.set_threshold(100_000)  # records and trials hold no circles, and each search visits them all
    raise SystemExit(terminal.run(app))


def _planned(
    made: plan.Plan, records: Sequence[Record], headings: Sequence[Heading], rounds: Rounds
) -> dict[str, object]:
    """A plan as `--json` prints it."""
    unmade = plan.unmade(made, rounds.store)
    first = {node.id for node in unmade}
    asked = gpu.efforts(made, unmade)
    kept = taken(rounds.store.results, made.suite.name, made.scale.name)
    ahead = looks_ahead(rounds, made.suite, made.scale, headings)
    return {
        "suite": made.suite.name,
        "scale": made.scale.name,
        "device": made.device,
        "trials": [
            {
                "id": step.trial.id,
                "method": step.trial.method.name,
                "task": step.trial.task.name,
                "seed": step.trial.seed,
                "state": step.state,
                "action": step.action,
                "reason": step.reason,
            }
            for step in made.steps
        ],
        "artifacts": [
            {"id": node.id, "artifact": node.artifact.name, "built": node.id not in first}
            for node in made.nodes.values()
        ],
        "power": [found._asdict() for found in _mde(made.suite, made.scale, records)],
        "looks": None if ahead is None else _ahead(ahead, kept),
        "gpu": gpu.estimate(asked)._asdict() if asked else None,
    }


def _ahead(ahead: Ahead, kept: Sequence[Look]) -> dict[str, object]:
    """The looks of a scale as `--json` prints them: those to come, and those taken."""
    told = {"claim", "n", "seeds", "p", "spent", "outcome", "date"}
    return {
        "claims": ahead.claims,
        "schedule": ahead.schedule,
        "chances": [chance._asdict() for chance in ahead.chances],
        "taken": [look.model_dump(mode="json", include=told) for look in kept],
    }


def _mde(suite: Suite, scale: Scale, records: Sequence[Record]) -> "Sequence[ClaimPower]":
    from harness.analysis import frame
    from harness.design import power

    return power(suite, scale.name, frame(records, suite) if records else None)


def _power(suite: Suite, scale: Scale, records: Sequence[Record]) -> None:
    rows = [
        (
            p.claim,
            p.n,
            number.rounded(p.mde_sd, "sd"),
            number.rounded(p.mde, p.unit),
            number.rounded(p.margin, p.unit),
            p.n_for_margin or "-",
        )
        for p in _mde(suite, scale, records)
    ]
    headers = ("claim", "seeds", "MDE (SD)", "MDE", "margin", "seeds needed at the margin")
    out.print("minimum detectable effect (MDE) of each claim at 80 % power:")
    console.table(headers, rows, out)
