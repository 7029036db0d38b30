"""The commands that keep the folders in order: `harness doctor`, `gc` and `migrate`."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from harness import inventory, migrate, registry, shared, upkeep
from harness.arguments import (
    DryRun,
    Names,
    Results,
    folder_option,
    named_suites,
    open_data,
    open_store,
    records_of,
    tell_unloaded,
)
from harness.data_commands import tell
from harness.errors import DataError, StoreError
from harness.terminal import err, out


def doctor(
    results: Results = Path("results"),
    repair: Annotated[
        bool, typer.Option("--repair", help="Move corrupt files aside, remove broken artifacts.")
    ] = False,
    common: Annotated[
        Path | None,
        folder_option("--shared", "Instead: try what machines need of a folder that they share."),
    ] = None,
) -> None:
    """Checks every record, artifact, dataset and shipped file; says what is wrong."""
    if common is not None:
        _try_out(common)
        return
    store, problems, left = open_store(results, read=True), 0, 0
    loaded = store.load()
    for problem in upkeep.check(store, loaded.damaged, repair):
        problems += 1
        left += not problem.repaired
        err.print(problem.line, markup=False)
    registry.every()  # warns of those that are broken
    beyond = tell(inventory.check(open_data(None), absent=False), all_of_them=False)
    beyond += tell(inventory.shipped())
    known = set(registry.origins())
    tell_unloaded(loaded.records)
    for record in loaded.records:
        if record.suite not in known:
            err.print(f"{record.suite}/{record.file_name}: no suite of that name", markup=False)
    out.print(f"{len(loaded.records)} records intact, {problems + beyond} problems")
    if left:
        way = "the lines above say why" if repair else "`harness doctor --repair` moves them aside"
        raise StoreError(f"{left} corrupt files; {way}")
    if beyond:
        raise DataError(f"{beyond} corrupt inputs; the lines above say what to do about each")


def _try_out(folder: Path) -> None:
    """What several machines need of a folder, a line for each thing.

    Raises:
        StoreError: it does not have all of it.
    """
    findings = []
    for finding in shared.probe(folder):
        findings.append(finding)
        state = "ok" if not finding.fault else "NO" if finding.fatal else "no"
        out.print(f"{state:2}  {finding.what}{finding.fault and ': '}{finding.fault}", markup=False)
    there = ", ".join(shared.others(folder)) or "none; run the same command there too"
    out.print(f"other machines that looked in the last ten minutes: {there}", markup=False)
    if any(finding.fault and finding.fatal for finding in findings):
        raise StoreError(
            f"{folder}: machines cannot share it safely; use NFS version 4, Lustre, GPFS or CephFS,"
            " or divide the seeds over separate folders and copy the records together"
        )


def gc(
    results: Results = Path("results"),
    dry_run: DryRun = False,
) -> None:
    """Removes artifacts, checkpoints and temporary files that no suite refers to; no records."""
    store, gone = open_store(results, read=True), 0
    for line, goes in upkeep.tidy(store, dry_run):
        gone += goes
        out.print(line, markup=False)
    swept = 0 if dry_run else store.sweep(upkeep.STALE_SECONDS)
    out.print(f"{gone} folders, {swept} temporary files")


def migrate_records(
    names: Names = None,
    results: Results = Path("results"),
    dry_run: DryRun = False,
) -> None:
    """Gives records the identities of today where a suite only renamed its settings."""
    store = open_store(results)
    stays = Counter[str]()
    for suite in named_suites(names, None):
        records = records_of(store, suite)
        former = registry.call(suite.former) if suite.former else dict
        found = migrate.migrate(suite, records, former)
        for move in found.moves:
            if not dry_run:
                store.commit(move.new)
                store.remove(move.old)
        stays.update(f"{suite.name}: {reason}" for _, reason in found.left)
        done = "would be migrated" if dry_run else "migrated"
        out.print(f"{suite.name}: {len(found.moves)} of {len(records)} records {done}")
    for line, count in sorted(stays.items()):
        err.print(f"{line}; {count} records stay as they are", markup=False)
