"""`reports/` from `results/`: every page, table and figure, and the check that they agree."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from harness.errors import StoreError
from harness.files import folders, is_absent, write_atomic
from harness.looks import Look
from harness.record import Record
from harness.report import delimited, html, latex, markdown
from harness.report.figure import ENDINGS, Kept
from harness.report.overview import Overview, chapter
from harness.report.page import Page, build, by_scale
from harness.report.verdict import brief
from harness.suite import SEPARATOR, Reference, Suite
from harness.verified import Verified

_WHOLE = "report.html"
_KINDS = (
    "report.md", _WHOLE, "records/*.html", "tables/*.md", "tables/*.tex", "tables/*.csv",
)  # fmt: skip
_PICTURES = ("figures/*.svg", "figures/*.png", "figures/*.csv")


class Difference(NamedTuple):
    """A file of `reports/` that is not what the records generate."""

    path: str
    """Below the reports folder, with `/`."""
    what: Literal["differs", "missing", "left over"]


def generate(
    suites: Iterable[Suite],
    records: Iterable[Record],
    out: Path,
    *,
    references: Mapping[str, Sequence[Reference]] | None = None,
    current: Mapping[str, Collection[str]] | None = None,
    stale: Mapping[str, Collection[str]] | None = None,
    figures: bool = True,
    check: bool = False,
    keep: Collection[str] = (),
    responses: Mapping[str, Mapping[str, str]] | None = None,
    looked: Mapping[str, Sequence[Look]] | None = None,
    interval: latex.Spread = "ci",
    drawn: Verified | None = None,
    only: Collection[str] | None = None,
) -> list[Difference]:
    """Brings `out` to what the records say, or with `check` only tells where it is not.

    The same records in any order give the same bytes; clock, paths and locale play no part.
    Files of earlier reports that are no longer made are removed, of suites that have records here;
    other files are left alone.

    Args:
        suites: All suites; the shared pages list these and no others.
        records: Of all suites and scales; those of unknown suites are only counted.
        out: The reports folder; nothing in it points out of it.
        references: Published numbers by suite.
        current: Full ids that each suite names today, by suite. A suite that is absent: unknown,
            then the newest record of each trial counts.
        stale: Full ids of records whose code has changed since, by suite.
        figures: False leaves the pictures as they are, which is much quicker.
        check: Writes nothing.
        keep: Pages (`suite/scale`) from which nothing is removed; see `orphans`.
        responses: What papers' authors say of claims, by suite and claim.
        looked: Looks taken at primary claims, by `suite/scale`; see `harness.looks`.
        interval: What stands behind the means of LaTeX tables.
        drawn: Pictures that are known to be what their inputs draw are not drawn again.
        only: Names of the suites whose pages are compared and written; None: all. Of the others the
            index shows what their records say, at the scales that have a page.

    Returns:
        The files that differed, were missing or left over; without `check`, before they were
        put right.

    Raises:
        SpecError: a suite's table or figure cannot be made.
        StoreError: a file cannot be read, written or removed.
    """
    suites = sorted(suites, key=lambda s: s.name)
    records = list(records)
    made: dict[str, bytes] = {}
    chapters = []
    for suite in suites:
        now, wanted = (current or {}).get(suite.name), only is None or suite.name in only
        varied = [r for r in records if r.suite == suite.name and SEPARATOR in r.scale]
        beyond = [r for r in varied if now is None or r.id in now]
        pages = [
            build(
                suite,
                scale,
                group,
                (references or {}).get(suite.name, ()),
                (current or {}).get(suite.name),
                (stale or {}).get(suite.name, ()),
                figures and wanted,
                (responses or {}).get(suite.name),
                [r for r in beyond if r.scale.partition(SEPARATOR)[0] == scale],
                (looked or {}).get(f"{suite.name}/{scale}", ()),
                Kept(out / suite.name / scale, suite, drawn) if drawn is not None else None,
            )
            for scale, group in by_scale(suite, records).items()
            if SEPARATOR not in scale and (wanted or (out / suite.name / scale / _WHOLE).is_file())
        ]
        for page in pages if wanted else ():
            made.update(_files(page, interval))
        chapters.append(chapter(suite, pages))
    strangers = sorted({r.suite for r in records} - {s.name for s in suites})
    overview = Overview(tuple(chapters), tuple(strangers))
    made["index.md"] = markdown.index(overview).encode()
    made["index.html"] = html.index(overview).encode()
    made["how-we-decide.html"] = html.deciding().encode()
    kinds = (*_KINDS, *_PICTURES) if figures else _KINDS
    seen = {r.suite for r in records}
    own = [s.name for s in suites if s.name in seen and (only is None or s.name in only)]
    differences = _compare(made, out, own, kinds, keep)
    if drawn is not None:
        drawn.save()
    if not check:
        _mend(made, out, differences)
    return differences


def orphans(suites: Iterable[Suite], results: Path, out: Path) -> dict[str, str]:
    """Pages (`suite/scale`) whose folder of records is not there, each with a line about it.

    They are kept: a folder that is absent, moved or not mounted does not say that there are no
    records.
    """
    found = {}
    for suite in sorted(suites, key=lambda s: s.name):
        for scale in folders(out / suite.name, linked=True):
            page = f"{suite.name}/{scale.name}"
            files = (path for kind in (*_KINDS, *_PICTURES) for path in scale.glob(kind))
            if any(files) and is_absent(results / page):
                found[page] = (
                    f"{out / page}: kept, though {results / page} does not exist; bring its "
                    "records back, or remove the page"
                )
    return found


def _files(page: Page, interval: latex.Spread) -> dict[str, bytes]:
    folder = f"{page.suite.name}/{page.scale}"
    files = {"report.md": markdown.report(page), _WHOLE: html.report(page)}
    for table in (*page.tables, *(table for _, found in page.along for table in found)):
        place = f"tables/{table.name}"
        files[f"{place}.md"] = markdown.comparison(table)
        files[f"{place}.tex"] = latex.comparison(table, page.suite.name, interval)
        files[f"{place}.csv"] = delimited.comparison(table)
    for listing in (page.claims, page.exact, page.checks, page.curves, page.costs, page.budget):
        if listing is not None and (listing.rows or listing.name in ("claims", "cost", "budget")):
            place = f"tables/{listing.name}"
            set_in_tex = brief(listing) if listing is page.claims else listing
            files[f"{place}.md"] = markdown.listing(listing)
            files[f"{place}.tex"] = latex.listing(set_in_tex, page.suite.name)
            files[f"{place}.csv"] = delimited.listing(listing)
    made = {
        f"{folder}/{name}": files.pop(name).encode() for name in list(files)
    }  # not both at once
    for sheet in page.sheets:
        made[f"{folder}/records/{sheet.name}.html"] = html.records(page, sheet).encode()
    for along in page.axis_sheets:
        made[f"{folder}/records/{along.name}.html"] = html.along(page, along).encode()
    for picture in page.pictures:
        if picture.svg:
            for ending in ENDINGS:
                made[f"{folder}/figures/{picture.name}.{ending}"] = getattr(picture, ending)
    return made


def _compare(
    made: Mapping[str, bytes],
    out: Path,
    suites: Iterable[str],
    kinds: Iterable[str],
    keep: Collection[str],
) -> list[Difference]:
    found = []
    for name, data in made.items():
        path = out / name
        try:
            there = path.read_bytes()
        except FileNotFoundError:
            found.append(Difference(name, "missing"))
        except OSError as error:
            raise StoreError(
                f"cannot read {path}: {error.strerror}; make it readable, or move it away"
            ) from error
        else:
            if there != data:
                found.append(Difference(name, "differs"))
    for suite in suites:
        for kind in kinds:
            for path in (out / suite).glob(f"*/{kind}"):
                name = path.relative_to(out).as_posix()
                if name not in made and "/".join(name.split("/")[:2]) not in keep:
                    found.append(Difference(name, "left over"))
    return sorted(found)


def _mend(made: Mapping[str, bytes], out: Path, differences: Iterable[Difference]) -> None:
    for name, what in differences:
        path = out / name
        if what != "left over":
            write_atomic(path, made[name])
            continue
        try:
            path.unlink()
            for folder in path.parents:
                if folder == out or any(folder.iterdir()):
                    break
                folder.rmdir()
        except OSError as error:
            raise StoreError(
                f"cannot remove {path}, which is no longer made: {error.strerror}; remove it"
            ) from error
