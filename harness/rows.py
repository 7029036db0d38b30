"""Text files that others wrote, read as rows: every value is what its schema says, or one line.

JSON Lines, JSON, CSV, TSV and plain text in UTF-8, with or without `.gz`, and Parquet. A byte-order
mark, CRLF, blank lines and a missing last line break are fine everywhere. Everything
else that is wrong is a `DataError` with file and line number: another encoding, a NUL, a web page
or a Git LFS pointer in the file's place, a wrong compression, a row that is cut off, a cell too few
or too many. Lines end at a line feed alone. Text is text: nothing is turned into a number or a
missing value that the schema does not call one.

Foreign parsers are called in one place each; whatever they raise there is caught, and what they
return is checked afterwards.
"""

import csv
import gzip
import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from harness.errors import DataError, described, quoted

Kind = Literal["text", "name", "integer", "number", "texts", "any"]
Layout = Literal["json-lines", "json", "csv", "tsv", "text", "parquet"]
Values = dict[str, Any]

ADVICE = "replace the file by the original"
LONGEST_CELL = 1 << 27
"""Characters of a CSV cell at most; a quote that is never closed ends here."""

_LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        ".jsonl": "json-lines",
        ".ndjson": "json-lines",
        ".json": "json",
        ".csv": "csv",
        ".tsv": "tsv",
        ".txt": "text",
        ".parquet": "parquet",
    }
)
ENDINGS = tuple(_LAYOUTS)
"""What names of files end with; `.gz` may follow."""
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,300}\.?[0-9]{0,300}|\.[0-9]{1,300})([eE][+-]?[0-9]{1,3})?")
_BEGINNINGS: Mapping[bytes, str] = MappingProxyType(
    {
        b"\xff\xfe": "UTF-16, not UTF-8; convert it",
        b"\xfe\xff": "UTF-16, not UTF-8; convert it",
        b"\x1f\x8b": "gzip, without .gz in its name; unpack or rename it",
        b"PK\x03\x04": "a zip archive; unpack it",
        b"\xfd7zXZ": "xz; unpack it",
        b"BZh": "bzip2; unpack it",
        b"\x28\xb5\x2f\xfd": "zstd; unpack it",
        b"PAR1": "Parquet, without .parquet in its name; rename it",
        b"version https://git-lfs.github.com/": "a Git LFS pointer; run `git lfs pull` where it is",
    }
)
_PAGES = (b"<!doctype", b"<html", b"<head", b"<?xml")


@dataclass(frozen=True)
class Field:
    """One value of a row."""

    name: str
    kind: Kind = "text"
    """`name`: a text, or an integer that is read as one. `texts`: a list. `any`: not looked at."""
    column: int | None = None
    """Place in a file without header, from 0."""
    allowed: tuple[str, ...] = ()
    """What a text may be, in any case of letters; the row holds it as it stands here."""
    low: float = -math.inf
    """Of numbers; of texts, how many characters or texts at least."""
    high: float = math.inf
    index_of: str = ""
    """An integer that is a place in that list of the same row, from 0."""
    needed: bool = True


@dataclass(frozen=True)
class Schema:
    """What a row of a format holds; other values of JSON and Parquet stay as they are."""

    fields: tuple[Field, ...]
    columns: int | None = None
    """Cells of every row of CSV and TSV without header; None: the first line names them."""
    advice: str = ADVICE
    """What to do about a row that is not so; ends every message about one."""

    def checked(self, found: Mapping[str, Any], place: str) -> Values:
        """The values of a row, each of its type and in its range.

        Args:
            found: values by name, cells as texts or typed.
            place: file and line, for the message.

        Raises:
            DataError: one is missing, of another type or out of range.
        """
        values = dict(found)
        for field in self.fields:
            if field.name not in values:
                if field.needed:
                    raise DataError(f"{place}: the field {field.name!r} is missing; {self.advice}")
                continue
            try:
                values[field.name] = _value(field, values[field.name])
            except ValueError as error:
                raise DataError(f"{place}: {field.name} {error}; {self.advice}") from None
        for field in self.fields:
            if field.index_of and field.name in values:
                count = len(values[field.index_of])
                if not 0 <= values[field.name] < count:
                    raise DataError(
                        f"{place}: {field.name} is {values[field.name]}, allowed: 0 to "
                        f"{count - 1}, the places in {field.index_of}; {self.advice}"
                    )
        return values


class Row(NamedTuple):
    """A row and where it began."""

    line: int
    """Line in the file, from 1; in JSON and Parquet the row's number."""
    values: Values


def read(path: Path, schema: Schema, layout: Layout | None = None) -> list[Row]:
    """All rows of a file; at least one.

    Args:
        path: of the file.
        schema: what its rows hold.
        layout: by default what the file's name ends with. Of plain text the whole file is one row
            with the fields `id`, its name, and `text`.

    Raises:
        DataError: the file cannot be read, holds no row, or one that is not what the schema says.
    """
    found = list(stream(path, schema, layout))
    if not found:
        raise DataError(f"{path}: holds no row; {ADVICE}")
    return found


