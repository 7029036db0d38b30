"""What `harness run` does: one round of trials, or round after round until claims are decided."""

import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import typer

from harness import console, executors, margins, number, options, plan, registry, variants
from harness.data import Sources
from harness.errors import StoreError
from harness.executors.place import Place, room
from harness.identity import Node
from harness.record import Record
from harness.store import Store
from harness.suite import Scale, Suite
from harness.terminal import err, out

HERE = Place()
Sized = tuple[Suite, Scale]
"""A suite and one of its scales, or a variant of one."""


class Rounds(NamedTuple):
    """What all rounds of one command share."""

    store: Store
    sources: Sources
    device: str
    """As the command line names it."""
    rerun: plan.Rerun
    place: Place = HERE
    """Where they run."""
    deadline: float | None = None
    """Of `time.monotonic`; None: no limit."""

    def planned(
        self, suite: Suite, scale: Scale, records: Sequence[Record], filters: plan.Filters
    ) -> plan.Plan:
        """The plan of a round; seeds that the scale does not have are added to it.

        Raises:
            SpecError: a margin was changed after its claim had records.
        """
        margins.check(suite, margins.read(self.store.results, suite.name), records)
        return plan.make(
            suite,
            variants.seeded(scale, filters.seeds),
            records,
            self.store,
            self.sources,
            device=options.device(self.device, scale, self.place.here),
            filters=filters,
            rerun=self.rerun,
        )

    def run(self, sizes: Sequence[Sized], filters: plan.Filters) -> int:
        """One round: runs what has no record yet; the exit code.

        Raises:
            StoreError: the disk is full, ...
            typer.Exit: stopped before the end.
        """
        damaged = failed = 0
        plans, work, known = [], [], []
        for suite, size in sizes:
            loaded = self.store.load(suite.name)
            for item in loaded.damaged:
                aside = self.store.quarantine(item.path)
                err.print(
                    f"corrupt record: {item.path}: {item.reason}; moved to {aside.name}, "
                    "its trial counts as missing",
                    markup=False,
                )
            damaged += len(loaded.damaged)
            made = self.planned(suite, size, loaded.records, filters)
            summarise(made, loaded.records, self.store, self.place)
            plans.append(made)
            known += loaded.records
            work += executors.work(made, self.store, self.sources, self.rerun, self.place.per_gpu)
            if made.todo:
                self.store.probe(suite.name, made.scale.name)
                if made.scale.size != "smoke":
                    margins.pin(self.store.results, suite)
        if work:
            executor, workers = self.place.open(plans, known, self.store, self.deadline)
            estimate = console.Estimate(known, plans, self.store)
            with console.Watch(out, estimate, work, workers) as watch:
                finished = executor.run(work, watch)
            if watch.busy:
                out.print(f"{len(watch.busy)} trials are being run by another process")
            if watch.full:
                raise StoreError(f"{watch.full}; stopped, {watch.kept()}")
            if not finished:
                command = " ".join(["harness", *sys.argv[1:]])
                parting = executor.parting.format(kept=watch.kept())
                err.print(f"{parting}: {command}", markup=False)
                raise typer.Exit(130)
            failed = len(watch.failures)
        absent = sum(step.state == "no data" for made in plans for step in made.steps)
        if failed:
            err.print(f"{failed} failed; fix the cause, then rerun them with --rerun failed")
        if absent:
            err.print(f"{absent} trials skipped: dataset not found; the lines above say which")
        return StoreError.exit_code if damaged else int(bool(failed or absent))

    def until_decided(self, suite: Suite, scale: Scale, most: int) -> int:
        """Round after round, each up to the next look of the open primary claims; the exit code.

        Every look that is taken is kept (`harness.looks`).

        Args:
            suite: whose primary claims.
            scale: whose looks.
            most: seeds at which to stop.

        Raises:
            UsageError: nothing can be decided here.
            StoreError, typer.Exit: as in `run`.
        """
        from harness import until
        from harness.analysis import frame
        from harness.claims import judge
        from harness.looks import keep, taken

        primary = [claim.name for claim in suite.claims if claim.role == "primary"]
        everywhere = {size.name for _, size in until.places(suite, scale, primary)}
        code, before = 0, -1
        while True:
            records = self.store.load(suite.name).records
            margins.check(suite, margins.read(self.store.results, suite.name), records)
            current, _ = plan.standing([suite], records)
            own = [r for r in records if r.scale in everywhere and r.id in current[suite.name]]
            runs = frame(own, suite)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            kept = taken(self.store.results, suite.name, scale.name)
            looks = until.reached(suite, scale, runs, now, kept)
            printed = registry.references(suite)
            verdicts = judge(suite, scale.name, runs, own, printed, [*kept, *looks])
            outcomes = {verdict.claim: verdict.outcome for verdict in verdicts}
            if looks:
                margins.pin(self.store.results, suite)
            for look in looks:
                keep(self.store.results, look.model_copy(update={"outcome": outcomes[look.claim]}))
            states = until.standings(suite, scale, runs, verdicts)

            def left(
                claims: tuple[str, ...], seeds: tuple[int, ...], known: list[Record] = own
            ) -> bool:
                filters = plan.Filters(seeds=seeds, claims=claims)
                sizes = until.places(suite, scale, claims)
                return any(self.planned(*size, known, filters).todo for size in sizes)

            step = until.next_look(suite, scale, states, left, most)
            if isinstance(step, until.Stop):
                out.print(step.reason, markup=False)
                return code
            if len(own) == before:
                err.print("nothing was recorded in this round; run the same command again later")
                return code or 1
            before = len(own)
            out.print(f"towards the look at {step.size} seeds: {', '.join(step.claims)}")
            filters = plan.Filters(seeds=step.seeds, claims=step.claims)
            code = max(code, self.run(until.places(suite, scale, step.claims), filters))


