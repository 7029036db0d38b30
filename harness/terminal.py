"""The streams of the command line: nothing that happens to them stops a command or is lost on it.

A reader that leaves (`| head`), a closed descriptor, an encoding without the character at hand:
what cannot be printed is dropped or escaped, and the command goes on to its own exit code.
"""

import contextlib
import errno
import io
import json
import logging
import math
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from typing import TextIO

import typer
from rich.console import Console
from rich.markup import escape

from harness.errors import HarnessError, StoreError, UsageError, described, one_line

try:
    from typer.exceptions import TyperException as Misuse
except ImportError:  # a typer without a copy of click of its own
    from click import ClickException as Misuse  # type: ignore[assignment]

_LONGEST = 4000
"""Characters of an error line; a list of every task of a suite fits."""
_COMPLETE, _WORDS = "_HARNESS_COMPLETE", {"COMP_WORDS", "_TYPER_COMPLETE_ARGS"}
"""Variables by which a shell asks for completion, and hands over what stands there."""
_SIZES = ("COLUMNS", "LINES")


class Stream(io.TextIOBase):
    """A standard stream that takes any text, and that stays quiet once nobody reads it."""

    def __init__(self, inner: TextIO | None) -> None:
        closed = OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._inner = inner or io.StringIO()
        self.lost: OSError | ValueError | None = None if inner else closed
        """What ended it; nothing is written from then on."""

    def write(self, text: str, /) -> int:
        """Writes, with what the encoding cannot hold as an escape."""
        if self.lost is None:
            with self._losing():
                try:
                    self._inner.write(text)
                except UnicodeEncodeError:
                    encoding = self._inner.encoding
                    self._inner.write(text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """See `io.TextIOBase`."""
        if self.lost is None:
            with self._losing():
                self._inner.flush()

    def isatty(self) -> bool:
        """See `io.TextIOBase`."""
        return _is_terminal(self._inner)

    def fileno(self) -> int:
        """See `io.TextIOBase`."""
        return self._inner.fileno()

    def writable(self) -> bool:
        """See `io.TextIOBase`."""
        return True

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: the stream was closed
            self.lost = error
            # What is left in the buffer would be tried once more when Python ends, and told of.
            with contextlib.suppress(OSError, ValueError):
                _to_nowhere(self._inner.fileno())


class _Warnings(logging.Handler):
    """Prints each warning of the engine as one line, once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if line not in self._told:
            self._told.add(line)
            tell(f"warning: {line}")


def run(app: typer.Typer) -> int:
    """Runs the command line; its exit code, with one line for every error that it ends in."""
    with _streams() as stdout:
        code = _called(app)
        if line := _unwritten(stdout):
            tell(f"harness: {line}")
            code = code or StoreError.exit_code
    return code


def _called(app: typer.Typer) -> int:
    try:
        asked = os.environ.get(_COMPLETE, "").startswith("complete_") and _WORDS & {*os.environ}
        variable = _COMPLETE if asked else ""
        return app(standalone_mode=False, prog_name="harness", complete_var=variable) or 0
    except HarnessError as error:
        tell(f"harness: {error}")
        return error.exit_code
    except Misuse as error:
        return _misused(error.format_message(), getattr(error, "ctx", None))
    except OSError as error:
        place = os.fsdecode(error.filename) if error.filename else "input/output"
        tell(f"harness: {place}: {error.strerror or error}")
        return StoreError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except SystemExit as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if frames[-1].f_globals.get("__name__", "").startswith("typer."):  # shell completion
            return int(error.code or 0)
        tell(f"harness: code of a suite ended the command ({described(error)})")
    except Exception as error:
        _keep(error)
    return HarnessError.exit_code


def _misused(message: str, context: typer.Context | None) -> int:
    """Says what is wrong with the arguments, or shows the help where there are none."""
    if context is not None and message == context.get_help():
        err.print(message, markup=False)
    else:
        command = context.command_path if context is not None else "harness"
        tell(f"harness: {' '.join(message.splitlines())} (see `{command} --help`)")
    return UsageError.exit_code


def document(content: Mapping[str, object]) -> None:
    """Prints what a command with `--json` found: one JSON document, numbers that are none null."""
    sys.stdout.write(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def _finite(content: object) -> object:
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def tell(line: str) -> None:
    """Prints a line on stderr, whatever is in it; long ones lose their middle."""
    err.print(one_line(line, _LONGEST), markup=False)


@contextlib.contextmanager
def doing(what: str, line: bool) -> Iterator[None]:
    """Says what takes a while: on a terminal until it is done, in a log by a line, if `line`."""
    if out.is_terminal:
        with out.status(escape(what)):
            yield
    else:
        if line:
            out.print(what, markup=False)
        yield


def _keep(error: Exception) -> None:
    """Says that a command ended by an error nobody foresaw, and keeps the traceback in a file."""
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="backslashreplace", prefix="harness-", suffix=".txt",
            delete=False,
        ) as file:  # fmt: skip
            file.write(text)
    except OSError:
        err.print(text, markup=False)
        place = "above"
    else:
        place = f"in {file.name}"
    tell(f"harness: unexpected {described(error)}; please report it, the traceback is {place}")


@contextlib.contextmanager
def _streams() -> Iterator[Stream]:
    """While it is open, stdout (which it gives) and stderr are of the patient kind.

    Warnings of the engine's log are lines on stderr.
    """
    _forget_odd_sizes()
    _open_closed()
    before = sys.stdout, sys.stderr
    log, handler = logging.getLogger("harness"), _Warnings()
    above = log.propagate
    out_stream, err_stream = Stream(sys.stdout), Stream(sys.stderr)
    sys.stdout, sys.stderr = out_stream, err_stream
    log.addHandler(handler)
    log.propagate = False
    try:
        yield out_stream
    finally:
        out_stream.flush()
        err_stream.flush()
        log.removeHandler(handler)
        log.propagate = above
        sys.stdout, sys.stderr = before


def _unwritten(stream: Stream) -> str:
    """Why output was lost, in one line; empty where it was not, or where its reader left."""
    stream.flush()
    lost = stream.lost
    if lost is None or (isinstance(lost, OSError) and lost.errno in (errno.EPIPE, errno.EBADF)):
        return ""
    return f"cannot write the output: {getattr(lost, 'strerror', None) or lost}"


def _open_closed() -> None:
    """Opens closed descriptors on the null device.

    The next file to be opened would get their number, a record perhaps, and what libraries and
    child processes print would go into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _to_nowhere(number)


def _to_nowhere(number: int) -> None:
    handle = os.open(os.devnull, os.O_RDWR)
    if handle == number:
        os.set_inheritable(number, True)
        return
    os.dup2(handle, number)
    os.close(handle)


def _forget_odd_sizes() -> None:
    """Removes sizes of the terminal that are none: rich reads them with `int`."""
    for name in _SIZES:
        value = os.environ.get(name, "1")
        if not (value.isascii() and value.isdigit() and 0 < int(value[:6]) < 10_000):
            del os.environ[name]


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except (OSError, ValueError):
        return False


_forget_odd_sizes()
out = Console(
    highlight=False, emoji=False, soft_wrap=True, width=None if _is_terminal(sys.stdout) else 140
)
err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
