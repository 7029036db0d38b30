"""Imported by the fork server alone: does once what every trial would do again after forking."""

import contextlib
import os

from harness import provenance, registry
from harness.executors.local import PRELOAD
from harness.run import settle_libraries

for name in filter(None, os.environ.get(PRELOAD, "").split(",")):
    # What goes wrong here goes wrong again in the trial, which can say so. A suite's function may
    # raise anything, and here it would take the fork server down with it.
    with contextlib.suppress(Exception, SystemExit):
        for path in registry.load(name).preload:
            registry.call(path)()
provenance.versions()  # reads the lists of installed packages
settle_libraries(threads=1, device="cpu")
