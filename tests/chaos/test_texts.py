"""Text files that are anything: every reader gives checked values or one line."""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness import rows
from harness.errors import DataError
from harness.rows import Field, Schema
from suites.bam.data import corpora
from suites.bam.downstream import questions
from suites.mixup import texts
from suites.mixup.datasets import CORPORA

from .conftest import Tally

ODD = (
    "", " ", "\t", "\0", "\r", "\n", "\r\n", '"', '""', "'", ",", "\\", "{", "[", "]}", "null",
    "NaN", "-1", "1e999", "9" * 5000, "[" * 5_000, "\ufeff", "\u2028", "\x85", "\x0c", "\ud7ff",
    "é", "🦜", "<html>", "<!DOCTYPE html>", "version https://git-lfs.github.com/spec/v1", "NA",
    "007", "true", '"text"', "\\ud800", "\\u0000", "x" * 5_000, "entailment", "yes", "A", "_",
    "COARSE:fine",
)  # fmt: skip


class Reader(NamedTuple):
    """A reader, a file of its kind, and what must hold of what it gives."""

    name: str
    make: Callable[[random.Random], bytes]
    read: Callable[[Path], Any]
    holds: Callable[[Any], bool]


def json_lines(*fields: Callable[[random.Random], tuple[str, Any]]) -> Callable[..., bytes]:
    def make(rng: random.Random) -> bytes:
        made = [dict(field(rng) for field in fields) for _ in range(rng.randint(1, 5))]
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in made).encode()

    return make


def tabs(*columns: tuple[str, tuple[str, ...]], header: bool = True) -> Callable[..., bytes]:
    def make(rng: random.Random) -> bytes:
        lines = ["\t".join(name for name, _ in columns)] if header else []
        lines += ["\t".join(rng.choice(words) for _, words in columns) for _ in range(6)]
        return ("\n".join(lines) + "\n").encode()

    return make


def table(rng: random.Random) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    for _ in range(rng.randint(1, 5)):
        writer.writerow([rng.choice(WORDS) for _ in range(5)] + [rng.choice("ABCD")])
    return out.getvalue().encode()


WORDS = ("a b", "NA", 'say "no"', "two\nlines", "é", "1,5", "")
TEXT = Schema((Field("id", "name"), Field("n", "integer", low=0, high=9), Field("t")))
ENTAILED = CORPORA["rte"]
BARE = CORPORA["cola"]
READERS = (
    Reader(
        "x.jsonl",
        json_lines(lambda r: ("id", r.randint(0, 9)), lambda r: ("text", r.choice(WORDS))),
        lambda path: list(corpora.parse(path)),
        lambda found: all(isinstance(d.id, str) and d.text.encode() is not None for d in found),
    ),
    Reader(
        "choice.jsonl",
        json_lines(
            lambda r: ("question", r.choice(WORDS)),
            lambda r: ("choices", ["a", "b", "c"]),
            lambda r: ("answer", r.randint(0, 2)),
        ),
        lambda path: questions.read("openbookqa", path),
        lambda found: all(0 <= q["answer"] < len(q["choices"]) for q in found),
    ),
    Reader(
        "x.jsonl.gz",
        lambda rng: gzip.compress(b'{"id": 1, "n": 3, "t": "x"}\n' * rng.randint(1, 4), mtime=0),
        lambda path: rows.read(path, TEXT),
        lambda found: all(0 <= r.values["n"] <= 9 for r in found),
    ),
    Reader(
        "x.json",
        lambda rng: json.dumps(
            [{"id": n, "n": n, "t": "x"} for n in range(1, rng.randint(2, 5))], indent=1
        ).encode(),
        lambda path: rows.read(path, TEXT),
        lambda found: all(
            0 <= r.values["n"] <= 9 and isinstance(r.values["t"], str) for r in found
        ),
    ),
    Reader(
        "x.csv",
        table,
        lambda path: questions.read("mmlu", path),
        lambda found: all(len(q) == 6 and q["answer"] in "ABCD" for q in found),
    ),
    Reader(
        "headed.tsv",
        tabs(
            ("index", ("0", "1")),
            ("sentence1", ("a", "NA", "é")),
            ("sentence2", ("", "b c")),
            ("label", ENTAILED.classes),
        ),
        lambda path: texts.read(path, ENTAILED.train._replace(rows=1), ENTAILED),  # type: ignore[union-attr]
        lambda found: set(found.labels) == {0.0, 1.0} and len(found.first) == len(found.second),
    ),
    Reader(
        "bare.tsv",
        tabs(("", ("gj04",)), ("", ("0", "1")), ("", ("", "*")), ("", ("He left.",)), header=False),
        lambda path: texts.read(path, BARE.train._replace(rows=1), BARE),  # type: ignore[union-attr]
        lambda found: set(found.labels) == {0.0, 1.0} and found.second is None,
    ),
    Reader(
        "x.txt",
        lambda rng: rng.choice(WORDS).encode() * 20,
        lambda path: list(corpora.parse(path)),
        lambda found: len(found) == 1 and isinstance(found[0].text, str),
    ),
)


def corrupted(rng: random.Random, data: bytes) -> bytes:
    """The file with a few things wrong, or anything at all."""
    for _ in range(rng.choice((0, 1, 1, 1, 2, 5))):
        at, other = rng.randint(0, len(data)), rng.randint(0, len(data))
        odd = rng.choice(ODD).encode()
        data = rng.choice(
            (
                lambda d, at=at, odd=odd: d[:at] + odd + d[at:],
                lambda d, at=at, odd=odd: d[:at] + odd + d[at + len(odd) :],
                lambda d, at=at: d[:at],
                lambda d, at=at: d[at:],
                lambda d, at=at: d[:at] + bytes([rng.randrange(256)]) + d[at + 1 :],
                lambda d, at=at, other=other: d[:at] + d[min(at, other) : max(at, other)] + d[at:],
                lambda d: d.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b""))),
                lambda d: d.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-16-le"))),
                lambda d: d.decode("utf-8", "replace").encode("latin-1", "replace"),
                lambda d: b"\xef\xbb\xbf" + d,
                lambda d: gzip.compress(d, mtime=0),
                lambda d: rng.randbytes(rng.randint(0, 50)),
                lambda d, odd=odd: odd,
            )
        )(data)
    return data


@pytest.mark.timeout(3600)
@pytest.mark.slow
def test_any_file_is_checked_values_or_one_line(
    files: tuple[int, int], tmp_path: Path, tally: Tally
) -> None:
    first, count = files
    for reader in READERS:
        path = tmp_path / reader.name
        what = f"{reader.name.partition('.')[2]} ({reader.name.partition('.')[0]})"
        with tally("text files", what) as row:
            for seed in range(first, first + count, len(READERS)):
                rng = random.Random(f"{reader.name} {seed}")  # noqa: S311 - no secrets
                path.write_bytes(corrupted(rng, reader.make(rng)))
                try:
                    held = reader.holds(reader.read(path))
                except DataError as error:
                    message = str(error)
                    held = "\n" not in message and "\r" not in message and len(message) < 2000
                assert held, (reader.name, seed)
                row.add(held)
