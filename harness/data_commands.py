"""The commands about external datasets: `harness data list`, `check` and `prepare`."""

from collections.abc import Iterable
from typing import Annotated

import typer

from harness import console, inventory, registry
from harness.arguments import Data, DataNames, Plugins
from harness.data import Sources
from harness.errors import DataError
from harness.store import location
from harness.terminal import err, out

app = typer.Typer(help="External datasets: list, check, prepare.", no_args_is_help=True)


@app.command("list")
def data_list(data: Data = None, plugin: Plugins = None) -> None:
    """Every dataset: licence, source, sizes, and whether it is here."""
    registry.use(plugin)
    sources = Sources.of(data, location())
    rows = []
    for suite, dataset in registry.datasets(()):
        found, built = sources.find(dataset), sources.find(dataset.rebuilt)
        where = found.origin if found else sources.missing(dataset)
        if not dataset.files:
            where = f"looked for when it is read; `harness data prepare {dataset.name}` gets it"
        elif built and dataset.rebuilt is not dataset:
            where = f"{found.origin}, rebuilt too" if found else f"{built.origin}, rebuilt"
        rows.append(
            (suite.name, dataset.name, dataset.sizes, dataset.licence, dataset.source, where)
        )
    console.table(("suite", "dataset", "sizes", "licence", "source", "here"), rows, out)


@app.command("check")
def data_check(names: DataNames = None, data: Data = None, plugin: Plugins = None) -> None:
    """Checks every file that is here, and what suites ship, against its digest."""
    registry.use(plugin)
    bad = tell(inventory.check(Sources.of(data, location()), names or ()))
    broken = tell(inventory.shipped(names or ()))
    if bad:
        raise DataError(f"{bad} datasets are missing or corrupt; the lines above say which")
    if broken:
        raise DataError(f"{broken} shipped files are corrupt; the lines above say which")


@app.command("prepare")
def data_prepare(
    names: DataNames = None,
    scale: Annotated[str, typer.Option(help="Only what this scale's trials read.")] = "",
    rebuilt: Annotated[
        bool,
        typer.Option(
            "--rebuilt",
            help="What scales *-rebuilt read: equivalents of what cannot be had as it was.",
        ),
    ] = False,
    data: Data = None,
    plugin: Plugins = None,
) -> None:
    """Fetches or converts what is not here; needs the network, and resumes where it stopped."""
    registry.use(plugin)
    if bad := tell(inventory.prepare(Sources.of(data, location()), names or (), scale, rebuilt)):
        raise DataError(f"{bad} datasets could not be prepared; the lines above say why")


def tell(findings: Iterable[inventory.Finding], all_of_them: bool = True) -> int:
    """Prints what was found, what is bad to the error stream; how many are bad."""
    bad = 0
    for item in findings:
        bad += item.bad
        if item.bad or all_of_them:
            stream = err if item.bad and not item.expected else out
            stream.print(item.line, markup=False)
    return bad
