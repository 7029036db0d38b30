"""Whatever happens to the streams and the environment, a command ends in its own exit code."""

import io
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from click import ClickException as ForeignMisuse

from harness import terminal
from harness.errors import DataError, HarnessError
from harness.terminal import Stream

Shell = Callable[..., tuple[int, str, str]]


class Broken(io.StringIO):
    """A stream whose reader has left, or whose disk is full."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error
        self.tried = 0

    def write(self, text: str) -> int:
        self.tried += 1
        raise self.error


class Narrow(io.TextIOWrapper):
    """A stream of ASCII."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", errors="strict")

    def text(self) -> str:
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


def ending(action: Callable[[], object]) -> int:
    """The exit code of a command line whose one command does that."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(lambda: action() and None)
    return terminal.run(app)


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if started without arguments."""
    monkeypatch.setattr(sys, "argv", ["harness"])


def throw(error: BaseException) -> None:
    raise error


# -- how a command ends ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DataError("no data"), 1, "harness: no data"),
        (HarnessError("two\nlines \x1b[31m\udcff"), 1, r"harness: two\nlines \x1b[31m\udcff"),
        (HarnessError("x" * 10**6), 1, f"harness: {'x' * 2658}...{'x' * 1333}"),
        (typer.BadParameter("it is odd"), 2, "harness: Invalid value: it is odd (see `harness --h"),
        (OSError(28, "No space left", "a\nb"), 4, r"harness: a\nb: No space left"),
        (OSError(28, "No space left", b"a\xff"), 4, r"harness: a\udcff: No space left"),
        (OSError("odd"), 4, "harness: input/output: odd"),
        (KeyboardInterrupt(), 130, ""),
        (EOFError(), 130, ""),
        (typer.Exit(3), 3, ""),
        (SystemExit("bye"), 1, "harness: code of a suite ended the command (SystemExit: bye)"),
    ],
)
def test_every_error_is_one_line_and_an_exit_code(
    capfd: pytest.CaptureFixture[str], error: BaseException, code: int, line: str
) -> None:
    assert ending(lambda: throw(error)) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert err.strip("\n").startswith(line)
    assert len(err.strip("\n").splitlines()) == bool(line)


def test_a_bug_is_one_line_that_says_where_its_traceback_is(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert ending(lambda: throw(ZeroDivisionError("by\nzero"))) == 1
    err = capfd.readouterr().err
    (path,) = tmp_path.iterdir()
    assert err == (
        f"harness: unexpected ZeroDivisionError: by; please report it, the traceback is in {path}\n"
    )
    assert "in throw" in path.read_text()
    monkeypatch.setattr("tempfile.NamedTemporaryFile", lambda *_, **__: throw(OSError("full")))
    assert ending(lambda: throw(ZeroDivisionError("by zero"))) == 1
    err = capfd.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("the traceback is above\n")


def test_the_errors_of_another_typer_are_understood(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "Misuse", ForeignMisuse)
    assert ending(lambda: throw(ForeignMisuse("odd\nwords"))) == 2
    assert capfd.readouterr().err == "harness: odd words (see `harness --help`)\n"


def test_warnings_of_the_engine_are_a_line_each_and_told_once(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("harness.anything")

    def warn() -> None:
        for number in (1, 2, 1):
            log.warning("suite\n%d", number)
        log.info("nothing to say")

    for _ in range(2):
        assert ending(warn) == 0
        assert capfd.readouterr().err == "warning: suite\\n1\nwarning: suite\\n2\n"
    assert not caplog.records
    log.warning("seen again by others")
    assert caplog.messages == ["seen again by others"]


# -- streams that fail ----------------------------------------------------------------------------


def test_a_character_that_the_encoding_lacks_is_an_escape() -> None:
    inner = Narrow()
    stream = Stream(inner)
    assert stream.write("1 ± 2 \udcff\n") == 8
    assert inner.text() == "1 \\xb1 2 \\udcff\n"
    assert stream.lost is None
    assert not stream.isatty()


@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), ValueError("closed")])
def test_a_stream_that_is_lost_is_tried_no_more(error: Exception) -> None:
    inner = Broken(error)
    stream = Stream(inner)
    for _ in range(3):
        assert stream.write("text") == 4
        stream.flush()
    assert inner.tried == 1
    assert stream.lost is error


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (BrokenPipeError(32, "Broken pipe"), 0, ""),
        (OSError(28, "No space left on device"), 4,
         "harness: cannot write the output: No space left on device\n"),
    ],
)  # fmt: skip
def test_output_that_is_lost_is_told_unless_its_reader_left(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, line: str
) -> None:
    told = io.StringIO()
    monkeypatch.setattr(sys, "stdout", Broken(error))
    monkeypatch.setattr(sys, "stderr", told)
    finished = []

    def work() -> None:
        terminal.out.print("one")
        finished.append("the work goes on")

    assert ending(work) == code
    assert told.getvalue() == line
    assert finished


