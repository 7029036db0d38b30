"""`harness claims`: the verdicts by role, one line each, and the sentences on request."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from harness import console, plan, registry
from harness.arguments import (
    Assignments,
    Names,
    Plugins,
    Results,
    named_suites,
    open_store,
    records_of,
    varied,
)
from harness.claim import Role
from harness.errors import ClaimError, UsageError, unknown
from harness.looks import taken
from harness.suite import Scale, Suite
from harness.summary import verdict_lines
from harness.terminal import out
from harness.wording import LEGEND, TITLES


def claims(
    names: Names = None,
    scale: Annotated[str, typer.Option(help="One scale; all with records by default.")] = "",
    results: Results = Path("results"),
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit code 3 where the opposite of a claim was found.")
    ] = False,
    assignments: Assignments = None,
    role: Annotated[
        str, typer.Option(help="primary, secondary, additional or exact; all by default.")
    ] = "",
    text: Annotated[
        bool, typer.Option("--text", help="The sentences, the reasons and what the words mean.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """The verdict on every claim."""
    registry.use(plugin)
    from harness import number
    from harness.analysis import frame
    from harness.claims import Verdict, judge
    from harness.report.verdict import remark

    if assignments and not scale:
        raise UsageError("--set varies one scale: name it with --scale")
    if role and role not in TITLES:
        raise UsageError(unknown("role", role, [*TITLES], "harness claims --help"))
    suites, store = named_suites(names, scale or None), open_store(results, read=True)
    against, seen = 0, set()

    def show(suite: Suite, verdicts: Sequence[Verdict]) -> None:
        by_name = {claim.name: claim for claim in suite.claims}
        for v, line in zip(verdicts, verdict_lines(suite, verdicts), strict=True):
            out.print(line, markup=False)
            if text:
                words = (by_name[v.claim].text, f"{v.label}.", remark(suite, v))
                out.print(f"    {' '.join(filter(None, words))}", markup=False)

    for named in suites:
        suite, only = varied(named, scale, assignments) if scale else (named, None)
        records = records_of(store, suite)
        current, _ = plan.standing([suite], records)
        for size in (only,) if only else suite.scales:
            here = [r for r in records if r.scale == size.name and r.id in current[suite.name]]
            if not here:
                continue
            printed = registry.references(suite)
            looked = taken(store.results, suite.name, size.name)
            verdicts = judge(suite, size.name, frame(here, suite), here, printed, looked)
            seen.add(suite.name)
            out.print(_head(suite, size), markup=False)
            for each, title in TITLES.items():
                own = [v for v in verdicts if v.role == each]
                if own and role in ("", each):
                    out.print(f" {title}{_equal(each, own)}", markup=False)
                    show(suite, [v for v in own if role or each != "exact" or v.word != "equal"])
            out.print()
            against += sum(v.outcome in ("opposite", "not equal") for v in verdicts)
    if seen and text:
        for word, meaning in LEGEND:
            out.print(f"{word}: {meaning}", markup=False)
    elif seen:
        out.print("--text: the sentences, the reasons, and what the words mean")
    if strict and against:
        raise ClaimError(f"the records say the opposite of {number.plural(against, 'claim')}")
    console.nothing(out, results, suites, seen, names, scale)


def _head(suite: Suite, scale: Scale) -> str:
    from harness import tiers

    far = tiers.distance(suite, scale)
    return f"{suite.name} at {scale.name} scale" + (f" ({', '.join(far)})" if far else "")


def _equal(role: Role, verdicts: Sequence[object]) -> str:
    if role != "exact":
        return ""
    equal = sum(getattr(v, "outcome", "") == "equal" for v in verdicts)
    return f": {equal} of {len(verdicts)} equal"