def stream(path: Path, schema: Schema, layout: Layout | None = None) -> Iterator[Row]:
    """As `read`, row by row, and silent where there is none."""
    kind = layout or _layout(path)
    if kind is None:
        raise DataError(
            f"{path}: unknown kind of file; its name must end with {', '.join(_LAYOUTS)}, with or "
            "without .gz"
        )
    for line, values, place in _PARSERS[kind](path, schema):
        yield Row(line, schema.checked(values, place))


def is_known(path: Path) -> bool:
    """Whether a file's name says that it holds rows."""
    return _layout(path) is not None


def _layout(path: Path) -> Layout | None:
    return _LAYOUTS.get(Path(path.name.removesuffix(".gz")).suffix.lower())


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file that are not blank, without their ends, numbered from 1.

    Raises:
        DataError: it cannot be read, or is no UTF-8 text.
    """
    for number, line in _decoded(path):
        bare = line.removesuffix("\n").removesuffix("\r")
        if bare.strip(" "):
            yield number, bare


def text(path: Path) -> str:
    """The whole of a UTF-8 file, its lines ended by a line feed.

    Raises:
        DataError: as for `lines`.
    """
    return "".join(
        line.removesuffix("\r\n") + "\n" if line.endswith("\r\n") else line
        for _, line in _decoded(path)
    )


# -- bytes to lines --------------------------------------------------------------------------------


def _decoded(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their ends."""
    begun = False
    for number, raw in enumerate(_raw(path), 1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not begun:
            begun = bool(line.strip())
            _refuse_others(path, line)
        if b"\0" in line:
            raise DataError(f"{path}:{number}: a NUL, so it is no UTF-8 text; {ADVICE}")
        try:
            yield number, line.decode()
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{number}: not UTF-8 (byte {error.start + 1} of the line); convert it, or "
                f"{ADVICE}"
            ) from None


def _raw(path: Path) -> Iterator[bytes]:
    try:
        if not path.exists():
            raise DataError(
                f"{path} not found; point --data or HARNESS_DATA at a folder that has it"
            )
        if not path.is_file():
            raise DataError(f"{path}: no file but a folder or device; {ADVICE}")
        with _opened(path) as file:
            while line := file.readline():
                yield line
    except (DataError, GeneratorExit):
        raise
    except Exception as error:  # whatever the disk and the unpacker come up with
        raise DataError(f"{path}: cannot be read ({described(error)}); {ADVICE}") from None


