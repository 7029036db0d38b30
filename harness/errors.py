"""The errors that a user can meet, one root class.

Every message is a single line that names the thing, the value found, what is allowed and what to
do next. The command line prints it without a traceback and exits with `exit_code`.
"""

import difflib
from collections.abc import Iterable

_LONGEST = 400
"""Characters that a message quotes of what somebody else wrote."""


def brief(error: BaseException) -> str:
    """An exception in one printable line: its system message, else its text, else its type."""
    try:
        text = str(getattr(error, "strerror", None) or error)
    except Exception:  # an exception of foreign code whose text cannot be had
        text = ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = 2 if lines and lines[0].endswith(":") else 1  # torch names the tensor in the second
    return one_line(" ".join(lines[:told]), _LONGEST) or type(error).__name__


class HarnessError(Exception):
    """Root of all errors that the user can fix; never a bug of the harness."""

    exit_code = 1


class UsageError(HarnessError):
    """A command-line argument, a filter or a name that does not exist."""

    exit_code = 2


class SpecError(HarnessError):
    """A suite that does not hold together: unknown names, cycles, impossible scales."""

    exit_code = 2


class DataError(HarnessError):
    """A data file that is missing, corrupt or not what its entry says."""


class MethodError(HarnessError):
    """A method or artifact that broke its contract, or was given what it cannot handle."""


class Diverged(MethodError):
    """A loss or a metric that is not a finite number; recorded as status `diverged`."""


class StoreError(HarnessError):
    """A record, artifact or checkpoint that is corrupt or cannot be written."""

    exit_code = 4


class Unreadable(StoreError):
    """What is there but cannot be judged: no permission, a failing disk, a newer layout.

    It stays as it is: it is neither corrupt nor missing.
    """


class ClaimError(HarnessError):
    """The opposite of a claim was found, and the caller asked to be strict about it."""

    exit_code = 3


class ChangeError(HarnessError):
    """`compare` found what the caller asked it to fail on."""

    exit_code = 5


def one_line(text: str, longest: int | None = None) -> str:
    """Text on one line: line breaks, control characters and lone surrogates as escapes.

    Longer than `longest` characters it loses its middle.
    """
    if longest is not None and len(text) > longest:
        text = f"{text[: longest - longest // 3]}...{text[-(longest // 3) :]}"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def quoted(value: object) -> str:
    """A user's word in quotes, as a message shows it: on one line, and of readable length."""
    text = value if isinstance(value, str) else repr(value)
    short = text if len(text) <= 80 else f"{text[:50]}...{text[-20:]}"
    return repr(short) if isinstance(value, str) else short


def unknown(what: str, name: object, allowed: Iterable[str], command: str = "") -> str:
    """One line for a name that does not exist: what there is, the nearest first.

    Args:
        what: the kind of thing, with its owner where that is not plain: `suite gate: method`.
        name: what was asked for.
        allowed: all names that there are.
        command: the command that lists them, if there is one.
    """
    names = sorted(allowed)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    where = f"; see `{command}`" if command else ""
    return f"unknown {what} {quoted(name)}: {hint}there are {', '.join(names) or 'none'}{where}"


def described(error: BaseException) -> str:
    """Type and first line of an exception of any origin."""
    try:
        text = str(error).strip()
    except Exception:  # the code of whoever raised it
        text = ""
    return f"{type(error).__name__}: {one_line((text.splitlines() or [''])[0], _LONGEST)}"
