"""What a run shows while it goes: progress with an estimate, one line for every trial that ends."""

import statistics
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from harness import number
from harness.errors import UsageError
from harness.executors import Event, Work
from harness.identity import Node
from harness.plan import Plan
from harness.record import Heading, Record
from harness.run import BUSY, DONE, FAILED, FULL, INTERRUPTED, Job
from harness.store import Store
from harness.suite import Suite

_LINE_SECONDS = 30.0
_LOOK_SECONDS = 0.2
"""How often the time that is left is worked out, at most."""

Detail = Literal["quiet", "usual", "verbose"]
"""What a run shows as it goes: failures alone; what ends, and progress; what begins too."""


class Estimate:
    """How long jobs take: what the store says, what this run saw, else the scale's guess."""

    def __init__(self, records: Iterable[Heading], plans: Sequence[Plan], store: Store) -> None:
        self._seen: dict[tuple[str, str, str], list[float]] = {}
        self._made: dict[tuple[str, str], list[float]] = {}
        self._medians: dict[tuple[str, str], float] = {}
        """Of trials by suite and task, of artifacts by suite and an empty task."""
        self._guess = {made.suite.name: made.scale.expected_seconds for made in plans}
        scales = {(made.suite.name, made.scale.name) for made in plans}
        for record in records:
            if (record.suite, record.scale) in scales and record.status == "ok":
                self.add(record.suite, record.method, record.task, record.wall_seconds)
        for suite, scale in scales:
            for artifact, seconds in store.artifact_seconds(suite, scale):
                self.add_artifact(suite, artifact, seconds)

    def add(self, suite: str, method: str, task: str, seconds: float) -> None:
        """Learns from one trial."""
        self._seen.setdefault((suite, method, task), []).append(seconds)
        self._medians.clear()

    def add_artifact(self, suite: str, name: str, seconds: float) -> None:
        """Learns from one artifact."""
        self._made.setdefault((suite, name), []).append(seconds)
        self._medians.clear()

    def of(self, suite: str, method: str, task: str) -> float:
        """Seconds that one trial will take on one worker."""
        own = self._seen.get((suite, method, task))
        if own:
            return statistics.median(own)
        kin = (line for (a, _, b), line in self._seen.items() if (a, b) == (suite, task))
        return self._median(suite, task, kin)

    def of_artifact(self, suite: str, name: str) -> float:
        """Seconds that making one artifact will take on one worker."""
        own = self._made.get((suite, name))
        if own:
            return statistics.median(own)
        kin = (line for (of, _), line in self._made.items() if of == suite)
        return self._median(suite, "", kin)

    def _median(self, suite: str, task: str, lines: Iterable[list[float]]) -> float:
        """The median of related jobs, worked out once until something is learned."""
        if (suite, task) not in self._medians:
            values = [seconds for line in lines for seconds in line]
            self._medians[suite, task] = statistics.median(values) if values else self._guess[suite]
        return self._medians[suite, task]

    def of_job(self, job: Job) -> float:
        """Seconds that one job will take on one worker."""
        if job.artifact is not None:
            return self.of_artifact(job.suite, job.artifact)
        return self.of(job.suite, job.method, job.task)

    def of_plan(self, made: Plan, first: Sequence[Node]) -> float:
        """Seconds that a plan and the artifacts to be made first will take on one worker."""
        suite = made.suite.name
        artifacts = sum(self.of_artifact(suite, node.artifact.name) for node in first)
        return artifacts + sum(self.of(suite, t.method.name, t.task.name) for t in made.todo)


