"""Command-line tools of suites: one line and an exit code, whatever happens."""

import argparse

import pytest

from harness.errors import DataError, UsageError
from harness.tool import Parser, run, size


@pytest.fixture
def parser():
    made = Parser("coin-toss", "Tosses.")
    made.add_argument("--times", type=int, required=True)
    return made


def test_the_result_is_printed(parser, capsys):
    assert run(parser, lambda args: f"{args.times} tosses", ["--times", "3"]) == 0
    assert capsys.readouterr() == ("3 tosses\n", "")


@pytest.mark.parametrize(
    "words", [[], ["--times"], ["--times", "x"], ["--ti", "3"], ["--odd", "1"]]
)
def test_wrong_arguments_are_one_line(parser, capsys, words):
    assert run(parser, lambda args: "", words) == UsageError.exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("coin-toss: ")
    assert err.endswith("(see --help)\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [(DataError("no coin"), 1), (KeyboardInterrupt(), 130), (BrokenPipeError(), 0)],
)
def test_errors_end_with_their_code(parser, capsys, error, code):
    def work(args):
        raise error

    assert run(parser, work, ["--times", "3"]) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1),
        ("5GB", 5_000_000_000),
        ("5 gb", 5_000_000_000),
        ("5GiB", 5 * 2**30),
        ("1.5KB", 1_500),
        ("0.5KiB", 512),
        (" 300MB ", 300_000_000),
        ("2TB", 2 * 10**12),
        ("7B", 7),
        ("7.9B", 7),
        ("999999999999999999", 999_999_999_999_999_999),
        ("9007199254740993", 9_007_199_254_740_993),
        ("1.000001GB", 1_000_001_000),
        ("4.35KB", 4_350),
    ],
)
def test_a_size_is_bytes_to_the_last_one(text, count):
    assert size(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0GB",
        "0.1B",
        "-1",
        "+1",
        "1e9",
        "GB",
        "5 G B",
        "5iB",
        "5PB",
        "5G",
        "nan",
        "inf",
        "٣",
        "5\n5",
    ],
)
def test_what_is_no_size_is_one_line(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"is no size; give bytes") as caught:
        size(text)
    assert "\n" not in str(caught.value)


def test_a_wrong_size_ends_the_tool(capsys):
    made = Parser("coin-toss", "Tosses.")
    made.add_argument("--most", type=size)
    assert run(made, lambda args: "", ["--most", "lots"]) == UsageError.exit_code
    assert capsys.readouterr().err.startswith("coin-toss: argument --most: 'lots' is no size")