def test_without_any_streams_a_command_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert ending(lambda: terminal.out.print("one")) == 0
    assert ending(lambda: throw(DataError("one"))) == 1
    assert sys.stdout is None


@pytest.mark.parametrize("value", ["²", "abc", "-5", "0", "9" * 5000, "", "１２"])
def test_an_odd_size_of_the_terminal_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("COLUMNS", value)
    monkeypatch.setenv("LINES", value)
    assert ending(lambda: terminal.out.print("one")) == 0
    assert capfd.readouterr().out == "one\n"
    assert "COLUMNS" not in os.environ


# -- the same in a process of its own -------------------------------------------------------------


@pytest.fixture
def shell(project: Any) -> Shell:
    """`shell(words, **env)`: what bash makes of it; exit code and both streams."""

    def run(words: str, **env: str) -> tuple[int, str, str]:
        done = subprocess.run(
            ["/bin/bash", "-c", words], cwd=project.root, env=project.env | env,
            capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        out, err = (text.decode(errors="backslashreplace") for text in (done.stdout, done.stderr))
        assert "Traceback" not in out + err
        assert "Exception ignored" not in out + err
        assert "unexpected" not in err
        return done.returncode, out, err

    return run


HARNESS = f"{sys.executable} -c 'from harness.cli import main; main()'"


@pytest.mark.parametrize(
    ("words", "code", "err"),
    [
        (f"{HARNESS} list >&-", 0, ""),
        (f"{HARNESS} run rnu 2>&-", 2, ""),
        (f"{HARNESS} run rnu <&- >&- 2>&-", 2, ""),
        (f"{HARNESS} list >/dev/full", 4, "cannot write the output: No space left on device"),
        (f"{HARNESS} --help >/dev/full", 4, "cannot write the output: No space left on device"),
        (f"set -o pipefail; {HARNESS} show toy | true", 0, ""),
        (f"set -o pipefail; {HARNESS} --help | true", 0, ""),
        (f"mkdir gone && cd gone && rmdir ../gone && {HARNESS} list >&-", 0, ""),
    ],
)
def test_closed_full_and_broken_streams(shell: Shell, words: str, code: int, err: str) -> None:
    done = shell(words)
    assert done[::2] == (code, f"harness: {err}\n" if err else "")


def test_a_run_with_closed_streams_finishes(shell: Shell, project: Any) -> None:
    assert shell(f"{HARNESS} run toy --tasks short --seeds 0 <&- >&- 2>&-")[0] == 0
    assert len(project.records()) == 2


def test_hostile_variables(shell: Shell) -> None:
    odd = {
        "COLUMNS": "²", "LINES": "x", "TERM": "", "LC_ALL": "C", "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TMPDIR": "/missing", "NO_COLOR": "²",
        "COLORTERM": "\n", "_HARNESS_COMPLETE": "²", "TERMINAL_WIDTH": "x", "HOME": "/missing",
    }  # fmt: skip
    code, out, err = shell(f"{HARNESS} show toy", **odd)
    assert (code, err) == (0, "")
    assert "0.9 \\xb1 0.1" in out
    code, _, err = shell(f"unset HOME TERM PATH; {HARNESS} list")
    assert (code, err) == (0, "")
