"""The commands that hand results on: `harness publish` and `harness export`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness import number, options, registry
from harness.arguments import Names, Plugins, Results, folder_option, open_store
from harness.errors import UsageError
from harness.files import write_atomic
from harness.terminal import out

To = Annotated[Path, folder_option("--to", "Folder to write to.")]


def publish(
    to: To,
    results: Results = Path("results"),
    reports: Annotated[Path, folder_option("--reports", "Folder of the reports.")] = Path(
        "reports"
    ),
    card: Annotated[
        str, typer.Option(help="suite/method: a model card of it too, as README.md.")
    ] = "",
    scale: Annotated[str, typer.Option(help="Of the model card.")] = "laptop",
    plugin: Plugins = None,
) -> None:
    """Copies the reports, and the records that they link to, into a site that stands alone."""
    from harness import publish as site

    more = {}
    if card:
        from harness import export, frames

        suite, slash, method = card.partition("/")
        if not slash:
            raise UsageError(f"--card {card!r} should read suite/method, e.g. gate/gate")
        known = frames.known_of(suite, scale, results, plugin)
        more["README.md"] = export.model_card(known, method, scale).encode()
    made = site.publish(reports, results, to, more)
    out.print(
        f"{to}: {number.plural(made.pages, 'page')} and {number.plural(made.records, 'record')}"
        f"{f', {made.removed} files removed' if made.removed else ''}; open {to / 'index.html'}",
        markup=False,
    )


def export(
    to: To,
    names: Names = None,
    format: Annotated[
        Literal["csv", "parquet", "every-eval-ever"], typer.Option(help="What to write.")
    ] = "csv",
    scale: Annotated[str, typer.Option(help="One scale; all with records by default.")] = "",
    results: Results = Path("results"),
    plugin: Plugins = None,
) -> None:
    """Writes current numbers and verdicts as tables, or as files of Every Eval Ever."""
    registry.use(plugin)
    from harness import export as formats
    from harness import frames

    store = open_store(results, read=True)
    suites = options.suites(names) or tuple(sorted(store.suites() & set(registry.origins())))
    if not suites:
        raise UsageError(f"no suite of this harness has records in {results}")
    for suite in suites:
        if format == "every-eval-ever":
            files = formats.every_eval_ever(frames.known_of(suite, scale or None, results, plugin))
        else:
            writer = formats.parquet if format == "parquet" else formats.comma_separated
            own = {"results": frames.results, "claims": frames.claims}
            files = {
                f"{suite}-{what}.{format}": writer(
                    read(suite, scale or None, results=results, plugin=plugin)
                )
                for what, read in own.items()
            }
        for name, data in files.items():
            write_atomic(to / name, data)
        out.print(f"{suite}: {number.plural(len(files), 'file')} in {to}", markup=False)
