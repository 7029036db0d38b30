"""A site of its own: the reports, and of the records those that the pages link to.

<site>/index.html           leads to the reports
<site>/reports/, results/   as in the project, so that links between them hold
<site>/harness-site.json    the files that were put here; others are left alone
"""

import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from harness.errors import StoreError, UsageError
from harness.files import entries, read_plain, write_atomic

MARK = "harness-site.json"
_FRONT = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=reports/index.html">
<title>Reports</title>
<a href="reports/index.html">Reports</a>
</html>
"""
_IN_MARKDOWN = re.compile(r"\]\(([^)\s]+)\)")


class Published(NamedTuple):
    """What a site holds."""

    pages: int
    records: int
    removed: int
    """Files of an earlier publication that are no longer part of it."""


def publish(reports: Path, results: Path, site: Path, more: dict[str, bytes]) -> Published:
    """Writes the site, or brings an earlier one up to date.

    Args:
        reports: folder that `harness report` has written.
        results: folder of the records.
        site: a new or empty folder, or one that an earlier call has made.
        more: further files, by their path in the site.

    Raises:
        UsageError: the folder holds other things, or a file of that name that is not the site's.
        StoreError: there are no reports, a link leads nowhere, or a file cannot be written.
    """
    earlier = _earlier(site)
    files = {f"reports/{name}": data for name, data in _tree(reports)}
    if "reports/index.html" not in files:
        raise StoreError(f"no reports in {reports}; `harness report` writes them")
    pages = sum(name.endswith(".html") for name in files)
    wanted = sorted({target for _, target in _links(files) if target.startswith("results/")})
    records = {}
    for name in wanted:
        if (record := read_plain(results / name.removeprefix("results/"))) is not None:
            records[name] = record
    files |= records | {"index.html": _FRONT.encode()} | more
    for page, target in _links(files):
        if target not in files:
            raise StoreError(
                f"{page} links to {target}, which is not there; bring it back, or run "
                "`harness report`"
            )
    if foreign := sorted(n for n in files if n not in earlier and (site / n).exists()):
        raise UsageError(f"{site / foreign[0]} is not of the site: move it away")
    gone = earlier - set(files)
    _write(site / MARK, {"files": sorted(earlier | set(files))})
    for name, data in files.items():
        write_atomic(site / name, data)
    for name in gone:
        (site / name).unlink(missing_ok=True)
    _write(site / MARK, {"files": sorted(files)})
    return Published(pages, len(records), len(gone))


def _write(path: Path, content: dict[str, list[str]]) -> None:
    write_atomic(path, (json.dumps(content, indent=1) + "\n").encode())


def _earlier(site: Path) -> set[str]:
    """The files of an earlier publication.

    Raises:
        UsageError: the folder is not empty, and no site.
    """
    data = read_plain(site / MARK)
    if data is None:
        if entries(site):
            raise UsageError(f"{site} is not empty and no site of `harness publish`: name another")
        return set()
    try:
        names = set(json.loads(data)["files"])
        inside = all(n and not PurePosixPath(n).is_absolute() and ".." not in n for n in names)
    except (ValueError, TypeError, KeyError):
        inside = False
    if not inside:
        raise UsageError(f"{site / MARK} is corrupt: publish to another folder")
    return names


def _tree(folder: Path) -> Iterator[tuple[str, bytes]]:
    """The plain files below a folder, by name; hidden ones are left out."""
    for entry in entries(folder) or ():
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            for name, below in _tree(folder / entry.name):
                yield f"{entry.name}/{name}", below
        elif (data := read_plain(folder / entry.name)) is not None:
            yield entry.name, data


def _links(files: dict[str, bytes]) -> Iterator[tuple[str, str]]:
    """Every link of a page to a place in the site: the page, and the file that it leads to."""
    for page, data in files.items():
        for link in _of_page(page, data):
            parts = urlsplit(link)
            if not parts.scheme and not parts.netloc and parts.path:
                yield page, os.path.normpath(PurePosixPath(page).parent / unquote(parts.path))


def _of_page(page: str, data: bytes) -> Iterable[str]:
    if page.endswith(".html"):
        reader = _Links()
        reader.feed(data.decode())
        return reader.found
    if page.endswith(".md"):
        return [html.unescape(link) for link in _IN_MARKDOWN.findall(data.decode())]
    return ()


class _Links(HTMLParser):
    """Collects `href` and `src`."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("href", "src") and value]
