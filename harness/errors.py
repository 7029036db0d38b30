"""The errors that a user can meet, one root class.

Every message is a single line that names the thing, the value found, what is allowed and what to
do next. The command line prints it without a traceback and exits with `exit_code`.
"""


class HarnessError(Exception):
    """Root of all errors that are the user's to mend; never a bug of the harness."""

    exit_code = 1


class UsageError(HarnessError):
    """A command-line argument, a filter or a name that does not exist."""

    exit_code = 2


class SpecError(HarnessError):
    """A suite that does not hold together: unknown names, cycles, impossible scales."""

    exit_code = 2


class DataError(HarnessError):
    """A data file that is missing, damaged or not what its entry says."""


class MethodError(HarnessError):
    """A method or artifact that broke its contract, or was given what it cannot handle."""


class Diverged(MethodError):
    """A loss or a metric that is not a finite number; recorded as status `diverged`."""


class StoreError(HarnessError):
    """A record, artifact or checkpoint that is damaged or cannot be written."""

    exit_code = 4


class Unreadable(StoreError):
    """What is there but cannot be judged: no permission, a failing disk, a newer layout.

    It stays as it is: it is neither corrupt nor missing.
    """


class ClaimError(HarnessError):
    """A claim contradicted by the records, when the caller asked to be strict about it."""

    exit_code = 3
