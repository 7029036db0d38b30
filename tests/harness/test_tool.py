"""Command-line tools of suites: one line and an exit code, whatever happens."""

import pytest

from harness.errors import DataError, UsageError
from harness.tool import Parser, run


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
