"""What several commands share: arguments and options, and the suites and records behind them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness import options, registry, variants
from harness.data import Sources
from harness.errors import StoreError, UsageError, unknown
from harness.plan import Filters, places
from harness.record import Record
from harness.store import Corrupt, Store, location
from harness.suite import Scale, Suite
from harness.terminal import err


def folder_option(option: str, text: str) -> Any:
    def parse(given: str | Path) -> Path:
        return options.folder(given, option)

    return typer.Option(option, help=text, parser=parse, metavar="PATH")


DataNames = Annotated[list[str] | None, typer.Argument(help="Datasets or suites; all by default.")]
Names = Annotated[
    list[str] | None,
    typer.Argument(help="Suites; all by default.", autocompletion=lambda: [*registry.origins()]),
]
ScaleName = Annotated[
    str,
    typer.Option(
        "--scale",
        help="smoke, laptop, gpu or paper.",
        autocompletion=lambda: ["smoke", "laptop", "gpu", "paper"],
    ),
]
Pick = Annotated[list[str] | None, typer.Option(help="Names or globs, separated by commas.")]
Claims = Annotated[
    list[str] | None,
    typer.Option("--claims", help="Only what these claims need: names, globs, or a role."),
]
Seeds = Annotated[
    list[str] | None, typer.Option(help="Seeds, e.g. 0,1,5-9; the scale need not have them.")
]
Where = Annotated[
    Literal["local", "ray", "slurm"],
    typer.Option("--executor", help="Where trials run: this machine, or a cluster."),
]
Address = Annotated[
    str | None, typer.Option("--address", help="With --executor ray: of the cluster.")
]
Queued = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm", help="With --executor slurm: KEY=VALUE, e.g. partition=gpu; repeatable."
    ),
]
PerGpu = Annotated[
    int, typer.Option("--per-gpu", min=1, max=100, help="Trials at a time on one GPU.")
]
Shard = Annotated[
    str | None,
    typer.Option("--shard", help="I/N: the I-th of N equal shares of the trials, from 1."),
]
Results = Annotated[Path, folder_option("--results", "Folder of the records.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE: a variant of the scale, with records of its own."),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin", help="A Python file or installed plugin that adds to a suite; repeatable."
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="One JSON document; docs/json.md says what is in it.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only what went wrong.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")]
Data = Annotated[
    Path | None,
    folder_option("--data", "Folder of external datasets; else HARNESS_DATA, else none."),
]
Device = Annotated[
    str, typer.Option(help="cpu, cuda, or auto: a GPU for the scales gpu and paper.")
]
Rerun = Annotated[
    Literal["none", "failed", "stale", "all"],
    typer.Option(help="Which recorded trials to run again."),
]


def open_store(results: Path, read: bool = False) -> Store:
    """The store of a command; with `read` its results folder must be there."""
    store = Store(results, location())
    return store.existing() if read else store


def open_data(local: Path | None) -> Sources:
    """Where external datasets come from."""
    return Sources.of(local, location())


def named_suites(names: Sequence[str] | None, scale: str | None) -> list[Suite]:
    """The suites named on the command line, or all, that have a scale of that name.

    Raises:
        UsageError: a suite that was named lacks the scale, or every suite does.
    """
    named = [registry.load(name) for name in options.suites(names)]
    suites = named or registry.every()
    if scale is not None:
        if not names and all(_lacks(s, scale) for s in suites):
            there = {s.name for suite in suites for s in suite.scales}
            raise UsageError(unknown("scale", scale, there, "harness list"))
        suites = [s for s in suites if (not names and _lacks(s, scale)) or s.known_scale(scale)]
    return suites


def _lacks(suite: Suite, scale: str) -> bool:
    return scale not in {s.name for s in suite.scales}


def records_of(store: Store, suite: Suite, strict: bool = True) -> list[Record]:
    """The records of a suite; corrupt ones are named.

    Raises:
        StoreError: there are corrupt ones and `strict` asks for none.
    """
    loaded = store.load(suite.name)
    tell_damaged(loaded.damaged)
    if loaded.damaged and strict:
        raise StoreError(
            f"{len(loaded.damaged)} corrupt records; `harness doctor --repair` moves them aside, "
            "`harness run` repeats their trials"
        )
    return loaded.records


def of_unloaded(records: Sequence[Record]) -> dict[str, int]:
    """How many records are of plugins that are not loaded, by the plugin's name."""
    return dict(Counter(name for r in records for name in registry.unloaded(r.spec)))


def tell_unloaded(records: Sequence[Record]) -> None:
    """Says which records belong to plugins that are not loaded; they stay as they are."""
    for name, count in sorted(of_unloaded(records).items()):
        err.print(
            f"{count} {'record is' if count == 1 else 'records are'} of plugin {name}, which is "
            "not loaded: left out; name it with --plugin",
            markup=False,
        )


def tell_damaged(damaged: Sequence[Corrupt]) -> None:
    """Names every corrupt record, a line for each."""
    for item in damaged:
        err.print(f"corrupt record: {item.path}: {item.reason}", markup=False)


def sizes(
    named: Sequence[Suite], name: str, assignments: Sequence[str] | None, filters: Filters
) -> list[tuple[Suite, Scale]]:
    """What a command is to run: of each suite the scale and the points of its axes.

    A variant that `--set` asks for stands alone.

    Raises:
        UsageError: as `varied`, or an axis with a value that its setting does not allow.
    """
    found: list[tuple[Suite, Scale]] = []
    for one in named:
        suite, size = varied(one, name, assignments)
        if assignments:
            found.append((suite, size))
        else:
            found += places(suite, size, filters)
    return found


def varied(suite: Suite, name: str, assignments: Sequence[str] | None) -> tuple[Suite, Scale]:
    """The scale of that name, or the variant that `--set` asks for, and a suite that has it.

    Raises:
        UsageError: the suite has no such scale, the scale no such setting, or no such value.
    """
    scale = suite.known_scale(name)
    if assignments is None:
        return suite, scale
    variant = variants.vary(suite, scale, variants.assigned(assignments))
    return variants.joined(suite, variant), variant
