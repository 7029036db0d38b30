"""What the command-line tools of suites share: one parser, one way to end.

A tool is a function of parsed arguments that returns the line to print. It ends with exit code 0,
or with one line and the code of the error that it raised; never with a traceback.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from harness.errors import HarnessError, UsageError


class Parser(argparse.ArgumentParser):
    """An argument parser that takes options by their whole names and raises `UsageError`."""

    def __init__(self, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Raises the message as the user's error."""
        raise UsageError(f"{message} (see --help)")


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