class Watch:
    """Observes a run: a line for all that ends, and how far it is.

    A terminal has a live display; a log gets a line now and then, also while nothing happens.
    """

    def __init__(
        self,
        console: Console,
        estimate: Estimate,
        work: Sequence[Work],
        workers: int,
        *,
        ended: Callable[[Job], str] = lambda _: "",
        detail: Detail = "usual",
    ) -> None:
        self._console = console
        self._ended = ended
        """Called for every trial that left a record; what the trial's line says of it."""
        self._detail = detail
        self._estimate = estimate
        self._workers = max(workers, 1)
        self._left = {item.job.id: item.job for item in work}
        self._total = self._trials_left()
        self._running: dict[str, tuple[Job, float]] = {}
        self._last_line = time.monotonic()
        self._looked = float("-inf")
        self._rows: dict[str, TaskID] = {}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal or detail == "quiet",
        )
        first = "importing what they need"  # seconds of silence else
        self._whole = self._bars.add_task("trials", total=self._total, left=first)
        self.failures: list[tuple[Job, str]] = []
        self.busy: list[Job] = []
        self.full = ""
        """Why nothing more can be written, in one line."""
        self._unsaved: list[str] = []
        self._silent = console.is_terminal or detail == "quiet"
        """Whether there are no lines of progress."""
        self._turn = threading.Lock()
        """Events and the clock take turns."""
        self._over = threading.Event()
        self._clock = threading.Thread(target=self._tick, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._bars.start()
        if not self._silent:
            self._clock.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._clock.is_alive():
            self._clock.join()
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Takes in one event of the executor."""
        with self._turn:
            self._take(event)

    def _tick(self) -> None:
        """Says how far the run is while no event comes."""
        while not self._over.wait(min(1.0, _LINE_SECONDS)):
            with self._turn:
                self._progress()

    def _progress(self) -> None:
        if time.monotonic() - self._last_line > _LINE_SECONDS and not self._over.is_set():
            self._last_line = time.monotonic()
            done = self._total - self._trials_left()
            left = f"about {number.seconds(self.remaining())} left"
            self._say(f"{done} of {self._total} trials, {left}")

    def _take(self, event: Event) -> None:
        job = event.job
        if event.outcome is not None:
            self._end(event)
        elif event.progress is not None:
            step, total = event.progress
            self._running[job.id] = (job, event.seconds * (total - step) / max(step, 1))
            self._bars.update(self._rows[job.id], completed=step, total=total)
        else:
            self._running[job.id] = (job, self._estimate.of_job(job))
            self._rows[job.id] = self._bars.add_task(f"  {job.title}", total=1, left="")
            if self._detail == "verbose":
                self._say(f"begins {job.title}")
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return  # it goes through all that is left
        self._looked = time.monotonic()
        left = f"about {number.seconds(self.remaining())} left"
        done = self._total - self._trials_left()
        self._bars.update(self._whole, completed=done, left=left)
        if not self._silent:
            self._progress()

    def remaining(self) -> float:
        """Seconds until everything is done, by what is known now."""
        started = sum(seconds for _, seconds in self._running.values())
        waiting = [job for key, job in self._left.items() if key not in self._running]
        return (started + sum(self._estimate.of_job(job) for job in waiting)) / self._workers

    def kept(self) -> str:
        """What is on the disk of those jobs that were stopped."""
        if not self._unsaved:
            return "everything is saved"
        return f"everything is saved but {'; '.join(self._unsaved)}"

    def _trials_left(self) -> int:
        return sum(job.artifact is None for job in self._left.values())

    def _end(self, event: Event) -> None:
        job, outcome = event.job, event.outcome
        if outcome is None:
            return
        self._running.pop(job.id, None)
        self._left.pop(job.id, None)
        row = self._rows.pop(job.id, None)
        if row is not None:
            self._bars.remove_task(row)
        recorded = job.artifact is None and outcome.recorded and outcome.code in (DONE, FAILED)
        said = self._ended(job) if recorded else ""
        if outcome.code == DONE:
            if not outcome.elsewhere:
                self._learn(job, event.seconds)
            if self._detail != "quiet":
                score = f": {escape(said)}" if said else ""
                took = "by another process" if outcome.elsewhere else number.seconds(event.seconds)
                self._say(f"[green]ok[/] {job.title}{score}, {took}")
        elif outcome.code == BUSY:
            self.busy.append(job)
        elif outcome.code in (INTERRUPTED, FULL):
            self.full = self.full or (outcome.line if outcome.code == FULL else "")
            if outcome.line:
                self._unsaved.append(job.title)
        elif outcome.code == FAILED:
            self.failures.append((job, outcome.line))
            self._console.print(
                f"[red]failed[/] {job.title}: {escape(outcome.line)}", soft_wrap=True
            )

    def _learn(self, job: Job, seconds: float) -> None:
        if job.artifact is None:
            self._estimate.add(job.suite, job.method, job.task, seconds)
        else:
            self._estimate.add_artifact(job.suite, job.artifact, seconds)

    def _say(self, line: str) -> None:
        self._console.print(line, soft_wrap=True)


def score(suite: Suite, record: Record) -> str:
    """A record's main number, `Accuracy 88.4 %`: the metric of the suite's headline table, where
    its task has that, else its task's first; empty without one."""
    head = next((table.metric for table in suite.tables if table.name == suite.headline), "")
    name = head if head in record.metrics else next(iter(record.metrics), "")
    if not name or name not in {metric.name for metric in suite.metrics}:
        return ""
    metric = suite.metric(name)
    return (
        f"{metric.label} {number.fixed(record.metrics[name], metric.digits)} {metric.unit}".rstrip()
    )


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], console: Console) -> None:
    """Prints a plain table."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for header in headers:
        made.add_column(header, overflow="fold")
    for row in rows:
        made.add_row(*(escape(str(cell)) for cell in row))
    console.print(made)


def nothing(
    console: Console,
    results: Path,
    suites: Sequence[Suite],
    shown: Collection[str],
    names: Sequence[str] | None,
    scale: str = "",
) -> None:
    """Says in one line where there was nothing to show, of all suites or of those that were named.

    Raises:
        UsageError: a suite or the scale was named, and has no records.
    """
    empty = [suite.name for suite in suites if suite.name not in shown]
    what = f"{', '.join(empty) if names else 'any suite'}{f' at {scale} scale' if scale else ''}"
    line = f"no current records of {what} in {results}; `harness run` makes them"
    if (names and empty) or (scale and not shown):
        raise UsageError(line)
    if not shown:
        console.print(line, markup=False)


def counted(counts: Mapping[Any, int]) -> str:
    """Counts as a phrase: `3 done, 1 failed`."""
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number) or "none"
