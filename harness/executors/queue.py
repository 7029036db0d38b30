"""Jobs that wait or run in a cluster's queue, as notes in the cache say and the queue confirms.

<cache>/queue/<run>/note.json       what each element of the queue carries
<cache>/queue/<run>/<element>.json  its jobs, as `harness.executors.remote` writes them
<cache>/queue/<run>/began-<id>      empty; a job has begun
<cache>/queue/<run>/ended-<id>      how it ended
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from harness.errors import StoreError, UsageError, brief
from harness.files import folders, write_atomic

Cluster = Literal["slurm", "local"]
_NOTE = "note.json"
_KEPT = 86400.0
"""Seconds for which the folder of a run that has left the queue is kept: its logs may be read."""


class Element(NamedTuple):
    """One job of the queue: an element of an array."""

    run: Path
    cluster: Cluster
    number: str
    """By which the cluster knows it."""
    jobs: tuple[str, ...]
    """Identities of what it carries, in order."""


def location(cache: Path) -> Path:
    """Where the notes of a cache are."""
    return cache / "queue"


def noted(cache: Path) -> list[Element]:
    """All elements that were ever submitted and are still noted."""
    found = []
    for run in folders(location(cache)):
        # One that is being written, or is corrupt, notes nothing.
        with contextlib.suppress(
            OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError
        ):
            note = json.loads((run / _NOTE).read_bytes())
            found += [
                Element(run, note["cluster"], number, tuple(jobs))
                for number, jobs in note["elements"].items()
            ]
    return found


def note(run: Path, cluster: Cluster, elements: Iterable[Element]) -> None:
    """Remembers what was submitted in a run, all of it.

    Raises:
        StoreError: it cannot be written.
    """
    content = {"cluster": cluster, "elements": {e.number: e.jobs for e in elements}}
    write_atomic(run / _NOTE, json.dumps(content).encode())


def states(elements: Iterable[Element]) -> dict[str, str]:
    """The state of each element that is in the queue, in Slurm's words; others have left it.

    Raises:
        UsageError: the queue cannot be asked.
    """
    wanted = list(elements)
    found = {e.number: "RUNNING" for e in wanted if e.cluster == "local" and _runs(e)}
    numbers = {e.number for e in wanted if e.cluster == "slurm"}
    if numbers:
        text = _said("squeue", "-h", "-r", "-u", str(os.getuid()), "-o", "%i %T")
        lines = (line.split() for line in text.splitlines())
        found |= {line[0]: line[1] for line in lines if len(line) == 2 and line[0] in numbers}
    return found


def cancel(elements: Iterable[Element]) -> int:
    """Takes elements out of the queue, each after its jobs have saved; returns how many.

    Raises:
        UsageError: the queue cannot be told.
    """
    wanted = list(elements)
    there = states(wanted)
    left = [e for e in wanted if e.number in there]
    for element in left:
        if element.cluster == "local":
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(element.number), signal.SIGTERM)
    if numbers := [e.number for e in left if e.cluster == "slurm"]:
        for first in range(0, len(numbers), 500):  # a command line has an end
            _said("scancel", *numbers[first : first + 500])
    return len(left)


def fate(element: Element) -> str:
    """How an element left the queue, in Slurm's word; empty where nobody knows any more."""
    if element.cluster == "slurm":
        with contextlib.suppress(UsageError):
            text = _said("scontrol", "show", "job", "-o", element.number)
            if found := re.search(r"JobState=([A-Z_]+)", text):
                return found[1]
    return ""


def tidy(cache: Path) -> None:
    """Removes folders of runs that have left the queue long ago."""
    there = states(noted(cache))
    alive = {e.run for e in noted(cache) if e.number in there}
    for run in folders(location(cache)):
        if run not in alive and time.time() - run.stat().st_mtime > _KEPT:
            shutil.rmtree(run, ignore_errors=True)


def counted(cache: Path) -> Counter[tuple[Cluster, str]]:
    """How many jobs are in the queue, by cluster and state; jobs that have ended are left out.

    Raises:
        UsageError: the queue cannot be asked.
    """
    elements = noted(cache)
    there = states(elements)
    found: Counter[tuple[Cluster, str]] = Counter()
    for element in elements:
        if state := there.get(element.number):
            ended = sum((element.run / f"ended-{key[:32]}").exists() for key in element.jobs)
            found[element.cluster, state.lower()] += len(element.jobs) - ended
    return +found


def _runs(element: Element) -> bool:
    """Whether a process of this machine is the element, and no other that has its number now."""
    try:
        words = Path(f"/proc/{element.number}/cmdline").read_bytes()
    except OSError:
        return False
    return os.fsencode(element.run) in words


def _said(*words: str) -> str:
    """What a command of Slurm prints.

    Raises:
        UsageError: there is none, or it fails.
    """
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    except FileNotFoundError:
        raise UsageError(
            f"--executor slurm: there is no {words[0]} here; run this where jobs are submitted from"
        ) from None
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines() or [brief(error)]
        raise UsageError(f"{words[0]}: {reason[0]}") from None
    except (OSError, subprocess.SubprocessError) as error:
        raise StoreError(f"{words[0]}: {brief(error)}; try again later") from None
