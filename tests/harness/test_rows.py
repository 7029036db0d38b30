"""Rows of other people's files: what is well formed reads whole, all else is one line."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import rows
from harness.errors import DataError
from harness.rows import Field, Layout, Row, Schema

PAIR = Schema((Field("text"), Field("label", allowed=("No", "Yes"))))
ANYTHING = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"))
CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\t\r\n"))
FAST = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def dressed(content: str, bom: bool, crlf: bool, blank: bool, last: bool) -> bytes:
    """The file as others write it."""
    lines = content.removesuffix("\n").split("\n")
    ended = ("\r\n" if crlf else "\n").join([*lines[:1], *([""] if blank else []), *lines[1:]])
    ended += ("\r\n" if crlf else "\n") * (last + blank)
    return ("\ufeff" if bom else "").encode() + ended.encode()


def values(found: list[Row]) -> list[dict[str, Any]]:
    return [row.values for row in found]


@FAST
@given(
    st.lists(ANYTHING, min_size=1, max_size=5),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_json_lines_read_as_they_were_written(
    tmp_path: Path, words: list[str], escaped: bool, bom: bool, crlf: bool, blank: bool, last: bool
) -> None:
    written = [{"text": word, "label": "Yes"} for word in words]
    content = "".join(json.dumps(row, ensure_ascii=escaped) + "\n" for row in written)
    path = tmp_path / "x.jsonl"
    path.write_bytes(dressed(content, bom, crlf, blank, last))
    found = rows.read(path, PAIR)
    assert values(found) == written
    assert [row.line for row in found] == [1 + n + (blank and n > 0) for n in range(len(words))]


@FAST
@given(
    st.lists(CELLS, min_size=1, max_size=5),
    st.booleans(), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_tab_separated_cells_are_never_typed(
    tmp_path: Path, words: list[str], bom: bool, crlf: bool, blank: bool, last: bool
) -> None:
    content = "label\ttext\n" + "".join(f"no\t{word}\n" for word in words)
    path = tmp_path / "x.tsv"
    path.write_bytes(dressed(content, bom, crlf, blank, last))
    assert values(rows.read(path, PAIR)) == [{"text": w, "label": "No"} for w in words]


@FAST
@given(st.lists(st.tuples(ANYTHING, ANYTHING), min_size=1, max_size=5), st.booleans())
def test_csv_reads_what_the_csv_module_writes(
    tmp_path: Path, cells: list[tuple[str, str]], bom: bool
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *cells])
    path = tmp_path / "x.csv"
    path.write_bytes(("\ufeff" if bom else "").encode() + out.getvalue().encode())
    found = rows.read(path, Schema((Field("a"), Field("b"))))
    assert [(row.values["a"], row.values["b"]) for row in found] == cells


@FAST
@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.json", "x.csv", "x.tsv", "x.txt"]))
def test_any_bytes_are_checked_rows_or_one_line(tmp_path: Path, data: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    try:
        found = rows.read(path, Schema((Field("text"),)))
    except DataError as error:
        message = str(error)
        found = []
        assert message.startswith(str(path))
        assert "\n" not in message
    assert all(isinstance(row.values["text"], str) for row in found)


@pytest.mark.parametrize("word", ["NA", "007", "1e5", "None", "nan", "TRUE", "1_000", " 1 ", ""])
def test_text_stays_text(tmp_path: Path, word: str) -> None:
    schema = Schema((Field("a"), Field("b")))
    for name, content in (
        ("x.tsv", f"a\tb\n{word}\tx\n"),
        ("x.csv", f"a,b\n{word},x\n"),
        ("x.json", json.dumps([{"a": word, "b": "x"}])),
    ):
        (tmp_path / name).write_text(content)
        assert values(rows.read(tmp_path / name, schema)) == [{"a": word, "b": "x"}]
    pd.DataFrame({"a": [word], "b": ["x"]}).to_parquet(tmp_path / "x.parquet")
    assert values(rows.read(tmp_path / "x.parquet", schema)) == [{"a": word, "b": "x"}]


@pytest.mark.parametrize(
    "mark", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e"]
)
def test_lines_end_at_line_feeds_alone(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"text\tlabel\none{mark}two\tyes\n")
    assert values(rows.read(path, PAIR)) == [{"text": f"one{mark}two", "label": "Yes"}]
    assert list(rows.lines(path))[1] == (2, f"one{mark}two\tyes")


LINE = b'{"text": "a", "label": "no"}\n'


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.jsonl", LINE + b"\0" * 9, ":2: a NUL"),
        ("x.jsonl", LINE.decode().encode("utf-16"), ":1: is UTF-16"),
        ("x.jsonl", LINE.decode().encode("utf-16-le"), ":1: a NUL"),
        ("x.jsonl", LINE + '{"text": "é"}'.encode("latin-1"), r":2: not UTF-8 \(byte 11 of"),
        ("x.jsonl", b"\n<!DOCTYPE html>\n<html>", ":1: a web page"),
        ("x.tsv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "a Git LFS pointer"),
        ("x.jsonl", gzip.compress(LINE, mtime=0), ":1: is gzip"),
        ("x.jsonl.gz", LINE, "cannot be read .*BadGzipFile"),
        ("x.jsonl.gz", gzip.compress(LINE * 50, mtime=0)[:-9], "cannot be read .*EOFError"),
        ("x.jsonl.gz", gzip.compress(LINE, mtime=0)[:-8] + b"\1" * 8, "cannot be read .*CRC"),
        ("x.jsonl", b"PK\x03\x04" + LINE, ":1: is a zip archive"),
        ("x.jsonl", LINE + LINE[:-9], ":2: not JSON, cut off"),
        ("x.jsonl", LINE.strip() * 2, ":1: not JSON"),
        ("x.jsonl", b"[" + LINE.strip() + b"]", ":1: a JSON list, not an object"),
        ("x.jsonl", b'{"text": ' + b"[" * 100_000, ":1: not JSON .*RecursionError"),
        ("x.jsonl", b'{"text": ' + b"9" * 9999 + b"}", ":1: not JSON .*ValueError"),
        ("x.jsonl", b'{"text": NaN}', ":1: not JSON .*NaN is no JSON"),
        ("x.jsonl", b'{"text": "a", "text": "b"}', ":1: not JSON .*a name stands twice"),
        ("x.jsonl", b'{"text": "\\ud800", "label": "no"}', ":1: text is .* not a text"),
        ("x.jsonl", b'{"text": null, "label": "no"}', ":1: text is null, not a text"),
        ("x.jsonl", b'{"text": ["a"], "label": "no"}', ":1: text is list, not a text"),
        ("x.jsonl", b'{"label": "no"}', ":1: the field 'text' is missing"),
        ("x.jsonl", b'{"text": "a", "label": "perhaps"}', ":1: label 'perhaps' is unknown"),
        ("x.jsonl", b" \n\n", "holds no row"),
        ("x.json", b'{"text": "a"}', "a JSON object, not a list"),
        ("x.json", b'[\n{"text": "a", "label": "no"},\n{"text": 1}]', "row 2: text is 1, not"),
        ("x.json", b"[\n1,\n", ":3: not JSON, cut off"),
        ("x.tsv", b"text\tlabel\na\tno\nb\tc\tno\n", ":3: 3 cells, 2 wanted"),
        ("x.tsv", b"text\tlabel\na\n", ":2: 1 cells, 2 wanted"),
        ("x.tsv", b"text\tlabels\na\tno\n", ":1: no column 'label', there are"),
        ("x.tsv", b"text\tlabel\ttext\na\tno\tb\n", ":1: two columns 'text'"),
        ("x.tsv", b"text\tlabel\ra\tno\r", ":1: a carriage return"),
        ("x.csv", b'text,label\n"a,no\nb,no\n', ":2: not CSV .*unexpected end"),
        ("x.csv", b"text,label\n\"a\"b,no\n", ":2: not CSV"),
        ("x.csv", b'text,label\n"a\nb",no,c\n', ":2: 3 cells, 2 wanted"),
        ("x.parquet", b"PAR1", "not readable as Parquet"),
        ("x.exe", b"MZ", "unknown kind of file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_its_place(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=message) as caught:
        rows.read(path, PAIR)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_folders_and_missing_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(DataError, match="no file but a folder"):
        rows.read(tmp_path / "d.jsonl", PAIR)
    with pytest.raises(DataError, match=r"e\.jsonl not found; point --data"):
        rows.read(tmp_path / "e.jsonl", PAIR)


@pytest.mark.parametrize(
    ("field", "found", "value"),
    [
        (Field("a", "integer", low=0, high=2), "2", 2),
        (Field("a", "integer", low=0, high=2), 3, None),
        (Field("a", "integer", low=0, high=2), -1, None),
        (Field("a", "integer"), True, None),
        (Field("a", "integer"), 1.0, None),
        (Field("a", "integer"), "1.0", None),
        (Field("a", "integer"), "１", None),
        (Field("a", "number", low=0, high=5), "5.000", 5.0),
        (Field("a", "number", low=0, high=5), "5e-1", 0.5),
        (Field("a", "number", low=0, high=5), "1_0", None),
        (Field("a", "number", low=0, high=5), "nan", None),
        (Field("a", "number"), "1e999", None),
        (Field("a", "number"), 10**400, None),
        (Field("a", "name"), 7, "7"),
        (Field("a", "name"), False, None),
        (Field("a", "texts", low=2), ["x", ""], ["x", ""]),
        (Field("a", "texts", low=2), ["x"], None),
        (Field("a", "texts"), ["x", 1], None),
        (Field("a", "text", low=1), "", None),
        (Field("a", "any"), [1, None], [1, None]),
    ],
)
def test_values_have_their_type_and_range(field: Field, found: Any, value: Any) -> None:
    schema = Schema((field,), advice="look again")
    if value is not None:
        assert schema.checked({"a": found}, "f:1") == {"a": value}
        return
    with pytest.raises(DataError, match=r"^f:1: a .*; look again$"):
        schema.checked({"a": found}, "f:1")


def test_an_index_points_into_its_list() -> None:
    schema = Schema((Field("of", "texts"), Field("at", "integer", index_of="of")))
    assert schema.checked({"of": ["x", "y"], "at": 1}, "f:1")["at"] == 1
    for at in (2, -1):
        with pytest.raises(DataError, match=f"at is {at}, allowed: 0 to 1, the places in of"):
            schema.checked({"of": ["x", "y"], "at": at}, "f:1")


def test_huge_cells_are_read_and_the_limit_of_others_stays(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "x.csv").write_text(f"text,label\n{'x' * 200_000},no\n")
    assert len(rows.read(tmp_path / "x.csv", PAIR)[0].values["text"]) == 200_000
    assert csv.field_size_limit() == before


def test_plain_text_is_one_row_with_its_line_ends_alike(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes("\ufeffone\r\n\r\ntwo \rthree".encode())
    (row,) = rows.read(tmp_path / "x.txt", Schema((Field("id", "name"), Field("text"))))
    assert row.values == {"id": "x.txt", "text": "one\n\ntwo \rthree"}


@pytest.mark.parametrize("layout", ["json-lines", "tsv", "csv"])
def test_the_layout_may_be_said(tmp_path: Path, layout: Layout) -> None:
    path = tmp_path / "train.label"
    separator = {"tsv": "\t", "csv": ","}.get(layout)
    path.write_bytes(
        LINE if separator is None else f"text{separator}label\na{separator}no".encode()
    )
    assert values(rows.read(path, PAIR, layout)) == [{"text": "a", "label": "No"}]