def _opened(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def _refuse_others(path: Path, line: bytes) -> None:
    for beginning, what in _BEGINNINGS.items():
        if line.startswith(beginning):
            raise DataError(f"{path}:1: is {what}")
    if line.lstrip()[:9].lower().startswith(_PAGES):
        raise DataError(f"{path}:1: a web page, not the file that should be here; {ADVICE}")


# -- lines to values -------------------------------------------------------------------------------

Found = tuple[int, Mapping[str, Any], str]
"""Line, values and place."""


def _json_lines(path: Path, schema: Schema) -> Iterator[Found]:
    for number, line in lines(path):
        if line.strip():
            place = f"{path}:{number}"
            yield number, _object(_json(line, place), place), place


def _json_rows(path: Path, schema: Schema) -> Iterator[Found]:
    whole = _json(text(path), str(path))
    if not isinstance(whole, list):
        raise DataError(f"{path}: a JSON {_named(whole)}, not a list of objects; {ADVICE}")
    for number, row in enumerate(whole, 1):
        place = f"{path}: row {number}"
        yield number, _object(row, place), place


def _json(source: str, place: str) -> Any:
    try:
        return json.loads(source, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = place if error.lineno == 1 else f"{place}:{error.lineno}"
        ends = error.pos >= len(source.rstrip()) or error.msg.startswith("Unterminated")
        cut = ", cut off" if ends else ""
        raise DataError(f"{place}: not JSON{cut} ({error.msg}); {ADVICE}") from None
    except Exception as error:  # too deep, too many digits, a name twice
        raise DataError(f"{place}: not JSON ({described(error)}); {ADVICE}") from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DataError(f"{place}: a JSON {_named(value)}, not an object; {ADVICE}")
    return value


def _csv(path: Path, schema: Schema) -> Iterator[Found]:
    return _table(path, schema, _csv_cells(path))


def _csv_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    before = csv.field_size_limit()
    table = csv.reader((line for _, line in _decoded(path)), strict=True)
    while True:
        start = table.line_num + 1
        csv.field_size_limit(min(LONGEST_CELL, sys.maxsize))
        try:
            cells = next(table, None)
        except DataError:
            raise
        except Exception as error:  # open quotes, cells that are too long
            raise DataError(f"{path}:{start}: not CSV ({described(error)}); {ADVICE}") from None
        finally:
            csv.field_size_limit(before)
        if cells is None:
            return
        if cells and (len(cells) > 1 or cells[0].strip(" ")):
            yield start, cells


def _tsv(path: Path, schema: Schema) -> Iterator[Found]:
    def cells() -> Iterator[tuple[int, list[str]]]:
        for number, line in lines(path):
            if "\r" in line:
                raise DataError(f"{path}:{number}: a carriage return within the line; {ADVICE}")
            yield number, line.split("\t")

    return _table(path, schema, cells())


def _table(path: Path, schema: Schema, cells: Iterable[tuple[int, list[str]]]) -> Iterator[Found]:
    places: dict[str, int] | None = None
    width = schema.columns
    if width is not None:
        order = enumerate(schema.fields)
        places = {f.name: n if f.column is None else f.column for n, f in order}
    for number, row in cells:
        if places is None:
            places, width = _header(path, number, row, schema), len(row)
            continue
        if len(row) != width:
            raise DataError(
                f"{path}:{number}: {len(row)} cells, {width} wanted; a separator within a text, or "
                f"a line that is cut; {ADVICE}"
            )
        yield number, {name: row[at] for name, at in places.items()}, f"{path}:{number}"


def _header(path: Path, number: int, names: list[str], schema: Schema) -> dict[str, int]:
    places = {}
    for field in schema.fields:
        if names.count(field.name) > 1:
            raise DataError(f"{path}:{number}: two columns {field.name!r}; {ADVICE}")
        if field.name in names:
            places[field.name] = names.index(field.name)
        elif field.needed:
            there = quoted(", ".join(names))
            raise DataError(
                f"{path}:{number}: no column {field.name!r}, there are {there}; labelled files "
                f"have it, {ADVICE}"
            )
    return places


def _whole(path: Path, schema: Schema) -> Iterator[Found]:
    yield 1, {"id": path.name, "text": text(path)}, str(path)


def _parquet(path: Path, schema: Schema) -> Iterator[Found]:
    try:
        import pandas as pd

        records = pd.read_parquet(path).to_dict("records")
    except Exception as error:  # whatever the file makes its reader come up with
        raise DataError(f"{path}: not readable as Parquet ({described(error)}); {ADVICE}") from None
    for number, record in enumerate(records, 1):
        plain = {str(name): _plain(value) for name, value in record.items()}
        yield number, plain, f"{path}: row {number}"


def _plain(value: Any) -> Any:
    """Arrays and scalars of numpy as Python has them; what is missing as None."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(value, float) and math.isnan(value) else value


_PARSERS: Mapping[Layout, Callable[[Path, Schema], Iterator[Found]]] = MappingProxyType(
    {
        "json-lines": _json_lines,
        "json": _json_rows,
        "csv": _csv,
        "tsv": _tsv,
        "text": _whole,
        "parquet": _parquet,
    }
)


# -- values ----------------------------------------------------------------------------------------


def _value(field: Field, value: Any) -> Any:
    """The value as the field has it.

    Raises:
        ValueError: it is of another type or out of range.
    """
    if field.kind == "any":
        return value
    if (found := _typed(field, value)) is None:
        raise ValueError(f"is {_shown(value)}, not {_KINDS[field.kind]}")
    if field.allowed:
        by_letters = {word.casefold(): word for word in field.allowed}
        if found.casefold() not in by_letters:
            raise ValueError(f"{_shown(value)} is unknown, allowed: {', '.join(field.allowed)}")
        return by_letters[found.casefold()]
    sized = field.kind not in ("integer", "number")
    if not field.low <= (len(found) if sized else found) <= field.high:
        size = (
            f"of {len(found)} {'texts' if field.kind == 'texts' else 'characters'}" if sized else ""
        )
        raise ValueError(
            f"{size or _shown(value)} is out of range, allowed: {field.low:g} to {field.high:g}"
        )
    return found


_KINDS: Mapping[Kind, str] = MappingProxyType(
    {
        "text": "a text",
        "name": "a text",
        "integer": "an integer",
        "number": "a number",
        "texts": "a list of texts",
    }
)


def _typed(field: Field, value: Any) -> Any:
    """The value in its type; None where it has another."""
    match field.kind, value:
        case "integer", str():
            return int(value) if _INTEGER.fullmatch(value) else None
        case "number", str():
            return _finite(float(value)) if _NUMBER.fullmatch(value) else None
        case (("text" | "name"), str()):
            return _text(value)
        case "texts", list():
            return (
                value if all(isinstance(t, str) and _text(t) is not None for t in value) else None
            )
        case _, bool():
            return None
        case (("integer" | "name"), int()):
            return value if field.kind == "integer" else str(value)
        case "number", int() | float():
            return _finite(float(value)) if abs(value) < 1e300 else None
    return None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _text(value: str) -> str | None:
    """The text itself; None where half of a character makes it none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    return _named(value) if isinstance(value, dict | list | None) else repr(value)[:40]


def _named(value: Any) -> str:
    names = {dict: "object", list: "list", str: "string", bool: "boolean", type(None): "null"}
    return names.get(type(value), "number")
