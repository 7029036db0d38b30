"""What went wrong with a trial, told to people: its status, one line, the place in their code."""

import errno
import re
import sys
import sysconfig
import traceback
from pathlib import Path

from pydantic import ValidationError

from harness.context import TimeLimit
from harness.errors import Diverged, HarnessError, one_line
from harness.record import Status
from harness.settings import fault

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
"""A disk that nothing more can be written to, by whomever."""
_LINE = 500
"""Longest error line of a record, in characters."""
_FOLDERS = re.compile(r"(?<![\w.:/~])/(?:[^\s/:'\"]+/)+")
_LIBRARIES = (str(Path(__file__).parent), *map(sysconfig.get_path, ("stdlib", "platstdlib")))


def classify(problem: BaseException) -> tuple[Status, str]:
    """The status of an exception, from its type, and one line that says what happened."""
    try:
        text = str(problem)
    except Exception:
        text = "(its message cannot be read)"
    line = one_line(text.partition("\n")[0], _LINE)
    name = type(problem).__name__
    if isinstance(problem, Diverged):
        return "diverged", line
    if isinstance(problem, TimeLimit):
        return "timeout", line
    if _out_of_memory(problem):
        return "oom", f"{name}: {line}"
    if isinstance(problem, ValidationError):
        line = fault(problem)
    return "failed", line if isinstance(problem, HarnessError) else f"{name}: {line}"


def _out_of_memory(problem: BaseException) -> bool:
    torch = sys.modules.get("torch")
    return (
        isinstance(problem, MemoryError)
        or (isinstance(problem, OSError) and problem.errno == errno.ENOMEM)
        or (torch is not None and isinstance(problem, torch.OutOfMemoryError))
    )


def unwritable(problem: BaseException | None) -> bool:
    """Whether an error comes from a disk that nothing more can be written to."""
    seen: set[int] = set()
    while problem is not None and id(problem) not in seen:
        if isinstance(problem, OSError) and problem.errno in _FULL:
            return True
        seen.add(id(problem))
        problem = problem.__cause__ or problem.__context__
    return False


def without_folders(line: str) -> str:
    """The line with absolute paths cut to their last part: a record names no machine's folders."""
    return _FOLDERS.sub("", line)


def place(problem: BaseException, function: object) -> str:
    """The last line of the suite's or user's own code that an exception went through."""
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    home = Path(getattr(module, "__file__", None) or "/nowhere/at all").parent
    found = ""
    for frame, line in traceback.walk_tb(problem.__traceback__):
        file = Path(frame.f_code.co_filename)
        library = "site-packages" in file.parts or str(file).startswith((*_LIBRARIES, "<"))
        if file.is_relative_to(home) or not library:
            found = f" ({_short(file)}:{line})"
    return found


def _short(file: Path) -> str:
    """A source file as people know it: from the working folder, or from where it is imported."""
    for root in (here(), *map(Path, sorted(sys.path, key=len, reverse=True))):
        if root is not None and root.is_absolute() and file.is_relative_to(root):
            return str(file.relative_to(root))
    return file.name


def shown(path: Path) -> str:
    """A path as short as it can be typed in the working folder."""
    folder = here()
    return str(path.relative_to(folder) if folder and path.is_relative_to(folder) else path)


def here() -> Path | None:
    """The working folder; None where it has been removed."""
    try:
        return Path.cwd()
    except OSError:  # it is gone
        return None
