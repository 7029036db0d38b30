"""Which records of one suite and scale the tables use, and why the others are left out."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from harness.record import Record
from harness.registry import unloaded
from harness.suite import Suite


class Trial(NamedTuple):
    """A record as a report shows it: enough to find its file."""

    id: str
    """Twelve digits."""
    file: str
    """`<suite>/<scale>/<file name>`, below the results folder."""
    method: str
    task: str
    seed: int
    status: str
    stale: bool
    """The suite's code has changed since."""

    @property
    def scale(self) -> str:
        """The scale or variant that it ran at."""
        return self.file.split("/")[1]


class Retired(NamedTuple):
    """A record that no table has a cell for."""

    trial: Trial
    reason: str


class Selection(NamedTuple):
    """The records of one suite and scale, sorted out."""

    used: tuple[Record, ...]
    """One for each method, task and seed; in the order of the suite."""
    trials: dict[str, Trial]
    """Every record by its twelve digits, used or not."""
    pairs: dict[tuple[str, str], tuple[Record, ...]]
    """The used ones by method and task, by seed."""
    superseded: tuple[Trial, ...]
    """An older spec of a trial, or a second record of it."""
    retired: tuple[Retired, ...]
    """Their method, task, scale or protocol is no longer in the suite."""

    @property
    def stale(self) -> int:
        """How many of the used records come from code that has changed since."""
        return sum(self.trials[r.short].stale for r in self.used)


def sort_out(
    suite: Suite,
    records: Iterable[Record],
    current: Collection[str] | None = None,
    stale: Collection[str] = (),
) -> Selection:
    """Sorts the records of one suite and one scale.

    Args:
        suite: What the records are of.
        records: In any order.
        current: Full ids that the suite names today; the others are superseded. None: not known,
            then the newest record of a trial counts.
        stale: Full ids of records whose code has changed since. They are used, and marked.
    """
    methods = {m.name: i for i, m in enumerate(suite.methods)}
    tasks = {t.name: (i, t.protocol) for i, t in enumerate(suite.tasks)}
    scales = {str(s.name) for s in suite.scales}

    def reason(record: Record) -> str:
        if absent := unloaded(record.spec):
            return f"of plugin {', '.join(absent)}, which is not loaded"
        if record.scale not in scales:
            return f"scale {record.scale} is no longer in the suite"
        if record.method not in methods:
            return f"method {record.method} is no longer in the suite"
        if record.task not in tasks:
            return f"task {record.task} is no longer in the suite"
        if record.protocol != tasks[record.task][1]:
            return f"protocol was {record.protocol}, is {tasks[record.task][1]}"
        return ""

    newest_first = sorted(records, key=lambda r: (r.provenance.finished, r.id), reverse=True)
    trials = {r.short: as_trial(r, r.id in stale) for r in newest_first}
    used: dict[tuple[str, str, int], Record] = {}
    superseded, retired = [], []
    for record in newest_first:
        key = (record.method, record.task, record.seed)
        if why := reason(record):
            retired.append(Retired(trials[record.short], why))
        elif key in used or (current is not None and record.id not in current):
            superseded.append(trials[record.short])
        else:
            used[key] = record
    ordered = sorted(used.values(), key=lambda r: (methods[r.method], tasks[r.task][0], r.seed))
    pairs: dict[tuple[str, str], list[Record]] = {}
    for record in ordered:
        pairs.setdefault((record.method, record.task), []).append(record)
    return Selection(
        used=tuple(ordered),
        trials=trials,
        pairs={pair: tuple(group) for pair, group in pairs.items()},
        superseded=tuple(sorted(superseded, key=lambda t: t.file)),
        retired=tuple(sorted(retired, key=lambda r: r.trial.file)),
    )


def as_trial(record: Record, stale: bool = False) -> Trial:
    """What a report keeps of a record."""
    return Trial(
        record.short,
        f"{record.suite}/{record.scale}/{record.file_name}",
        record.method,
        record.task,
        record.seed,
        record.status,
        stale,
    )
