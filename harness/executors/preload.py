"""Imported by the fork server alone: does once what every trial would do again after forking.

First the functions that suites name in `preload`, then the modules of all functions that their
trials and artifacts run, so that a library which a suite imports costs its seconds once. A module
may end or hang the process that imports it: a child tries first, and where that does not end well
each trial imports for itself, and can say what is wrong.
"""

import contextlib
import importlib
import json
import os
import signal
import sys
import time
import types
from collections.abc import Iterable, Sequence

from harness import provenance, registry
from harness.executors import family
from harness.executors.local import PLUGINS, PRELOAD
from harness.run import settle_libraries
from harness.suite import Suite

_SECONDS = 120.0
"""For all imports of the child that tries."""


def warm_up(names: Iterable[str], plugins: Sequence[str]) -> None:
    """Calls and imports what the suites of these names ask for, with what plugins add to them."""
    modules: dict[str, None] = {}
    with contextlib.suppress(Exception, SystemExit):
        registry.use(plugins)
    for name in names:
        # What goes wrong here goes wrong again in the trial, which can say so. A suite's function
        # may raise anything, and here it would take the fork server down with it.
        with contextlib.suppress(Exception, SystemExit):
            suite = registry.load(name)
            modules |= dict.fromkeys(_modules(suite))
            for path in suite.preload:
                registry.call(path)()
    if (left := [name for name in modules if name not in sys.modules]) and _harmless(left):
        _import(left)


def _modules(suite: Suite) -> list[str]:
    paths = [m.run for m in suite.methods] + [a.make for a in suite.artifacts]
    return [path.partition(":")[0] for path in paths]


def _import(modules: Iterable[str]) -> None:
    for module in modules:
        with contextlib.suppress(Exception, SystemExit):
            importlib.import_module(module)


def _harmless(modules: Iterable[str]) -> bool:
    """Whether a process that imports the modules goes on, in reasonable time."""
    parent = os.getpid()
    child = os.fork()
    if not child:
        family.die_with_parent(parent)
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (1, 2):
            os.dup2(silence, stream)
        _import(modules)
        os._exit(0)
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.005)
    family.tell([child, *family.descendants(child)], signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def _orphaned(
    kind: type[BaseException], error: BaseException, trace: types.TracebackType | None
) -> None:
    """Says what ended a forked process, but for its owner's end before it heard what to do."""
    if not issubclass(kind, EOFError | ConnectionError) and kind.__name__ != "UnpicklingError":
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _orphaned
warm_up(
    filter(None, os.environ.get(PRELOAD, "").split(",")), json.loads(os.environ.get(PLUGINS, "[]"))
)
provenance.versions()  # reads the lists of installed packages
settle_libraries(threads=1, device="cpu")
