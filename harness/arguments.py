"""The arguments and options that several commands share, with their texts and checks."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from harness import options


def folder_option(option: str, text: str) -> Any:
    def parse(given: str | Path) -> Path:
        return options.folder(given, option)

    return typer.Option(option, help=text, parser=parse, metavar="PATH")


DataNames = Annotated[list[str] | None, typer.Argument(help="Datasets or suites; all by default.")]
Names = Annotated[list[str] | None, typer.Argument(help="Suites; all by default.")]
ScaleName = Annotated[str, typer.Option("--scale", help="smoke, laptop, gpu or paper.")]
Pick = Annotated[list[str] | None, typer.Option(help="Names or globs, separated by commas.")]
Seeds = Annotated[list[str] | None, typer.Option(help="Seeds, e.g. 0,1,5-9.")]
Results = Annotated[Path, folder_option("--results", "Folder of the records.")]
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