EFFECTS = (0.5, 1.0, 2.0)
"""Small, middling and large: in standard deviations of the per-seed effect."""


def tell_looks(rounds: Rounds, suite: Suite, scale: Scale, records: Sequence[Record]) -> None:
    """Prints what `--until decided` can find, and what it takes; nothing without primary claims."""
    from harness.sequential import Looks, power

    primary = [claim for claim in suite.claims if claim.role == "primary"]
    if not primary or scale.size == "smoke":
        return
    filters = plan.Filters(seeds=scale.seeds[:1], claims=("primary",))
    made = rounds.planned(suite, scale, [], filters)
    own = [node for node in made.nodes.values() if node.seed is not None]
    seconds = console.Estimate(records, [made], rounds.store).of_plan(made, own)
    looks = Looks(schedule=scale.looks)
    rows = []
    for effect in EFFECTS:
        found = power(effect, looks, len(primary))
        rows.append(
            (
                f"{effect:g} sd",
                *(f"{100 * p:.0f} %" for p in found.by_look),
                f"{found.expected:.0f}",
                number.seconds(found.expected * seconds / room(made)),
            )
        )
    out.print(
        f"with --until decided, chance that one of {len(primary)} primary claims is decided, by "
        "number of seeds (at least; higher where others are true):"
    )
    headers = ("effect", *(f"{n}" for n in looks.schedule), "seeds expected", "time")
    console.table(headers, rows, out)


def summarise(
    made: plan.Plan, records: Sequence[Record], store: Store, place: Place = HERE
) -> list[Node]:
    """Prints what is to be done; the artifacts that come first."""
    states = Counter(step.state for step in made.steps)
    first, rest = plan.unmade(made, store), "nothing to do"
    if made.todo:
        seconds = console.Estimate(records, [made], store).of_plan(made, first)
        artifacts = f" after {len(first)} artifacts" if first else ""
        workers = room(made, place.per_gpu) if place.here else 1
        took = number.seconds(seconds / workers) + ("" if place.here else " of one worker")
        rest = f"{len(made.todo)} to run{artifacts}, about {took}"
    title = f"{made.suite.name} at {made.scale.name} scale on {made.device}"
    out.print(f"{title}: {console.counted(states)}; {rest}")
    absent = Counter(s.reason for s in made.steps if s.state == "no data")
    for reason, skipped in absent.items():
        out.print(f"  {skipped} trials skipped: {reason}", markup=False)
    return first
