"""Imported by the fork server alone: does once what every trial would do again after forking.

What fails here fails again in the trial itself, which can say so.
"""

import contextlib
import os

from harness import registry
from harness.executors.local import PRELOAD
from harness.run import settle_libraries

for name in filter(None, os.environ.get(PRELOAD, "").split(",")):
    with contextlib.suppress(Exception):
        for path in registry.load(name).preload:
            registry.call(path)()
settle_libraries(threads=1, device="cpu")
