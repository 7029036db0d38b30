"""What `harness run` does: one round of trials, or round after round until claims are decided."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import NamedTuple

from harness import console, executors, margins, number, options, plan, registry
from harness.data import Sources
from harness.errors import HarnessError, StoreError
from harness.executors import Work
from harness.executors.place import Place, room
from harness.identity import Node
from harness.record import Heading, Record
from harness.run import INTERRUPTED, Job
from harness.store import Store
from harness.suite import Scale, Suite
from harness.summary import Round, Stopped, command
from harness.terminal import doing, err, out
from harness.trackers import Feed

HERE = Place()
Sized = tuple[Suite, Scale]
"""A suite and one of its scales, or a variant of one."""
THERE = {"done": "already there", "stale": "there from older code", "failed": "failed before"}
"""What the states of trials that stay as they are are called once a run is over."""


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
    detail: console.Detail = "usual"
    feed: Feed | None = None
    """Of an experiment tracker, which gets every record as it is committed."""

    def planned(
        self, suite: Suite, scale: Scale, records: Sequence[Heading], filters: plan.Filters
    ) -> plan.Plan:
        """The plan of a round.

        Raises:
            SpecError: a margin was changed after its claim had records.
        """
        margins.check(suite, margins.read(self.store.results, suite.name), records)
        return plan.make(
            suite,
            scale,
            records,
            self.store,
            self.sources,
            device=options.device(self.device, scale, self.place.here),
            filters=filters,
            rerun=self.rerun,
        )

    def run(self, sizes: Sequence[Sized], filters: plan.Filters) -> Round:
        """One round: runs what has no record yet.

        Raises:
            StoreError: the disk is full, ...
        """
        damaged = 0
        plans: list[plan.Plan] = []
        work: list[Work] = []
        wanted = []
        for suite, size in sizes:  # a name that does not exist is told before anything is read
            options.device(self.device, size, self.place.here)
            meetings = plan.pairs(suite, size, filters)
            wanted.append(len(meetings) * len(filters.seeds or size.seeds))
        names = dict.fromkeys(suite.name for suite, _ in sizes)
        with self._doing(f"reading the records of {', '.join(names)}", line=True):
            there = {name: self.store.headings(name) for name in names}
        for one in there.values():
            for item in one.damaged:
                aside = self.store.quarantine(item.path)
                err.print(
                    f"corrupt record: {item.path}: {item.reason}; moved to {aside.name}, "
                    "its trial counts as missing",
                    markup=False,
                )
            damaged += len(one.damaged)
        for (suite, size), many in zip(sizes, wanted, strict=True):
            records = there[suite.name].headings
            what = f"planning {number.plural(many, 'trial')} of {suite.name}"
            with self._doing(what, line=self.detail == "verbose"):
                made = self.planned(suite, size, records, filters)
                jobs = executors.work(
                    made, self.store, self.sources, self.rerun, self.place.per_gpu
                )
            if self.detail != "quiet":
                summarise(made, records, self.store, self.place)
            plans.append(made)
            work += jobs
            if made.todo:
                self.store.probe(suite.name, made.scale.name)
                if made.scale.size != "smoke":
                    margins.pin(self.store.results, suite)
        counts = Counter(
            "without data" if step.state == "no data" else THERE.get(step.state, step.state)
            for made in plans
            for step in made.steps
            if step.action == "skip"
        )
        known = [heading for one in there.values() for heading in one.headings]
        places = frozenset((heading.suite, heading.scale) for heading in known)
        ended = Round(StoreError.exit_code if damaged else 0, counts, places)
        if work:
            ended = self._work(work, plans, known, ended)
        if failed := ended.counts.get("failed"):
            err.print(f"{failed} failed; fix the cause, then rerun them with --rerun failed")
        if absent := counts["without data"]:
            err.print(f"{absent} trials skipped: dataset not found; the lines above say which")
        return ended._replace(code=ended.code or int(bool(failed or absent)))

    def _work(
        self,
        work: Sequence[Work],
        plans: Sequence[plan.Plan],
        known: Sequence[Heading],
        before: Round,
    ) -> Round:
        """Runs what there is to run; what that came to, together with what was there before."""
        suites = {made.suite.name: made.suite for made in plans}
        fresh: dict[str, Record] = {}

        def ended(job: Job) -> str:
            try:
                record = job.recorded(self.store)
            except HarnessError:  # told when it is read next
                record = None
            if record is None:
                return ""
            fresh[record.id] = record
            if self.feed:
                self.feed.send(record)
            return console.score(suites[job.suite], record)

        executor, workers = self.place.open(plans, known, self.store, self.deadline)
        estimate = console.Estimate(known, plans, self.store)
        watch = console.Watch(out, estimate, work, workers, ended=ended, detail=self.detail)
        with watch:
            finished = executor.run(work, watch)
        if watch.full:
            raise StoreError(f"{watch.full}; stopped, {watch.kept()}")
        stopped: Stopped = "" if finished else "signal"
        if not finished and self.deadline and not executor.stops.count:
            stopped = "time" if time.monotonic() > self.deadline else stopped
        if stopped == "signal" or (stopped and not self.place.here):
            parting = executor.parting.format(kept=watch.kept())
            err.print(f"{parting}: {command()}", markup=False)
        ran = sum(record.status == "ok" for record in fresh.values())
        counts = {
            "ran": ran,
            "failed": len(watch.failures),
            "run by another process": len(watch.busy),
        }
        left = sum(len(made.todo) for made in plans) - sum(counts.values())
        return Round(
            INTERRUPTED if stopped == "signal" else before.code,
            {**counts, "left": max(left, 0), **before.counts},
            before.places | {(record.suite, record.scale) for record in fresh.values()},
            fresh,
            stopped,
        )

    def _doing(self, what: str, line: bool) -> AbstractContextManager[None]:
        return nullcontext() if self.detail == "quiet" else doing(what, line)

    def until_decided(self, sizes: Sequence[Sized], most: int) -> Round:
        """Suite after suite, until the primary claims of each are decided or time is over."""
        ended = Round(0, {})
        for suite, scale in sizes:
            ended = ended.then(self._until(suite, scale, most))
            if ended.stopped:
                break
        return ended

    def _until(self, suite: Suite, scale: Scale, most: int) -> Round:
        """Round after round, each up to the next look of the open primary claims.

        Every look that is taken is kept (`harness.looks`).

        Args:
            suite: whose primary claims.
            scale: whose looks.
            most: seeds at which to stop.

        Raises:
            UsageError: nothing can be decided here.
            StoreError: as in `run`.
        """
        from harness import until
        from harness.analysis import frame
        from harness.claims import judge
        from harness.looks import keep, taken

        ended, before = Round(0, {}), -1
        names = tuple(claim.name for claim in suite.claims if claim.role == "primary")
        primary = plan.Filters(claims=names)
        everywhere = {size.name for _, size in plan.places(suite, scale, primary)}
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

            known = [record.heading for record in own]

            def left(
                claims: tuple[str, ...], seeds: tuple[int, ...], known: list[Heading] = known
            ) -> bool:
                filters = plan.Filters(seeds=seeds, claims=claims)
                sizes = plan.places(suite, scale, filters)
                return any(self.planned(*size, known, filters).todo for size in sizes)

            step = until.next_look(suite, scale, states, left, most)
            if isinstance(step, until.Stop):
                out.print(step.reason, markup=False)
                return ended._replace(places=frozenset((r.suite, r.scale) for r in records))
            if len(own) == before:
                err.print("nothing was recorded in this round; run the same command again later")
                return ended._replace(code=ended.code or 1)
            before = len(own)
            out.print(f"towards the look at {step.size} seeds: {', '.join(step.claims)}")
            filters = plan.Filters(seeds=step.seeds, claims=step.claims)
            ended = ended.then(self.run(plan.places(suite, scale, filters), filters))
            if ended.stopped:
                return ended


EFFECTS = (0.5, 1.0, 2.0)
"""Small, middling and large: in standard deviations of the per-seed effect."""


class Chance(NamedTuple):
    """What seeds added until decided find of an effect of one size."""

    effect_sd: float
    """In standard deviations of the per-seed effect."""
    by_look: tuple[float, ...]
    """Chance that the claim is decided by each look, at least."""
    seeds_expected: float
    seconds: float
    """That these seeds take, of the whole machine."""


class Ahead(NamedTuple):
    """The looks at the primary claims of a scale, before anything runs."""

    claims: tuple[str, ...]
    schedule: tuple[int, ...]
    """Distinct trainings at each look."""
    chances: tuple[Chance, ...]


def looks_ahead(
    rounds: Rounds, suite: Suite, scale: Scale, records: Sequence[Heading]
) -> Ahead | None:
    """What `--until decided` can find, and what it takes; None without primary claims."""
    from harness.sequential import Looks, power

    primary = tuple(claim.name for claim in suite.claims if claim.role == "primary")
    if not primary or scale.size == "smoke":
        return None
    filters = plan.Filters(seeds=scale.seeds[:1], claims=("primary",))
    made = rounds.planned(suite, scale, [], filters)
    own = [node for node in made.nodes.values() if node.seed is not None]
    seconds = console.Estimate(records, [made], rounds.store).of_plan(made, own) / room(made)
    looks = Looks(schedule=scale.looks)
    chances = []
    for effect in EFFECTS:
        found = power(effect, looks, len(primary))
        took = found.expected * seconds
        chances.append(Chance(effect, found.by_look, found.expected, took))
    return Ahead(primary, looks.schedule, tuple(chances))


def tell_looks(rounds: Rounds, suite: Suite, scale: Scale, records: Sequence[Heading]) -> None:
    """Prints what `--until decided` can find, and what it takes; nothing without primary claims."""
    ahead = looks_ahead(rounds, suite, scale, records)
    if ahead is None:
        return
    rows = [
        (
            f"{found.effect_sd:g} sd",
            *(f"{100 * p:.0f} %" for p in found.by_look),
            f"{found.seeds_expected:.0f}",
            number.seconds(found.seconds),
        )
        for found in ahead.chances
    ]
    out.print(
        f"with --until decided, chance that one of {len(ahead.claims)} primary claims is decided, "
        "by number of seeds (at least; higher where others are true):"
    )
    headers = ("effect", *(f"{n}" for n in ahead.schedule), "seeds expected", "time")
    console.table(headers, rows, out)


def summarise(
    made: plan.Plan, records: Sequence[Heading], store: Store, place: Place = HERE
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
