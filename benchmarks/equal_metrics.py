"""Whether two results folders hold the same numbers: what a change of structure must leave alone.

    python -m benchmarks.equal_metrics BEFORE AFTER [--scale smoke]

Records are matched by suite, scale, method, task and seed, whatever their identities. Metrics,
counts and series are compared bit for bit; those that measure time are counted apart. Exit code 1
where anything else differs.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from harness.record import Record
from harness.store import Store

TIMED = {"core-seconds", "tokens-per-second"}
"""Metrics of the clock."""

Key = tuple[str, str, str, str, int]


def records(folder: Path, scale: str) -> dict[Key, Record]:
    """The records of a results folder by what was run.

    Raises:
        HarnessError: they cannot be read.
    """
    found = Store(folder, folder / ".none").existing().load(scale=scale).records
    return {(r.suite, r.scale, r.method, r.task, r.seed): r for r in found}


def differences(before: Record, after: Record) -> list[str]:
    """What differs, by name."""
    names = []
    if before.status != after.status:
        names.append("status")
    for name in sorted(before.metrics.keys() | after.metrics.keys()):
        if before.metrics.get(name) != after.metrics.get(name):
            names.append(name)
    return names + [
        part for part in ("counts", "series") if vars(before)[part] != vars(after)[part]
    ]


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--scale", default="*")
    given = parser.parse_args(argv)
    before, after = records(given.before, given.scale), records(given.after, given.scale)
    shared = sorted(before.keys() & after.keys())
    kinds: Counter[str] = Counter()
    for key in shared:
        names = differences(before[key], after[key])
        timed = set(names) <= TIMED
        kinds["equal" if not names else "equal but for the clock" if timed else "different"] += 1
        if names and not timed:
            print(f"{'/'.join(map(str, key))}: {', '.join(names)}")
    alone = len(before.keys() ^ after.keys())
    print(f"{len(shared)} trials in both: {dict(kinds)}; {alone} in one alone")
    return int(kinds["different"] > 0)


if __name__ == "__main__":
    sys.exit(main())
