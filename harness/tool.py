"""What the command-line tools of suites share: one parser, one way to end.

A tool is a function of parsed arguments that returns the line to print. It ends with exit code 0,
or with one line and the code of the error that it raised; never with a traceback.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NoReturn

from harness.errors import HarnessError, UsageError, quoted


class Parser(argparse.ArgumentParser):
    """An argument parser that takes options by their whole names and raises `UsageError`."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises the message as the user's error."""
        raise UsageError(f"{message} (see --help)")


_SIZE = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,9}))?\s*(|[kmgt]i?b|b)", re.IGNORECASE)


def seed(text: str) -> int:
    """A seed as torch's generators take it, for `add_argument(type=...)`."""
    try:
        value = int(text)
    except ValueError:
        value = None
    if value is None or not -(2**63) <= value < 2**64:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is no seed; give a whole number from -2^63 to 2^64 - 1"
        )
    return value


def size(text: str) -> int:
    """A number of bytes such as 5GB, 300MB or 1GiB, for `add_argument(type=...)`."""
    parts = _SIZE.fullmatch(text.strip())
    number = Decimal(f"{parts[1]}.{parts[2] or 0}") if parts else Decimal(0)
    unit = (parts[3] if parts else "").lower().removesuffix("b")
    count = int(number * (1024 if "i" in unit else 1000) ** " kmgt".index(unit[:1] or " "))
    if count < 1:
        raise argparse.ArgumentTypeError(
            f"{quoted(text)} is no size; give bytes, or a number with KB, MB, GB, KiB, MiB or GiB"
        )
    return count


def run(
    parser: Parser,
    work: Callable[[argparse.Namespace], str],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parses the arguments, does the work, prints its line; returns the exit code."""
    try:
        print(work(parser.parse_args(arguments)))
    except HarnessError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130
    return 0
