"""Carries records over to today's identities where only the form of a specification changed.

A suite that renames its settings, or writes down one that used to stand in its code, changes the
identity of every trial although no number changes. It then names a function `former` that turns
today's specification of a trial or artifact into the one that was hashed before. A record is
carried over exactly when the former specification of today's trial hashes to the record's id:
nothing is guessed from names. It keeps its old id and checksum as `origin`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from harness import variants
from harness.errors import SpecError, described
from harness.identity import Node, digest
from harness.plan import Trial, trials
from harness.record import Origin, Record
from harness.suite import Suite

Former = Callable[[dict[str, Any]], dict[str, Any]]


class Move(NamedTuple):
    """A record and what becomes of it."""

    old: Record
    new: Record


class Migration(NamedTuple):
    """What can be carried over, and what cannot."""

    moves: list[Move]
    left: list[tuple[Record, str]]
    """Records that no trial of today's suite stands for, each with the reason."""


def migrate(suite: Suite, records: Sequence[Record], former: Former) -> Migration:
    """What becomes of a suite's records; writes nothing.

    Raises:
        SpecError: `former` fails on one of today's specifications.
    """
    mine = [record for record in records if record.suite == suite.name]
    by_id = {record.id: record for record in mine}
    moves: dict[str, Move] = {}
    current: set[str] = set()
    for trial, earlier in _former_ids(suite, mine, former):
        if trial.id in by_id:
            current.add(trial.id)
        old = by_id.get(earlier)
        if old is not None and earlier != trial.id and trial.id not in by_id:
            moves[earlier] = Move(old, carried(old, trial))
    left = [
        (record, _why(suite, record))
        for record in mine
        if record.id not in current and record.id not in moves
    ]
    return Migration(list(moves.values()), left)


def carried(old: Record, trial: Trial) -> Record:
    """The record under the identity of today's trial; outcome, cost and provenance are the same."""
    return Record(
        id=trial.id,
        suite=trial.suite.name,
        method=trial.method.name,
        task=trial.task.name,
        seed=trial.seed,
        scale=trial.scale.name,
        protocol=trial.task.protocol,
        spec=trial.spec,
        origin=old.origin or Origin(id=old.id, checksum=old.checksum),
        **{
            name: getattr(old, name)
            for name in (
                "status", "error", "metrics", "counts", "series", "data", "cost", "provenance",
            )
        },
    ).sealed()  # fmt: skip


def _former_ids(
    suite: Suite, records: Sequence[Record], former: Former
) -> Iterable[tuple[Trial, str]]:
    """Every trial of today's suite with the identity that it would have had before."""
    for scale in variants.added(suite, [r.spec for r in records]).scales:
        kinds = sorted({str(r.spec.get("device")) for r in records if r.scale == scale.name})
        for kind in kinds:
            wanted, nodes = trials(suite, scale, kind)
            former_of = former_ids(wanted, nodes, former)
            for trial in wanted:
                yield trial, former_of[trial.id]


def former_ids(
    wanted: Sequence[Trial], nodes: Mapping[str, Node], former: Former
) -> dict[str, str]:
    """Today's identity of each trial and artifact -> the one that it would have had before.

    Raises:
        SpecError: `former` fails on one of the specifications.
    """
    known: dict[str, str] = {}
    things: list[Trial | Node] = [*nodes.values(), *wanted]  # each comes after what it needs
    for thing in things:
        known[thing.id] = _former_id(thing, known, former)
    return known


def _former_id(thing: Trial | Node, known: Mapping[str, str], former: Former) -> str:
    needs = {name: known[identity] for name, identity in thing.needs.items()}
    try:
        return digest(former({**thing.spec, "artifacts": needs}))
    except Exception as error:
        name = thing.title if isinstance(thing, Trial) else f"artifact {thing.artifact.name}"
        raise SpecError(
            f"the former specification of {name} cannot be had: {described(error)}"
        ) from None


def _why(suite: Suite, record: Record) -> str:
    methods, tasks = ({thing.name for thing in things} for things in (suite.methods, suite.tasks))
    if record.method not in methods:
        return f"the suite has no method {record.method}"
    if record.task not in tasks:
        return f"the suite has no task {record.task}"
    if record.scale not in {scale.name for scale in suite.scales}:
        return f"the suite has no scale {record.scale}"
    return "its specification is not that of today's trial in its former form"
